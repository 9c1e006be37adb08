// Threads for system calls that may take long.
#pragma once

#include "platform/sockets/per_process.hpp"

#include <ferry/callback.hpp>

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

  // An error: there is no thread and there can be none, and the job has not been taken.
  std::error_code add(Function<void()> job);

 private:
  void work();

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Function<void()>> jobs_;
  std::size_t idle_ = 0, threads_ = 0;
};

// Those of all loops of a process: `most` of them.
template <std::size_t most>
using SharedWorkers = PerProcess<Workers, most>;

}  // namespace ferry::internal
