// What the loop runs next, in order.
#pragma once

#include <ferry/callback.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <utility>

namespace ferry::internal {

// A callback of its own, or a mark for something that lives elsewhere.
struct ReadyItem {
  enum class Kind : std::uint8_t { callback, timer, watch, remote };
  static constexpr std::uint32_t last_generation = (1u << 28) - 1;

  ReadyItem(Callback&& what, const std::source_location& from) noexcept
      : callback{std::move(what)}, where{from}, kind{Kind::callback} {}
  ReadyItem(Kind sort, std::uint32_t at, std::uint32_t gen = 0) noexcept
      : index{at}, generation{gen & last_generation}, kind{sort} {}

  Callback callback;
  std::source_location where;
  std::uint32_t index = 0;  // of a timer's slot, or of a watch
  std::uint32_t generation : 28 = 0;
  Kind kind : 4;
};

// A list that is filled, run through once and forgotten; its memory stays for the next time.
class ReadyList {
 public:
  ReadyList() = default;
  ReadyList(const ReadyList&) = delete;
  ReadyList& operator=(const ReadyList&) = delete;
  ~ReadyList() {
    std::destroy_n(items_, size_);
    std::allocator<ReadyItem>{}.deallocate(items_, capacity_);
  }

  std::size_t size() const noexcept { return size_; }
  ReadyItem& operator[](std::size_t i) noexcept { return items_[i]; }
  template <class... Args>
  void add(Args&&... args) {
    if (size_ == capacity_) [[unlikely]] grow();
    std::construct_at(items_ + size_, std::forward<Args>(args)...);
    ++size_;
  }
  // All of them have been destroyed.
  void forget() noexcept { size_ = 0; }
  void swap(ReadyList& other) noexcept {
    std::swap(items_, other.items_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  void grow() {
    const std::size_t capacity = capacity_ == 0 ? 64 : capacity_ * 2;
    ReadyItem* const items = std::allocator<ReadyItem>{}.allocate(capacity);
    std::uninitialized_move_n(items_, size_, items);
    std::destroy_n(items_, size_);
    std::allocator<ReadyItem>{}.deallocate(items_, capacity_);
    items_ = items;
    capacity_ = capacity;
  }

  ReadyItem* items_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Two lists: what runs in this turn, and what is added meanwhile, for the next one. Items are
// numbered in the order in which they were added, and a handle of call_soon() is such a number.
class ReadyQueue {
 public:
  bool empty() const noexcept { return next_.size() == 0; }

  std::uint64_t add(Callback&& callback, const std::source_location& where) {
    const std::uint64_t number = first_next_ + next_.size();
    next_.add(std::move(callback), where);
    return number;
  }
  void add(ReadyItem::Kind kind, std::uint32_t index, std::uint32_t generation = 0) {
    next_.add(kind, index, generation);
  }

  // Runs exactly what is there now, and destroys each item after it ran; what `run` adds waits.
  template <class Run>
  void run_all(Run run) {
    first_current_ = first_next_;
    const std::size_t size = next_.size();
    first_next_ += size;
    current_.swap(next_);
    for (std::size_t i = 0; i < size; ++i) {
      running_ = i;
      ReadyItem& item = current_[i];
      run(item);
      std::destroy_at(&item);
    }
    current_.forget();
  }

  // Destroys the callback at once, if it has not begun.
  void cancel(std::uint64_t number) noexcept {
    if (number >= first_next_) {
      const std::uint64_t at = number - first_next_;
      if (at < next_.size()) const Callback dying = std::move(next_[at].callback);
    } else if (number >= first_current_) {
      const std::uint64_t at = number - first_current_;
      if (at > running_ && at < current_.size()) {
        const Callback dying = std::move(current_[at].callback);
      }
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
