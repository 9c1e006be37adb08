// A pipe, FIFO, terminal or other device in the shape of the system's calls on sockets.
#pragma once

#include "platform/channel.hpp"
#include "platform/posix/calls.hpp"
#include "platform/selector.hpp"

#include <cstddef>

namespace ferry::internal {

// What kind of thing a descriptor is: asked once.
struct PipeKind {
  bool fifo = false;      // or a pipe
  bool socket = false;
  bool device = false;    // a terminal among them
};

class PipeCalls {
 public:
  static constexpr bool selector_tells_resets = false;
  static constexpr bool is_socket = false;
  static constexpr const char* receive_name = "read from the pipe";
  static constexpr const char* send_name = "write to the pipe";
  using Part = calls::Part;

  // `adopted`: it was given to us, with flags that others may see. `keeper`: a writing end of the
  // same FIFO, that keeps it open.
  PipeCalls(Direction direction, PipeKind kind, bool adopted, int keeper) noexcept
      : direction_{direction}, kind_{kind}, adopted_{adopted}, keeper_{keeper} {}

  static Part part(const void* data, std::size_t size) noexcept { return calls::part(data, size); }
  static bool was_cut() noexcept { return calls::was_cut(); }
  Direction direction() const noexcept { return direction_; }
  bool is_large() const noexcept { return grown_; }

  // A device's end is not told by reading interest; its input may be another transport's.
  std::uint32_t idle_interest() const noexcept {
    return direction_ == Direction::write && !kind_.device && !unread_ ? want_read : want_none;
  }
  bool reader_has_gone(NativeHandle handle) const;

  std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) const;
  std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) const;
  std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count) const;
  static std::uint32_t look(NativeHandle handle) { return calls::look(handle); }
  int shut_write(NativeHandle) const noexcept { return 0; }  // the transport closes instead
  int close(NativeHandle handle) const;

 private:
  bool peer_has_ended(NativeHandle handle) const;
  void grow_after_full_reads(NativeHandle handle, bool full) const;

  Direction direction_;
  PipeKind kind_;
  bool adopted_;
  int keeper_;
  mutable std::uint8_t full_reads_ = 0;
  mutable bool grown_ = false;
  mutable bool unread_ = false;  // of a socket that we only write: something has come for others
};

}  // namespace ferry::internal
