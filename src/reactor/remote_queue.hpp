// Callbacks from other threads.
#pragma once

#include "platform/poller.hpp"

#include <ferry/callback.hpp>
#include <ferry/handle.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <source_location>
#include <thread>
#include <vector>

namespace ferry::internal {

// The thread-safe end of a loop. Posting rings the waker only if the loop sleeps, or is about to.
//
// Posts are numbered, and numbers are never used twice, so that a handle is a queue and a number.
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
  // Runs it, in order: `call(callback, where)` for each that was not cancelled.
  template <class Call>
  void run(Call call) {
    for (Post& post : running_) {
      if (begin(post)) call(post.callback, post.where);
      end(post);
    }
    running_.clear();
  }

 private:
  enum State : std::uint8_t { queued, begun, awaited, cancelled };
  struct Post {
    Post(Callback&& what, const std::source_location& from) noexcept
        : callback{std::move(what)}, where{from} {}
    Post(Post&& other) noexcept  // only under the mutex, or by nobody but the loop
        : callback{std::move(other.callback)}, where{other.where},
          state{other.state.load(std::memory_order_relaxed)} {}
    Callback callback;
    std::source_location where;
    std::atomic<std::uint8_t> state{queued};
  };

  RemoteQueue() = default;
  bool begin(Post& post) noexcept {
    std::uint8_t expected = queued;
    return post.state.compare_exchange_strong(expected, begun, std::memory_order_acq_rel);
  }
  void end(Post& post) noexcept;

  std::mutex mutex_;
  Poller* poller_ = nullptr;
  bool closed_ = true;
  std::error_code wake_error_;  // then the next post tries again
  std::atomic<std::uint64_t> epoch_{0};
  std::vector<Post> queued_;
  std::uint64_t next_number_ = 0;   // of the next post
  std::uint64_t batch_number_ = 0;  // of the first one in running_
  std::vector<Post> running_;       // changed under the mutex, or when finished_ covers it all
  std::condition_variable ended_;
  std::thread::id runner_;
  // Every post with a smaller number has run, or never will.
  alignas(64) std::atomic<std::uint64_t> finished_{0};
  alignas(64) std::atomic<bool> pending_{false};
  std::atomic<bool> asleep_{false};
};

}  // namespace ferry::internal
