// What tests ask of the system where POSIX systems differ.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#if defined(__APPLE__)
#include <libproc.h>
#include <mach-o/dyld.h>
#endif

namespace test {

// Not every system can ask for that at a descriptor's birth.
inline int not_inherited(int fd) {
  if (fd != -1) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

#ifdef MSG_NOSIGNAL
inline constexpr int no_signal = MSG_NOSIGNAL;
#else
inline constexpr int no_signal = 0;
#endif

// How much memory this process has in use; 0: unknown.
inline std::size_t resident_bytes() {
#if defined(__APPLE__)
  proc_taskinfo info{};
  ::proc_pidinfo(::getpid(), PROC_PIDTASKINFO, 0, &info, sizeof info);
  return static_cast<std::size_t>(info.pti_resident_size);
#else
  std::ifstream file{"/proc/self/statm"};
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
#endif
}

// This program's file.
inline std::string program_path() {
#if defined(__APPLE__)
  std::string path(4096, '\0');
  auto size = static_cast<std::uint32_t>(path.size());
  ::_NSGetExecutablePath(path.data(), &size);
  return path.c_str();
#elif defined(__linux__)
  return "/proc/self/exe";
#else
  return "/proc/curproc/file";
#endif
}

// The backlog that the system keeps for a listening TCP socket; none: it does not tell.
inline std::optional<int> backlog_of(int fd) {
#if defined(__linux__)
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    return static_cast<int>(info.tcpi_sacked);
  }
#else
  static_cast<void>(fd);
#endif
  return std::nullopt;
}

}  // namespace test
