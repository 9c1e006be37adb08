#include "datagrams.hpp"

#include <fcntl.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

namespace gen {
namespace {

constexpr int buffers = 4 << 20;  // as the servers'
constexpr std::size_t joined = 65536;

std::uint64_t place(const DatagramHead& head, std::size_t size) {
  return stream_start(head.client) + head.sequence * size;
}

}  // namespace

int open_datagrams(const Options& options) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  for (const int option : {SO_RCVBUF, SO_SNDBUF, SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    setsockopt(fd, SOL_SOCKET, option, &buffers, sizeof buffers);
  const int one = 1;
  if (options.train > 1 && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) != 0)
    die("UDP_GRO");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(options.port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
  return fd;
}

void compare_datagram(const DatagramHead& head, const std::byte* data, std::size_t size) {
  const std::byte* expected = pattern(place(head, size));
  if (std::memcmp(data + sizeof head, expected, size - sizeof head) != 0)
    wrong_bytes("client %u: wrong bytes in datagram %" PRIu64, head.client, head.sequence);
}

// --- sending ---

Outbox::Outbox(const Options& options)
    : size_{options.size}, train_{static_cast<std::size_t>(options.train)} {
  for (std::size_t i = 0; i < datagram_batch; ++i) {
    parts_[2 * i] = {&heads_[i], sizeof heads_[i]};
    parts_[2 * i + 1].iov_len = size_ - sizeof heads_[i];
  }
  msghdr message{};
  message.msg_control = cut_.bytes.data();
  message.msg_controllen = sizeof cut_.bytes;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
  const auto segment = static_cast<std::uint16_t>(size_);
  std::memcpy(CMSG_DATA(header), &segment, sizeof segment);
}

void Outbox::add(const DatagramHead& head) {
  heads_[count_] = head;
  // sendmsg does not write there.
  parts_[2 * count_ + 1].iov_base = const_cast<std::byte*>(pattern(place(head, size_)));
  ++count_;
}

unsigned Outbox::make_messages() {
  unsigned made = 0;
  for (std::size_t from = 0; from < count_; from += train_, ++made) {
    const std::size_t held = std::min(train_, count_ - from);
    msghdr& message = messages_[made].msg_hdr;
    message.msg_iov = &parts_[2 * from];
    message.msg_iovlen = 2 * held;
    message.msg_control = held > 1 ? cut_.bytes.data() : nullptr;
    message.msg_controllen = held > 1 ? sizeof cut_.bytes : 0;
  }
  return made;
}

void Outbox::send(int fd) {
  const unsigned count = make_messages();
  for (unsigned done = 0; done < count;) {
    const int sent = sendmmsg(fd, messages_.data() + done, count - done, 0);
    if (sent < 0 && errno != EINTR) die("sendmmsg");
    if (sent > 0) done += static_cast<unsigned>(sent);
  }
  count_ = 0;
}

// --- receiving ---

Inbox::Inbox(const Options& options)
    : size_{options.size},
      room_{options.train > 1 ? joined : options.size + 64},  // what is too long shows
      memory_(datagram_batch * room_) {
  for (std::size_t i = 0; i < datagram_batch; ++i) {
    parts_[i] = {memory_.data() + i * room_, room_};
    msghdr& message = messages_[i].msg_hdr;
    message.msg_iov = &parts_[i];
    message.msg_iovlen = 1;
    message.msg_control = options.train > 1 ? controls_[i].bytes.data() : nullptr;
  }
}

std::span<const Inbox::One> Inbox::receive(int fd, std::size_t most) {
  came_.clear();
  const auto count = static_cast<unsigned>(std::min(most, datagram_batch));
  for (unsigned i = 0; i < count; ++i) {
    msghdr& message = messages_[i].msg_hdr;
    message.msg_controllen = message.msg_control != nullptr ? sizeof controls_[i].bytes : 0;
  }
  const int n = recvmmsg(fd, messages_.data(), count, MSG_DONTWAIT, nullptr);
  if (n < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
  for (int i = 0; i < n; ++i) take(static_cast<std::size_t>(i));
  return came_;
}

// The message, or what the kernel had joined.
void Inbox::take(std::size_t message) {
  msghdr& header = messages_[message].msg_hdr;
  const std::size_t all = messages_[message].msg_len;
  std::size_t step = all;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
    int segment = 0;
    std::memcpy(&segment, CMSG_DATA(c), sizeof segment);
    step = static_cast<std::size_t>(segment);
  }
  const auto* data = static_cast<const std::byte*>(parts_[message].iov_base);
  std::size_t at = 0;
  do {
    came_.push_back({data + at, std::min(step, all - at)});
    at += step;
  } while (at < all);
}

DatagramHead Inbox::head_of(const One& one) const {
  if (one.size != size_) wrong_bytes("a datagram of %zu bytes came back", one.size);
  DatagramHead head{};
  std::memcpy(&head, one.data, sizeof head);
  return head;
}

}  // namespace gen
