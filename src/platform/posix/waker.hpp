// The writing end of a waker.
#pragma once

#include "platform/posix/calls.hpp"

#include <cerrno>
#include <cstddef>
#include <system_error>

namespace ferry::internal {

// Writes what wakes a poll. May be called from a signal handler.
inline std::error_code ring(int fd, const void* what, std::size_t size) noexcept {
  const int before = errno;
  int error = 0;
  do {
    error = calls::write(fd, what, size) < 0 ? errno : 0;
  } while (error == EINTR);
  errno = before;
  if (error == EAGAIN || error == EWOULDBLOCK) error = 0;  // full: rung already
  return {error, std::system_category()};
}

}  // namespace ferry::internal
