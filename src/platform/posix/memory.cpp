#include "platform/memory.hpp"

#include <sys/mman.h>

namespace ferry::internal {

void advise_large_pages(void* memory, std::size_t size) noexcept {
#ifdef MADV_HUGEPAGE
  ::madvise(memory, size, MADV_HUGEPAGE);  // only a hint: whatever it answers
#else
  static_cast<void>(memory);
  static_cast<void>(size);
#endif
}

}  // namespace ferry::internal
