// What the workloads share: failing, clocks, the pattern, sockets, the histogram, the window.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gen.hpp"
#include "tls.hpp"

namespace gen {
namespace {

[[noreturn]] void stop(int status, const char* format, std::va_list arguments) {
  const int error = errno;
  std::fputs("gen: ", stderr);
  std::vfprintf(stderr, format, arguments);
  if (status == 1 && error != 0) std::fprintf(stderr, " (%s)", std::strerror(error));
  std::fputc('\n', stderr);
  std::exit(status);
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec t{};
  if (clock_gettime(clock, &t) != 0) return 0;
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

// Nanoseconds that a process was ready to run and did not: somebody else was on its CPU.
std::uint64_t run_delay(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/schedstat", static_cast<int>(pid));
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return 0;
  std::uint64_t ran = 0, waited = 0;
  const int fields = std::fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited);
  std::fclose(file);
  return fields == 2 ? waited : 0;
}

std::vector<std::byte> make_pattern() {
  std::vector<std::byte> bytes(period + pattern_room);
  std::uint64_t x = 88172645463325252u;
  for (std::size_t i = 0; i < period; ++i) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    bytes[i] = static_cast<std::byte>(x >> 32);
  }
  for (std::size_t i = period; i < bytes.size(); ++i) bytes[i] = bytes[i - period];
  return bytes;
}

}  // namespace

void die(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  stop(1, format, arguments);
}

void wrong_bytes(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  stop(3, format, arguments);
}

std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

std::uint64_t nanoseconds(double seconds) { return static_cast<std::uint64_t>(seconds * 1e9); }

const std::byte* pattern(std::uint64_t position) {
  static const std::vector<std::byte> bytes = make_pattern();
  return bytes.data() + position % period;
}

void Channel::connect(const Options& options) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(options.port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) die("socket");
  const int one = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    die("connect to port %d", options.port);
  if (options.tls) ssl_ = tls::start(fd_, options.resume);
}

void Channel::handshake() {
  if (ssl_ != nullptr) tls::handshake(ssl_);
}

void Channel::set_nonblocking() { fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK); }

ssize_t Channel::send(const std::byte* data, std::size_t size) {
  return ssl_ == nullptr ? ::send(fd_, data, size, MSG_NOSIGNAL) : tls::send(ssl_, data, size);
}

ssize_t Channel::receive(std::byte* data, std::size_t size, int flags) {
  return ssl_ == nullptr ? recv(fd_, data, size, flags) : tls::receive(ssl_, data, size);
}

bool Channel::resumed() const { return ssl_ != nullptr && tls::resumed(ssl_); }

void Channel::end() {
  if (ssl_ != nullptr) tls::end(ssl_);
  if (shutdown(fd_, SHUT_WR) != 0) die("shutdown");
}

void Channel::close() {
  if (ssl_ != nullptr) tls::free(ssl_);
  ::close(fd_);
  ssl_ = nullptr;
  fd_ = -1;
}

void prove(Channel& channel, std::uint64_t position, std::size_t size) {
  const std::byte* message = pattern(position);
  std::vector<std::byte> reply(size);
  if (channel.send(message, size) != static_cast<ssize_t>(size)) die("send");
  for (std::size_t received = 0; received < size;) {
    const ssize_t n = channel.receive(reply.data() + received, size - received);
    if (n <= 0) die("recv");
    received += static_cast<std::size_t>(n);
  }
  if (std::memcmp(reply.data(), message, size) != 0) wrong_bytes("wrong bytes");
}

void Histogram::add(std::uint64_t ns) {
  std::size_t slot = ns;
  if (ns >= slots) {
    const auto exponent = static_cast<unsigned>(std::bit_width(ns)) - 1;
    slot = (exponent - 5) * slots + ((ns >> (exponent - 6)) & (slots - 1));
  }
  ++counts_[slot < counts_.size() ? slot : counts_.size() - 1];
  ++total_;
}

double Histogram::microseconds(double quantile) const {
  const auto wanted = static_cast<std::uint64_t>(quantile * static_cast<double>(total_));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen <= wanted) continue;
    if (i < slots) return static_cast<double>(i) / 1e3;
    const std::uint64_t exponent = i / slots + 5, step = i % slots;
    return static_cast<double>((std::uint64_t{1} << exponent) + (step << (exponent - 6))) / 1e3;
  }
  return 0;
}

Window::Window(const Options& options) : server_{options.server} {
  if (server_ != 0 && clock_getcpuclockid(server_, &server_clock_) != 0)
    die("no server with pid %d", static_cast<int>(server_));
}

Window::Sample Window::sample() const {
  Sample s;
  s.server_wait = server_ != 0 ? run_delay(server_) : 0;
  s.generator_wait = run_delay(getpid());
  s.generator = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  s.server = server_ != 0 ? clock_ns(server_clock_) : 0;
  s.wall = now_ns();
  return s;
}

void Window::begin() { begin_ = sample(); }
void Window::end() { end_ = sample(); }

double Window::seconds() const { return static_cast<double>(end_.wall - begin_.wall) / 1e9; }

double Window::server_seconds() const {
  return static_cast<double>(end_.server - begin_.server) / 1e9;
}

void Window::print(double operations, const char* unit) const {
  const double wall = seconds(), server = server_seconds();
  const double generator = static_cast<double>(end_.generator - begin_.generator) / 1e9;
  const double server_wait = static_cast<double>(end_.server_wait - begin_.server_wait) / 1e9;
  const double own_wait = static_cast<double>(end_.generator_wait - begin_.generator_wait) / 1e9;
  const double per_operation = operations > 0 ? 1e6 / operations : 0;
  std::printf("\"secs\":%.6f,\"%s\":%.0f,\"rate\":%.2f,", wall, unit, operations,
              operations / wall);
  std::printf("\"srv_cpu_s\":%.6f,\"gen_cpu_s\":%.6f,", server, generator);
  std::printf("\"srv_us\":%.5f,\"gen_us\":%.5f,", server * per_operation,
              generator * per_operation);
  std::printf("\"srv_busy\":%.3f,\"gen_busy\":%.3f,", server / wall, generator / wall);
  std::printf("\"srv_wait\":%.4f,\"gen_wait\":%.4f", server_wait / wall, own_wait / wall);
}

void print_latency(const Histogram& histogram) {
  std::printf(",\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f", histogram.microseconds(0.5),
              histogram.microseconds(0.99), histogram.microseconds(0.999));
}

}  // namespace gen
