#include "reactor/timer_queue.hpp"

#include <algorithm>

namespace ferry::internal {

void TimerQueue::add(std::uint32_t slot, TimePoint when) {
  if (slot >= position_.size()) position_.resize(slot + slot / 2 + 64);
  const Entry entry{when.time_since_epoch().count(), order_++, slot};
  heap_.push_back(entry);
  rise(heap_.size() - 1, entry);
}

void TimerQueue::remove(std::uint32_t slot) noexcept { take_out(position_[slot]); }

bool TimerQueue::pop_due(TimePoint now, std::uint32_t& slot) noexcept {
  if (heap_.empty() || heap_[0].when > now.time_since_epoch().count()) return false;
  slot = heap_[0].slot;
  take_out(0);
  return true;
}

void TimerQueue::take_out(std::size_t at) noexcept {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  if (at > 0 && last.before(heap_[(at - 1) / 4])) {
    rise(at, last);
  } else {
    sink(at, last);
  }
}

void TimerQueue::rise(std::size_t at, Entry entry) noexcept {
  while (at > 0) {
    const std::size_t parent = (at - 1) / 4;
    if (!entry.before(heap_[parent])) break;
    place(at, heap_[parent]);
    at = parent;
  }
  place(at, entry);
}

void TimerQueue::sink(std::size_t at, Entry entry) noexcept {
  const std::size_t size = heap_.size();
  for (;;) {
    const std::size_t first = at * 4 + 1;
    if (first >= size) break;
    const std::size_t end = std::min(first + 4, size);
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (heap_[child].before(heap_[least])) least = child;
    }
    if (!heap_[least].before(entry)) break;
    place(at, heap_[least]);
    at = least;
  }
  place(at, entry);
}

}  // namespace ferry::internal
