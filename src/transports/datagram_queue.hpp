// Datagrams that wait, to be sent or to be delivered, in order.
#pragma once

#include "platform/datagrams.hpp"
#include "reactor/block_pool.hpp"

#include <cstddef>
#include <span>
#include <utility>

namespace ferry::internal {

// Each with its address, in blocks of the loop's pool.
class DatagramQueue {
 public:
  DatagramQueue() noexcept = default;
  DatagramQueue(const DatagramQueue&) = delete;
  DatagramQueue& operator=(const DatagramQueue&) = delete;
  ~DatagramQueue();  // must be empty: clear() first
  void swap(DatagramQueue& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(size_, other.size_);
  }

  // Bytes, and 8 for each datagram: so empty ones count too.
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return first_ == nullptr; }
  // Copies. `to` and `info` may be null.
  void append(BytesView data, const Address* to, const PacketInfo* info, BlockPool& pool);
  // The first ones: fills `datagrams`, returns how many.
  std::size_t peek(std::span<PendingDatagram> datagrams) const noexcept;
  void pop(std::size_t count, BlockPool& pool) noexcept;
  void clear(BlockPool& pool) noexcept;

  static constexpr std::size_t overhead = 8;

 private:
  Block* first_ = nullptr;
  Block* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ferry::internal
