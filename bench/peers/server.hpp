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
//   udp     send every datagram that comes to 127.0.0.1:PORT back to its sender. Programs that can
//           handle several at once also know udp-mmsg, udp-gso (by the system's calls, and with its
//           offload) or udp-batch (by the library's), and udp is then one by one
//   tls     echo over TLS, with the certificate of certificate.hpp; tlssink: sink over TLS
//
// At the peer's end, send what is owed and close; a reset connection closes quietly. What a program
// does not know, mode or variant, ends it with exit status 2. All of them read at most 64 KiB at a
// time, set TCP_NODELAY, give a socket for datagrams the same buffers, and do what is idiomatic and
// fast in their library.
#pragma once

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#endif

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
inline constexpr int datagram_buffers = 4 << 20;  // what is asked of the system, each way
inline constexpr int bad_arguments = 2;           // exit status
#ifdef SIGBREAK
inline constexpr int stop_signal = SIGINT;  // Windows sends no other
#else
inline constexpr int stop_signal = SIGTERM;
#endif

// Those of datagrams come last.
enum class Mode { echo, sink, split, udp, udp_mmsg, udp_gso, udp_batch };

struct NamedMode {
  std::string_view name;
  Mode mode;
};
inline constexpr NamedMode named_modes[] = {
    {"echo", Mode::echo},         {"tls", Mode::echo},        {"sink", Mode::sink},
    {"tlssink", Mode::sink},      {"split", Mode::split},     {"udp", Mode::udp},
    {"udp-mmsg", Mode::udp_mmsg}, {"udp-gso", Mode::udp_gso}, {"udp-batch", Mode::udp_batch},
};

enum class Serves { plain, tls, both };  // what a program knows

struct Arguments {
  Mode mode;
  bool tls = false;
  std::uint16_t port;
  std::string_view variant;
};

// Ends the program if the mode has no such name, or is one of datagrams and not in `datagrams`.
inline Mode parse_mode(std::string_view name, std::initializer_list<Mode> datagrams) {
  for (const NamedMode& named : named_modes) {
    if (named.name != name) continue;
    bool known = named.mode < Mode::udp;
    for (const Mode mode : datagrams) known = known || mode == named.mode;
    if (known) return named.mode;
  }
  std::exit(bad_arguments);
}

// Reads the command line; also lets the process open as many connections as the system allows.
inline Arguments parse(int argc, char** argv, const char* version,
                       std::initializer_list<std::string_view> variants = {},
                       Serves serves = Serves::plain, std::initializer_list<Mode> datagrams = {}) {
  if (argc == 2 && std::string_view{argv[1]} == "--version") {
    std::puts(version);
    std::exit(0);
  }
  if (argc < 3 || argc > 4) std::exit(bad_arguments);
  Arguments arguments{};
  const std::string_view mode = argv[1];
  arguments.tls = mode.substr(0, 3) == "tls";
  if (serves == (arguments.tls ? Serves::plain : Serves::tls)) std::exit(bad_arguments);
  arguments.mode = parse_mode(mode, datagrams);
  const int port = std::atoi(argv[2]);
  if (port <= 0 || port > 65535) std::exit(bad_arguments);
  arguments.port = static_cast<std::uint16_t>(port);
  if (argc == 4) {
    arguments.variant = argv[3];
    bool known = false;
    for (const std::string_view variant : variants) known = known || variant == arguments.variant;
    if (!known) std::exit(bad_arguments);
  }
#ifdef SIGPIPE
  std::signal(SIGPIPE, SIG_IGN);
#endif
#ifdef RLIMIT_NOFILE
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
#endif
  return arguments;
}

inline void ready() {
  std::puts("READY");
  std::fflush(stdout);
}

}  // namespace bench
