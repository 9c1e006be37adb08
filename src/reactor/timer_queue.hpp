// Timers by deadline: a 4-ary heap with the keys inline. Equal deadlines keep their order.
#pragma once

#include <ferry/handle.hpp>

#include <cstdint>
#include <vector>

namespace ferry::internal {

// Holds slot numbers; where each one stands is kept in a dense table beside the heap, so that
// moving an entry touches no slot.
class TimerQueue {
 public:
  bool empty() const noexcept { return heap_.empty(); }
  std::size_t size() const noexcept { return heap_.size(); }
  TimePoint next() const noexcept { return TimePoint{TimePoint::duration{heap_[0].when}}; }

  void add(std::uint32_t slot, TimePoint when);
  void remove(std::uint32_t slot) noexcept;  // must be in it
  // Takes out all that are due, in order.
  void take_due(TimePoint now, std::vector<std::uint32_t>& slots);
  void clear() noexcept { heap_.clear(); }

 private:
  struct Entry {
    std::int64_t when;
    std::uint32_t order;
    std::uint32_t slot;
    // Without a branch: what it answers cannot be foretold.
    bool before(const Entry& other) const noexcept {
      const bool earlier = when < other.when;
      const bool same = when == other.when;
      const bool first = static_cast<std::int32_t>(order - other.order) < 0;  // wraps
      return earlier | (same & first);
    }
  };
  void place(std::size_t at, Entry entry) noexcept {
    heap_[at] = entry;
    position_[entry.slot] = static_cast<std::uint32_t>(at);
  }
  void rise(std::size_t at, Entry entry) noexcept;
  void sink(std::size_t at, Entry entry) noexcept;
  void take_out(std::size_t at) noexcept;
  void collect_due(std::int64_t now);
  void rebuild_without_due(std::int64_t now) noexcept;

  std::vector<Entry> heap_;
  std::vector<Entry> due_;                 // of one take_due()
  std::vector<std::uint32_t> due_places_;  // in heap_
  std::vector<std::uint32_t> position_;
  std::uint32_t order_ = 0;
};

}  // namespace ferry::internal
