// Coroutines: Task<T>, lazy until it is awaited or given to the loop.
#pragma once

#include <ferry/export.hpp>
#include <ferry/future.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace ferry {

template <class T = void>
class Task;

namespace internal {

// A task that the loop runs: a stack of coroutine frames, of which the innermost is resumed. Frames
// hand over to each other through `next_`, so that the machine stack stays flat whatever the
// compiler makes of tail calls.
class FERRY_API RootTask : public std::enable_shared_from_this<RootTask> {
 public:
  explicit RootTask(ControlRef loop) noexcept : loop_{std::move(loop)} {}
  RootTask(const RootTask&) = delete;
  RootTask& operator=(const RootTask&) = delete;
  virtual ~RootTask();

  void resume_next(std::coroutine_handle<> frame) noexcept { next_ = frame; }
  void wake(std::coroutine_handle<> frame);  // by the loop
  void start();
  bool cancel();
  void drop() noexcept;  // the loop ends: destroys the frames
  bool take_cancel() noexcept { return std::exchange(cancel_requested_, false); }
  void waits_for(FutureState* future) noexcept { waiting_ = future; }
  const ControlRef& loop() const noexcept { return loop_; }

 protected:
  virtual std::coroutine_handle<> top() const noexcept = 0;
  virtual void settle() = 0;       // the top frame is done: its result into the future
  virtual void settle_cancelled() = 0;
  virtual void destroy_frames() noexcept = 0;
  ControlRef loop_;

 private:
  friend class LoopCore;
  void step();
  void run_frames();
  void leave() noexcept;

  std::coroutine_handle<> next_;
  FutureState* waiting_ = nullptr;
  bool cancel_requested_ = false;
  bool started_ = false;
  bool finished_ = false;
  std::size_t position_ = 0;  // in the loop's list
};

template <class T>
struct TaskPromise;

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
    PromiseBase& promise = frame.promise();
    if (promise.continuation) promise.root->resume_next(promise.continuation);
  }
  void await_resume() const noexcept {}
};

template <class T>
struct TaskPromiseBase : PromiseBase {
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }
  std::exception_ptr exception;
};

template <class T>
struct TaskPromise : TaskPromiseBase<T> {
  Task<T> get_return_object() noexcept;
  template <class U = T>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    if (this->exception) std::rethrow_exception(std::exchange(this->exception, nullptr));
    return std::move(*value);
  }
  std::optional<T> value;
};

template <>
struct TaskPromise<void> : TaskPromiseBase<void> {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() {
    if (exception) std::rethrow_exception(std::exchange(exception, nullptr));
  }
};

template <class T>
class TaskAwaiter {
 public:
  using Frame = std::coroutine_handle<TaskPromise<T>>;
  explicit TaskAwaiter(Frame frame) noexcept : frame_{frame} {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
    static_assert(std::is_base_of_v<PromiseBase, Promise>,
                  "a ferry::Task is awaited inside a ferry::Task, or given to the loop");
    frame_.promise().root = parent.promise().root;
    frame_.promise().continuation = parent;
    parent.promise().root->resume_next(frame_);
  }
  T await_resume() const { return frame_.promise().take(); }

 private:
  Frame frame_;
};

}  // namespace internal

// A coroutine that has not begun. Await it inside another Task, run it with run_until_complete(),
// or let the loop run it with create_task(). Dropped before that, it never runs. Parameters of a
// coroutine should be taken by value: it outlives the call.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::TaskPromise<T>;

  Task() noexcept = default;
  Task(Task&& other) noexcept : frame_{std::exchange(other.frame_, nullptr)} {}
  Task& operator=(Task&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~Task() {
    if (frame_) frame_.destroy();
  }

  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }
  internal::TaskAwaiter<T> operator co_await() && noexcept {
    return internal::TaskAwaiter<T>{frame_};
  }

 private:
  friend promise_type;
  friend class Loop;
  explicit Task(std::coroutine_handle<promise_type> frame) noexcept : frame_{frame} {}
  std::coroutine_handle<promise_type> frame_;
};

template <class T>
Task<T> internal::TaskPromise<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<TaskPromise>::from_promise(*this)};
}
inline Task<void> internal::TaskPromise<void>::get_return_object() noexcept {
  return Task<void>{std::coroutine_handle<TaskPromise>::from_promise(*this)};
}

namespace internal {

template <class T>
class RootTaskOf final : public RootTask {
 public:
  RootTaskOf(ControlRef loop, std::coroutine_handle<TaskPromise<T>> frame)
      : RootTask{loop}, frame_{frame}, future_{std::make_shared<FutureStateOf<T>>(loop)} {
    frame_.promise().root = this;
    future_->set_task(this);
  }
  ~RootTaskOf() override { RootTaskOf::destroy_frames(); }
  std::shared_ptr<FutureStateOf<T>> future() const noexcept { return future_; }

 private:
  std::coroutine_handle<> top() const noexcept override { return frame_; }
  void settle() override {
    future_->set_task(nullptr);
    auto& promise = frame_.promise();
    if (!promise.exception) {
      if (take_cancel()) return future_->settle_cancelled();  // asked for in its last step
      if constexpr (!std::is_void_v<T>) future_->value = std::move(promise.value);
      future_->finish();
      return;
    }
    try {
      std::rethrow_exception(promise.exception);
    } catch (const CancelledError&) {
      future_->settle_cancelled();
    } catch (...) {
      future_->fail(std::current_exception());
    }
  }
  void settle_cancelled() override {
    future_->set_task(nullptr);
    future_->settle_cancelled();
  }
  void destroy_frames() noexcept override {
    future_->set_task(nullptr);
    if (auto frame = std::exchange(frame_, nullptr)) frame.destroy();
  }

  std::coroutine_handle<TaskPromise<T>> frame_;
  std::shared_ptr<FutureStateOf<T>> future_;
};

}  // namespace internal
}  // namespace ferry
