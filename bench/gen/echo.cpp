// Echo round trips: every connection keeps a number of messages in flight and sends the next one
// as soon as a reply is complete. Edge-triggered epoll, as cheap as readiness gets, so that the
// server is the bottleneck as often as possible.
//
// The run has four phases. Bytes are compared in all but `measure` (with --verify in that too);
// since `drain` compares again at the right place of the stream, a byte lost, doubled or moved
// while measuring is found as well.
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "gen.hpp"

namespace gen {
namespace {

struct Connection {
  Channel channel;
  std::size_t index = 0;
  std::uint64_t queued = 0;    // bytes that are to be sent
  std::uint64_t sent = 0;      // of these, taken by the kernel
  std::uint64_t received = 0;  // bytes of replies
  std::uint64_t replies = 0;   // complete ones
  int credit = 0;              // messages that may be queued now
  std::uint64_t next_send = 0;
  std::vector<std::uint64_t> queued_at;  // ring: when the messages in flight were queued
  std::size_t newest = 0, oldest = 0;
};

class EchoLoad {
 public:
  explicit EchoLoad(const Options& options);
  void run();

 private:
  enum class Phase { warm, measure, drain, done };

  void open(std::size_t index);
  void wait_and_serve();
  void receive(Connection& c, bool until_empty);
  void take(Connection& c, std::size_t n);
  void send_next(Connection& c);
  void send_due();
  void advance();
  bool everybody_answered() const;
  bool drained() const;
  void print() const;

  const Options& options_;
  int epoll_;
  Phase phase_ = Phase::warm;
  Window window_;
  Histogram latency_;
  std::vector<Connection> connections_;
  std::vector<std::byte> buffer_;
  std::uint64_t started_ = 0, give_up_ = 0, verified_ = 0;
  std::uint64_t queued_total_ = 0, total_ = 0, measured_ = 0;
};

EchoLoad::EchoLoad(const Options& options)
    : options_{options},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      window_{options},
      connections_(static_cast<std::size_t>(options.conns)),
      buffer_(std::size_t{64} * 1024) {
  for (std::size_t i = 0; i < connections_.size(); ++i) open(i);
}

void EchoLoad::open(std::size_t index) {
  Connection& c = connections_[index];
  c.channel.connect(options_);
  c.channel.handshake();
  c.index = index;
  c.credit = options_.inflight;
  c.queued_at.resize(static_cast<std::size_t>(options_.inflight));
  c.channel.set_nonblocking();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &c;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.channel.fd(), &event) != 0) die("epoll_ctl");
}

void EchoLoad::run() {
  started_ = now_ns();
  give_up_ = started_ + nanoseconds(options_.warm + options_.seconds + 20);
  if (options_.count != 0) {  // a fixed number of messages: all of them count
    phase_ = Phase::measure;
    window_.begin();
  }
  for (Connection& c : connections_) send_next(c);
  while (phase_ != Phase::done) {
    wait_and_serve();
    if (options_.gap > 0) send_due();
    advance();
  }
  for (Connection& c : connections_) {
    receive(c, true);  // nothing more may come
    c.channel.close();
  }
  close(epoll_);
  print();
}

void EchoLoad::wait_and_serve() {
  epoll_event events[512];
  const int n = epoll_wait(epoll_, events, 512, options_.spin ? 0 : 100);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; ++i) {
    Connection& c = *static_cast<Connection*>(events[i].data.ptr);
    const std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    receive(c, (events[i].events & ended) != 0);
    send_next(c);
  }
}

void EchoLoad::receive(Connection& c, bool until_empty) {
  for (;;) {
    const ssize_t n = c.channel.receive(buffer_.data(), buffer_.size());
    if (n == 0) die("connection %zu: the server closed it", c.index);
    if (n < 0) {
      if (errno == EAGAIN) return;
      die("connection %zu: recv", c.index);
    }
    take(c, static_cast<std::size_t>(n));
    if (until_empty) continue;
    // A short read of a plain connection was its last one; one of TLS may be one record of many.
    const bool last = !options_.tls && static_cast<std::size_t>(n) < buffer_.size();
    if (last || c.received == c.sent) return;
  }
}

void EchoLoad::take(Connection& c, std::size_t n) {
  if (c.received + n > c.sent) wrong_bytes("connection %zu: more came back than went out", c.index);
  if (phase_ != Phase::measure || options_.verify) {
    if (std::memcmp(buffer_.data(), pattern(stream_start(c.index) + c.received), n) != 0)
      wrong_bytes("connection %zu: wrong bytes at %" PRIu64, c.index, c.received);
    verified_ += n;
  }
  c.received += n;
  const std::uint64_t now = now_ns();
  while (c.received >= (c.replies + 1) * options_.size) {
    ++c.replies;
    ++c.credit;
    ++total_;
    if (phase_ == Phase::measure) {
      ++measured_;
      latency_.add(now - c.queued_at[c.oldest]);
    }
    if (++c.oldest == c.queued_at.size()) c.oldest = 0;
    if (options_.gap > 0) c.next_send = now + nanoseconds(options_.gap);
  }
}

void EchoLoad::send_next(Connection& c) {
  const std::uint64_t now = now_ns();
  const bool may_queue = phase_ == Phase::warm || phase_ == Phase::measure;
  while (may_queue && c.credit > 0 && c.next_send <= now) {
    if (options_.count != 0 && queued_total_ >= options_.count) break;
    --c.credit;
    ++queued_total_;
    c.queued += options_.size;
    c.queued_at[c.newest] = now;
    if (++c.newest == c.queued_at.size()) c.newest = 0;
  }
  while (c.sent < c.queued) {
    const ssize_t n = c.channel.send(pattern(stream_start(c.index) + c.sent),
                                     static_cast<std::size_t>(c.queued - c.sent));
    if (n < 0) {
      if (errno == EAGAIN) return;  // EPOLLOUT comes when there is room
      die("connection %zu: send", c.index);
    }
    c.sent += static_cast<std::uint64_t>(n);
  }
}

void EchoLoad::send_due() {
  for (Connection& c : connections_) send_next(c);
}

bool EchoLoad::everybody_answered() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const Connection& c) { return c.replies > 0; });
}

bool EchoLoad::drained() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const Connection& c) { return c.received == c.queued; });
}

void EchoLoad::advance() {
  const std::uint64_t now = now_ns();
  if (now > give_up_) die("no progress after %" PRIu64 " messages", total_);
  switch (phase_) {
    case Phase::warm:
      if (now - started_ < nanoseconds(options_.warm) || !everybody_answered()) return;
      phase_ = Phase::measure;
      window_.begin();
      return;
    case Phase::measure: {
      // At least one each: a machine that stood still must not pass for a server without cost.
      const bool over = options_.count != 0
                            ? total_ >= options_.count
                            : now - window_.started() >= nanoseconds(options_.seconds) &&
                                  measured_ >= connections_.size();
      if (!over) return;
      window_.end();
      phase_ = Phase::drain;
      return;
    }
    case Phase::drain:
      if (drained()) phase_ = Phase::done;
      return;
    case Phase::done:
      return;
  }
}

void EchoLoad::print() const {
  std::printf("{\"cmd\":\"echo\",\"conns\":%d,\"size\":%zu,\"inflight\":%d,", options_.conns,
              options_.size, options_.inflight);
  window_.print(static_cast<double>(measured_), "msgs");
  print_latency(latency_);
  std::printf(",\"verified\":%" PRIu64 "}\n", verified_);
}

}  // namespace

void run_echo(const Options& options) { EchoLoad{options}.run(); }

}  // namespace gen
