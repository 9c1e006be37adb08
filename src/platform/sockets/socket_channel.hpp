// A stream socket or a pipe as a channel, over readiness: the same on every system, and in a
// simulated world.
#pragma once

#include "platform/channel.hpp"
#include "platform/io.hpp"

#include <ferry/socket.hpp>

#include <cstdint>

namespace ferry::internal {

// `Calls`: SystemCalls, or what has its shape. Those of pipes are no sockets, and say instead
//   direction()            which way the bytes go
//   is_large()             whether the system keeps so much that large reads pay
//   idle_interest()        by level, what is watched while there is nothing to do
//   reader_has_gone()      asked when a pipe that is only written shows an event
template <class Calls>
class SocketChannel final : public Channel, private IoHandler, private Calls {
 public:
  // `short_is_all`: a read that does not fill its buffer has taken all that was there. So it is
  // with TCP (but for urgent data, which comes as a hint), not where there are borders in between:
  // lines of a terminal, descriptors among a Unix socket's bytes, messages. By edges one has to
  // look there. `died`: an errno that the socket has told already and tells no more; 0: none.
  SocketChannel(const Calls& calls, IoContext& io, Socket socket, bool short_is_all,
                int died) noexcept
      : Calls{calls}, io_{io}, handle_{socket.detach()}, short_is_all_{short_is_all},
        died_{static_cast<std::uint16_t>(died)} {}
  ~SocketChannel() { let_go(); }

  void set_owner(Owner& owner) override { owner_ = &owner; }
  Error open() override;
  void set_reading(bool on) override;
  std::size_t try_write(std::span<const BytesView> views) override;
  bool can_try() const noexcept override { return writable_ && !writing_; }
  void start_writing() override;
  void shut_write() noexcept override;
  // A pipe that goes both ways can only be closed as a whole.
  bool can_half_close() const noexcept override {
    return Calls::is_socket || direction() != Direction::both;
  }
  void finish() override { owner_->finished(); }
  void close(bool reset) noexcept override;
  Direction direction() const noexcept override {
    if constexpr (Calls::is_socket) return Direction::both; else return calls().direction();
  }
  SocketView socket() const noexcept override {
    return Calls::is_socket ? SocketView{handle_} : SocketView{};
  }
  PipeView pipe() const noexcept override {
    return Calls::is_socket ? PipeView{} : PipeView{handle_};
  }
  bool reads_much() const noexcept override {
    if constexpr (Calls::is_socket) return false; else return calls().is_large();
  }

 private:
  void handle_ready(std::uint32_t ready) override;
  void read_some();
  bool read_once(std::size_t& share);
  void write_some();
  void send_failed(int error);
  void update_interest();
  void let_go() noexcept;
  std::uint32_t idle_interest() const noexcept {
    if constexpr (Calls::is_socket) return want_none; else return calls().idle_interest();
  }
  const Calls& calls() const noexcept { return *this; }

  IoContext& io_;
  Owner* owner_ = nullptr;
  NativeHandle handle_;
  Ticket ticket_;
  // What is known of the socket: kept over turns, because a report may be an edge.
  bool readable_ = false;
  bool writable_ = true;  // until a call says otherwise
  bool hint_ = false;     // the end is near: only 0 or EAGAIN ends reading
  const bool short_is_all_;
  bool reading_ = false;  // what the owner wants
  bool writing_ = false;
  bool resting_ = false;  // the system had no buffers for us: writing waits for a while
  std::uint16_t died_;
};

}  // namespace ferry::internal
