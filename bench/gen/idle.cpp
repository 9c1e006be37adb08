// Idle connections: every one proves itself with one echo, then all of them rest. What is measured
// is by how much the server's private memory has grown.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gen.hpp"

namespace gen {
namespace {

// Private pages only: those of shared libraries do not count.
std::uint64_t private_bytes(pid_t pid) {
  char path[64], line[256];
  std::snprintf(path, sizeof path, "/proc/%d/smaps_rollup", static_cast<int>(pid));
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) die("cannot read %s", path);
  std::uint64_t kilobytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    const bool counts = std::strncmp(line, "Private_Clean:", 14) == 0 ||
                        std::strncmp(line, "Private_Dirty:", 14) == 0;
    if (counts) kilobytes += std::strtoull(line + 14, nullptr, 10);
  }
  std::fclose(file);
  return kilobytes * 1024;
}

int affordable(int wanted) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > static_cast<rlim_t>(wanted) + 100)
    return wanted;
  return std::max(1, static_cast<int>(limit.rlim_cur) - 100);
}

}  // namespace

void run_idle(const Options& options) {
  if (options.server == 0) die("idle needs --server");
  const int conns = affordable(options.conns);
  const std::uint64_t before = private_bytes(options.server);
  std::vector<Channel> open(static_cast<std::size_t>(conns));
  for (std::size_t i = 0; i < open.size(); ++i) {
    open[i].connect(options);
    prove(open[i], stream_start(i), options.size);
  }
  usleep(500'000);  // let the server come to rest
  const std::uint64_t after = private_bytes(options.server);
  for (Channel& channel : open) channel.close();
  std::printf("{\"cmd\":\"idle\",\"conns\":%d,\"before\":%" PRIu64 ",\"after\":%" PRIu64
              ",\"bytes_per_conn\":%.1f}\n",
              conns, before, after,
              (static_cast<double>(after) - static_cast<double>(before)) / conns);
}

}  // namespace gen
