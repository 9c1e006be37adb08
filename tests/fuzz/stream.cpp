// A stream, and nothing between it and the system.
#include "fuzz/stream.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::live({data, size});
  return 0;
}
