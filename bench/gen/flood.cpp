// A flood of datagrams: as many as the generator can send, whether they are answered or not. What
// does not come back was lost, on its way to the server (whose buffer was full) or on its way back.
// The loss is that of the datagrams sent in the measured window, however late their echoes.
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "datagrams.hpp"

namespace gen {
namespace {

constexpr std::uint64_t silence = 100'000'000;  // ns: then nothing more will come

struct Client {
  int fd = -1;
  std::uint32_t index = 0;
  std::uint64_t next = 0;             // sequence number
  std::uint64_t first = 0, last = 0;  // those of the window: first <= sequence < last
  std::vector<bool> came;             // echoes, by sequence number
};

class Flood {
 public:
  explicit Flood(const Options& options);
  void run();

 private:
  enum class Phase { warm, measure, drain };

  void flow(double seconds);
  void drain();
  void send_some(Client& c);
  void receive_all();
  void take(Client& c, const Inbox::One& one);
  void print() const;

  const Options& options_;
  Phase phase_ = Phase::warm;
  Window window_;
  std::vector<Client> clients_;
  Outbox outbox_;
  Inbox inbox_;
  std::uint64_t total_ = 0;     // echoes that came
  std::uint64_t measured_ = 0;  // echoes that came while measuring
  std::uint64_t answered_ = 0;  // datagrams of the window whose echo came, then or later
  std::uint64_t verified_ = 0;
};

Flood::Flood(const Options& options)
    : options_{options},
      window_{options},
      clients_(static_cast<std::size_t>(options.conns)),
      outbox_{options},
      inbox_{options} {
  for (std::uint32_t i = 0; i < clients_.size(); ++i) {
    clients_[i].fd = open_datagrams(options);
    clients_[i].index = i;
  }
}

void Flood::run() {
  flow(options_.warm);
  for (Client& c : clients_) c.first = c.next;
  phase_ = Phase::measure;
  window_.begin();
  flow(options_.seconds);
  window_.end();
  for (Client& c : clients_) c.last = c.next;
  phase_ = Phase::drain;
  drain();
  for (const Client& c : clients_) close(c.fd);
  if (measured_ == 0) die("nothing came back");
  print();
}

void Flood::flow(double seconds) {
  const std::uint64_t end = now_ns() + nanoseconds(seconds);
  while (now_ns() < end) {
    for (Client& c : clients_) {
      send_some(c);
      receive_all();
    }
  }
}

void Flood::drain() {
  const std::uint64_t give_up = now_ns() + nanoseconds(10);
  std::uint64_t heard = now_ns(), before = total_;
  while (now_ns() - heard < silence) {
    receive_all();
    if (total_ != before) heard = now_ns();
    before = total_;
    if (now_ns() > give_up) die("flood: no end");
    usleep(1000);
  }
}

void Flood::send_some(Client& c) {
  while (!outbox_.full()) outbox_.add({c.index, 0, c.next++});
  c.came.resize(c.next);
  outbox_.send(c.fd);
}

void Flood::receive_all() {
  for (Client& c : clients_) {
    for (;;) {
      const auto came = inbox_.receive(c.fd, datagram_batch);
      for (const Inbox::One& one : came) take(c, one);
      if (came.size() < datagram_batch) break;
    }
  }
}

void Flood::take(Client& c, const Inbox::One& one) {
  const DatagramHead head = inbox_.head_of(one);
  if (head.client != c.index || head.sequence >= c.next)
    wrong_bytes("client %u: a datagram that it had not sent", c.index);
  if (c.came[head.sequence]) wrong_bytes("client %u: a datagram came back twice", c.index);
  c.came[head.sequence] = true;
  if (phase_ != Phase::measure || options_.verify) {
    compare_datagram(head, one.data, one.size);
    verified_ += one.size;
  }
  ++total_;
  if (phase_ == Phase::measure) ++measured_;
  const bool of_window = phase_ != Phase::warm && head.sequence >= c.first &&
                         (phase_ == Phase::measure || head.sequence < c.last);
  if (of_window) ++answered_;
}

void Flood::print() const {
  std::uint64_t sent = 0;
  for (const Client& c : clients_) sent += c.last - c.first;
  const std::uint64_t lost = sent - answered_;
  std::printf("{\"cmd\":\"udp\",\"flood\":true,\"conns\":%d,\"size\":%zu,", options_.conns,
              options_.size);
  window_.print(static_cast<double>(measured_), "msgs");
  std::printf(",\"sent\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"loss\":%.4f,\"verified\":%" PRIu64
              "}\n",
              sent, lost, 100 * static_cast<double>(lost) / static_cast<double>(sent), verified_);
}

}  // namespace

void run_flood(const Options& options) { Flood{options}.run(); }

}  // namespace gen
