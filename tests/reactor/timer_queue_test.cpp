// The timer queue against a sorted list: many timers, near and far, armed, cancelled and due.
#include "reactor/timer_queue.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

using ferry::TimePoint;
using ferry::internal::CallSlots;
using ferry::internal::SlotState;
using ferry::internal::TimerQueue;

namespace {

TimePoint at(std::int64_t ns) { return TimePoint{TimePoint::duration{ns}}; }

// A queue, and what must be in it: in the order in which it must come out.
class Timers {
 public:
  std::size_t size() const { return model_.size(); }
  std::int64_t now = 0;

  void arm(std::int64_t when) {
    const std::uint32_t slot = slots_.take([] {}, std::source_location::current());
    queue_.add(slot, at(when), at(now));
    model_[{when, ++count_}] = slot;
    entries_.push_back({when, count_});
  }
  // One of those that were armed last but `back`, if it has not gone.
  void cancel(std::size_t back) {
    if (back >= entries_.size()) return;
    const auto entry = model_.find(entries_[entries_.size() - 1 - back]);
    if (entry == model_.end()) return;
    queue_.remove(entry->second);
    slots_.give_back(entry->second);
    model_.erase(entry);
  }
  void check_first() {
    REQUIRE(queue_.empty() == model_.empty());
    if (!model_.empty()) REQUIRE(queue_.next() == at(model_.begin()->first.first));
  }
  void take_due() {
    std::vector<std::uint32_t> due;
    queue_.take_due(at(now), due);
    std::vector<std::uint32_t> expected;
    while (!model_.empty() && model_.begin()->first.first <= now) {
      expected.push_back(model_.begin()->second);
      model_.erase(model_.begin());
    }
    REQUIRE(due == expected);
    for (const std::uint32_t slot : due) slots_.give_back(slot);
  }

 private:
  CallSlots slots_;
  TimerQueue queue_{slots_};
  using Key = std::pair<std::int64_t, std::uint64_t>;
  std::map<Key, std::uint32_t> model_;
  std::vector<Key> entries_;
  std::uint64_t count_ = 0;
};

}  // namespace

TEST_CASE("timers come out by deadline, equal ones in their order, whatever is cancelled between",
          "[A-035][T-189]") {
  const int seed = GENERATE(range(1, 13));
  std::mt19937_64 random{static_cast<std::uint64_t>(seed)};
  const auto below = [&](auto most) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most));
  };
  Timers timers;
  timers.now = below(std::uint64_t{1} << (20 + seed * 3));
  std::int64_t repeated = 0;
  for (int step = 0; step < 20'000; ++step) {
    const auto what = below(100);
    if (what < 45) {
      // From nanoseconds to centuries, with many that are equal.
      const std::int64_t delay = below(std::uint64_t{1} << (1 + below(58)));
      if (below(3) != 0) repeated = timers.now + delay - (below(20) == 0 ? 2 * delay : 0);
      timers.arm(repeated);
    } else if (what < 80) {
      timers.cancel(static_cast<std::size_t>(below(below(10) == 0 ? 5000 : 40)));
    } else if (what < 90) {
      timers.check_first();
    } else {
      timers.now += below(std::uint64_t{1} << (1 + below(34 + seed % 3)));
      timers.take_due();
    }
  }
  timers.now = TimePoint::max().time_since_epoch().count();
  timers.take_due();
  CHECK(timers.size() == 0);
}

TEST_CASE("a deadline far away does not hide a nearer one that is armed after it", "[T-189]") {
  constexpr std::int64_t second = 1'000'000'000;
  Timers timers;
  timers.now = 5 * second;
  for (int i = 0; i < 300; ++i) timers.arm(timers.now + 3600 * second + i);
  timers.check_first();  // which looks for the first of the 300
  timers.arm(timers.now + second);
  timers.check_first();
  timers.now += 2 * second;
  timers.take_due();
  CHECK(timers.size() == 300);
  for (std::size_t i = 0; i < 301; ++i) timers.cancel(i);
  timers.check_first();
  timers.arm(timers.now + 1);
  timers.check_first();
}
