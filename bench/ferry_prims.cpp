// ferry's loop primitives, by the contract in peers/prims.hpp.
#include <ferry/ferry.hpp>

#include <chrono>

#include "prims.hpp"

namespace {

using prims::now_ns;
using prims::per;

std::int64_t count, wanted;
prims::Wakes wakes;

std::chrono::milliseconds ms(std::uint32_t n) { return std::chrono::milliseconds{n}; }

// What was stopped before it runs, runs for one turn.
void run_one_turn(ferry::Loop& loop) {
  loop.stop();
  loop.run_forever();
}

void refill(ferry::Loop& loop) {
  if (count >= wanted) return loop.stop();
  for (std::int64_t i = 0; i < prims::batch; ++i) loop.call_soon([] { ++count; });
  loop.call_soon([&loop] { refill(loop); });
}

void post_batch(std::int64_t n) {
  ferry::Loop loop;
  wanted = n;
  const std::uint64_t start = now_ns();
  refill(loop);
  loop.run_forever();
  prims::print("ns", per(now_ns() - start, count));
}

void chain(ferry::Loop& loop) {
  if (++count == wanted) return loop.stop();
  loop.call_soon([&loop] { chain(loop); });
}

void post_chain(std::int64_t n) {
  ferry::Loop loop;
  wanted = n;
  const std::uint64_t start = now_ns();
  loop.call_soon([&loop] { chain(loop); });
  loop.run_forever();
  prims::print("ns", per(now_ns() - start, n));
}

void xpost(std::int64_t n) {
  ferry::Loop loop;
  wanted = n;
  prims::Flood flood{n, [&loop] {
                       loop.call_soon_threadsafe([&loop] {
                         if (++count == wanted) loop.stop();
                       });
                     }};
  loop.run_forever();
  const std::uint64_t end = now_ns();
  prims::print("ns", per(end - flood.join(), n));
}

void xwake(std::int64_t n) {
  ferry::Loop loop;
  wakes.start(
      n, [&loop] { loop.call_soon_threadsafe([] { wakes.woken(); }); },
      [&loop] { loop.call_soon_threadsafe([&loop] { loop.stop(); }); });
  loop.run_forever();
  wakes.join_and_print();
}

// The deadlines are absolute, as the raw program's are: call_later() would read the clock, once for
// each timer (some 25 ns).
using Timers = std::vector<ferry::TimerHandle>;

void timer_cancel(std::int64_t n) {
  ferry::Loop loop;
  Timers timers(static_cast<std::size_t>(n));
  const ferry::TimePoint base = loop.time();
  const std::uint64_t start = now_ns();
  for (auto& timer : timers) timer = loop.call_at(base + ms(prims::far_ms()), [] { ++count; });
  const std::uint64_t armed = now_ns();
  for (auto& timer : timers) timer.cancel();
  run_one_turn(loop);  // whatever cancelling puts off belongs to its cost
  prims::print("arm_ns", per(armed - start, n), "cancel_ns", per(now_ns() - armed, n));
}

void timer_churn(std::int64_t n) {
  ferry::Loop loop;
  Timers timers(prims::churned);
  const ferry::TimePoint base = loop.time();
  for (auto& timer : timers) timer = loop.call_at(base + ms(prims::far_ms()), [] { ++count; });
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) {
    auto& timer = timers[prims::any_churned()];
    timer.cancel();
    timer = loop.call_at(base + ms(prims::far_ms()), [] { ++count; });
  }
  run_one_turn(loop);
  prims::print("ns", per(now_ns() - start, n));
}

void timer_fire(std::int64_t n) {
  ferry::Loop loop;
  wanted = n;
  const ferry::TimePoint base = loop.time();
  const auto on_timer = [&loop] {
    if (++count == wanted) loop.stop();
  };
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) loop.call_at(base + ms(prims::near_ms()), on_timer);
  const std::uint64_t armed = now_ns();
  prims::wait_until_due(armed);
  const std::uint64_t due = now_ns();
  loop.run_forever();
  prims::print("arm_ns", per(armed - start, n), "fire_ns", per(now_ns() - due, n));
}

constexpr prims::Test tests[] = {
    {"post_batch", post_batch}, {"post_chain", post_chain},     {"xpost", xpost},
    {"xwake", xwake},           {"timer_cancel", timer_cancel}, {"timer_churn", timer_churn},
    {"timer_fire", timer_fire},
};

}  // namespace

int main(int argc, char** argv) { return prims::run(argc, argv, "ferry " FERRY_VERSION, tests); }
