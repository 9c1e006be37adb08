// What the calls for datagrams are given and give back, the same on every system. To be included by
// a system's calls.hpp, behind its socket headers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ferry::internal::calls {

// In the system's own words (transports.hpp has ours).
struct PacketWay {
  sockaddr_storage local;
  socklen_t local_length;  // 0: not known, or any
  std::uint32_t interface_index;
  int traffic_class;       // -1: not known, or any
};

inline void forget(PacketWay& way) noexcept {
  way.local_length = 0;
  way.interface_index = 0;
  way.traffic_class = -1;
}

// A place for one that comes.
struct DatagramIn {
  std::byte* data;  // these two are given
  std::size_t room;
  std::size_t size;
  std::size_t segment;  // not 0: several of this size, joined; the last may be shorter
  bool truncated;
  sockaddr_storage from;
  socklen_t from_length;
  PacketWay way;
};

// One that shall go; or several of one size for one address, if `segment` is that size.
template <class Part>
struct OutOf {
  Part* parts;
  std::size_t count;
  const sockaddr* to;  // null: the connected peer
  socklen_t to_length;
  std::size_t segment;
  const PacketWay* way;  // null: any
  int family;            // of the socket
};

using DatagramOut = OutOf<Part>;

// How many, and the errno that stopped it; 0: none, or it will come again with the next call.
struct DatagramsMoved {
  std::size_t count = 0;
  int error = 0;
};

// What of a datagram's way a call shall bring.
struct ReceiveWhat {
  bool way = false;
  bool segments = false;
};

enum class DatagramOption : std::uint8_t {
  hops,
  traffic_class,
  multicast_hops,
  multicast_loop,
  multicast_interface,
};

struct Membership {
  const sockaddr* group;
  socklen_t group_length;
  const sockaddr* source;  // null: any
  socklen_t source_length;
  std::uint32_t interface_index;
};

}  // namespace ferry::internal::calls
