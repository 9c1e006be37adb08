// A result that is not there yet (asyncio.Future).
#pragma once

#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/export.hpp>
#include <ferry/handle.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace ferry {

template <class T>
class Future;

namespace internal {

class RootTask;
class Waiter;
FERRY_API void throw_if_cancelled(Waiter& waiter);

// A coroutine that waits for a future: it lives in the coroutine's frame, so that a frame that is
// destroyed takes its wake-up back.
class FERRY_API Waiter {
 public:
  Waiter() noexcept = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter();

 private:
  friend class FutureState;
  friend class RootTask;
  friend void throw_if_cancelled(Waiter& waiter);
  RootTask* root_ = nullptr;
  std::coroutine_handle<> frame_;
  class FutureState* future_ = nullptr;  // while it waits
  Handle wakeup_;
};

class FERRY_API FutureState {
 public:
  explicit FutureState(ControlRef loop) noexcept : loop_{std::move(loop)} {}
  FutureState(const FutureState&) = delete;
  FutureState& operator=(const FutureState&) = delete;
  virtual ~FutureState();

  bool done() const noexcept { return state_ != State::pending; }
  bool cancelled() const noexcept { return state_ == State::cancelled; }
  bool cancel();
  void fail(std::exception_ptr exception);
  std::exception_ptr exception();
  void rethrow();  // if it failed or was cancelled; throws MisuseError while it is pending
  void add_done_callback(Callback callback);
  void wait(Waiter& waiter, RootTask& root, std::coroutine_handle<> frame);
  void forget(Waiter& waiter) noexcept;
  void check_pending() const;
  void finish() { settle(State::finished); }
  void set_task(RootTask* task) noexcept { task_ = task; }
  RootTask* task() const noexcept { return task_; }
  void settle_cancelled() { settle(State::cancelled); }
  const ControlRef& loop() const noexcept { return loop_; }

 private:
  enum class State : unsigned char { pending, finished, failed, cancelled };
  struct Listener {  // one of the two
    Waiter* waiter = nullptr;
    Callback callback;
  };
  void check_thread(const char* what) const;
  void settle(State state);
  void schedule(Callback callback);

  ControlRef loop_;
  State state_ = State::pending;
  bool retrieved_ = false;
  RootTask* task_ = nullptr;  // the task whose result this is: cancel() goes to it
  std::exception_ptr exception_;
  std::vector<Listener> listeners_;  // in the order in which they came
};

template <class T>
class FutureStateOf final : public FutureState {
 public:
  using FutureState::FutureState;
  std::optional<T> value;
};
template <>
class FutureStateOf<void> final : public FutureState {
 public:
  using FutureState::FutureState;
};

// What every coroutine of ferry's carries: the task that it is a part of.
struct PromiseBase {
  RootTask* root = nullptr;
  std::coroutine_handle<> continuation;
};

template <class T>
class FutureAwaiter {
 public:
  explicit FutureAwaiter(std::shared_ptr<FutureStateOf<T>> state) noexcept
      : state_{std::move(state)} {}
  bool await_ready() const noexcept { return state_->done(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> frame) {
    static_assert(std::is_base_of_v<PromiseBase, Promise>,
                  "a ferry::Future is awaited inside a ferry::Task");
    state_->wait(waiter_, *frame.promise().root, frame);
  }
  T await_resume();

 private:
  std::shared_ptr<FutureStateOf<T>> state_;
  Waiter waiter_;
};

}  // namespace internal

// A shared, copyable reference to a result to come; made by Loop::create_future() and
// create_task(). Belongs to the loop's thread. Its callbacks and its waiting coroutines are run by
// the loop, never inside set_result() (as in asyncio). Waiting for another loop's is a MisuseError:
// call_soon_threadsafe() is the way between loops. If it fails and nobody ever looks, the loop's
// exception handler hears of it. Dropping the last reference cancels nothing.
template <class T>
class Future {
 public:
  Future() noexcept = default;
  explicit Future(std::shared_ptr<internal::FutureStateOf<T>> state) noexcept
      : state_{std::move(state)} {}

  explicit operator bool() const noexcept { return state_ != nullptr; }
  bool done() const noexcept { return state_->done(); }
  bool cancelled() const noexcept { return state_->cancelled(); }
  // False if it was done already. Of a task's future: CancelledError is thrown into the coroutine
  // at the point where it waits.
  bool cancel() { return state_->cancel(); }

  // Throw MisuseError if it is done already, or a task's: only the task sets its result.
  template <class U = T>
  void set_result(U&& value)
    requires(!std::is_void_v<T>)
  {
    state_->check_pending();
    state_->value.emplace(std::forward<U>(value));
    state_->finish();
  }
  void set_result()
    requires(std::is_void_v<T>)
  {
    state_->check_pending();
    state_->finish();
  }
  void set_exception(std::exception_ptr exception) { state_->fail(std::move(exception)); }
  void set_error(const Error& error) { state_->fail(error.to_exception()); }

  // The value; throws what it failed with, CancelledError, or MisuseError if it is not done.
  T result() const {
    state_->rethrow();
    if constexpr (!std::is_void_v<T>) return *state_->value;
  }
  // Moves the value out, for types that cannot be copied.
  T take_result() {
    state_->rethrow();
    if constexpr (!std::is_void_v<T>) return std::move(*state_->value);
  }
  // Null if it succeeded.
  std::exception_ptr exception() const { return state_->exception(); }
  // Called by the loop once it is done (soon, if it is already).
  void add_done_callback(Callback callback) { state_->add_done_callback(std::move(callback)); }

  internal::FutureAwaiter<T> operator co_await() const noexcept {
    return internal::FutureAwaiter<T>{state_};
  }

 private:
  friend class Loop;
  std::shared_ptr<internal::FutureStateOf<T>> state_;
};

template <class T>
T internal::FutureAwaiter<T>::await_resume() {
  throw_if_cancelled(waiter_);
  state_->rethrow();
  if constexpr (!std::is_void_v<T>) {
    if constexpr (std::is_copy_constructible_v<T>) {
      return *state_->value;
    } else {
      return std::move(*state_->value);
    }
  }
}

}  // namespace ferry
