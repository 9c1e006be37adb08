// A pipe in the shape of the system's calls on sockets.
#pragma once

#include "platform/channel.hpp"
#include "platform/windows/pipe_port.hpp"

#include <cstddef>

namespace ferry::internal {

class PipeCalls {
 public:
  static constexpr bool selector_tells_resets = false;
  static constexpr bool is_socket = false;
  static constexpr const char* receive_name = "read from the pipe";
  static constexpr const char* send_name = "write to the pipe";
  using Part = calls::Part;

  // `readable`: whether the handle may be read, whatever the direction.
  PipeCalls(Direction direction, OverlappedPipe& end, bool readable) noexcept
      : end_{&end}, direction_{direction}, readable_{readable} {}

  static Part part(const void* data, std::size_t size) noexcept { return calls::part(data, size); }
  static bool was_cut() noexcept { return calls::was_cut(); }
  Direction direction() const noexcept { return direction_; }
  bool is_large() const noexcept { return false; }

  // A handle that may only be written does not tell that its reader has gone.
  std::uint32_t idle_interest() const noexcept {
    return direction_ == Direction::write && readable_ ? want_read : want_none;
  }
  bool reader_has_gone(NativeHandle handle) const;

  std::ptrdiff_t recv(NativeHandle, void* into, std::size_t size) const {
    return end_->recv(into, size);
  }
  std::ptrdiff_t send(NativeHandle, const void* from, std::size_t size) const {
    const Part all = part(from, size);
    return end_->send(&all, 1);
  }
  std::ptrdiff_t sendmsg(NativeHandle, Part* parts, std::size_t count) const {
    return end_->send(parts, count);
  }
  static std::uint32_t look(NativeHandle handle) noexcept { return calls::look(handle); }
  int shut_write(NativeHandle) const noexcept { return 0; }  // the transport closes instead
  int close(NativeHandle) const noexcept {
    end_->port().release(*end_);
    return 0;
  }

 private:
  OverlappedPipe* end_;
  Direction direction_;
  bool readable_;
};

}  // namespace ferry::internal
