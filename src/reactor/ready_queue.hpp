// What the loop runs next, in order.
#pragma once

#include <ferry/callback.hpp>

#include <array>
#include <atomic>
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
    std::atomic<const Ops*> ops;  // may be exchanged by cancel_later(), on any thread
    std::source_location where;

    const Ops& now() const noexcept { return *ops.load(std::memory_order_relaxed); }
    std::byte* captures() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
    bool cancelled() const noexcept { return ops.load()->cancelled == nullptr; }
    void operator()() { now().call(captures()); }
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
    clear();
    release(memory_);
  }

  std::size_t size() const noexcept { return size_; }
  // Whether add() would do no more than copy some words.
  bool adds_at_once(const Callback& callback) const noexcept {
    return callback.ops_->relocate == nullptr &&
           capacity_ - size_ >= size_of(*callback.ops_);
  }
  void add_at_once(Callback&& callback, const std::source_location& where) noexcept {
    const Ops* const ops = std::exchange(callback.ops_, nullptr);
    Call* const call = ::new (memory_ + size_) Call{ops, where};
    size_ += size_of(*ops);
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
    Call& call = call_at(at);
    const Ops& before = call.now();
    call.ops.store(&nothing[before.words], std::memory_order_relaxed);
    if (before.destroy != nullptr) before.destroy(call.captures());
  }
  // The call at `at` will do nothing, and is destroyed when its turn comes. Any thread, if somebody
  // sees to it that the list stays.
  void cancel_later(std::size_t at) noexcept {
    Call& call = call_at(at);
    if (const Ops* const instead = call.now().cancelled) call.ops.store(instead);
  }
  // In order; each call is destroyed after it was visited, and nothing is left.
  template <class OnCall, class OnMark>
  void run_through(OnCall on_call, OnMark on_mark) {
    for (std::size_t at = 0; at < size_;) {
      Call& call = call_at(at);
      if (const Ops* const ops = call.ops.load(std::memory_order_relaxed)) [[likely]] {
        const std::size_t size = size_of(*ops);
        on_call(at, call);
        if (call.now().destroy != nullptr) call.now().destroy(call.captures());
        at += size;
      } else {
        on_mark(std::launder(reinterpret_cast<MarkItem*>(memory_ + at))->mark);
        at += sizeof(MarkItem);
      }
    }
    size_ = 0;
  }
  void clear() noexcept {
    run_through([](std::size_t, Call&) {}, [](const Mark&) {});
  }
  void swap(ReadyList& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  struct MarkItem {
    std::atomic<const Ops*> ops;  // null: where a call's are
    Mark mark;
  };
  static_assert(sizeof(Call) % sizeof(void*) == 0 && sizeof(MarkItem) % sizeof(void*) == 0);

  static std::size_t size_of(const Ops& ops) noexcept {
    return sizeof(Call) + ops.words * sizeof(void*);
  }
  Call& call_at(std::size_t at) noexcept {
    return *std::launder(reinterpret_cast<Call*>(memory_ + at));
  }
  template <std::size_t... Words>
  static constexpr std::array<Ops, sizeof...(Words)> nothings(std::index_sequence<Words...>) {
    return {Ops{&Callback::call_nothing, nullptr, nullptr, Words, nullptr}...};
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
