// Writes so many bytes to its stdout, 64 KiB at a time: the child of test `stream` (child.hpp).
#include <unistd.h>

#include "prims.hpp"

int main(int argc, char** argv) {
  prims::pin(prims::Thread::other);
  static char bytes[64 * 1024];
  for (std::int64_t left = argc > 1 ? std::atoll(argv[1]) : 0; left > 0;) {
    const auto size = static_cast<std::size_t>(
        std::min(left, static_cast<std::int64_t>(sizeof bytes)));
    const ssize_t written = write(1, bytes, size);
    if (written < 0) return 1;
    left -= written;
  }
  return 0;
}
