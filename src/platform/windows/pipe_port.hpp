// Pipes in the completion port: overlapped calls, and the readiness that is made of them.
//
// A read of no bytes is done when there are some, or the end: that is what "readable" is. What is
// written is copied, and one write is in flight at a time: "writable" is that there is none.
#pragma once

#include "platform/windows/handle_calls.hpp"
#include "platform/windows/iocp_selector.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace ferry::internal {

class PipePort;
class OverlappedPipe;

// Once begun, its memory is the system's until its packet has come (T-209).
struct Operation : OVERLAPPED {
  OverlappedPipe* owner = nullptr;
  bool pending = false;
};

// One end of a pipe. Lives until nothing of it is the system's any more.
class OverlappedPipe {
 public:
  OverlappedPipe(PipePort& port, NativeHandle handle) noexcept
      : port_{port}, handle_{handle}, by_messages_{calls::has_messages(handle)} {
    read_.owner = write_.owner = this;
  }
  OverlappedPipe(const OverlappedPipe&) = delete;
  OverlappedPipe& operator=(const OverlappedPipe&) = delete;

  PipePort& port() const noexcept { return port_; }
  NativeHandle handle() const noexcept { return handle_; }

  // In the shape of the calls on sockets. A write that was in flight is counted by the call that
  // gives the same bytes again.
  std::ptrdiff_t recv(void* into, std::size_t size);
  std::ptrdiff_t send(const calls::Part* parts, std::size_t count);

  // Of an instance that waits for a client: "readable" is that one has come, or that
  // client_error() is an errno.
  void await_client() noexcept { awaits_client_ = true; }
  void has_client() noexcept { awaits_client_ = false; }
  int client_error() const noexcept { return client_error_; }

 private:
  friend class PipePort;
  static constexpr std::size_t room = 64 * 1024;
  static constexpr std::size_t send_share = 4 * room;

  std::ptrdiff_t account(std::span<const calls::Part> parts);
  // Answers as calls::await_bytes() does.
  int begin_to_wait();
  bool in_flight() const noexcept { return read_.pending || write_.pending; }

  PipePort& port_;
  const NativeHandle handle_;
  const bool by_messages_;
  Token token_ = 0;
  std::uint32_t interest_ = want_none;
  bool queued_ = false;  // to be armed
  bool gone_ = false;    // only packets are waited for
  bool awaits_client_ = false;
  bool written_ = false;  // a write's packet has come, and not all was told of it
  int client_error_ = 0, write_error_ = 0;
  std::size_t write_count_ = 0;
  Operation read_, write_;
  std::unique_ptr<std::byte[]> buffer_;  // of the write in flight
};

// A selector's pipes.
class PipePort final : public PacketReceiver {
 public:
  explicit PipePort(NativeHandle port) noexcept : port_{port} {}
  ~PipePort();
  PipePort(const PipePort&) = delete;
  PipePort& operator=(const PipePort&) = delete;

  // Takes over: from here on the handle can be watched. Null and an errno: it is still the
  // caller's. A handle can be in one port only, for ever.
  OverlappedPipe* adopt(NativeHandle handle);
  // Closes it.
  void release(OverlappedPipe& end) noexcept;

  // What a selector does, for its pipes.
  OverlappedPipe* find(NativeHandle handle) const noexcept;
  void watch(OverlappedPipe& end, std::uint32_t interest, Token token);
  void arm_queued(std::vector<Event>& out);
  void take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) override;
  std::size_t in_flight() const noexcept { return in_flight_; }

 private:
  friend class OverlappedPipe;
  NativeHandle event();  // invalid_handle and an errno
  void began(Operation& operation) noexcept {
    operation.pending = true;
    ++in_flight_;
  }
  void queue(OverlappedPipe& end);
  std::uint32_t arm(OverlappedPipe& end);
  static void reclaim(OverlappedPipe* end) noexcept;

  const NativeHandle port_;
  NativeHandle event_ = invalid_handle;
  std::unordered_map<NativeHandle, OverlappedPipe*> pipes_;
  std::vector<OverlappedPipe*> to_arm_, arming_;
  std::size_t in_flight_ = 0;  // operations whose packet has not come
};

struct ReleasePipe {
  void operator()(OverlappedPipe* end) const noexcept { end->port().release(*end); }
};
using HeldPipe = std::unique_ptr<OverlappedPipe, ReleasePipe>;

}  // namespace ferry::internal
