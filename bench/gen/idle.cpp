// Idle connections: every one proves itself with one echo, then all of them rest. What is measured
// is by how much the server's private memory has grown.
#include <sys/resource.h>
#include <sys/socket.h>
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

int open_and_prove(const Options& options, std::size_t index) {
  const int fd = tcp_connect(options);
  const std::byte* message = pattern(stream_start(index));
  std::vector<std::byte> reply(options.size);
  const auto size = static_cast<ssize_t>(options.size);
  if (send(fd, message, options.size, MSG_NOSIGNAL) != size) die("idle: send");
  if (recv(fd, reply.data(), reply.size(), MSG_WAITALL) != size) die("idle: recv");
  if (std::memcmp(reply.data(), message, reply.size()) != 0) wrong_bytes("idle: wrong bytes");
  return fd;
}

}  // namespace

void run_idle(const Options& options) {
  if (options.server == 0) die("idle needs --server");
  const int conns = affordable(options.conns);
  const std::uint64_t before = private_bytes(options.server);
  std::vector<int> open;
  for (int i = 0; i < conns; ++i)
    open.push_back(open_and_prove(options, static_cast<std::size_t>(i)));
  usleep(500'000);  // let the server come to rest
  const std::uint64_t after = private_bytes(options.server);
  for (const int fd : open) close(fd);
  std::printf("{\"cmd\":\"idle\",\"conns\":%d,\"before\":%" PRIu64 ",\"after\":%" PRIu64
              ",\"bytes_per_conn\":%.1f}\n",
              conns, before, after,
              (static_cast<double>(after) - static_cast<double>(before)) / conns);
}

}  // namespace gen
