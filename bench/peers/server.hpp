// The contract of every server that is compared, and what their programs share.
//
//   PROGRAM MODE PORT [VARIANT]    listen on 127.0.0.1:PORT, print READY, serve until SIGTERM,
//                                  in one thread of this very process
//   PROGRAM --version              print the library's name and version
//
//   echo    send back every byte, in order, with back-pressure: never buffer without bound
//   sink    read and discard
//   split   the same stream as echo, handled as a protocol would: each 64-byte message in what
//           was read is answered with a write call of its own
//
// At the peer's end, send what is owed and close; a reset connection closes quietly. What a program
// does not know, mode or variant, ends it with exit status 2. All of them read at most 64 KiB at a
// time, set TCP_NODELAY, and do what is idiomatic and fast in their library.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

namespace bench {

inline constexpr std::size_t chunk = 65536;  // the most that is read at a time
inline constexpr std::size_t message = 64;   // of mode split
inline constexpr int backlog = 4096;
inline constexpr int bad_arguments = 2;  // exit status

enum class Mode { echo, sink, split };

struct Arguments {
  Mode mode;
  std::uint16_t port;
  std::string_view variant;
};

[[noreturn]] inline void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// Reads the command line; also lets the process open as many connections as the system allows.
inline Arguments parse(int argc, char** argv, const char* version,
                       std::initializer_list<std::string_view> variants = {}) {
  if (argc == 2 && std::string_view{argv[1]} == "--version") {
    std::puts(version);
    std::exit(0);
  }
  if (argc < 3 || argc > 4) std::exit(bad_arguments);
  Arguments arguments{};
  const std::string_view mode = argv[1];
  if (mode == "echo")
    arguments.mode = Mode::echo;
  else if (mode == "sink")
    arguments.mode = Mode::sink;
  else if (mode == "split")
    arguments.mode = Mode::split;
  else
    std::exit(bad_arguments);
  const int port = std::atoi(argv[2]);
  if (port <= 0 || port > 65535) std::exit(bad_arguments);
  arguments.port = static_cast<std::uint16_t>(port);
  if (argc == 4) {
    arguments.variant = argv[3];
    bool known = false;
    for (const std::string_view variant : variants) known = known || variant == arguments.variant;
    if (!known) std::exit(bad_arguments);
  }
  std::signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return arguments;
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline int listen_tcp(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  const int one = 1;
  const sockaddr_in address = loopback(port);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // accepted sockets inherit it
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (listen(fd, backlog) != 0) fail("listen");
  return fd;
}

inline void ready() {
  std::puts("READY");
  std::fflush(stdout);
}

}  // namespace bench
