#include "reactor/loop_core.hpp"

#include <ferry/future.hpp>
#include <ferry/task.hpp>

#include <algorithm>
#include <stdexcept>

namespace ferry::internal {

Waiter::~Waiter() {
  if (future_ != nullptr) future_->forget(*this);
  wakeup_.cancel();
}

FutureState::~FutureState() {
  if (state_ != State::failed || retrieved_) return;
  LoopCore* const core = loop_.core();
  if (core == nullptr || core->closed()) return;
  ExceptionContext context;
  context.message = "a future failed and nobody looked at its exception";
  context.exception = Error{exception_};
  core->call_exception_handler(context);
}

// Debug mode: before anything changes.
void FutureState::check_thread(const char* what) const {
  if (const LoopCore* const core = loop_.core()) core->check_thread(what);
}

void FutureState::check_pending() const {
  check_thread("Future::set_result");
  if (done()) throw MisuseError{"the future is done already"};
  if (task_ != nullptr) throw MisuseError{"the future is a task's, which sets its own result"};
}

bool FutureState::cancel() {
  if (done()) return false;
  check_thread("Future::cancel");
  if (task_ != nullptr) return task_->cancel();
  settle(State::cancelled);
  return true;
}

void FutureState::fail(std::exception_ptr exception) {
  check_pending();
  if (exception == nullptr) throw std::invalid_argument{"Future::set_exception: there is none"};
  exception_ = std::move(exception);
  settle(State::failed);
}

std::exception_ptr FutureState::exception() {
  if (!done()) throw MisuseError{"the future is not done"};
  if (state_ == State::cancelled) throw CancelledError{};
  retrieved_ = true;
  return exception_;
}

void FutureState::rethrow() {
  if (!done()) throw MisuseError{"the future is not done"};
  if (state_ == State::cancelled) throw CancelledError{};
  retrieved_ = true;
  if (exception_) std::rethrow_exception(exception_);
}

void FutureState::schedule(Callback callback) {
  if (LoopCore* const core = loop_.core()) core->soon(std::move(callback));
}

void FutureState::add_done_callback(Callback callback) {
  check_thread("Future::add_done_callback");
  LoopCore::check_callback(callback, "Future::add_done_callback");
  if (done()) return schedule(std::move(callback));
  listeners_.push_back({nullptr, std::move(callback)});
}

void FutureState::wait(Waiter& waiter, RootTask& root, std::coroutine_handle<> frame) {
  if (loop_.core() != root.loop().core()) {  // it would never wake
    throw MisuseError{"co_await: the future is another loop's"};
  }
  waiter.root_ = &root;
  waiter.frame_ = frame;
  waiter.future_ = this;
  listeners_.push_back({&waiter, {}});
  root.waits_for(this);
  if (root.take_cancel()) cancel();  // asked for while it ran
}

void FutureState::forget(Waiter& waiter) noexcept {
  std::erase_if(listeners_, [&](const Listener& one) { return one.waiter == &waiter; });
  waiter.future_ = nullptr;
}

void FutureState::settle(State state) {
  state_ = state;
  LoopCore* const core = loop_.core();
  auto listeners = std::move(listeners_);
  listeners_.clear();
  for (Listener& listener : listeners) {
    Waiter* const waiter = listener.waiter;
    if (waiter == nullptr) {
      schedule(std::move(listener.callback));
      continue;
    }
    waiter->future_ = nullptr;
    if (core == nullptr) continue;
    waiter->wakeup_ = core->soon([root = waiter->root_, frame = waiter->frame_] {
      root->wake(frame);
    });
  }
}

void throw_if_cancelled(Waiter& waiter) {
  RootTask* const root = waiter.root_;
  if (root != nullptr && root->take_cancel()) throw CancelledError{};
}

}  // namespace ferry::internal
