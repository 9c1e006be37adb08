// What a signal's handler, which may run anywhere at any time, shares with a loop.
#pragma once

#include "platform/poller.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace ferry::internal {

// Lives as long as the process: a handler that runs on another thread may still be looking when its
// loop goes.
class SignalMailbox {
 public:
  // Wakes the poller from now on. A few words per loop that ever took a signal.
  static SignalMailbox& make(Poller& waker) {
    auto* const box = new SignalMailbox;
    static auto* const all = new std::vector<SignalMailbox*>;  // so that it stays reachable
    all->push_back(box);
    box->waker_.store(&waker);
    return *box;
  }
  // Nobody wakes the poller afterwards.
  void retire() noexcept {
    waker_.store(nullptr);
    while (visitors_.load() != 0) {
    }  // a handler that is about to
  }

  // In a handler.
  void deliver(int number) noexcept {
    visitors_.fetch_add(1);
    came_.fetch_or(bit(number));
    if (Poller* const waker = waker_.load()) waker->wake();
    visitors_.fetch_sub(1);
  }

  // In the loop's thread.
  std::uint64_t fetch() noexcept {
    return came_.load(std::memory_order_relaxed) == 0 ? 0 : came_.exchange(0);
  }
  void drop(int number) noexcept { came_.fetch_and(~bit(number)); }

 private:
  SignalMailbox() = default;
  static std::uint64_t bit(int number) noexcept { return std::uint64_t{1} << number; }

  std::atomic<std::uint64_t> came_{0};
  std::atomic<Poller*> waker_{nullptr};
  std::atomic<int> visitors_{0};  // handlers inside
};

}  // namespace ferry::internal
