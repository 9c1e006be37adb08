// The kqueue systems' own calls, in the same table as the others: kevent(2) by its purpose.
#pragma once

#include "platform/posix/calls.hpp"

#include <sys/event.h>
#include <sys/time.h>

namespace ferry::internal::calls {

// Not inherited. (A child that forks without exec does not have it in any case.)
inline int kqueue() {
  const int fd = through(Call::kqueue, -1, 0, [](std::size_t) { return ::kqueue(); });
  return complete_slowly(fd, Blocking::yes, false);
}
// Changes that ask for a receipt each: `receipts` has as much room. So an error of one does not
// keep the others from being made, and no event is fetched.
inline int kevent_change(int queue, int fd, const struct kevent* changes, int count,
                         struct kevent* receipts) {
  return through(Call::kevent_change, fd, 0, [&](std::size_t) {
    const timespec at_once{};
    return ::kevent(queue, changes, count, receipts, count, &at_once);
  });
}
inline int kevent_trigger(int queue, const struct kevent* trigger) {
  return through(Call::kevent_trigger, queue, 0, [&](std::size_t) {
    return ::kevent(queue, trigger, 1, nullptr, 0, nullptr);
  });
}
inline int kevent_wait(int queue, struct kevent* events, int count, const timespec* timeout) {
  return through(Call::kevent_wait, queue, 0, [&](std::size_t) {
    return ::kevent(queue, nullptr, 0, events, count, timeout);
  });
}

}  // namespace ferry::internal::calls
