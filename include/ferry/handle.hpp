// Handles of scheduled callbacks.
#pragma once

#include <ferry/export.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
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

// What outlives a loop: handles and futures find out here whether it is still there. Counted without
// atomics: handles belong to the loop's thread.
struct LoopControl {
  LoopCore* core = nullptr;
  std::size_t count = 0;
};
class ControlRef {
 public:
  ControlRef() noexcept = default;
  explicit ControlRef(LoopControl* control) noexcept : control_{control} { ++control_->count; }
  ControlRef(const ControlRef& other) noexcept : control_{other.control_} {
    if (control_ != nullptr) ++control_->count;
  }
  ControlRef(ControlRef&& other) noexcept : control_{std::exchange(other.control_, nullptr)} {}
  ControlRef& operator=(ControlRef other) noexcept {
    std::swap(control_, other.control_);
    return *this;
  }
  ~ControlRef() {
    if (control_ != nullptr && --control_->count == 0) delete control_;
  }
  // Null once the loop is gone.
  LoopCore* core() const noexcept { return control_ != nullptr ? control_->core : nullptr; }

 private:
  LoopControl* control_ = nullptr;
};
}  // namespace internal

// A callback that call_soon() scheduled. Copyable; every member is safe for ever, also after
// the callback ran and after ~Loop. Not thread-safe. Dropping it cancels nothing.
class FERRY_API Handle {
 public:
  Handle() noexcept = default;
  // The callback will not run (if it has not begun); its captures are destroyed at once, or, inside
  // the callback itself, when it returns. Does nothing the second time.
  void cancel() noexcept;
  // Whether cancel() was called on this handle (or on the one it was copied from, before that).
  bool cancelled() const noexcept { return cancelled_; }

 private:
  friend class internal::LoopCore;
  Handle(internal::ControlRef loop, std::uint32_t index, std::uint32_t generation) noexcept
      : loop_{std::move(loop)}, index_{index}, generation_{generation} {}

  internal::ControlRef loop_;
  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 0;
  bool cancelled_ = false;
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

// A callback that call_soon_threadsafe() posted. May be used and dropped on any thread (T-197).
class FERRY_API ThreadsafeHandle {
 public:
  ThreadsafeHandle() noexcept = default;
  ThreadsafeHandle(const ThreadsafeHandle& other) noexcept;
  ThreadsafeHandle(ThreadsafeHandle&& other) noexcept;
  ThreadsafeHandle& operator=(ThreadsafeHandle other) noexcept;
  ~ThreadsafeHandle();

  // After it returned the callback neither runs nor will run: from another thread it waits for one
  // that is running, inside the callback itself it returns at once. Captures die in the loop's thread.
  void cancel() noexcept;
  bool cancelled() const noexcept;

 private:
  friend class internal::RemoteQueue;
  struct Node;
  explicit ThreadsafeHandle(Node* node) noexcept : node_{node} {}
  Node* node_ = nullptr;
};

}  // namespace ferry
