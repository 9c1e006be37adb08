// Blocks of memory for what waits to be sent: kept for the next one, so that a steady flow
// allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace ferry::internal {

struct Block {
  Block* next = nullptr;
  std::size_t begin = 0;  // of what is still to be sent
  std::size_t end = 0;
  std::size_t capacity = 0;
  std::byte* data() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

class BlockPool {
 public:
  static constexpr std::size_t standard = 16 * 1024 - sizeof(Block);

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool() {
    while (free_ != nullptr) ::operator delete(std::exchange(free_, free_->next));
  }

  // At least `size` bytes of room.
  Block* take(std::size_t size) {
    if (size <= standard && free_ != nullptr) {
      Block* const block = std::exchange(free_, free_->next);
      --count_;
      *block = Block{nullptr, 0, 0, standard};
      return block;
    }
    const std::size_t room = size <= standard ? standard : size;
    return ::new (::operator new(sizeof(Block) + room)) Block{nullptr, 0, 0, room};
  }
  void give_back(Block* block) noexcept {
    if (block->capacity != standard || count_ == most_kept) {
      ::operator delete(block);
      return;
    }
    block->next = free_;
    free_ = block;
    ++count_;
  }

 private:
  static constexpr std::size_t most_kept = 256;
  Block* free_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace ferry::internal
