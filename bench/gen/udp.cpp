// Datagrams there and back: every client keeps a number of them in flight, each in a slot of its
// own, and sends the next one as soon as an echo has come. What is not answered in time is lost,
// and another one takes its slot. With --flood: flood.cpp.
//
// The phases are those of echo.cpp. Which datagram an echo is of is compared in all of them, what
// it holds in all but `measure` (with --verify in that too).
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "datagrams.hpp"

namespace gen {
namespace {

constexpr std::uint64_t patience = 200'000'000;  // ns: then a datagram is lost
constexpr std::uint64_t sweep_every = 20'000'000;

struct Slot {
  std::uint64_t sequence = 0, sent_at = 0;
  bool waits = false;
};

struct Client {
  int fd = -1;
  std::uint32_t index = 0;
  std::uint64_t next = 0;                // sequence number
  std::uint64_t given_up = 0, late = 0;  // late: answered after that
  std::size_t waiting = 0;               // slots that do
  std::vector<Slot> slots;
  std::vector<std::uint32_t> free;  // the others
};

class UdpLoad {
 public:
  explicit UdpLoad(const Options& options);
  void run();

 private:
  enum class Phase { warm, measure, drain, done };

  void open(std::uint32_t index);
  void wait_and_serve();
  void receive(Client& c);
  void take(Client& c, const Inbox::One& one, std::uint64_t now);
  void send_next(Client& c);
  void post(Client& c, std::uint32_t slot, std::uint64_t now);
  void give_up_lost();
  void advance();
  bool everybody(bool (*done)(const Client&)) const;
  void print() const;

  const Options& options_;
  int epoll_;
  Phase phase_ = Phase::warm;
  Window window_;
  Histogram latency_;
  std::vector<Client> clients_;
  Outbox outbox_;
  Inbox inbox_;
  std::uint64_t started_ = 0, give_up_ = 0, swept_ = 0, verified_ = 0;
  std::uint64_t queued_ = 0, total_ = 0, measured_ = 0, lost_ = 0;
};

UdpLoad::UdpLoad(const Options& options)
    : options_{options},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      window_{options},
      clients_(static_cast<std::size_t>(options.conns)),
      outbox_{options},
      inbox_{options} {
  for (std::uint32_t i = 0; i < clients_.size(); ++i) open(i);
}

void UdpLoad::open(std::uint32_t index) {
  Client& c = clients_[index];
  c.fd = open_datagrams(options_);
  c.index = index;
  c.slots.resize(static_cast<std::size_t>(options_.inflight));
  for (std::uint32_t slot = 0; slot < c.slots.size(); ++slot) c.free.push_back(slot);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &c;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0) die("epoll_ctl");
}

void UdpLoad::run() {
  started_ = swept_ = now_ns();
  give_up_ = started_ + nanoseconds(options_.warm + options_.seconds + 20);
  if (options_.count != 0) {  // a fixed number of datagrams: all of them count
    phase_ = Phase::measure;
    window_.begin();
  }
  for (Client& c : clients_) send_next(c);
  while (phase_ != Phase::done) {
    wait_and_serve();
    give_up_lost();
    advance();
  }
  for (const Client& c : clients_) {
    if (!inbox_.receive(c.fd, 1).empty() && c.given_up == c.late)
      wrong_bytes("client %u: more came back than went out", c.index);
    close(c.fd);
  }
  close(epoll_);
  print();
}

void UdpLoad::wait_and_serve() {
  epoll_event events[256];
  const int n = epoll_wait(epoll_, events, 256, options_.spin ? 0 : 5);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; ++i) {
    Client& c = *static_cast<Client*>(events[i].data.ptr);
    receive(c);
    send_next(c);
  }
}

void UdpLoad::receive(Client& c) {
  // No more than may come: a call for more would look for it.
  const auto came = inbox_.receive(c.fd, std::max<std::size_t>(c.waiting, 1));
  const std::uint64_t now = now_ns();
  for (const Inbox::One& one : came) take(c, one, now);
}

