#include "reactor/ready_queue.hpp"

namespace ferry::internal {

constinit const std::array<ReadyList::Ops, ReadyList::most_words + 1> ReadyList::nothing =
    nothings(std::make_index_sequence<most_words + 1>{});

void ReadyList::add(Callback&& callback, const std::source_location& where) {
  if (capacity_ - size_ < size_of(*callback.ops_)) grow();
  add_at_once(std::move(callback), where);
}

void ReadyList::grow() {
  const std::size_t capacity = capacity_ == 0 ? 4096 : capacity_ * 2;
  std::byte* const memory = std::allocator<std::byte>{}.allocate(capacity);
  for (std::size_t at = 0; at < size_;) {
    Call& call = call_at(at);
    if (const Ops* const ops = call.ops.load(std::memory_order_relaxed)) {
      Call* const copy = ::new (memory + at) Call{ops, call.where};
      Callback::relocate(*ops, call.captures(), copy->captures());
      at += size_of(*ops);
    } else {
      const MarkItem& mark = *std::launder(reinterpret_cast<MarkItem*>(memory_ + at));
      ::new (memory + at) MarkItem{nullptr, mark.mark};
      at += sizeof(MarkItem);
    }
  }
  release(memory_);
  memory_ = memory;
  capacity_ = capacity;
}

}  // namespace ferry::internal
