#include "platform/sockets/workers.hpp"

#include <thread>
#include <utility>

namespace ferry::internal {
namespace {

// Here, so that the names of what std::thread makes of it are nobody else's.
void start_thread(Workers* of, void (*run)(Workers*)) {
  std::thread{[of, run] { run(of); }}.detach();
}

}  // namespace

std::error_code Workers::add(Function<void()> job) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back(std::move(job));
    if (idle_ < jobs_.size() && threads_ < most_) {
      try {
        start_thread(this, [](Workers* of) { of->work(); });
        ++threads_;
      } catch (const std::system_error& error) {
        if (threads_ == 0) {  // else those that there are will come to it
          jobs_.pop_back();
          return error.code();
        }
      }
    }
  }
  work_.notify_one();  // without the lock, which the thread that wakes up wants at once
  return {};
}

void Workers::work() {
  calls::block_signals();
  std::unique_lock lock{mutex_};
  for (;;) {
    ++idle_;
    work_.wait(lock, [this] { return !jobs_.empty(); });
    --idle_;
    Function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job.reset();
    lock.lock();
  }
}

}  // namespace ferry::internal
