#include "reactor/timer_queue.hpp"

#include <algorithm>

namespace ferry::internal {

TimerQueue::Number TimerQueue::bucket_of(std::uint64_t tick) const noexcept {
  static_assert(digit_bits == 6);  // 43 / 256 is a sixth, exactly enough up to 64
  const unsigned digit = (static_cast<unsigned>(std::bit_width(tick ^ horizon_)) - 1) * 43 >> 8;
  const auto value = static_cast<unsigned>(tick >> (digit * digit_bits)) % width;
  return static_cast<Number>(digit * width + value);
}

TimerQueue::Number TimerQueue::first_bucket() const noexcept {
  const auto digit = static_cast<unsigned>(std::countr_zero(digits_used_));
  const auto value = static_cast<unsigned>(std::countr_zero(used_[digit]));
  return static_cast<Number>(digit * width + value);
}

std::uint64_t TimerQueue::start_of(Number bucket) const noexcept {
  const unsigned digit = bucket / width;
  const std::uint64_t above = horizon_ >> (digit * digit_bits) >> digit_bits << digit_bits;
  return (above | bucket % width) << (digit * digit_bits);
}

void TimerQueue::add(std::uint32_t slot, TimePoint when, TimePoint about_now) {
  if (alive_ == 0) horizon_ = tick(about_now.time_since_epoch().count());
  slots_.facts(slot).order = order_;
  insert({when.time_since_epoch().count(), order_, slot});
  ++order_;
  ++alive_;
}

inline void TimerQueue::insert(const Entry& entry) {
  const std::uint64_t at = tick(entry.when);
  const Number number = at <= horizon_ ? heap : bucket_of(at);
  Bucket& bucket = buckets_[number];
  bucket.entries.push_back(entry);
  slots_.facts(entry.slot).bucket = number;
  if (number == heap) {
    std::push_heap(bucket.entries.begin(), bucket.entries.end(), later);
  } else {
    used_[number / width] |= std::uint64_t{1} << (number % width);
    digits_used_ |= 1u << (number / width);
    if (number == least_of_) least_ = std::min(least_, entry.when);
  }
}

void TimerQueue::remove(std::uint32_t slot) noexcept {
  const Number number = slots_.facts(slot).bucket;
  slots_.facts(slot).state = SlotState::cancelled;
  --alive_;
  Bucket& bucket = buckets_[number];
  if (number == least_of_) least_of_ = none;
  if (++bucket.dead * 2 >= bucket.entries.size()) [[unlikely]] tidy(number);
}

// Lets go of the dead: each time half of them are, so that an entry costs no more than two visits.
void TimerQueue::tidy(Number number) noexcept {
  Bucket& bucket = buckets_[number];
  if (bucket.dead == bucket.entries.size()) return empty_out(number);
  constexpr std::size_t few = 32;
  if (bucket.dead < few) return;
  std::erase_if(bucket.entries, [this](const Entry& entry) { return !alive(entry); });
  bucket.dead = 0;
  if (number == heap) std::make_heap(bucket.entries.begin(), bucket.entries.end(), later);
}

void TimerQueue::empty_out(Number number) noexcept {
  Bucket& bucket = buckets_[number];
  bucket.entries.clear();
  bucket.dead = 0;
  if (number == heap) return;
  std::uint64_t& used = used_[number / width];
  used &= ~(std::uint64_t{1} << (number % width));
  if (used == 0) digits_used_ &= ~(1u << (number / width));
}

void TimerQueue::pop_heap() noexcept {
  std::vector<Entry>& entries = buckets_[heap].entries;
  std::pop_heap(entries.begin(), entries.end(), later);
  entries.pop_back();
}

const TimerQueue::Entry* TimerQueue::top_of_heap() noexcept {
  Bucket& bucket = buckets_[heap];
  while (!bucket.entries.empty() && !alive(bucket.entries[0])) {
    pop_heap();
    --bucket.dead;
  }
  return bucket.entries.empty() ? nullptr : bucket.entries.data();
}

// Opens no bucket of a few: whoever arms an earlier timer later should find the horizon behind it.
TimePoint TimerQueue::next() {
  constexpr std::size_t few = 64;
  for (;;) {
    if (const Entry* top = top_of_heap()) return TimePoint{TimePoint::duration{top->when}};
    const Number first = first_bucket();
    if (first == least_of_) return TimePoint{TimePoint::duration{least_}};
    if (buckets_[first].entries.size() > few) {
      open(first);
      continue;
    }
    least_of_ = first;
    least_ = TimePoint::max().time_since_epoch().count();
    for (const Entry& entry : buckets_[first].entries) {
      if (alive(entry)) least_ = std::min(least_, entry.when);
    }
  }
}

void TimerQueue::take_due(TimePoint time, std::vector<std::uint32_t>& slots) {
  const std::int64_t now = time.time_since_epoch().count();
  for (;;) {
    const Entry* top;
    while ((top = top_of_heap()) != nullptr && top->when <= now) {
      slots.push_back(top->slot);
      pop_heap();
      --alive_;
    }
    if (top != nullptr || alive_ == 0) return;
    const Number first = first_bucket();
    const std::uint64_t start = start_of(first);
    if (start > tick(now)) return;
    if (first < width && start < tick(now)) {
      take_whole(first, slots);
    } else {
      open(first);
    }
  }
}

// It is the first bucket, and its time has come or it has become too large to be looked through.
void TimerQueue::open(Number number) {
  std::vector<Entry>& entries = buckets_[number].entries;
  horizon_ = start_of(number);
  least_of_ = none;
  while (!entries.empty()) {  // one by one: if memory runs out, each is still in one place
    if (alive(entries.back())) insert(entries.back());
    entries.pop_back();
  }
  empty_out(number);
}

// The first bucket, of a single tick that is over.
void TimerQueue::take_whole(Number number, std::vector<std::uint32_t>& slots) {
  std::vector<Entry>& entries = buckets_[number].entries;
  std::erase_if(entries, [this](const Entry& entry) { return !alive(entry); });
  slots.reserve(slots.size() + entries.size());
  if (earlier(entries.back(), entries.front())) std::reverse(entries.begin(), entries.end());
  if (!std::is_sorted(entries.begin(), entries.end(), earlier)) {
    std::sort(entries.begin(), entries.end(), earlier);
  }
  for (const Entry& entry : entries) slots.push_back(entry.slot);
  alive_ -= entries.size();
  horizon_ = start_of(number);
  least_of_ = none;
  empty_out(number);
}

void TimerQueue::clear() noexcept {
  for (Number number = 0; number < none; ++number) empty_out(number);
  alive_ = 0;
  least_of_ = none;
}

}  // namespace ferry::internal
