#include "reactor/loop_core.hpp"

#include <ferry/loop.hpp>
#include <ferry/task.hpp>

#include <cmath>
#include <stdexcept>

namespace ferry {
namespace internal {

RootTask::~RootTask() = default;

void RootTask::start() {
  if (finished_) return;
  if (take_cancel()) {  // before it began: it never does
    finished_ = true;
    settle_cancelled();
    return leave();
  }
  started_ = true;
  next_ = top();
  run_frames();
}

void RootTask::wake(std::coroutine_handle<> frame) {
  if (finished_) return;
  next_ = frame;
  run_frames();
}

void RootTask::run_frames() {
  const auto self = shared_from_this();
  waiting_ = nullptr;
  while (next_) std::exchange(next_, nullptr).resume();
  if (!top().done()) return;
  finished_ = true;
  settle();
  leave();
}

void RootTask::leave() noexcept {
  destroy_frames();
  if (LoopCore* const core = loop_.core()) core->forget_task(*this);
}

bool RootTask::cancel() {
  if (finished_) return false;
  if (waiting_ != nullptr && waiting_->cancel()) return true;
  cancel_requested_ = true;  // thrown where it next takes a result
  return true;
}

void RootTask::drop() noexcept {
  if (!std::exchange(finished_, true)) settle_cancelled();  // heard by nobody: the loop is closed
  destroy_frames();
}

}  // namespace internal

Task<void> Loop::sleep(Seconds delay) {
  if (std::isnan(delay.count())) throw std::invalid_argument{"sleep: the delay is NaN"};
  struct Sleep {
    static Task<void> run(Loop* loop, Seconds time) {
      Future<void> due = loop->create_future<void>();
      struct Timer {
        TimerHandle handle;
        ~Timer() { handle.cancel(); }
      } timer;
      timer.handle = loop->call_later(time, [due]() mutable {
        if (!due.done()) due.set_result();
      });
      co_await due;
    }
  };
  return Sleep::run(this, delay);
}

}  // namespace ferry
