#include "reactor/ready_queue.hpp"

namespace ferry::internal {

constinit const std::array<ReadyList::Ops, ReadyList::most_words + 1> ReadyList::nothing =
    nothings(std::make_index_sequence<most_words + 1>{});

void ReadyList::add(Callback&& callback, const std::source_location& where) {
  if (capacity_ - size_ < sizeof(Call) + callback.ops_->words * sizeof(void*)) grow();
  add_at_once(std::move(callback), where);
}

void ReadyList::grow() {
  const std::size_t capacity = capacity_ == 0 ? 4096 : capacity_ * 2;
  std::byte* const memory = std::allocator<std::byte>{}.allocate(capacity);
  for (std::size_t at = 0; at < size_;) {
    Call& call = *std::launder(reinterpret_cast<Call*>(memory_ + at));
    if (call.ops == nullptr) {
      ::new (memory + at) MarkItem{*std::launder(reinterpret_cast<MarkItem*>(memory_ + at))};
      at += sizeof(MarkItem);
    } else {
      Call* const copy = ::new (memory + at) Call{call.ops, call.where};
      Callback::relocate(*call.ops, call.captures(), copy->captures());
      at += copy->size();
    }
  }
  release(memory_);
  memory_ = memory;
  capacity_ = capacity;
}

}  // namespace ferry::internal
