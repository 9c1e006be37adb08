// call_later() and call_at().
#include "support/calls.hpp"
#include "support/world.hpp"

#include "platform/sockets/timeout.hpp"


#include <cmath>
#include <csignal>
#include <limits>
#include <random>
#include <type_traits>

using namespace test;
using ferry::Seconds;

namespace {

// Time passes for everybody, as in a callback that takes long.
void wait_past(ferry::Loop& loop, ferry::TimePoint when) {
  while (loop.time() <= when) {
  }
}

}  // namespace

TEST_CASE("timers run by their deadlines, equal ones in their order", "[A-035]") {
  World world;
  const ferry::TimePoint now = world.loop.time();
  // A handful and many: they are taken out of the queue in two ways.
  const int count = GENERATE(5, 17, 100, 3000);
  const int later = GENERATE(0, 50, 20000);  // that are not due yet
  std::mt19937 random{7};
  struct Expected {
    int deadline;
    int number;
  };
  std::vector<Expected> expected;
  std::vector<int> order;
  std::vector<ferry::TimerHandle> cancelled;
  for (int i = 0; i < count; ++i) {
    const int deadline = static_cast<int>(random() % 20);
    const auto when = now - std::chrono::microseconds{100 - deadline};
    auto handle = world.loop.call_at(when, [&order, i] { order.push_back(i); });
    CHECK(handle.when() == when);
    if (i % 7 == 3) {
      cancelled.push_back(handle);
    } else {
      expected.push_back({deadline, i});
    }
  }
  for (int i = 0; i < later; ++i) {
    world.loop.call_at(now + 1h + std::chrono::seconds{i % 10}, [] { FAIL("too early"); });
  }
  for (ferry::TimerHandle& handle : cancelled) handle.cancel();
  std::stable_sort(expected.begin(), expected.end(),
                   [](const Expected& a, const Expected& b) { return a.deadline < b.deadline; });
  world.turn();
  REQUIRE(order.size() == expected.size());
  for (std::size_t i = 0; i < order.size(); ++i) REQUIRE(order[i] == expected[i].number);
}

TEST_CASE("timers in any mix of arming, cancelling and expiring run once and in order",
          "[A-035][T-186]") {
  World world;
  std::mt19937 random{GENERATE(1u, 2u, 3u)};
  const ferry::TimePoint start = world.loop.time();
  std::vector<ferry::TimerHandle> handles;
  std::vector<int> runs;
  std::vector<bool> cancelled;
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 50; ++i) {
      const auto when = start + std::chrono::microseconds{random() % 20000};
      const std::size_t number = handles.size();
      runs.push_back(0);
      cancelled.push_back(false);
      handles.push_back(world.loop.call_at(when, [&, number] {
        ++runs[number];
        CHECK(world.loop.time() >= handles[number].when());
      }));
    }
    for (int i = 0; i < 20; ++i) {
      const std::size_t victim = random() % handles.size();
      handles[victim].cancel();
      if (runs[victim] == 0) cancelled[victim] = true;
    }
    world.turn();
  }
  wait_past(world.loop, start + 20ms);
  world.turn();
  world.turn();
  for (std::size_t i = 0; i < runs.size(); ++i) REQUIRE(runs[i] == (cancelled[i] ? 0 : 1));
}

TEST_CASE("a timer cancelled by an earlier one of its batch does not run", "[T-186]") {
  World world;
  const auto due = world.loop.time();
  int runs = 0;
  ferry::TimerHandle second, self;
  self = world.loop.call_at(due, [&] {
    ++runs;
    second.cancel();
    self.cancel();
  });
  second = world.loop.call_at(due, [&] { runs += 100; });
  world.loop.call_at(due, [&] { runs += 10; });
  world.turn();
  CHECK(runs == 11);
  CHECK(second.cancelled());
  CHECK(self.cancelled());
  world.turn();
  CHECK(runs == 11);
}

TEST_CASE("a timer armed again with zero runs in the next turn, not in this one", "[T-186]") {
  World world;
  int runs = 0;
  std::function<void()> again = [&] {
    ++runs;
    world.loop.call_later(0s, again);
    world.loop.call_at(world.loop.time() - 1h, [] {});
  };
  world.loop.call_later(0s, again);
  for (int turn = 1; turn <= 5; ++turn) {
    world.turn();
    CHECK(runs == turn);
  }
  again = [] {};
  world.turn();
}

TEST_CASE("a negative delay is now, however negative", "[T-188]") {
  World world;
  int runs = 0;
  const auto run = [&] { ++runs; };
  world.loop.call_later(-1s, run);
  world.loop.call_later(Seconds{-1e300}, run);
  world.loop.call_later(Seconds{-std::numeric_limits<double>::infinity()}, run);
  world.loop.call_at(ferry::TimePoint{}, run);
  world.loop.call_at(ferry::TimePoint::min(), run);
  world.turn();
  CHECK(runs == 5);
}

