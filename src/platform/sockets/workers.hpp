// Threads for system calls that may take long.
#pragma once

#include "platform/sockets/calls.hpp"

#include <ferry/callback.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <system_error>

namespace ferry::internal {

// Never destroyed: its threads are detached, may outlive main(), and take no signals. One more is
// started, up to `most`, when none is idle.
class Workers {
 public:
  explicit Workers(std::size_t most) noexcept : most_{most} {}
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  long process() const noexcept { return process_; }
  // An error: there is no thread and there can be none, and the job has not been taken.
  std::error_code add(Function<void()> job);

 private:
  void work();

  const long process_ = calls::process_id();
  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Function<void()>> jobs_;
  std::size_t idle_ = 0, threads_ = 0;
};

// Those of all loops of a process. A process that was forked has none of its parent's threads, and
// begins anew.
class SharedWorkers {
 public:
  explicit constexpr SharedWorkers(std::size_t most) noexcept : most_{most} {}
  Workers& get() {
    Workers* known = workers_.load();
    if (known != nullptr && known->process() == calls::process_id()) return *known;
    auto* const fresh = new Workers{most_};
    if (workers_.compare_exchange_strong(known, fresh)) return *fresh;
    delete fresh;
    return *known;
  }

 private:
  const std::size_t most_;
  std::atomic<Workers*> workers_{nullptr};
};

}  // namespace ferry::internal
