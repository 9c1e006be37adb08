// What the loop runs next, in order.
#pragma once

#include <ferry/callback.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <source_location>
#include <utility>

namespace ferry::internal {

// A list that is filled, run through once and forgotten; its memory stays for the next time. Each
// item takes no more of it than it needs. Items are named by their distance from the beginning.
class ReadyList {
  using Ops = Callback::Ops;

 public:
  // A callback; what it captured follows.
  struct Call {
    const Ops* ops;
    std::source_location where;
    std::byte* captures() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
    std::size_t size() const noexcept { return sizeof(Call) + ops->words * sizeof(void*); }
    void operator()() { ops->call(captures()); }
    void destroy() noexcept {
      if (ops->destroy != nullptr) ops->destroy(captures());
    }
  };
  // Stands for something that lives elsewhere.
  enum class Kind : std::uint32_t { timer, watch, remote };
  struct Mark {
    Kind kind;
    std::uint32_t index;       // of a timer's slot, or of a watch
    std::uint32_t generation;  // of the watch
  };

  ReadyList() = default;
  ReadyList(const ReadyList&) = delete;
  ReadyList& operator=(const ReadyList&) = delete;
  ~ReadyList() {
    run_through([](std::size_t, Call&) {}, [](const Mark&) {});
    release(memory_);
  }

  std::size_t size() const noexcept { return size_; }
  // Whether add() would do no more than copy some words.
  bool adds_at_once(const Callback& callback) const noexcept {
    return callback.ops_->relocate == nullptr &&
           capacity_ - size_ >= sizeof(Call) + callback.ops_->words * sizeof(void*);
  }
  void add_at_once(Callback&& callback, const std::source_location& where) noexcept {
    const Ops* const ops = std::exchange(callback.ops_, nullptr);
    Call* const call = ::new (memory_ + size_) Call{ops, where};
    size_ += call->size();
    Callback::relocate(*ops, callback.room_, call->captures());
  }
  void add(Callback&& callback, const std::source_location& where);
  void add(const Mark& mark) {
    if (capacity_ - size_ < sizeof(MarkItem)) [[unlikely]] grow();
    ::new (memory_ + size_) MarkItem{nullptr, mark};
    size_ += sizeof(MarkItem);
  }
  // The call at `at` is destroyed, and leaves what does nothing in its place.
  void cancel(std::size_t at) noexcept {
    Call& call = *std::launder(reinterpret_cast<Call*>(memory_ + at));
    const Ops* const ops = std::exchange(call.ops, &nothing[call.ops->words]);
    if (ops->destroy != nullptr) ops->destroy(call.captures());
  }
  // In order; each call is destroyed after it was visited, and nothing is left.
  template <class OnCall, class OnMark>
  void run_through(OnCall on_call, OnMark on_mark) {
    for (std::size_t at = 0; at < size_;) {
      Call& call = *std::launder(reinterpret_cast<Call*>(memory_ + at));
      if (call.ops == nullptr) [[unlikely]] {
        on_mark(std::launder(reinterpret_cast<MarkItem*>(memory_ + at))->mark);
        at += sizeof(MarkItem);
        continue;
      }
      const std::size_t size = call.size();
      on_call(at, call);
      call.destroy();
      at += size;
    }
    size_ = 0;
  }
  void swap(ReadyList& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  struct MarkItem {
    const Ops* ops;  // null: where a call's are
    Mark mark;
  };
  static_assert(sizeof(Call) % sizeof(void*) == 0 && sizeof(MarkItem) % sizeof(void*) == 0);

  static void do_nothing(void*) {}
  template <std::size_t... Words>
  static constexpr std::array<Ops, sizeof...(Words)> nothings(std::index_sequence<Words...>) {
    return {Ops{&do_nothing, nullptr, nullptr, Words}...};
  }
  static constexpr std::size_t most_words = Callback::room / sizeof(void*);
  static const std::array<Ops, most_words + 1> nothing;

  void grow();
  void release(std::byte* memory) noexcept {
    if (memory != nullptr) std::allocator<std::byte>{}.deallocate(memory, capacity_);
  }

  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Two lists: what runs in this turn, and what is added meanwhile, for the next one. Items are
// numbered in the order in which they were added, and a handle of call_soon() is such a number.
class ReadyQueue {
 public:
  bool empty() const noexcept { return next_.size() == 0; }

  // Of what is added next.
  std::uint64_t next_number() const noexcept { return first_next_ + next_.size(); }
  ReadyList& next() noexcept { return next_; }
  void add(const ReadyList::Mark& mark) { next_.add(mark); }

  // Runs exactly what is there now, and destroys each item after it ran; what is added meanwhile
  // waits.
  template <class OnCall, class OnMark>
  void run_all(OnCall on_call, OnMark on_mark) {
    first_current_ = first_next_;
    first_next_ += next_.size();
    current_.swap(next_);
    current_.run_through(
        [&](std::size_t at, ReadyList::Call& call) {
          running_ = at;
          on_call(call);
        },
        on_mark);
  }

  // Destroys the callback at once, if it has not begun.
  void cancel(std::uint64_t number) noexcept {
    if (number >= first_next_) {
      next_.cancel(number - first_next_);
    } else if (number >= first_current_ && current_.size() != 0) {
      if (number - first_current_ > running_) current_.cancel(number - first_current_);
    }
  }

  // Everything out; for the loop's end.
  void clear() {
    first_next_ += next_.size();
    ReadyList dying;
    dying.swap(next_);
  }

 private:
  ReadyList next_, current_;
  std::uint64_t first_next_ = 0, first_current_ = 0;
  std::size_t running_ = 0;
};

}  // namespace ferry::internal
