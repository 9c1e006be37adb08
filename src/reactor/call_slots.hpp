// Where scheduled callbacks live: a slab whose slots keep their place.
#pragma once

#include <ferry/callback.hpp>

#include <cstdint>
#include <memory>
#include <source_location>
#include <vector>

namespace ferry::internal {

enum class SlotState : std::uint8_t { free, ready, timer, running, cancelled };

struct alignas(64) CallSlot {
  Callback callback;
  std::source_location where;
  std::uint32_t generation = 1;
  SlotState state = SlotState::free;
};
static_assert(sizeof(CallSlot) == 64);

class CallSlots {
 public:
  CallSlot& operator[](std::uint32_t index) noexcept {
    return chunks_[index / chunk_size][index % chunk_size];
  }
  bool valid(std::uint32_t index, std::uint32_t generation) noexcept {
    return index < size() && (*this)[index].generation == generation;
  }
  std::uint32_t take() {
    if (free_.empty()) grow();
    const std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  void give_back(std::uint32_t index) noexcept {
    CallSlot& slot = (*this)[index];
    slot.state = SlotState::free;
    ++slot.generation;
    free_.push_back(index);  // has room: reserved when the slot was made
  }
  std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(chunks_.size()) * chunk_size;
  }

 private:
  static constexpr std::uint32_t chunk_size = 128;
  void grow() {
    const std::uint32_t first = size();
    free_.reserve(first + chunk_size);
    chunks_.push_back(std::make_unique<CallSlot[]>(chunk_size));
    for (std::uint32_t i = chunk_size; i > 0; --i) free_.push_back(first + i - 1);
  }

  std::vector<std::unique_ptr<CallSlot[]>> chunks_;
  std::vector<std::uint32_t> free_;
};

}  // namespace ferry::internal
