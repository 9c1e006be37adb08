// A hint about memory.
#pragma once

#include <cstddef>

namespace ferry::internal {

// This memory is large and used at random: the system may back it by large pages. `size` and
// `memory` are multiples of large_page. Does nothing where there is no such thing.
inline constexpr std::size_t large_page = std::size_t{2} << 20;
void advise_large_pages(void* memory, std::size_t size) noexcept;

// This place is about to be written.
inline void prefetch_to_write(const void* at) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(at, 1);
#else
  static_cast<void>(at);
#endif
}

}  // namespace ferry::internal
