// The contract of the programs that measure a loop's primitives, and what they share.
//
//   PROGRAM TEST N        prints one JSON object; exit status 2: there is no such test here
//   PROGRAM --version     prints the library's name and version
//
//   post_batch    the loop's thread posts 1000 callbacks at a time and runs them; ns per callback
//   post_chain    each callback posts the next one, a turn of the loop each; ns per callback
//   xpost         another thread posts N callbacks as fast as it can; ns per callback
//   xwake         another thread posts to a loop that sleeps; until the callback runs; us
//   timer_cancel  arm N one-shot timers 1 to 60 s out (random), cancel all; ns per arm, per cancel
//   timer_churn   100k timers armed, then N times: cancel one, arm one; ns per pair
//   timer_fire    arm N one-shot timers due within 1 to 100 ms; ns per arm, per expiry (the loop
//                 runs once all of them are due, so that nothing but expiring is measured)
//
// The loop's thread runs on the first CPU that BENCH_CPUS names ("0,1" by default), the other
// thread on the second.
#pragma once

#if __has_include(<sched.h>)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace prims {

inline constexpr int bad_arguments = 2;          // exit status
inline constexpr std::int64_t batch = 1000;      // of post_batch
inline constexpr std::size_t churned = 100'000;  // timers that are armed in timer_churn

inline std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds{now}.count());
}

enum class Thread { loop, other };

// Without a CPU of its own, and where a system does not give threads one, it runs where it may.
inline void pin([[maybe_unused]] Thread thread) {
#ifdef CPU_SET
  unsigned cpus[2] = {0, 1};
  const char* chosen = std::getenv("BENCH_CPUS");
  if (chosen != nullptr) std::sscanf(chosen, "%u,%u", &cpus[0], &cpus[1]);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(thread == Thread::loop ? cpus[0] : cpus[1], &set);
  sched_setaffinity(0, sizeof set, &set);
#endif
}

// The same numbers for everybody.
inline std::uint32_t random_number() {
  static std::uint64_t x = 88172645463325252u;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return static_cast<std::uint32_t>(x >> 32);
}
inline std::uint32_t far_ms() { return 1000 + random_number() % 59000; }
inline std::uint32_t near_ms() { return 1 + random_number() % 100; }
inline std::size_t any_churned() { return random_number() % churned; }

// From `start`, when the timers of timer_fire were armed, until all of them are due.
inline void wait_until_due(std::uint64_t start) {
  while (now_ns() < start + 110'000'000) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

inline double per(std::uint64_t ns, std::int64_t n) {
  return static_cast<double>(ns) / static_cast<double>(n);
}
inline void print(const char* name, double value) { std::printf("{\"%s\":%.3f}\n", name, value); }
inline void print(const char* name, double value, const char* name2, double value2) {
  std::printf("{\"%s\":%.3f,\"%s\":%.3f}\n", name, value, name2, value2);
}

// xpost: a thread that calls `post` n times; gives its start time when it is joined.
class Flood {
 public:
  template <class Post>
  Flood(std::int64_t n, Post post)
      : thread_{[this, n, post] {
          pin(Thread::other);
          started_ = now_ns();
          for (std::int64_t i = 0; i < n; ++i) post();
        }} {}
  std::uint64_t join() {
    thread_.join();
    return started_;
  }

 private:
  std::uint64_t started_ = 0;
  std::thread thread_;  // the last member: it uses the others
};

// xwake: a thread that lets the loop fall asleep, calls `post`, and watches for woken(), n times;
// then it calls `stop`.
class Wakes {
 public:
  template <class Post, class Stop>
  void start(std::int64_t n, Post post, Stop stop) {
    thread_ = std::thread{[this, n, post, stop] {
      pin(Thread::other);
      for (std::int64_t i = 0; i < n; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds{100});
        woken_ = 0;
        const std::uint64_t before = now_ns();
        post();
        std::uint64_t after = 0;
        while ((after = woken_) == 0) {
        }
        latencies_.push_back(after - before);
      }
      stop();
    }};
  }
  // Called by what was posted.
  void woken() { woken_ = now_ns(); }
  void join_and_print() {
    thread_.join();
    std::sort(latencies_.begin(), latencies_.end());
    const auto us = [this](std::size_t percent) {
      return static_cast<double>(latencies_[latencies_.size() * percent / 100]) / 1e3;
    };
    print("p50_us", us(50), "p99_us", us(99));
  }

 private:
  std::atomic<std::uint64_t> woken_{0};
  std::vector<std::uint64_t> latencies_;
  std::thread thread_;
};

struct Test {
  std::string_view name;
  void (*run)(std::int64_t n);
};

inline int run(int argc, char** argv, const char* version, std::span<const Test> tests) {
  if (argc == 2 && std::string_view{argv[1]} == "--version") return std::puts(version) < 0;
  if (argc != 3) return bad_arguments;
  const std::int64_t n = std::atoll(argv[2]);
  if (n < 1) return bad_arguments;
  for (const Test& test : tests) {
    if (test.name != argv[1]) continue;
    pin(Thread::loop);
    test.run(n);
    return 0;
  }
  return bad_arguments;
}

}  // namespace prims
