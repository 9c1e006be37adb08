// Linux's own system calls, in the same table as the others.
#pragma once

#include "platform/posix/calls.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace ferry::internal::calls {

inline int epoll_create1(int flags) {
  return through(Call::epoll_create, -1, 0, [&](std::size_t) { return ::epoll_create1(flags); });
}
inline int epoll_ctl(int epoll, int what, int fd, epoll_event* event) {
  return through(Call::epoll_ctl, fd, 0,
                 [&](std::size_t) { return ::epoll_ctl(epoll, what, fd, event); });
}
inline int epoll_wait(int epoll, epoll_event* events, int count, int timeout) {
  return through(Call::epoll_wait, epoll, 0,
                 [&](std::size_t) { return ::epoll_wait(epoll, events, count, timeout); });
}
inline int eventfd(unsigned initial, int flags) {
  return through(Call::eventfd, -1, 0, [&](std::size_t) { return ::eventfd(initial, flags); });
}

}  // namespace ferry::internal::calls
