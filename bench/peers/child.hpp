// The contract of the programs that measure child processes, and what they share.
//
//   PROGRAM TEST N        prints one JSON object; exit status 2: there is no such test here
//   PROGRAM --version     prints the library's name and version
//
//   spawn        N times, one after another: /bin/true with pipes on stdin, stdout and stderr; done
//                when it is reaped and both outputs are at their end. Children per second, and the
//                parent's CPU time for one, us
//   spawn_many   the same with up to 64 of them at a time
//   stream       N bytes from the stdout of a child, the program that PIPEGEN names; its stdin and
//                stderr are not piped. MB/s, and the parent's CPU time, s per GiB
//
// The parent's time is that of the whole process: all its threads, not its children. It runs on the
// first CPU that BENCH_CPUS names, as do the children of `spawn`, which inherit that; PIPEGEN goes
// to the second. FERRY_CHILD_HEAP_MIB says how much memory the parent touches before it begins.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <ctime>

#include "prims.hpp"

namespace child {

inline constexpr std::int64_t at_a_time = 64;    // of spawn_many
inline constexpr std::size_t chunk = 64 * 1024;  // that is read at a time
inline constexpr const char* program = "/bin/true";

inline double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Stopwatch {
 public:
  void print_spawned(std::int64_t n) const {
    const auto count = static_cast<double>(n);
    std::printf("{\"per_s\":%.1f,\"parent_us\":%.2f}\n", count / wall(), cpu() * 1e6 / count);
  }
  void print_streamed(std::int64_t n) const {
    const auto bytes = static_cast<double>(n);
    std::printf("{\"MBps\":%.1f,\"parent_s_per_GiB\":%.4f}\n", bytes / 1e6 / wall(),
                cpu() * 1073741824.0 / bytes);
  }

 private:
  double wall() const { return seconds_of(CLOCK_MONOTONIC) - wall_; }
  double cpu() const { return seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_; }
  double wall_ = seconds_of(CLOCK_MONOTONIC);
  double cpu_ = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
};

[[noreturn]] inline void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

inline const char* generator() {
  const char* const named = std::getenv("PIPEGEN");
  if (named == nullptr) {
    std::fputs("PIPEGEN names no program\n", stderr);
    std::exit(1);
  }
  return named;
}

// Memory that a fork() would have to copy the tables of; small pages, whatever the system prefers.
inline void touch_heap() {
  const char* const asked = std::getenv("FERRY_CHILD_HEAP_MIB");
  const std::size_t size = asked == nullptr ? 0 : std::strtoull(asked, nullptr, 10) << 20;
  if (size == 0) return;
  void* const heap =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (heap == MAP_FAILED) fail("touch the heap");
#ifdef MADV_NOHUGEPAGE
  madvise(heap, size, MADV_NOHUGEPAGE);
#endif
  for (std::size_t i = 0; i < size; i += 4096) static_cast<char*>(heap)[i] = 1;
}

inline int run(int argc, char** argv, const char* version, std::span<const prims::Test> tests) {
  if (argc == 3) touch_heap();
  return prims::run(argc, argv, version, tests);
}

}  // namespace child
