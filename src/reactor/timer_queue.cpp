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

void TimerQueue::take_due(TimePoint time, std::vector<std::uint32_t>& slots) {
  const std::int64_t now = time.time_since_epoch().count();
  // A few, one by one; when a large part is due it is cheaper to sort them and to build the heap
  // anew.
  for (int few = 16; few > 0; --few) {
    if (heap_.empty() || heap_[0].when > now) return;
    slots.push_back(heap_[0].slot);
    take_out(0);
  }
  collect_due(now);
  if (due_.size() * 4 > heap_.size()) {
    std::sort(due_.begin(), due_.end(),
              [](const Entry& a, const Entry& b) { return a.before(b); });
    for (const Entry& entry : due_) slots.push_back(entry.slot);
    rebuild_without_due(now);
  }
  while (!heap_.empty() && heap_[0].when <= now) {
    slots.push_back(heap_[0].slot);
    take_out(0);
  }
}

// What is due forms a tree at the top of the heap: only that is looked at.
void TimerQueue::collect_due(std::int64_t now) {
  due_.clear();
  due_places_.clear();
  if (!heap_.empty() && heap_[0].when <= now) due_places_.push_back(0);
  for (std::size_t i = 0; i < due_places_.size(); ++i) {
    const std::size_t at = due_places_[i];
    due_.push_back(heap_[at]);
    const std::size_t end = std::min(at * 4 + 5, heap_.size());
    for (std::size_t child = at * 4 + 1; child < end; ++child) {
      if (heap_[child].when <= now) due_places_.push_back(static_cast<std::uint32_t>(child));
    }
  }
}

void TimerQueue::rebuild_without_due(std::int64_t now) noexcept {
  std::erase_if(heap_, [now](const Entry& entry) { return entry.when <= now; });
  for (std::size_t i = 0; i < heap_.size(); ++i) {
    position_[heap_[i].slot] = static_cast<std::uint32_t>(i);
  }
  if (heap_.size() < 2) return;
  for (std::size_t at = (heap_.size() - 2) / 4 + 1; at > 0; --at) sink(at - 1, heap_[at - 1]);
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
      least = heap_[child].before(heap_[least]) ? child : least;
    }
    if (!heap_[least].before(entry)) break;
    place(at, heap_[least]);
    at = least;
  }
  place(at, entry);
}

}  // namespace ferry::internal
