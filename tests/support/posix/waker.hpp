// A loop's waker, taken in hand: for wakers that are written to.
#pragma once

#include "support/calls.hpp"
#include "support/world.hpp"

#include <csignal>

namespace test {

// The handle that this loop is woken by.
inline ferry::NativeHandle waker_of(ferry::Loop& loop) {
  ferry::NativeHandle handle = -1;
  Calls calls;
  calls.on_call = [&](Call call, ferry::NativeHandle written) {
    if (call == Call::write) handle = written;
    return 0;
  };
  loop.add_signal_handler(SIGUSR2, [] {});
  ::raise(SIGUSR2);
  CHECK(loop.remove_signal_handler(SIGUSR2));
  loop.process_events(loop.poll_events(0s));  // nothing is left of it
  loop.process_ready();
  REQUIRE(handle != -1);
  return handle;
}

// With its waker's other end closed a loop waits as it should, and does not look again and again.
inline void check_closed_waker(ferry::Loop& loop) {
  const ferry::NativeHandle handle = waker_of(loop);
  auto [spare, other] = ferry::socketpair();  // before the number is free
  close_plainly(handle);
  bool fired = false;
  loop.call_later(50ms, [&] {
    fired = true;
    loop.stop();
  });
  Calls calls;
  loop.run_forever();
  CHECK(fired);
  CHECK(calls.count(waiting_call(loop.backend())) < 10);
  reuse_number(handle, spare);  // the waker will close it
}

}  // namespace test
