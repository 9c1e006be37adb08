#include "reactor/remote_queue.hpp"

namespace ferry {

void ThreadsafeHandle::cancel() noexcept {
  cancelled_ = true;
  if (queue_ != nullptr) queue_->cancel(number_);
}

namespace internal {
namespace {

// Of the queues that no loop uses. Never destroyed: handles may outlive everything.
struct Spare {
  std::mutex mutex;
  std::vector<RemoteQueue*> queues;
  std::vector<RemoteQueue*> all;
};
Spare& spare() {
  static Spare* const queues = new Spare;
  return *queues;
}

}  // namespace

RemoteQueue& RemoteQueue::take(Poller& poller) {
  RemoteQueue* queue = nullptr;
  {
    Spare& free = spare();
    const std::lock_guard lock{free.mutex};
    if (free.queues.empty()) {
      free.queues.push_back(new RemoteQueue);
      free.all.push_back(free.queues.back());
    }
    queue = free.queues.back();
    free.queues.pop_back();
  }
  const std::lock_guard lock{queue->mutex_};
  queue->poller_ = &poller;
  queue->closed_ = false;
  return *queue;
}

void RemoteQueue::give_back() noexcept {
  ReadyList dying;  // captures may do anything, so not under the mutex
  {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    epoch_.fetch_add(1, std::memory_order_relaxed);
    dying.swap(queued_);
    at_.store(before(next_number_));
    pending_.store(false);
    asleep_.store(false);
    wake_error_ = {};
    poller_ = nullptr;
  }
  dying.clear();
  Spare& free = spare();
  const std::lock_guard lock{free.mutex};
  free.queues.push_back(this);
}

bool RemoteQueue::post(std::uint64_t epoch, Callback&& callback,
                       const std::source_location& where, ThreadsafeHandle* handle) {
  const std::lock_guard lock{mutex_};
  if (closed_ || epoch != epoch_.load(std::memory_order_relaxed)) return false;
  const std::size_t before = queued_.size();
  queued_.add(std::move(callback), where);
  if (handle != nullptr) *handle = ThreadsafeHandle{this, next_number_};
  next_number_ += queued_.size() - before;
  if (before > 0 && !wake_error_) return true;
  pending_.store(true);
  // Inside the lock, so that the end of the poller waits for it.
  if (asleep_.load()) {
    if (const std::error_code error = poller_->wake()) wake_error_ = error;
  }
  return true;
}

void RemoteQueue::cancel(std::uint64_t number) noexcept {
  std::unique_lock lock{mutex_};
  if (at_.load() > running(number)) return;
  const std::uint64_t first_queued = next_number_ - queued_.size();
  if (number >= first_queued) {
    return queued_.cancel_later(number - first_queued);
  }
  running_.cancel_later(number - batch_number_);
  if (at_.load() != running(number) || runner_ == std::this_thread::get_id()) return;
  // It runs now, or has just ended.
  waiting_.fetch_add(1);
  moved_.wait(lock, [&] { return at_.load() > running(number); });
  waiting_.fetch_sub(1);
}

std::error_code RemoteQueue::fetch() noexcept {
  const std::lock_guard lock{mutex_};
  pending_.store(false, std::memory_order_relaxed);
  running_.swap(queued_);
  batch_end_ = next_number_;
  batch_number_ = batch_end_ - running_.size();
  runner_ = std::this_thread::get_id();
  return std::exchange(wake_error_, {});
}

void RemoteQueue::tell_waiting() noexcept {
  const std::lock_guard lock{mutex_};
  moved_.notify_all();
}

}  // namespace internal
}  // namespace ferry
