#include "platform/memory.hpp"

namespace ferry::internal {

// Windows' large pages need a privilege that programs do not have.
void advise_large_pages(void*, std::size_t) noexcept {}

}  // namespace ferry::internal
