#include "reactor/remote_queue.hpp"

namespace ferry {

ThreadsafeHandle::ThreadsafeHandle(const ThreadsafeHandle& other) noexcept : node_{other.node_} {
  if (node_ != nullptr) node_->word.fetch_add(Node::reference, std::memory_order_relaxed);
}
ThreadsafeHandle::ThreadsafeHandle(ThreadsafeHandle&& other) noexcept
    : node_{std::exchange(other.node_, nullptr)} {}
ThreadsafeHandle& ThreadsafeHandle::operator=(ThreadsafeHandle other) noexcept {
  std::swap(node_, other.node_);
  return *this;
}
ThreadsafeHandle::~ThreadsafeHandle() {
  if (node_ == nullptr) return;
  const auto before = node_->word.fetch_sub(Node::reference, std::memory_order_acq_rel);
  // The queue's reference ends after the callback's captures died: nothing of the user's is left.
  if (before / Node::reference == 1) delete node_;
}

void ThreadsafeHandle::cancel() noexcept {
  if (node_ == nullptr) return;
  std::uint32_t word = node_->word.load(std::memory_order_acquire);
  for (;;) {
    switch (word & Node::state_mask) {
      case Node::queued:
        if (node_->word.compare_exchange_weak(word, word + Node::cancelled)) return;
        break;
      case Node::running:
        if (node_->runner == std::this_thread::get_id()) return;
        node_->word.compare_exchange_weak(word, word + (Node::awaited - Node::running));
        break;
      case Node::awaited:
        if (node_->runner == std::this_thread::get_id()) return;
        node_->word.wait(word);
        word = node_->word.load(std::memory_order_acquire);
        break;
      default:
        return;  // done, or cancelled already
    }
  }
}

bool ThreadsafeHandle::cancelled() const noexcept {
  return node_ != nullptr && (node_->word.load() & Node::state_mask) == Node::cancelled;
}

namespace internal {

bool RemoteQueue::post(Callback&& callback, const std::source_location& where,
                       ThreadsafeHandle* handle) {
  const std::uint32_t references = handle != nullptr ? 2 : 1;
  bool first = false;
  {
    const std::lock_guard lock{mutex_};
    if (closed_) return false;
    Node* node = free_;
    if (node != nullptr) {
      free_ = node->next;
    } else {
      node = new Node;
    }
    node->callback = std::move(callback);
    node->where = where;
    node->next = nullptr;
    node->word.store(references * Node::reference, std::memory_order_relaxed);
    first = first_ == nullptr;
    (first ? first_ : last_->next) = node;
    last_ = node;
    if (handle != nullptr) *handle = ThreadsafeHandle{node};
    if (first) pending_.store(true);
    // Inside the lock, so that close() and the end of the poller wait for it.
    if (first && asleep_.load()) poller_->wake();
  }
  return true;
}

RemoteQueue::Node* RemoteQueue::fetch() noexcept {
  const std::lock_guard lock{mutex_};
  if (used_ != nullptr) {
    used_last_->next = free_;
    free_ = std::exchange(used_, nullptr);
  }
  pending_.store(false, std::memory_order_relaxed);
  last_ = nullptr;
  return std::exchange(first_, nullptr);
}

bool RemoteQueue::begin(Node& node) noexcept {
  node.runner = std::this_thread::get_id();
  std::uint32_t word = node.word.load(std::memory_order_relaxed);
  while ((word & Node::state_mask) == Node::queued) {
    if (node.word.compare_exchange_weak(word, word + Node::running)) return true;
  }
  return false;
}

void RemoteQueue::done(Node& node) noexcept {
  node.callback.reset();  // captures die here, in the loop's thread
  std::uint32_t word = node.word.load(std::memory_order_relaxed);
  std::uint32_t finished;
  do {
    finished = (word & ~Node::state_mask) + Node::done - Node::reference;
  } while (!node.word.compare_exchange_weak(word, finished, std::memory_order_acq_rel));
  if ((word & Node::state_mask) == Node::awaited) node.word.notify_all();
  if (word / Node::reference == 1) release(node);
}

void RemoteQueue::drop(Node& node) noexcept {
  node.callback.reset();
  const auto before = node.word.fetch_sub(Node::reference, std::memory_order_acq_rel);
  if (before / Node::reference == 1) release(node);
}

void RemoteQueue::release(Node& node) noexcept {
  if (used_ == nullptr) used_last_ = &node;
  node.next = used_;
  used_ = &node;
}

void RemoteQueue::close() noexcept {
  const std::lock_guard lock{mutex_};
  closed_ = true;
}

RemoteQueue::~RemoteQueue() {
  for (Node* list : {first_, free_, used_}) {
    while (list != nullptr) delete std::exchange(list, list->next);
  }
}

}  // namespace internal
}  // namespace ferry
