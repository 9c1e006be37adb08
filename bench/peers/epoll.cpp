// Raw epoll: what readiness can reach when nothing else is in the way, and what the others are
// compared with. Edge-triggered, a short read means drained (no call that finds nothing), the reply
// goes out from the read buffer at once; in mode split all answers of a read go out in one send.
// Datagrams: epoll_datagrams.cpp.
// Variants: "spin" never sleeps, "lt" is level-triggered, "naive" sends each split answer alone.
#include <sys/epoll.h>

#include <memory>
#include <vector>

#include "epoll_datagrams.hpp"

namespace {

struct Connection {
  int fd;
  bool dead = false;
  std::vector<char> unsent;  // what a full socket refused; nothing is read until it is out
  std::size_t unsent_from = 0;
};

class Server {
 public:
  explicit Server(const bench::Arguments& arguments);
  [[noreturn]] void run();

 private:
  void accept_all();
  void watch(Connection& c, std::uint32_t events, int operation);
  void serve(Connection& c, std::uint32_t events);
  bool answer(Connection& c, std::size_t size);
  bool flush(Connection& c);
  void destroy(Connection& c);

  bool sink_, naive_, level_, spin_;
  int epoll_, listener_;
  std::vector<std::unique_ptr<Connection>> dead_;  // freed after the batch that may still name them
  char buffer_[bench::chunk];
};

Server::Server(const bench::Arguments& arguments)
    : sink_{arguments.mode == bench::Mode::sink},
      naive_{arguments.variant == "naive" && arguments.mode == bench::Mode::split},
      level_{arguments.variant == "lt"},
      spin_{arguments.variant == "spin"},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      listener_{bench::listen_tcp(arguments.port)} {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) bench::fail("epoll_ctl");
}

void Server::run() {
  epoll_event events[512];
  for (;;) {
    const int n = epoll_wait(epoll_, events, 512, spin_ ? 0 : -1);
    for (int i = 0; i < n; ++i) {
      auto* c = static_cast<Connection*>(events[i].data.ptr);
      if (c == nullptr)
        accept_all();
      else
        serve(*c, events[i].events);
    }
    dead_.clear();
  }
}

void Server::watch(Connection& c, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &c;
  if (epoll_ctl(epoll_, operation, c.fd, &event) != 0) bench::fail("epoll_ctl");
}

void Server::accept_all() {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    auto* c = new Connection{fd, false, {}, 0};
    watch(*c, level_ ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD);
  }
}

void Server::serve(Connection& c, std::uint32_t events) {
  if (c.dead) return;
  if (!c.unsent.empty()) {
    if (!flush(c)) return;
    if (level_) watch(c, EPOLLIN, EPOLL_CTL_MOD);
    events |= EPOLLRDHUP;  // the end may have come while we were not reading: read until EAGAIN
  }
  const std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  for (;;) {
    const ssize_t n = recv(c.fd, buffer_, sizeof buffer_, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return destroy(c);
    const auto size = static_cast<std::size_t>(n);
    if (!sink_ && !answer(c, size)) return;
    if (level_ || (size < sizeof buffer_ && (events & ended) == 0)) return;
  }
}

// False when the connection is to be left alone: full, or gone.
bool Server::answer(Connection& c, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    std::size_t length = size - done;
    if (naive_ && length > bench::message) length = bench::message;
    const ssize_t n = send(c.fd, buffer_ + done, length, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) break;
      destroy(c);
      return false;
    }
    done += static_cast<std::size_t>(n);
    if (static_cast<std::size_t>(n) < length) break;
  }
  if (done == size) return true;
  c.unsent.assign(buffer_ + done, buffer_ + size);
  c.unsent_from = 0;
  if (level_) watch(c, EPOLLOUT, EPOLL_CTL_MOD);
  return false;
}

// True when all is out.
bool Server::flush(Connection& c) {
  while (c.unsent_from < c.unsent.size()) {
    const ssize_t n =
        send(c.fd, c.unsent.data() + c.unsent_from, c.unsent.size() - c.unsent_from, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) destroy(c);
      return false;
    }
    c.unsent_from += static_cast<std::size_t>(n);
  }
  std::vector<char>{}.swap(c.unsent);
  return true;
}

void Server::destroy(Connection& c) {
  c.dead = true;
  close(c.fd);
  dead_.emplace_back(&c);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments =
      bench::parse(argc, argv, "raw epoll", {"spin", "lt", "naive"}, bench::Serves::plain,
                   {bench::Mode::udp, bench::Mode::udp_mmsg, bench::Mode::udp_gso});
  if (arguments.mode >= bench::Mode::udp) bench::serve_datagrams(arguments);
  Server server{arguments};
  bench::ready();
  server.run();
}
