// gen WORKLOAD --port P [--server PID] [--name value ...]: options and dispatch.
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "gen.hpp"

namespace {

using gen::Options;

struct Workload {
  std::string_view name;
  void (*run)(const Options&);
};

// One line per workload; --tls 1 does any of them over TLS, but for udp.
constexpr Workload workloads[] = {
    {"echo", gen::run_echo}, {"bulk", gen::run_bulk}, {"churn", gen::run_churn},
    {"idle", gen::run_idle}, {"udp", gen::run_udp},
};

double number(const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  switch (*end) {
    case 'K':
      return value * 1024;
    case 'M':
      return value * 1024 * 1024;
    case 'G':
      return value * 1024 * 1024 * 1024;
    case '\0':
      return value;
    default:
      gen::die("not a number: %s", text);
  }
}

void set_option(Options& options, std::string_view name, const char* text) {
  if (name == "--mode") {
    options.mode = text;
    return;
  }
  const double value = number(text);
  if (name == "--port")
    options.port = static_cast<int>(value);
  else if (name == "--server")
    options.server = static_cast<pid_t>(value);
  else if (name == "--conns")
    options.conns = static_cast<int>(value);
  else if (name == "--inflight")
    options.inflight = static_cast<int>(value);
  else if (name == "--size")
    options.size = static_cast<std::size_t>(value);
  else if (name == "--bytes")
    options.bytes = static_cast<std::uint64_t>(value);
  else if (name == "--count")
    options.count = static_cast<std::uint64_t>(value);
  else if (name == "--time")
    options.seconds = value;
  else if (name == "--warm")
    options.warm = value;
  else if (name == "--gap")
    options.gap = value;
  else if (name == "--verify")
    options.verify = value != 0;
  else if (name == "--spin")
    options.spin = value != 0;
  else if (name == "--tls")
    options.tls = value != 0;
  else if (name == "--train")
    options.train = static_cast<int>(value);
  else if (name == "--flood")
    options.flood = value != 0;
  else if (name == "--resume")
    options.resume = value != 0;
  else
    gen::die("unknown option %.*s", static_cast<int>(name.size()), name.data());
}

Options parse(int argc, char** argv) {
  Options options;
  if (argc < 2) gen::die("usage: gen echo|bulk|churn|idle|udp --port P [--server PID] ...");
  options.command = argv[1];
  if (argc % 2 != 0) gen::die("option %s has no value", argv[argc - 1]);
  for (int i = 2; i < argc; i += 2) set_option(options, argv[i], argv[i + 1]);
  if (options.port <= 0 || options.port > 65535) gen::die("--port is missing or out of range");
  if (options.conns < 1 || options.inflight < 1 || options.size < 1 || options.train < 1)
    gen::die("--conns, --inflight, --size and --train start at 1");
  if (options.tls && options.command == "udp") gen::die("udp knows no TLS");
  if (static_cast<std::size_t>(options.inflight) * options.size > gen::pattern_room)
    gen::die("--inflight times --size is too large");
  if (options.resume && (!options.tls || options.command != "churn"))
    gen::die("--resume goes with churn over TLS");
  if (options.gap > 0) options.spin = true;  // what is paced must not depend on our own wake-ups
  return options;
}

void raise_file_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  errno = 0;
  const Options options = parse(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  alarm(120);  // every run is bounded, whatever happens
  raise_file_limit();
  for (const Workload& workload : workloads) {
    if (workload.name != options.command) continue;
    workload.run(options);
    return 0;
  }
  gen::die("unknown workload %s", options.command.c_str());
}
