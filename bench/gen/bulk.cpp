// Bulk streams: one way (sink) or there and back (echo), over one or many connections.
//
// Echo runs in three legs over the same connections: a warm-up whose bytes are compared, the
// measured leg, and a tail whose bytes are compared again, which also finds what was lost or
// doubled in between. While it measures, the generator copies less than the server does: it
// receives with MSG_TRUNC (nothing is copied) and feeds a sink with sendfile (page references).
// Over TLS there is no such help, and no half of a connection that is closed alone (most libraries
// cannot): an echo ends when all has come back.
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "gen.hpp"

namespace gen {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t send_step = mebibyte / 4;  // bounded, so that receiving gets its turn

struct Stream {
  Channel channel;
  std::size_t index = 0;
  std::uint64_t sent = 0, received = 0, target = 0;
  bool shut = false, ended = false;
};

struct Leg {
  std::uint64_t bytes;  // per connection
  bool verify;
  bool last;  // shut down after it, and expect the server's end too
};

class BulkLoad {
 public:
  explicit BulkLoad(const Options& options);
  void run();

 private:
  void make_file();
  void run_leg(const Leg& leg);
  bool finished(const Stream& s) const;
  void pump(Stream& s);
  bool send_some(Stream& s);
  bool receive_some(Stream& s);
  void compare(const Stream& s, std::size_t n);
  void print(std::uint64_t bytes) const;

  const Options& options_;
  bool echo_;
  int epoll_;
  int file_ = -1;
  Leg leg_{};
  Window window_;
  std::vector<Stream> streams_;
  std::vector<std::byte> buffer_;
  std::uint64_t verified_ = 0;
};

BulkLoad::BulkLoad(const Options& options)
    : options_{options},
      echo_{options.mode == "echo"},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      window_{options},
      streams_(static_cast<std::size_t>(options.conns)),
      buffer_(mebibyte) {
  if (!echo_ && options.mode != "sink") die("--mode is echo or sink");
  if (!echo_ && !options.tls) make_file();
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    streams_[i].channel.connect(options);
    streams_[i].channel.handshake();
    streams_[i].index = i;
    streams_[i].channel.set_nonblocking();
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &streams_[i];
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, streams_[i].channel.fd(), &event) != 0) die("epoll_ctl");
  }
  usleep(20'000);  // let the server accept them all first
}

void BulkLoad::make_file() {
  file_ = memfd_create("bulk", MFD_CLOEXEC);
  if (file_ < 0) die("memfd_create");
  if (pwrite(file_, pattern(0), mebibyte, 0) != static_cast<ssize_t>(mebibyte)) die("pwrite");
}

void BulkLoad::run() {
  const std::uint64_t each = options_.bytes / streams_.size();
  if (echo_) run_leg({std::min<std::uint64_t>(4 * mebibyte, each), true, false});
  window_.begin();
  run_leg({each, options_.verify, !echo_});
  window_.end();
  if (echo_) run_leg({mebibyte, true, true});
  for (Stream& s : streams_) s.channel.close();
  close(epoll_);
  if (file_ >= 0) close(file_);
  print(each * streams_.size());
}

bool BulkLoad::finished(const Stream& s) const {
  if (leg_.last) return s.ended;
  return s.received == s.target;
}

void BulkLoad::run_leg(const Leg& leg) {
  leg_ = leg;
  for (Stream& s : streams_) s.target += leg.bytes;
  for (Stream& s : streams_) pump(s);  // edge-triggered: nobody tells us again that there is room
  const std::uint64_t give_up = now_ns() + nanoseconds(100);
  while (!std::all_of(streams_.begin(), streams_.end(),
                      [this](const Stream& s) { return finished(s); })) {
    epoll_event events[256];
    const int n = epoll_wait(epoll_, events, 256, 1000);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    if (now_ns() > give_up) die("bulk: no progress");
    for (int i = 0; i < n; ++i) pump(*static_cast<Stream*>(events[i].data.ptr));
  }
}

void BulkLoad::pump(Stream& s) {
  bool again = true;
  while (again && !s.ended) {
    const bool went_out = send_some(s);
    const bool came_in = receive_some(s);
    again = went_out || came_in;
  }
}

bool BulkLoad::send_some(Stream& s) {
  if (s.sent == s.target) {
    const bool whole = !echo_ || !options_.tls || s.received == s.target;
    if (leg_.last && !s.shut && whole) {
      s.shut = true;
      s.channel.end();
    }
    return false;
  }
  const std::uint64_t rest = s.target - s.sent;
  ssize_t n = 0;
  if (echo_ || options_.tls) {
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(rest, send_step));
    n = s.channel.send(pattern(stream_start(s.index) + s.sent), length);
  } else {
    auto offset = static_cast<off_t>(s.sent % mebibyte);
    const std::uint64_t in_file = mebibyte - static_cast<std::uint64_t>(offset);
    n = sendfile(s.channel.fd(), file_, &offset, static_cast<std::size_t>(std::min(rest, in_file)));
  }
  if (n < 0 && errno != EAGAIN) die("stream %zu: send", s.index);
  if (n <= 0) return false;
  s.sent += static_cast<std::uint64_t>(n);
  return true;
}

bool BulkLoad::receive_some(Stream& s) {
  const int flags = leg_.verify ? 0 : MSG_TRUNC;
  const ssize_t n = s.channel.receive(buffer_.data(), buffer_.size(), flags);
  if (n < 0) {
    if (errno != EAGAIN) die("stream %zu: recv", s.index);
    return false;
  }
  if (n == 0) {
    const bool complete = s.sent == s.target && (!echo_ || s.received == s.target);
    if (!complete || !leg_.last)
      wrong_bytes("stream %zu: ended early (sent %" PRIu64 ", received %" PRIu64 ")", s.index,
                  s.sent, s.received);
    s.ended = true;
    return false;
  }
  if (!echo_ || s.received + static_cast<std::uint64_t>(n) > s.sent)
    wrong_bytes("stream %zu: more came back than is right", s.index);
  if (leg_.verify) compare(s, static_cast<std::size_t>(n));
  s.received += static_cast<std::uint64_t>(n);
  return true;
}

void BulkLoad::compare(const Stream& s, std::size_t n) {
  if (std::memcmp(buffer_.data(), pattern(stream_start(s.index) + s.received), n) != 0)
    wrong_bytes("stream %zu: wrong bytes after %" PRIu64, s.index, s.received);
  verified_ += n;
}

void BulkLoad::print(std::uint64_t bytes) const {
  const double gib = static_cast<double>(bytes) / 1073741824.0;
  std::printf("{\"cmd\":\"bulk\",\"mode\":\"%s\",\"conns\":%d,", options_.mode.c_str(),
              options_.conns);
  window_.print(static_cast<double>(bytes), "bytes");
  std::printf(",\"MBps\":%.1f,\"srv_s_per_GiB\":%.5f,\"verified\":%" PRIu64 "}\n",
              static_cast<double>(bytes) / 1e6 / window_.seconds(), window_.server_seconds() / gib,
              verified_);
}

}  // namespace

void run_bulk(const Options& options) { BulkLoad{options}.run(); }

}  // namespace gen
