// What the workloads with datagrams share: sockets, sending many, receiving many.
//
// A datagram says which one it is, and continues with the pattern at a place that no other datagram
// near it has: head, pattern(place).
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <span>
#include <vector>

#include "gen.hpp"

namespace gen {

struct DatagramHead {
  std::uint32_t client;
  std::uint32_t slot;
  std::uint64_t sequence;
};

inline constexpr std::size_t datagram_batch = 64;     // the most that one call sends or receives
inline constexpr std::size_t largest_train = 64'000;  // bytes; in sum no more than a datagram's

// Blocks when it sends, never when it receives. With trains the kernel joins what comes.
int open_datagrams(const Options& options);

// Ends the program if the bytes behind the head are wrong.
void compare_datagram(const DatagramHead& head, const std::byte* data, std::size_t size);

// Collects datagrams for one socket and sends them. In a train many go to the kernel as one
// message, and it cuts them.
class Outbox {
 public:
  explicit Outbox(const Options& options);
  bool full() const { return count_ == datagram_batch; }
  void add(const DatagramHead& head);
  void send(int fd);  // all of them, which must be few enough; or dies

 private:
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> bytes;
  };
  unsigned make_messages();

  std::size_t size_, train_;
  std::size_t count_ = 0;
  Control cut_{};
  std::array<DatagramHead, datagram_batch> heads_{};
  std::array<iovec, 2 * datagram_batch> parts_{};
  std::array<mmsghdr, datagram_batch> messages_{};
};

// What came with one call.
class Inbox {
 public:
  struct One {
    const std::byte* data;
    std::size_t size;
  };
  explicit Inbox(const Options& options);
  // At most so many messages, without waiting; in trains a message is many.
  std::span<const One> receive(int fd, std::size_t most);
  // Of what this message says it is. Ends the program if it cannot be ours.
  DatagramHead head_of(const One& one) const;

 private:
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(int))> bytes;
  };
  void take(std::size_t message);

  std::size_t size_, room_;
  std::vector<std::byte> memory_;
  std::vector<One> came_;
  std::array<Control, datagram_batch> controls_{};
  std::array<iovec, datagram_batch> parts_{};
  std::array<mmsghdr, datagram_batch> messages_{};
};

void run_flood(const Options& options);

}  // namespace gen
