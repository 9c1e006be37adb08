#include "transports/datagram_queue.hpp"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

namespace ferry::internal {
namespace {

static_assert(std::is_trivially_destructible_v<Address>);
static_assert(std::is_trivially_destructible_v<PacketInfo>);

// A record: this, then an Address, a PacketInfo (each if it is there), the bytes.
struct Head {
  std::uint32_t size;
  bool has_address;
  bool has_info;
};
static_assert(alignof(Address) <= alignof(Head) && alignof(PacketInfo) <= alignof(Head));

std::size_t room_of(const Head& head) noexcept {
  const std::size_t all = sizeof(Head) + (head.has_address ? sizeof(Address) : 0) +
                          (head.has_info ? sizeof(PacketInfo) : 0) + head.size;
  return (all + alignof(Head) - 1) / alignof(Head) * alignof(Head);
}

const Head& head_at(const std::byte* at) noexcept {
  return *std::launder(reinterpret_cast<const Head*>(at));
}

PendingDatagram read(const std::byte* at) noexcept {
  const Head& head = head_at(at);
  PendingDatagram one{nullptr, head.size, nullptr, nullptr};
  at += sizeof(Head);
  if (head.has_address) {
    one.to = std::launder(reinterpret_cast<const Address*>(at));
    at += sizeof(Address);
  }
  if (head.has_info) {
    one.info = std::launder(reinterpret_cast<const PacketInfo*>(at));
    at += sizeof(PacketInfo);
  }
  one.data = at;
  return one;
}

}  // namespace

DatagramQueue::~DatagramQueue() { assert(first_ == nullptr); }

void DatagramQueue::append(BytesView data, const Address* to, const PacketInfo* info,
                           BlockPool& pool) {
  const Head head{static_cast<std::uint32_t>(data.size()), to != nullptr, info != nullptr};
  const std::size_t room = room_of(head);
  if (last_ == nullptr || last_->capacity - last_->end < room) {
    Block* const block = pool.take(room);
    (last_ != nullptr ? last_->next : first_) = block;
    last_ = block;
  }
  std::byte* at = last_->data() + last_->end;
  ::new (at) Head{head};
  at += sizeof(Head);
  if (to != nullptr) {
    ::new (at) Address{*to};
    at += sizeof(Address);
  }
  if (info != nullptr) {
    ::new (at) PacketInfo{*info};
    at += sizeof(PacketInfo);
  }
  if (!data.empty()) std::memcpy(at, data.data(), data.size());
  last_->end += room;
  size_ += data.size() + overhead;
}

std::size_t DatagramQueue::peek(std::span<PendingDatagram> datagrams) const noexcept {
  std::size_t count = 0;
  for (Block* block = first_; block != nullptr; block = block->next) {
    for (std::size_t at = block->begin; at < block->end;) {
      if (count == datagrams.size()) return count;
      datagrams[count++] = read(block->data() + at);
      at += room_of(head_at(block->data() + at));
    }
  }
  return count;
}

void DatagramQueue::pop(std::size_t count, BlockPool& pool) noexcept {
  for (; count > 0; --count) {
    const Head& head = head_at(first_->data() + first_->begin);
    size_ -= head.size + overhead;
    first_->begin += room_of(head);
    if (first_->begin < first_->end) continue;
    Block* const empty = std::exchange(first_, first_->next);
    if (first_ == nullptr) last_ = nullptr;
    pool.give_back(empty);
  }
}

void DatagramQueue::clear(BlockPool& pool) noexcept {
  while (first_ != nullptr) pool.give_back(std::exchange(first_, first_->next));
  last_ = nullptr;
  size_ = 0;
}

}  // namespace ferry::internal
