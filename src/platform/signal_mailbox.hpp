// What a signal's handler, which may run anywhere at any time, shares with the loops.
#pragma once

#include "platform/poller.hpp"

#include <atomic>
#include <cstdint>
#include <thread>

namespace ferry::internal {

// A loop that takes signals has one. They are in a list that only grows, and live as long as the
// process: a handler that runs on another thread may still be looking when its loop goes. A loop
// that comes later takes over the mailbox of one that went.
//
// `process` is whose mailbox it is: after a fork() the child has a copy, that must not ring at the
// parent. (A system without fork() may say 0.)
class SignalMailbox {
 public:
  // A free one, which wakes this poller from now on.
  static SignalMailbox& claim(Poller& waker) {
    SignalMailbox* box = first_.load();
    while (box != nullptr && box->claimed_.exchange(true)) box = box->next_;
    if (box == nullptr) {
      box = new SignalMailbox;
      box->next_ = first_.load();
      while (!first_.compare_exchange_weak(box->next_, box)) {
      }
    }
    box->waker_.store(&waker);
    return *box;
  }
  // By a loop that wants nothing any more. Nobody wakes the poller afterwards.
  void retire() noexcept {
    waker_.store(nullptr);
    wait_for_handlers();
    claimed_.store(false);
  }

  // --- In a handler ---

  // Whether somebody wanted it.
  static bool deliver_to_all(int number, long process) noexcept {
    bool wanted = false;
    for (SignalMailbox* box = first_.load(); box != nullptr; box = box->next_) {
      if (box->deliver(number, process)) wanted = true;
    }
    return wanted;
  }

  // --- In the loop's thread ---

  void want(int number, long process) noexcept {
    process_.store(process);
    wanted_.fetch_or(bit(number));
  }
  // Nor is there one of them to be fetched afterwards.
  void want_no_more(int number) noexcept {
    wanted_.fetch_and(~bit(number));
    wait_for_handlers();
    came_.fetch_and(~bit(number));
  }
  bool wants(int number) const noexcept { return (wanted_.load() & bit(number)) != 0; }
  std::uint64_t fetch() noexcept {
    return came_.load(std::memory_order_relaxed) == 0 ? 0 : came_.exchange(0);
  }

  // What the loops of this process want, a bit for each signal.
  static std::uint64_t wanted_by_all(long process) noexcept {
    std::uint64_t all = 0;
    for (SignalMailbox* box = first_.load(); box != nullptr; box = box->next_) {
      if (box->process_.load() == process) all |= box->wanted_.load();
    }
    return all;
  }
  // In a process that was forked just now: it has none of its parent's threads.
  static void forget_handlers() noexcept {
    for (SignalMailbox* box = first_.load(); box != nullptr; box = box->next_) {
      box->visitors_.store(0);
    }
  }
  static std::uint64_t bit(int number) noexcept { return std::uint64_t{1} << (number - 1); }

 private:
  SignalMailbox() = default;

  bool deliver(int number, long process) noexcept {
    visitors_.fetch_add(1);  // first, so that whoever waits for handlers waits for this one
    const bool wanted = wants(number) && process_.load() == process;
    if (wanted) {
      came_.fetch_or(bit(number));
      if (Poller* const waker = waker_.load()) waker->wake();
    }
    visitors_.fetch_sub(1);
    return wanted;
  }
  // Those that saw what was there before. One in this thread has ended: it interrupts.
  void wait_for_handlers() const noexcept {
    while (visitors_.load() != 0) std::this_thread::yield();
  }

  inline static std::atomic<SignalMailbox*> first_{nullptr};
  SignalMailbox* next_ = nullptr;  // set before the others see this one
  std::atomic<bool> claimed_{true};
  std::atomic<long> process_{0};
  std::atomic<std::uint64_t> wanted_{0}, came_{0};
  std::atomic<Poller*> waker_{nullptr};
  std::atomic<int> visitors_{0};  // handlers inside
};

}  // namespace ferry::internal
