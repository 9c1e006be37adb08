// Faults in system calls, and how many of them there were.
#pragma once

#include "platform/posix/calls.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <vector>

namespace test {

using ferry::internal::calls::Call;

// While it lives it sees every system call that ferry makes. One at a time.
class Calls final : public ferry::internal::calls::Hook {
 public:
  Calls() { ferry::internal::calls::hook = this; }
  ~Calls() override { ferry::internal::calls::hook = nullptr; }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  // The next `times` calls of this kind (on this handle; -1: any), after `skip` more of them, fail with
  // `error` instead of being made.
  void fail(Call call, int error, int times = 1, int handle = -1, int skip = 0) {
    rules_.push_back({call, error, times, handle, skip});
  }
  // Each call of this kind moves at most `size` bytes.
  void limit(Call call, std::size_t size) { limits_[index(call)] = size; }
  // How many there were, since the beginning or the last reset().
  long count(Call call) const { return counts_[index(call)]; }
  void reset() {
    for (auto& count : counts_) count = 0;
  }

 private:
  struct Rule {
    Call call;
    int error;
    int times;
    int handle;
    int skip;
  };
  static std::size_t index(Call call) { return static_cast<std::size_t>(call); }

  int before(Call call, int handle, std::size_t& size) override {
    ++counts_[index(call)];
    const std::size_t most = limits_[index(call)];
    if (most > 0 && size > most) size = most;
    for (Rule& rule : rules_) {
      if (rule.call != call || rule.times == 0) continue;
      if (rule.handle != -1 && rule.handle != handle) continue;
      if (rule.skip > 0) {
        --rule.skip;
        continue;
      }
      --rule.times;
      return rule.error;
    }
    return 0;
  }

  std::array<std::atomic<long>, static_cast<std::size_t>(Call::count)> counts_{};
  std::array<std::size_t, static_cast<std::size_t>(Call::count)> limits_{};
  std::vector<Rule> rules_;
};

}  // namespace test
