// The one place that adds and takes back bytes to be sent.
#pragma once

#include "reactor/block_pool.hpp"

#include <ferry/bytes.hpp>

#include <cstddef>
#include <span>

namespace ferry::internal {

// Bytes in the order of their writes, in blocks of the loop's pool. Size is exact and O(1) (C-14);
// nothing is ever moved to the front (T-040).
class WriteQueue {
 public:
  WriteQueue() noexcept = default;
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;
  ~WriteQueue();  // must be empty unless its pool is alive: clear() first

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  void append(BytesView data, BlockPool& pool);
  // The first bytes: fills `views`, returns how many.
  std::size_t peek(std::span<BytesView> views) const noexcept;
  void consume(std::size_t count, BlockPool& pool) noexcept;
  void clear(BlockPool& pool) noexcept;

 private:
  Block* first_ = nullptr;
  Block* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ferry::internal
