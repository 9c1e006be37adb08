// Raw epoll with datagrams, edge-triggered and drained. In batches: what comes stays where it is,
// and its headers, which recvmmsg has filled, are what sendmmsg is given; all of them are set up
// once. A short batch means drained.
#include "epoll_datagrams.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <vector>

namespace bench {
namespace {

constexpr std::size_t most = 32;  // in a batch
// The beginnings of the buffers lie in different lines of the processor's cache.
constexpr std::size_t stride = chunk + 320;

int watched(int fd) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  return epoll;
}

void wait(int epoll) {
  epoll_event event{};
  epoll_wait(epoll, &event, 1, -1);
}

// Whether to try again what was not sent: there is nothing else to do until it is out. What the
// network refuses is dropped.
bool again() { return errno == EAGAIN || errno == EINTR; }

void wait_for_room(int fd) {
  pollfd until{fd, POLLOUT, 0};
  poll(&until, 1, -1);
}

class Batch {
 public:
  Batch();
  bool echo(int fd);  // false: drained

 private:
  void send(int fd, unsigned count);

  std::vector<char> memory_ = std::vector<char>(most * stride);
  std::array<mmsghdr, most> messages_{};
  std::array<iovec, most> parts_{};
  std::array<sockaddr_in, most> from_{};
};

Batch::Batch() {
  for (std::size_t i = 0; i < most; ++i) {
    parts_[i] = {memory_.data() + i * stride, chunk};
    msghdr& header = messages_[i].msg_hdr;
    header.msg_name = &from_[i];
    header.msg_namelen = sizeof from_[i];
    header.msg_iov = &parts_[i];
    header.msg_iovlen = 1;
  }
}

bool Batch::echo(int fd) {
  const int came = recvmmsg(fd, messages_.data(), most, MSG_DONTWAIT, nullptr);
  if (came < 0) return errno != EAGAIN;
  const auto count = static_cast<unsigned>(came);
  for (unsigned i = 0; i < count; ++i) parts_[i].iov_len = messages_[i].msg_len;
  send(fd, count);
  for (unsigned i = 0; i < count; ++i) parts_[i].iov_len = chunk;
  return count == most;
}

void Batch::send(int fd, unsigned count) {
  for (unsigned done = 0; done < count;) {
    const int sent = sendmmsg(fd, messages_.data() + done, count - done, MSG_DONTWAIT);
    if (sent > 0)
      done += static_cast<unsigned>(sent);
    else if (again())
      wait_for_room(fd);
    else
      ++done;
  }
}

}  // namespace

void serve_one_by_one(std::uint16_t port) {
  const int fd = bind_udp(port), epoll = watched(fd);
  std::vector<char> buffer(chunk);
  ready();
  for (;;) {
    wait(epoll);
    for (;;) {
      sockaddr_in from{};
      socklen_t length = sizeof from;
      auto* const peer = reinterpret_cast<sockaddr*>(&from);
      const ssize_t n = recvfrom(fd, buffer.data(), buffer.size(), 0, peer, &length);
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) continue;
      while (sendto(fd, buffer.data(), static_cast<std::size_t>(n), 0, peer, length) < 0 && again())
        wait_for_room(fd);
    }
  }
}

void serve_in_batches(std::uint16_t port) {
  const int fd = bind_udp(port), epoll = watched(fd);
  Batch batch;
  ready();
  for (;;) {
    wait(epoll);
    while (batch.echo(fd)) {
    }
  }
}

}  // namespace bench
