// Timers by deadline. Equal deadlines keep their order.
#pragma once

#include "reactor/call_slots.hpp"

#include <ferry/handle.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ferry::internal {

// What is due soon is in a heap, what is due later in buckets without an order: most timers are
// cancelled or armed anew long before they are due, and never pay for being sorted. What is
// cancelled stays as a dead entry, until half of a bucket is dead.
//
// Time is counted in ticks of 2^20 ns (about a millisecond), and a tick has digits of 6 bits. Up to
// and with the tick `horizon_` everything is in the heap. A later timer is in the bucket of the
// highest digit in which its tick differs from the horizon, and of that digit's value; so all of a
// bucket is due before all of the next one, and a bucket that is opened falls apart into buckets of
// lower digits, or, of the lowest digit, goes to the heap. The horizon only moves to the start of
// the first bucket, which keeps all others in their right places.
class TimerQueue {
 public:
  explicit TimerQueue(CallSlots& slots) noexcept : slots_{slots} {}

  bool empty() const noexcept { return alive_ == 0; }
  // The first deadline; there is one.
  TimePoint next();
  // Gives the slot's facts their `order`, by which it is known from now on. `about_now` only helps:
  // it is where the buckets begin when there is no timer yet.
  void add(std::uint32_t slot, TimePoint when, TimePoint about_now);
  // Must be in it; to be called while the slot still waits.
  void remove(std::uint32_t slot) noexcept;
  // Takes out all that are due, in order.
  void take_due(TimePoint now, std::vector<std::uint32_t>& slots);
  void clear() noexcept;

 private:
  struct Entry {
    std::int64_t when;
    std::uint32_t order;
    std::uint32_t slot;
  };
  static bool earlier(const Entry& a, const Entry& b) noexcept {
    const bool same = a.when == b.when;
    const bool first = static_cast<std::int32_t>(a.order - b.order) < 0;  // wraps
    return (a.when < b.when) | (same & first);
  }
  static bool later(const Entry& a, const Entry& b) noexcept { return earlier(b, a); }
  struct Bucket {
    std::vector<Entry> entries;
    std::size_t dead = 0;
  };
  using Number = std::uint16_t;  // of a bucket

  static constexpr unsigned tick_bits = 20, digit_bits = 6, width = 1u << digit_bits;
  static constexpr unsigned digits = (64 - tick_bits + digit_bits - 1) / digit_bits;
  static constexpr Number heap = digits * width, none = heap + 1;

  static std::uint64_t tick(std::int64_t when) noexcept {
    return when < 0 ? 0 : static_cast<std::uint64_t>(when) >> tick_bits;
  }
  Number bucket_of(std::uint64_t tick) const noexcept;
  Number first_bucket() const noexcept;  // there is one
  std::uint64_t start_of(Number bucket) const noexcept;

  bool alive(const Entry& entry) const noexcept {
    const SlotFacts& facts = slots_.facts(entry.slot);
    return facts.order == entry.order && facts.state == SlotState::waiting;
  }
  void insert(const Entry& entry);
  void open(Number number);
  void take_whole(Number number, std::vector<std::uint32_t>& slots);
  void tidy(Number number) noexcept;
  void empty_out(Number number) noexcept;
  const Entry* top_of_heap() noexcept;  // null: nothing alive is in it
  void pop_heap() noexcept;

  CallSlots& slots_;
  std::size_t alive_ = 0;
  std::uint64_t horizon_ = 0;
  std::uint32_t order_ = 0;
  std::uint32_t digits_used_ = 0;             // a bit for each digit that has a bucket in use
  std::array<std::uint64_t, digits> used_{};  // a bit for each of its buckets
  std::array<Bucket, digits * width + 1> buckets_;  // the last one is the heap
  Number least_of_ = none;  // the bucket of which `least_` is the first deadline
  std::int64_t least_ = 0;
};

}  // namespace ferry::internal
