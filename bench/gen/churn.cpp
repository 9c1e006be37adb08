// Connection churn: connect, send one message, receive its echo (always compared), close with an
// ordinary FIN, and again; --conns at a time. Over TLS it is handshakes that cost: full ones, or
// with --resume short ones.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "gen.hpp"

namespace gen {
namespace {

struct Visit {
  Channel channel;
  bool sent = false;
  std::uint64_t opened_at = 0;
  std::uint64_t position = 0;  // of its bytes in the pattern
  std::size_t received = 0;
};

class ChurnLoad {
 public:
  explicit ChurnLoad(const Options& options)
      : options_{options},
        epoll_{epoll_create1(EPOLL_CLOEXEC)},
        window_{options},
        visits_(static_cast<std::size_t>(options.conns)),
        buffer_(options.size + 1) {}
  void run();

 private:
  void get_session();
  void open(Visit& visit);
  void send_message(Visit& visit);
  void on_readable(Visit& visit);
  bool advance();

  const Options& options_;
  int epoll_;
  Window window_;
  Histogram latency_;
  std::vector<Visit> visits_;
  std::vector<std::byte> buffer_;
  bool measuring_ = false;
  std::uint64_t started_ = 0, opened_ = 0, total_ = 0, measured_ = 0;
};

void ChurnLoad::run() {
  if (options_.resume) get_session();
  started_ = now_ns();
  for (Visit& visit : visits_) open(visit);
  do {
    epoll_event events[256];
    const int n = epoll_wait(epoll_, events, 256, 2000);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    if (n == 0) die("churn: no progress after %" PRIu64 " connections", total_);
    for (int i = 0; i < n; ++i) on_readable(*static_cast<Visit*>(events[i].data.ptr));
  } while (advance());
  window_.end();
  std::printf("{\"cmd\":\"churn\",\"conns\":%d,", options_.conns);
  window_.print(static_cast<double>(measured_), "done");
  print_latency(latency_);
  std::printf(",\"verified\":%" PRIu64 "}\n", total_ * options_.size);
}

// From a connection that is done before all others.
void ChurnLoad::get_session() {
  Options full = options_;
  full.resume = false;
  Channel channel;
  channel.connect(full);
  prove(channel, 0, options_.size);
  channel.end();
  channel.close();
}

void ChurnLoad::open(Visit& visit) {
  visit.opened_at = now_ns();
  visit.position = stream_start(static_cast<std::size_t>(opened_++));
  visit.received = 0;
  visit.sent = false;
  visit.channel.connect(options_);
  if (options_.tls) visit.channel.set_nonblocking();  // others go on while one shakes hands
  send_message(visit);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &visit;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, visit.channel.fd(), &event) != 0) die("epoll_ctl");
}

// Goes out at once, but for TLS, whose handshake comes first.
void ChurnLoad::send_message(Visit& visit) {
  const ssize_t n = visit.channel.send(pattern(visit.position), options_.size);
  visit.sent = n == static_cast<ssize_t>(options_.size);
  if (!visit.sent && (n >= 0 || errno != EAGAIN || !options_.tls)) die("churn: send");
}

void ChurnLoad::on_readable(Visit& visit) {
  if (!visit.sent) send_message(visit);
  if (!visit.sent) return;
  const ssize_t n = visit.channel.receive(buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) die("churn: connection lost");
  const auto length = static_cast<std::size_t>(n);
  if (visit.received + length > options_.size ||
      std::memcmp(buffer_.data(), pattern(visit.position + visit.received), length) != 0)
    wrong_bytes("churn: wrong bytes");
  visit.received += length;
  if (visit.received < options_.size) return;
  if (visit.channel.resumed() != options_.resume) die("churn: not the handshake that was wanted");
  if (options_.tls) visit.channel.end();
  visit.channel.close();
  ++total_;
  if (measuring_) {
    ++measured_;
    latency_.add(now_ns() - visit.opened_at);
  }
  open(visit);
}

// False when the run is over.
bool ChurnLoad::advance() {
  const std::uint64_t now = now_ns();
  if (!measuring_) {
    if (now - started_ < nanoseconds(options_.warm)) return true;
    measuring_ = true;
    window_.begin();
    return true;
  }
  // A bounded number too, so that waiting connections cannot use up the ports.
  if (options_.count != 0 && total_ >= options_.count) return false;
  return now - window_.started() < nanoseconds(options_.seconds) || measured_ < visits_.size();
}

}  // namespace

void run_churn(const Options& options) { ChurnLoad{options}.run(); }

}  // namespace gen
