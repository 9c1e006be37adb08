// The load generator: one process, one thread, one workload per run, one JSON object on stdout.
// A workload is a file of its own with a run_* function; main.cpp lists them. What they share
// is here: options, the pattern that proves bytes right, the measured window, the histogram.
#pragma once

#include <sys/types.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

struct ssl_st;  // OpenSSL's SSL

namespace gen {

struct Options {
  std::string command;
  std::string mode = "echo";  // bulk: echo or sink
  int port = 0;
  pid_t server = 0;  // whose CPU time and memory is read; 0: nobody's
  int conns = 1;
  int inflight = 1;
  std::size_t size = 64;
  std::uint64_t bytes = std::uint64_t{1} << 30;
  std::uint64_t count = 0;  // 0: by time
  double seconds = 1.0;
  double warm = 0.15;
  double gap = 0;       // echo: seconds between a reply and the next message; 0: none
  bool verify = false;  // check every byte, not only those outside of the measured window
  bool spin = false;    // never sleep, so that only the server's wake-ups are measured
  bool tls = false;     // on every connection
  int train = 1;        // udp: datagrams that go to the kernel as one message
  bool flood = false;   // udp: send without waiting for answers
  bool resume = false;  // churn over TLS: short handshakes, with a session that is resumed
};

// Ends the program: exit status 1, or 3 when a byte was wrong.
[[noreturn, gnu::format(printf, 1, 2)]] void die(const char* format, ...);
[[noreturn, gnu::format(printf, 1, 2)]] void wrong_bytes(const char* format, ...);

std::uint64_t now_ns();
std::uint64_t nanoseconds(double seconds);

// Streams are periodic: byte p of a stream is pattern(p)[0]. The period is prime, so that lost,
// repeated, reordered or crossed bytes all show in a plain comparison.
inline constexpr std::size_t period = 65521;
inline constexpr std::size_t pattern_room = std::size_t{1} << 20;  // bytes valid at pattern(p)
const std::byte* pattern(std::uint64_t position);

// Connections start at different places of the pattern.
inline std::uint64_t stream_start(std::size_t connection) { return connection * 7919; }

// A connection, plain or TLS. It answers as a socket does: -1 and EAGAIN if it would block, 0 at
// the peer's end.
class Channel {
 public:
  // Blocks, also in what follows until set_nonblocking(). TLS shakes hands with the first bytes.
  void connect(const Options& options);
  void handshake();  // now
  void set_nonblocking();
  ssize_t send(const std::byte* data, std::size_t size);
  ssize_t receive(std::byte* data, std::size_t size, int flags = 0);  // TLS ignores the flags
  bool resumed() const;
  void end();  // tells the peer that nothing more will come
  void close();
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  ssl_st* ssl_ = nullptr;  // null: plain
};

// Sends a message and compares its echo, blocking.
void prove(Channel& channel, std::uint64_t position, std::size_t size);

// Log-linear latency histogram with a resolution of 1.6 %.
class Histogram {
 public:
  void add(std::uint64_t ns);
  double microseconds(double quantile) const;

 private:
  static constexpr unsigned slots = 64;
  std::array<std::uint64_t, slots * 40> counts_{};
  std::uint64_t total_ = 0;
};

// What is measured between begin() and end(): wall time, CPU time of the server (all its threads)
// and of the generator, and how long either was ready to run but did not get its CPU.
class Window {
 public:
  explicit Window(const Options& options);
  void begin();
  void end();
  std::uint64_t started() const { return begin_.wall; }
  double seconds() const;
  double server_seconds() const;
  // Prints the members of a JSON object; `unit` names what `operations` counts.
  void print(double operations, const char* unit) const;

 private:
  struct Sample {
    std::uint64_t wall = 0, server = 0, generator = 0, server_wait = 0, generator_wait = 0;
  };
  Sample sample() const;

  pid_t server_;
  clockid_t server_clock_{};
  Sample begin_{}, end_{};
};

void print_latency(const Histogram& histogram);

void run_echo(const Options& options);
void run_bulk(const Options& options);
void run_churn(const Options& options);
void run_idle(const Options& options);
void run_udp(const Options& options);

}  // namespace gen
