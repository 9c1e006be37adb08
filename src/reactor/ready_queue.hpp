// What the loop runs next, in order.
#pragma once

#include <ferry/callback.hpp>

#include <cstdint>
#include <source_location>
#include <utility>
#include <vector>

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

// Two lists: what runs in this turn, and what is added meanwhile, for the next one. Items are numbered
// in the order in which they were added, and a handle of call_soon() is such a number.
class ReadyQueue {
 public:
  bool empty() const noexcept { return next_.empty(); }

  std::uint64_t add(Callback&& callback, const std::source_location& where) {
    next_.emplace_back(std::move(callback), where);
    return first_next_ + next_.size() - 1;
  }
  void add(ReadyItem::Kind kind, std::uint32_t index, std::uint32_t generation = 0) {
    next_.emplace_back(kind, index, generation);
  }

  // Runs exactly what is there now; what `run` adds waits.
  template <class Run>
  void run_all(Run run) {
    first_current_ = first_next_;
    first_next_ += next_.size();
    current_.swap(next_);
    for (running_ = 0; running_ < current_.size(); ++running_) {
      run(current_[running_]);
      current_[running_].callback.reset();
    }
    current_.clear();
  }

  // Destroys the callback at once, if it has not begun.
  void cancel(std::uint64_t number) noexcept {
    if (number >= first_next_) {
      const Callback dying = std::move(next_[number - first_next_].callback);
    } else if (number >= first_current_ && number - first_current_ > running_ &&
               number - first_current_ < current_.size()) {
      const Callback dying = std::move(current_[number - first_current_].callback);
    }
  }

  // Everything out; for the loop's end.
  void clear() {
    first_next_ += next_.size();
    const std::vector<ReadyItem> dying = std::move(next_);
    next_.clear();
  }

 private:
  std::vector<ReadyItem> next_, current_;
  std::uint64_t first_next_ = 0, first_current_ = 0;
  std::size_t running_ = 0;
};

}  // namespace ferry::internal
