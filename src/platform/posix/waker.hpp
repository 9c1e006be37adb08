// Wakers that are written to.
#pragma once

#include "platform/posix/calls.hpp"
#include "platform/sockets/socket_address.hpp"

#include <ferry/socket.hpp>

#include <cerrno>
#include <system_error>

namespace ferry::internal {

// Makes the call that wakes a poll: `call` answers -1 and errno if it fails, and may be made again.
// May be used in a signal handler.
template <class Call>
std::error_code ring(Call call) noexcept {
  const int before = errno;
  int error = 0;
  do {
    error = call() < 0 ? errno : 0;
  } while (error == EINTR);
  errno = before;
  if (error == EAGAIN || error == EWOULDBLOCK) error = 0;  // full: rung already
  return {error, std::system_category()};
}

// A pipe whose reading end a selector watches; for systems that have nothing better.
class PipeWaker {
 public:
  PipeWaker() {
    int pair[2];
    if (calls::pipe(pair) != 0) last_error("make a waker").raise();
    read_ = Socket{pair[0]};
    write_ = Socket{pair[1]};
  }
  int handle() const noexcept { return static_cast<int>(read_.fileno()); }
  std::error_code wake() noexcept {
    return ring([this] { return calls::write(static_cast<int>(write_.fileno()), "", 1); });
  }
  // False: nobody can ring any more, because one of the ends was closed behind our back. Then it is
  // to be watched no more, or it would be ready for ever.
  bool drain() noexcept {
    char bytes[256];
    ssize_t count = 0;
    do {
      count = calls::read(handle(), bytes, sizeof bytes);
    } while (count > 0 || (count < 0 && errno == EINTR));
    return count < 0 && errno != EBADF;
  }

 private:
  Socket read_, write_;
};

}  // namespace ferry::internal
