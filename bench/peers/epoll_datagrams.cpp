// Raw epoll with datagrams, edge-triggered and drained. In batches: what comes stays where it is,
// and goes out from there; buffers and headers are set up once. A short batch means drained.
// With offload the kernel joins what comes in a train (UDP_GRO), and neighbours of one size for one
// peer go back to it as one message, which it cuts (UDP_SEGMENT).
#include "epoll_datagrams.hpp"

#include <netinet/udp.h>
#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <cstring>
#include <vector>

namespace bench {
namespace {

constexpr std::size_t most = 32;  // in a batch
// The beginnings of the buffers lie in different lines of the processor's cache.
constexpr std::size_t stride = chunk + 320;
constexpr std::size_t most_joined = 64'000;  // in sum no more than a datagram's
constexpr std::size_t most_cut = 1472;       // a segment must fit the network

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

// Whether to try again what was not sent; what the network refuses is dropped.
bool again() { return errno == EAGAIN || errno == EINTR; }

// There is nothing else to do until it is out.
void wait_for_room(int fd) {
  pollfd until{fd, POLLOUT, 0};
  poll(&until, 1, -1);
}

void send_all(int fd, mmsghdr* messages, unsigned count) {
  for (unsigned done = 0; done < count;) {
    const int sent = sendmmsg(fd, messages + done, count - done, MSG_DONTWAIT);
    if (sent > 0)
      done += static_cast<unsigned>(sent);
    else if (again())
      wait_for_room(fd);
    else
      ++done;
  }
}

class Batch {
 public:
  explicit Batch(bool offload);
  bool echo(int fd);  // false: drained

 private:
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(int))> bytes;
  };
  unsigned join(unsigned count);
  std::size_t segment_of(unsigned i);
  bool alike(unsigned i, unsigned j) const;
  void cut(msghdr& message, Control& control, std::size_t segment);

  bool offload_;
  std::vector<char> memory_ = std::vector<char>(most * stride);
  std::array<mmsghdr, most> in_{}, out_{};
  std::array<iovec, most> parts_{};
  std::array<sockaddr_in, most> from_{};
  std::array<Control, most> joined_{}, cuts_{};
};

Batch::Batch(bool offload) : offload_{offload} {
  for (std::size_t i = 0; i < most; ++i) {
    parts_[i] = {memory_.data() + i * stride, chunk};
    msghdr& header = in_[i].msg_hdr;
    header.msg_name = &from_[i];
    header.msg_namelen = sizeof from_[i];
    header.msg_iov = &parts_[i];
    header.msg_iovlen = 1;
    if (offload) header.msg_control = joined_[i].bytes.data();
  }
}

bool Batch::echo(int fd) {
  if (offload_)
    for (std::size_t i = 0; i < most; ++i) in_[i].msg_hdr.msg_controllen = sizeof(Control);
  const int came = recvmmsg(fd, in_.data(), most, MSG_DONTWAIT, nullptr);
  if (came < 0) return errno != EAGAIN;
  const auto count = static_cast<unsigned>(came);
  for (unsigned i = 0; i < count; ++i) parts_[i].iov_len = in_[i].msg_len;
  if (offload_)
    send_all(fd, out_.data(), join(count));
  else
    send_all(fd, in_.data(), count);
  for (unsigned i = 0; i < count; ++i) parts_[i].iov_len = chunk;
  return count == most;
}

// How many messages they become.
unsigned Batch::join(unsigned count) {
  unsigned made = 0;
  for (unsigned i = 0; i < count; ++made) {
    const unsigned first = i;
    std::size_t segment = segment_of(first), sum = in_[first].msg_len;
    bool more = segment == 0 && sum > 0 && sum <= most_cut;
    for (++i; more && i < count && alike(first, i) && sum + in_[i].msg_len <= most_joined; ++i) {
      sum += in_[i].msg_len;
      segment = in_[first].msg_len;
      more = in_[i].msg_len == segment;
    }
    msghdr& message = out_[made].msg_hdr;
    message = {};
    message.msg_name = &from_[first];
    message.msg_namelen = sizeof from_[first];
    message.msg_iov = &parts_[first];
    message.msg_iovlen = i - first;
    if (segment != 0) cut(message, cuts_[made], segment);
  }
  return made;
}

// Of what the kernel had joined; else 0.
std::size_t Batch::segment_of(unsigned i) {
  cmsghdr* const header = CMSG_FIRSTHDR(&in_[i].msg_hdr);
  if (header == nullptr || header->cmsg_type != UDP_GRO) return 0;
  int segment = 0;
  std::memcpy(&segment, CMSG_DATA(header), sizeof segment);
  return static_cast<std::size_t>(segment);
}

bool Batch::alike(unsigned i, unsigned j) const {
  return from_[i].sin_port == from_[j].sin_port &&
         from_[i].sin_addr.s_addr == from_[j].sin_addr.s_addr && in_[j].msg_len > 0 &&
         in_[j].msg_len <= in_[i].msg_len && in_[j].msg_hdr.msg_controllen == 0;
}

void Batch::cut(msghdr& message, Control& control, std::size_t segment) {
  const auto size = static_cast<std::uint16_t>(segment);
  message.msg_control = control.bytes.data();
  message.msg_controllen = CMSG_SPACE(sizeof size);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof size);
  std::memcpy(CMSG_DATA(header), &size, sizeof size);
}

void serve_one_by_one(int fd, int epoll) {
  std::vector<char> buffer(chunk);
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

}  // namespace

void serve_datagrams(const Arguments& arguments) {
  const int fd = bind_udp(arguments.port), epoll = watched(fd);
  const bool offload = arguments.mode == Mode::udp_gso;
  const int one = 1;
  if (offload && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) != 0) fail("UDP_GRO");
  Batch batch{offload};
  ready();
  if (arguments.mode == Mode::udp) serve_one_by_one(fd, epoll);
  for (;;) {
    wait(epoll);
    while (batch.echo(fd)) {
    }
  }
}

}  // namespace bench
