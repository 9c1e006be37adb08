// Callbacks from other threads.
#pragma once

#include "platform/poller.hpp"
#include "reactor/ready_queue.hpp"

#include <ferry/callback.hpp>
#include <ferry/handle.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <thread>

namespace ferry::internal {

// The thread-safe end of a loop. Posting rings the waker only if the loop sleeps, or is about to.
//
// Posts are numbered (by the memory of all before them), and numbers are never used twice, so that
// a handle is a queue and a number.
// The queues themselves are never freed: a loop that ends gives its queue to the next one that
// begins.
class RemoteQueue {
 public:
  static RemoteQueue& take(Poller& poller);
  // No post succeeds from now on, and what is still there is destroyed; in the loop's thread.
  void give_back() noexcept;

  RemoteQueue(const RemoteQueue&) = delete;
  RemoteQueue& operator=(const RemoteQueue&) = delete;

  // Any thread. Which life of this queue one belongs to is what epoch() says: a post for a former
  // one is refused. False: nothing was posted, the loop is closed.
  std::uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_relaxed); }
  bool post(std::uint64_t epoch, Callback&& callback, const std::source_location& where,
            ThreadsafeHandle* handle);
  void cancel(std::uint64_t number) noexcept;

  // The loop's thread.
  bool pending() const noexcept { return pending_.load(std::memory_order_acquire); }
  // To be followed by a look at pending_now(): between them no post is missed.
  void about_to_sleep() noexcept { asleep_.store(true); }
  bool pending_now() const noexcept { return pending_.load(); }
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }
  // Takes what was posted so far: later posts wait for the next fetch(). Returns why the loop could
  // not be woken for one of them, if that was so.
  std::error_code fetch() noexcept;
  // Runs it, in order: `run_call(call)` for each that was not cancelled. Captures die here.
  template <class RunCall>
  void run(RunCall run_call) {
    running_.run_through(
        [&](std::size_t at, ReadyList::Call& call) {
          advance(running(batch_number_ + at));
          if (!call.cancelled()) run_call(call);
        },
        [](const ReadyList::Mark&) {});
    advance(before(batch_end_));
  }

 private:
  RemoteQueue() = default;
  // Values of at_.
  static constexpr std::uint64_t before(std::uint64_t number) noexcept { return number * 2; }
  static constexpr std::uint64_t running(std::uint64_t number) noexcept { return number * 2 + 1; }
  // The loop says which post it is at and then looks whether it was cancelled; who cancels says so
  // and then looks where the loop is: one of the two sees the other.
  void advance(std::uint64_t at) noexcept {
    at_.store(at);
    if (waiting_.load() != 0) [[unlikely]] tell_waiting();
  }
  void tell_waiting() noexcept;

  std::mutex mutex_;
  Poller* poller_ = nullptr;
  bool closed_ = true;
  std::error_code wake_error_;  // then the next post tries again
  std::atomic<std::uint64_t> epoch_{0};
  ReadyList queued_;
  std::uint64_t next_number_ = 0;   // of the next post
  std::uint64_t batch_number_ = 0;  // of the first one in running_
  std::uint64_t batch_end_ = 0;
  ReadyList running_;
  std::condition_variable moved_;   // at_ did
  std::thread::id runner_;
  // Where the loop is: running() a post, or before() one; earlier posts have run, or never will.
  alignas(64) std::atomic<std::uint64_t> at_{0};
  std::atomic<int> waiting_{0};  // for at_ to move
  alignas(64) std::atomic<bool> pending_{false};
  std::atomic<bool> asleep_{false};
};

}  // namespace ferry::internal
