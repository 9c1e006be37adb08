#include "transports/write_queue.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace ferry::internal {

WriteQueue::~WriteQueue() { assert(first_ == nullptr); }

void WriteQueue::append(BytesView data, BlockPool& pool) {
  if (last_ != nullptr) {
    const std::size_t room = std::min(last_->capacity - last_->end, data.size());
    if (room > 0) std::memcpy(last_->data() + last_->end, data.data(), room);
    last_->end += room;
    size_ += room;
    data = data.subview(room);
  }
  if (data.empty()) return;
  Block* const block = pool.take(data.size());
  std::memcpy(block->data(), data.data(), data.size());
  block->end = data.size();
  (last_ != nullptr ? last_->next : first_) = block;
  last_ = block;
  size_ += data.size();
}

std::size_t WriteQueue::peek(std::span<BytesView> views) const noexcept {
  std::size_t count = 0;
  for (Block* block = first_; block != nullptr && count < views.size(); block = block->next) {
    views[count++] = BytesView{block->data() + block->begin, block->end - block->begin};
  }
  return count;
}

void WriteQueue::consume(std::size_t count, BlockPool& pool) noexcept {
  assert(count <= size_);
  size_ -= count;
  while (count > 0) {
    const std::size_t held = first_->end - first_->begin;
    if (count < held) {
      first_->begin += count;
      return;
    }
    count -= held;
    Block* const empty = first_;
    first_ = empty->next;
    if (first_ == nullptr) last_ = nullptr;
    pool.give_back(empty);
  }
}

void WriteQueue::clear(BlockPool& pool) noexcept { consume(size_, pool); }

}  // namespace ferry::internal
