// Handles of scheduled callbacks.
#pragma once

#include <ferry/export.hpp>

#include <chrono>
#include <cstdint>
#include <utility>

namespace ferry {

class Loop;

// The loop's clock: monotonic, never stepped by the wall clock (T-192).
using TimePoint = std::chrono::steady_clock::time_point;
// Delays and time-outs, in seconds; every std::chrono duration converts to it (100ms, 2s …).
using Seconds = std::chrono::duration<double>;

namespace internal {
class LoopCore;
class RemoteQueue;

// What outlives a loop: handles and futures find out here whether it is still there. Counted
// without atomics: handles belong to the loop's thread.
struct LoopControl {
  LoopCore* core = nullptr;
  std::size_t count = 0;
};
class ControlRef {
 public:
  ControlRef() noexcept = default;
  explicit ControlRef(LoopControl& control) noexcept : control_{&control} { ++control.count; }
  ControlRef(const ControlRef& other) noexcept : control_{other.control_} {
    if (control_ != nullptr) ++control_->count;
  }
  ControlRef(ControlRef&& other) noexcept : control_{std::exchange(other.control_, nullptr)} {}
  ControlRef& operator=(const ControlRef& other) noexcept { return *this = ControlRef{other}; }
  ControlRef& operator=(ControlRef&& other) noexcept {
    LoopControl* const control = std::exchange(other.control_, nullptr);
    let_go();  // after that: it may be ourselves
    control_ = control;
    return *this;
  }
  ~ControlRef() { let_go(); }
  // Null once the loop is gone.
  LoopCore* core() const noexcept { return control_ != nullptr ? control_->core : nullptr; }

 private:
  void let_go() noexcept {
    if (control_ != nullptr && --control_->count == 0) delete control_;
  }
  LoopControl* control_ = nullptr;
};
}  // namespace internal

// A callback that call_soon() scheduled. Copyable; every member is safe for ever, also
// after the callback ran and after ~Loop. Not thread-safe. Dropping it cancels nothing.
class FERRY_API Handle {
 public:
  Handle() noexcept = default;
  // The callback will not run (if it has not begun); its captures are destroyed at once, or, inside
  // the callback itself, when it returns. Does nothing the second time.
  void cancel() noexcept;
  // Whether cancel() was called on this handle (or on the one it was copied from, before that).
  bool cancelled() const noexcept { return (word_ & cancelled_bit) != 0; }

 private:
  friend class internal::LoopCore;
  static constexpr std::uint64_t cancelled_bit = std::uint64_t{1} << 63;
  static constexpr std::uint64_t timer_bit = std::uint64_t{1} << 62;
  Handle(internal::LoopControl& loop, std::uint64_t word) noexcept : loop_{loop}, word_{word} {}

  internal::ControlRef loop_;
  // A number and the two bits: small, because programs keep many, all over their memory.
  std::uint64_t word_ = 0;
};

// A callback that call_later() or call_at() scheduled.
class FERRY_API TimerHandle : public Handle {
 public:
  TimerHandle() noexcept = default;
  // When it is due, by Loop::time().
  TimePoint when() const noexcept { return when_; }

 private:
  friend class internal::LoopCore;
  TimerHandle(Handle handle, TimePoint when) noexcept : Handle{std::move(handle)}, when_{when} {}
  TimePoint when_{};
};

// A callback that call_soon_threadsafe() posted. May be used and dropped on any thread, also after
// the loop is gone (T-197).
class FERRY_API ThreadsafeHandle {
 public:
  ThreadsafeHandle() noexcept = default;

  // After it returned the callback neither runs nor will run: from another thread it waits for one
  // that is running, inside the callback itself it returns at once. Captures die in the loop's
  // thread.
  void cancel() noexcept;
  // Whether cancel() was called on this handle (or on the one it was copied from, before that).
  bool cancelled() const noexcept { return cancelled_; }

 private:
  friend class internal::RemoteQueue;
  ThreadsafeHandle(internal::RemoteQueue* queue, std::uint64_t number) noexcept
      : queue_{queue}, number_{number} {}
  internal::RemoteQueue* queue_ = nullptr;  // its memory stays valid for ever
  std::uint64_t number_ = 0;
  bool cancelled_ = false;
};

}  // namespace ferry
