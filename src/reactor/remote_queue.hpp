// Callbacks from other threads.
#pragma once

#include "platform/poller.hpp"

#include <ferry/callback.hpp>
#include <ferry/handle.hpp>

#include <atomic>
#include <mutex>
#include <source_location>
#include <thread>

namespace ferry {

// States in the low bits, references above them, in one word: one atomic step for each change.
struct ThreadsafeHandle::Node {
  enum State : std::uint32_t { queued = 0, running = 1, awaited = 2, done = 3, cancelled = 4 };
  static constexpr std::uint32_t state_mask = 7, reference = 8;

  std::atomic<std::uint32_t> word{0};
  Callback callback;
  std::source_location where;
  std::thread::id runner;  // written before `running` is published
  Node* next = nullptr;
};

namespace internal {

// The thread-safe end of a loop. Posting rings the waker only if the loop sleeps, or is about to.
class RemoteQueue {
 public:
  using Node = ThreadsafeHandle::Node;

  explicit RemoteQueue(Poller& poller) noexcept : poller_{&poller} {}
  ~RemoteQueue();
  RemoteQueue(const RemoteQueue&) = delete;
  RemoteQueue& operator=(const RemoteQueue&) = delete;

  // Any thread. False: the loop is closed; nothing was posted, and the callback is left alone.
  bool post(Callback&& callback, const std::source_location& where, ThreadsafeHandle* handle);

  // The loop's thread.
  bool pending() const noexcept { return pending_.load(std::memory_order_acquire); }
  // To be followed by a look at pending(): between them no post is missed.
  void about_to_sleep() noexcept { asleep_.store(true); }
  bool pending_now() const noexcept { return pending_.load(); }
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }
  // What was posted, in order, as a list; each node to be finished with run() or drop().
  Node* fetch() noexcept;
  // False if it was cancelled. After a true: call, then done().
  bool begin(Node& node) noexcept;
  void done(Node& node) noexcept;
  void drop(Node& node) noexcept;
  // No post succeeds from now on. What is still in the queue is the caller's to fetch and drop.
  void close() noexcept;

 private:
  void release(Node& node) noexcept;

  std::mutex mutex_;
  Poller* poller_;
  Node* first_ = nullptr;
  Node* last_ = nullptr;
  Node* free_ = nullptr;
  bool closed_ = false;
  std::atomic<bool> pending_{false};
  std::atomic<bool> asleep_{false};
  Node* used_ = nullptr;  // the loop's: go back to free_ with the next fetch()
  Node* used_last_ = nullptr;
};

}  // namespace internal
}  // namespace ferry
