// Where the callbacks of timers live: a slab whose slots keep their place.
#pragma once

#include "platform/memory.hpp"

#include <ferry/callback.hpp>

#include <bit>
#include <cstdint>
#include <memory>
#include <new>
#include <source_location>
#include <vector>

namespace ferry::internal {

enum class SlotState : std::uint8_t { free, waiting, due, running, cancelled };

struct alignas(64) CallSlot {
  Callback callback;
  std::source_location where;
};

// What is asked of a slot without calling it: kept apart and dense, so that arming and cancelling
// touches a cold slot only to write it.
struct SlotFacts {
  std::uint32_t order = 0;   // the timer's number, among all of the loop's
  std::uint16_t bucket = 0;  // of the timer queue, while it waits
  SlotState state = SlotState::free;
  bool trivial = false;  // its callback needs no destruction
};

class CallSlots {
 public:
  CallSlots() = default;
  CallSlots(const CallSlots&) = delete;
  CallSlots& operator=(const CallSlots&) = delete;
  ~CallSlots() {
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      std::destroy_n(chunks_[i], first_size << i);
      ::operator delete(chunks_[i], alignment(i));
    }
  }

  // Each chunk is twice as large as the one before.
  CallSlot& operator[](std::uint32_t index) noexcept {
    const auto chunk = static_cast<std::uint32_t>(std::bit_width(index / first_size + 1)) - 1;
    return chunks_[chunk][index - first_size * ((1u << chunk) - 1)];
  }
  SlotFacts& facts(std::uint32_t index) noexcept { return facts_[index]; }
  std::uint32_t take(Callback&& callback, const std::source_location& where) {
    if (free_.empty()) grow();
    const std::uint32_t index = free_.back();
    free_.pop_back();
    SlotFacts& facts = facts_[index];
    facts.state = SlotState::waiting;
    facts.trivial = callback.trivial();
    CallSlot& slot = (*this)[index];
    slot.callback.overwrite(std::move(callback));
    slot.where = where;
    return index;
  }
  // Its callback has been destroyed, or is trivial.
  void give_back(std::uint32_t index) noexcept {
    facts_[index].state = SlotState::free;
    free_.push_back(index);  // has room: reserved when the slot was made
    prefetch_to_write(&(*this)[index]);  // the next one that is taken
  }
  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(facts_.size()); }

 private:
  static constexpr std::uint32_t first_size = 256;

  static std::align_val_t alignment(std::size_t chunk) noexcept {
    const bool large = (sizeof(CallSlot) * first_size << chunk) >= large_page;
    return std::align_val_t{large ? large_page : alignof(CallSlot)};
  }
  void grow() {
    const std::uint32_t first = size();
    const std::size_t chunk = chunks_.size();
    const std::uint32_t count = first_size << chunk;
    free_.reserve(std::size_t{first} + count);
    facts_.resize(std::size_t{first} + count);
    chunks_.reserve(chunk + 1);
    void* const memory = ::operator new(sizeof(CallSlot) * count, alignment(chunk));
    if (alignment(chunk) == std::align_val_t{large_page}) {
      advise_large_pages(memory, sizeof(CallSlot) * count);
    }
    chunks_.push_back(static_cast<CallSlot*>(memory));
    std::uninitialized_default_construct_n(chunks_.back(), count);
    for (std::uint32_t i = count; i > 0; --i) free_.push_back(first + i - 1);
  }

  std::vector<CallSlot*> chunks_;
  std::vector<SlotFacts> facts_;
  std::vector<std::uint32_t> free_;
};

}  // namespace ferry::internal
