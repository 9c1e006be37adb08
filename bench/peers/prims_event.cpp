// libevent: event_base_once with no timeout is its post, also from other threads.
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include <string>

#include "prims.hpp"

namespace {

using prims::now_ns;
using prims::per;

event_base* base;
std::int64_t count, wanted;
prims::Wakes wakes;

// Locks only where another thread takes part, as one would.
enum class Threads { one, two };
void make_base(Threads threads) {
  if (threads == Threads::two) evthread_use_pthreads();
  base = event_base_new();
}

void post(event_callback_fn callback) {
  static const timeval at_once{};
  event_base_once(base, -1, EV_TIMEOUT, callback, nullptr, &at_once);
}
timeval in_ms(std::uint32_t ms) {
  timeval delay{};
  delay.tv_sec = static_cast<time_t>(ms / 1000);
  delay.tv_usec = static_cast<suseconds_t>(ms % 1000 * 1000);
  return delay;
}

void increment(evutil_socket_t, short, void*) { ++count; }
void increment_and_stop(evutil_socket_t, short, void*) {
  if (++count == wanted) event_base_loopbreak(base);
}
void chain(evutil_socket_t, short, void*) {
  if (++count < wanted) post(chain);
}
void on_wake(evutil_socket_t, short, void*) { wakes.woken(); }
void on_stop(evutil_socket_t, short, void*) { event_base_loopbreak(base); }

std::vector<event> make_timers(std::size_t n) {
  std::vector<event> timers(n);
  for (event& timer : timers) evtimer_assign(&timer, base, increment, nullptr);
  return timers;
}
void arm(event& timer, std::uint32_t ms) {
  const timeval delay = in_ms(ms);
  event_add(&timer, &delay);
}

void post_batch(std::int64_t n) {
  make_base(Threads::one);
  const std::uint64_t start = now_ns();
  while (count < n) {
    for (std::int64_t i = 0; i < prims::batch; ++i) post(increment);
    event_base_loop(base, EVLOOP_NONBLOCK);
  }
  prims::print("ns", per(now_ns() - start, count));
}

void post_chain(std::int64_t n) {
  make_base(Threads::one);
  wanted = n;
  const std::uint64_t start = now_ns();
  post(chain);
  event_base_loop(base, 0);
  prims::print("ns", per(now_ns() - start, n));
}

void xpost(std::int64_t n) {
  make_base(Threads::two);
  wanted = n;
  prims::Flood flood{n, [] { post(increment_and_stop); }};
  event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
  const std::uint64_t end = now_ns();
  prims::print("ns", per(end - flood.join(), n));
}

void xwake(std::int64_t n) {
  make_base(Threads::two);
  wakes.start(
      n, [] { post(on_wake); }, [] { post(on_stop); });
  event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
  wakes.join_and_print();
}

void timer_cancel(std::int64_t n) {
  make_base(Threads::one);
  auto timers = make_timers(static_cast<std::size_t>(n));
  const std::uint64_t start = now_ns();
  for (event& timer : timers) arm(timer, prims::far_ms());
  const std::uint64_t armed = now_ns();
  for (event& timer : timers) event_del(&timer);
  prims::print("arm_ns", per(armed - start, n), "cancel_ns", per(now_ns() - armed, n));
}

void timer_churn(std::int64_t n) {
  make_base(Threads::one);
  auto timers = make_timers(prims::churned);
  for (event& timer : timers) arm(timer, prims::far_ms());
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) {
    event& timer = timers[prims::any_churned()];
    event_del(&timer);
    arm(timer, prims::far_ms());
  }
  prims::print("ns", per(now_ns() - start, n));
}

void timer_fire(std::int64_t n) {
  make_base(Threads::one);
  auto timers = make_timers(static_cast<std::size_t>(n));
  const std::uint64_t start = now_ns();
  for (event& timer : timers) arm(timer, prims::near_ms());
  const std::uint64_t armed = now_ns();
  prims::wait_until_due(armed);
  const std::uint64_t due = now_ns();
  while (count < n) event_base_loop(base, EVLOOP_ONCE);
  prims::print("arm_ns", per(armed - start, n), "fire_ns", per(now_ns() - due, n));
}

constexpr prims::Test tests[] = {
    {"post_batch", post_batch}, {"post_chain", post_chain},     {"xpost", xpost},
    {"xwake", xwake},           {"timer_cancel", timer_cancel}, {"timer_churn", timer_churn},
    {"timer_fire", timer_fire},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string version = std::string{"libevent "} + event_get_version();
  return prims::run(argc, argv, version.c_str(), tests);
}