TEST_CASE("an infinite delay never comes, and weeks and years are slept in portions",
          "[T-188][A-036]") {
  World world;
  Calls calls;
  const auto never = [] { FAIL("too early"); };
  const double delay = GENERATE(24.8 * 86400, 49.7 * 86400, 10 * 365.0 * 86400, 1e9, 1e12, 1e300,
                                std::numeric_limits<double>::infinity());
  auto handle = world.loop.call_later(Seconds{delay}, never);
  CHECK(handle.when() > world.loop.time() + std::chrono::hours{24 * 24});
  // An overflow would be a time-out of none at all, and the loop would turn without rest.
  world.loop.call_later(20ms, [&] { world.loop.stop(); });
  calls.reset();
  world.loop.run_forever();
  CHECK(calls.count(waiting_call(world.loop.backend())) <= 3);
  handle.cancel();
}

TEST_CASE("one sleep of the poller is a day at most", "[A-036][T-188]") {
  using ferry::internal::to_milliseconds;
  CHECK(to_milliseconds(24h) == 86400000);
  CHECK(to_milliseconds(48h) == 86400000);
  CHECK(to_milliseconds(std::chrono::hours{24 * 365 * 100}) == 86400000);
  CHECK(to_milliseconds(std::chrono::nanoseconds::max()) == 86400000);
  CHECK(to_milliseconds(std::nullopt) == -1);
  CHECK(to_milliseconds(0ns) == 0);
  CHECK(to_milliseconds(-5s) == 0);
  CHECK(to_milliseconds(std::chrono::nanoseconds::min()) == 0);
}

TEST_CASE("the time to sleep is rounded up: not early, and no spinning at the end", "[T-189]") {
  using ferry::internal::to_milliseconds;
  CHECK(to_milliseconds(1ns) == 1);
  CHECK(to_milliseconds(999999ns) == 1);
  CHECK(to_milliseconds(1ms) == 1);
  CHECK(to_milliseconds(1ms + 1ns) == 2);
  World world;
  Calls calls;
  const auto call = waiting_call(world.loop.backend());
  for (const Seconds delay : {Seconds{100us}, Seconds{900us}, Seconds{5500us}, Seconds{10ms}}) {
    const auto before = world.loop.time();
    auto handle = world.loop.call_later(delay, [&] { world.loop.stop(); });
    CHECK(handle.when() - before >= delay);
    calls.reset();
    world.loop.run_forever();
    CHECK(world.loop.time() >= handle.when());
    CHECK(calls.count(call) <= 2);
  }
}

TEST_CASE("a delay that is no number is refused where it is passed", "[T-188][C-22]") {
  World world;
  const Seconds nan{std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(world.loop.call_later(nan, [] {}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.sleep(nan), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.poll_events(nan), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.set_busy_poll(nan), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.set_slow_callback_duration(nan), std::invalid_argument);
  world.turn();
}

TEST_CASE("a million timers made and cancelled leave nothing behind", "[T-190][A-035]") {
  World world;
  const int count = sanitized ? 200000 : 1000000;
  const std::size_t allowed = sanitized ? 4u << 20 : 8u << 20;
  auto far = world.loop.call_later(1h, [] {});  // what is cancelled is not at the front
  auto capture = std::make_shared<int>(0);
  for (int i = 0; i < 1000; ++i) world.loop.call_later(30s, [capture] {}).cancel();
  const std::size_t before = resident_bytes();
  for (int i = 0; i < count; ++i) {
    auto handle = world.loop.call_later(Seconds{30 + i % 100}, [capture] {});
    handle.cancel();
    if (i % 1000 == 0) {
      REQUIRE(capture.use_count() == 1);  // gone at once
      world.turn();
    }
  }
  const std::size_t after = resident_bytes();
  CHECK(after - std::min(before, after) < allowed);
  far.cancel();
}

TEST_CASE("a delay counts from the moment of the call, also after a long callback",
          "[T-191][A-036]") {
  World world;
  bool done = false;
  world.loop.call_soon([&] {
    wait_past(world.loop, world.loop.time() + 30ms);
    const auto now = world.loop.time();
    auto handle = world.loop.call_later(10ms, [&] { done = true; });
    CHECK(handle.when() >= now + 10ms);
  });
  world.turn();
  world.turn();
  const auto now = world.loop.time();
  auto handle = world.loop.call_later(5ms, [] {});
  CHECK(handle.when() >= now + 5ms);
  world.run_until([&] { return done; });
  world.run_until([&] { return world.loop.time() > handle.when(); });
}

TEST_CASE("the clock is the steady one: steps of the wall clock move no timer",
          "[T-192][A-036]") {
  static_assert(std::is_same_v<ferry::TimePoint, std::chrono::steady_clock::time_point>);
  World world;
  const auto before = std::chrono::steady_clock::now();
  ferry::TimePoint last = world.loop.time();
  CHECK(last >= before);
  for (int i = 0; i < 10000; ++i) {
    const auto now = world.loop.time();
    REQUIRE(now >= last);
    last = now;
  }
  CHECK(last <= std::chrono::steady_clock::now());
}
