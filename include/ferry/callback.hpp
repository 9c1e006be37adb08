// A move-only callable with room inside: small captures cost no allocation.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace ferry {
namespace internal {
class ReadyList;
}

template <class Signature>
class Function;

// Holds anything callable as R(Args...), also if it can only be moved. Captures of up to `room`
// bytes are stored inside, larger ones on the heap. Calling an empty Function is not allowed.
template <class R, class... Args>
class Function<R(Args...)> {
 public:
  static constexpr std::size_t room = 40;

  Function() noexcept = default;
  Function(std::nullptr_t) noexcept {}
  template <class F, class D = std::decay_t<F>,
            class = std::enable_if_t<!std::is_same_v<D, Function> &&
                                     std::is_invocable_r_v<R, D&, Args...>>>
  Function(F&& callable) {
    if constexpr (fits<D>) {
      ::new (static_cast<void*>(room_)) D(std::forward<F>(callable));
    } else {
      ::new (static_cast<void*>(room_)) D*(new D(std::forward<F>(callable)));
    }
    ops_ = &ops_of<D>;
  }
  Function(Function&& other) noexcept { take(other); }
  Function& operator=(Function&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Function() { reset(); }

  explicit operator bool() const noexcept { return ops_ != nullptr; }
  R operator()(Args... args) { return ops_->call(room_, std::forward<Args>(args)...); }
  void reset() noexcept {
    if (const Ops* ops = std::exchange(ops_, nullptr)) {
      if (ops->destroy != nullptr) ops->destroy(room_);
    }
  }

  // Whether destroying what is inside does nothing.
  bool trivial() const noexcept { return ops_ == nullptr || ops_->destroy == nullptr; }
  // Takes over without destroying (or looking at) what is inside: only if that is trivial().
  void overwrite(Function&& other) noexcept { take(other); }

 private:
  friend class internal::ReadyList;  // keeps what is inside in no more memory than it needs
  using Word = void*;
  struct Ops {
    R (*call)(void*, Args...);
    void (*relocate)(void*, void*) noexcept;  // null: a copy of the words does it
    void (*destroy)(void*) noexcept;          // null: nothing to do
    std::size_t words;                        // that are in use
    const Ops* cancelled;  // the same, but for a call that does nothing; null: this is that
  };
  template <class D>
  static constexpr bool fits = sizeof(D) <= room && alignof(D) <= alignof(void*) &&
                               std::is_nothrow_move_constructible_v<D>;
  template <class D>
  static constexpr bool plain = std::is_trivially_copyable_v<D>;

  template <class D>
  static D& inside(void* at) noexcept {
    if constexpr (fits<D>) {
      return *std::launder(static_cast<D*>(at));
    } else {
      return **std::launder(static_cast<D**>(at));
    }
  }
  template <class D>
  static R call_it(void* at, Args... args) {
    return std::invoke(inside<D>(at), std::forward<Args>(args)...);
  }
  template <class D>
  static void relocate_it(void* from, void* to) noexcept {
    ::new (to) D(std::move(inside<D>(from)));
    inside<D>(from).~D();
  }
  template <class D>
  static void destroy_it(void* at) noexcept {
    if constexpr (fits<D>) {
      inside<D>(at).~D();
    } else {
      delete &inside<D>(at);
    }
  }
  template <class D>
  static constexpr std::size_t words_of =
      !fits<D> ? 1 : std::is_empty_v<D> ? 0 : (sizeof(D) + sizeof(Word) - 1) / sizeof(Word);
  static R call_nothing(void*, Args...) {
    if constexpr (!std::is_void_v<R>) throw std::bad_function_call{};
  }
  template <class D>
  static constexpr Ops ops_for(R (*call)(void*, Args...), const Ops* cancelled) {
    return {call, fits<D> && !plain<D> ? &relocate_it<D> : nullptr,
            fits<D> && plain<D> ? nullptr : &destroy_it<D>, words_of<D>, cancelled};
  }
  template <class D>
  static constexpr Ops cancelled_ops_of = ops_for<D>(&call_nothing, nullptr);
  template <class D>
  static constexpr Ops ops_of = ops_for<D>(&call_it<D>, &cancelled_ops_of<D>);

  static void relocate(const Ops& ops, std::byte* from, std::byte* to) noexcept {
    if (ops.relocate != nullptr) [[unlikely]] return ops.relocate(from, to);
    // Word by word, as it was written: one wide load over fresh small stores would stall.
    for (std::size_t i = 0; i < ops.words; ++i) {
      std::memcpy(to + i * sizeof(Word), from + i * sizeof(Word), sizeof(Word));
    }
  }
  void take(Function& other) noexcept {
    ops_ = std::exchange(other.ops_, nullptr);
    if (ops_ != nullptr) relocate(*ops_, other.room_, room_);
  }

  const Ops* ops_ = nullptr;
  alignas(void*) std::byte room_[room];
};

// What the loop calls: call_soon(), call_later() …
using Callback = Function<void()>;

}  // namespace ferry