void UdpLoad::take(Client& c, const Inbox::One& one, std::uint64_t now) {
  const DatagramHead head = inbox_.head_of(one);
  if (head.client != c.index || head.slot >= c.slots.size() || head.sequence >= c.next)
    wrong_bytes("client %u: a datagram that it had not sent", c.index);
  if (phase_ != Phase::measure || options_.verify) {
    compare_datagram(head, one.data, one.size);
    verified_ += one.size;
  }
  Slot& slot = c.slots[head.slot];
  if (!slot.waits || slot.sequence != head.sequence) {
    if (++c.late > c.given_up) wrong_bytes("client %u: a datagram came back twice", c.index);
    return;
  }
  slot.waits = false;
  --c.waiting;
  c.free.push_back(head.slot);
  ++total_;
  if (phase_ != Phase::measure) return;
  ++measured_;
  latency_.add(now - slot.sent_at);
}

// In whole trains.
void UdpLoad::send_next(Client& c) {
  if (phase_ != Phase::warm && phase_ != Phase::measure) return;
  const auto train = static_cast<std::size_t>(options_.train);
  std::size_t count = c.free.size() / train * train;
  if (options_.count != 0)
    count = static_cast<std::size_t>(std::min<std::uint64_t>(count, options_.count - queued_));
  if (count == 0) return;
  const std::uint64_t now = now_ns();
  for (std::size_t i = 0; i < count; ++i) {
    post(c, c.free.back(), now);
    c.free.pop_back();
    if (outbox_.full()) outbox_.send(c.fd);
  }
  outbox_.send(c.fd);
  queued_ += count;
}

void UdpLoad::post(Client& c, std::uint32_t slot, std::uint64_t now) {
  c.slots[slot] = {c.next, now, true};
  outbox_.add({c.index, slot, c.next});
  ++c.next;
  ++c.waiting;
}

void UdpLoad::give_up_lost() {
  const std::uint64_t now = now_ns();
  if (now - swept_ < sweep_every) return;
  swept_ = now;
  for (Client& c : clients_) {
    for (std::uint32_t i = 0; i < c.slots.size(); ++i) {
      if (!c.slots[i].waits || now < c.slots[i].sent_at + patience) continue;
      ++c.given_up;
      if (phase_ == Phase::measure) ++lost_;
      c.slots[i].waits = false;
      --c.waiting;
      if (phase_ == Phase::drain) continue;
      post(c, i, now);
      outbox_.send(c.fd);
    }
  }
}

bool UdpLoad::everybody(bool (*done)(const Client&)) const {
  return std::all_of(clients_.begin(), clients_.end(), done);
}

void UdpLoad::advance() {
  const std::uint64_t now = now_ns();
  if (now > give_up_) die("no progress after %" PRIu64 " datagrams", total_);
  const auto answered = [](const Client& c) { return c.next > c.slots.size(); };
  switch (phase_) {
    case Phase::warm:
      if (now - started_ < nanoseconds(options_.warm) || !everybody(answered)) return;
      phase_ = Phase::measure;
      window_.begin();
      return;
    case Phase::measure: {
      const bool over = options_.count != 0
                            ? total_ >= options_.count
                            : now - window_.started() >= nanoseconds(options_.seconds) &&
                                  measured_ >= clients_.size();
      if (!over) return;
      window_.end();
      phase_ = Phase::drain;
      return;
    }
    case Phase::drain:
      if (everybody([](const Client& c) { return c.waiting == 0; })) phase_ = Phase::done;
      return;
    case Phase::done:
      return;
  }
}

void UdpLoad::print() const {
  const auto all = static_cast<double>(measured_ + lost_);
  std::printf("{\"cmd\":\"udp\",\"conns\":%d,\"size\":%zu,\"inflight\":%d,\"train\":%d,",
              options_.conns, options_.size, options_.inflight, options_.train);
  window_.print(static_cast<double>(measured_), "msgs");
  print_latency(latency_);
  std::printf(",\"lost\":%" PRIu64 ",\"loss\":%.4f,\"verified\":%" PRIu64 "}\n", lost_,
              100 * static_cast<double>(lost_) / all, verified_);
}

}  // namespace

void run_udp(const Options& options) {
  if (options.size < sizeof(DatagramHead)) die("--size starts at %zu here", sizeof(DatagramHead));
  if (options.size * static_cast<std::size_t>(options.train) > largest_train ||
      static_cast<std::size_t>(options.train) > datagram_batch)
    die("--train times --size is too large");
  if (options.train > options.inflight) die("--train is larger than --inflight");
  if (options.flood) return run_flood(options);
  UdpLoad{options}.run();
}

}  // namespace gen
