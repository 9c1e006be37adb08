// Datagrams by the calls that this system has: many at once, or one by one.
#define __APPLE_USE_RFC_3542  // macOS: the names of IPv6's packet information
#include "platform/posix/calls.hpp"

#include "platform/sockets/socket_address.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace ferry::internal::calls {
namespace {

constexpr std::size_t most_messages = 64;
// For each of what may come: the way (IPv6's is the larger), the traffic class, the segments' size.
constexpr std::size_t control_size = 256;
struct alignas(cmsghdr) Control {
  char bytes[control_size];
};

// --- What a system calls it ---

#ifdef IP_PKTINFO
constexpr int ask_way_v4 = IP_PKTINFO;
#else
constexpr int ask_way_v4 = IP_RECVDSTADDR;
#endif

void set_ip(sockaddr_storage& storage, socklen_t& length, const in_addr& ip) noexcept {
  auto& to = reinterpret_cast<sockaddr_in&>(storage);
  to = {};
  to.sin_family = AF_INET;
  to.sin_addr = ip;
  length = sizeof to;
}
void set_ip(sockaddr_storage& storage, socklen_t& length, const in6_addr& ip,
            std::uint32_t interface_index) noexcept {
  auto& to = reinterpret_cast<sockaddr_in6&>(storage);
  to = {};
  to.sin6_family = AF_INET6;
  to.sin6_addr = ip;
  if (IN6_IS_ADDR_LINKLOCAL(&ip)) to.sin6_scope_id = interface_index;
  length = sizeof to;
}

template <class T>
T read_control(const cmsghdr& header) noexcept {
  T value;
  std::memcpy(&value, CMSG_DATA(const_cast<cmsghdr*>(&header)), sizeof value);
  return value;
}
// Some systems give a byte, others an int.
int read_class(const cmsghdr& header) noexcept {
  return header.cmsg_len < CMSG_LEN(sizeof(int)) ? read_control<unsigned char>(header)
                                                 : read_control<int>(header);
}

void take_v4(const cmsghdr& header, PacketWay& way) noexcept {
#ifdef IP_PKTINFO
  if (header.cmsg_type == IP_PKTINFO) {
    const auto info = read_control<in_pktinfo>(header);
    way.interface_index = static_cast<std::uint32_t>(info.ipi_ifindex);
    // Where an answer leaves from, and not the group or the broadcast that it came to.
    const bool told = info.ipi_spec_dst.s_addr != 0;
    set_ip(way.local, way.local_length, told ? info.ipi_spec_dst : info.ipi_addr);
  }
#else
  if (header.cmsg_type == IP_RECVDSTADDR) {
    set_ip(way.local, way.local_length, read_control<in_addr>(header));
  }
#endif
#ifdef IP_RECVTOS
  if (header.cmsg_type == IP_TOS || header.cmsg_type == IP_RECVTOS) {
    way.traffic_class = read_class(header);
  }
#endif
}

void take_v6(const cmsghdr& header, PacketWay& way) noexcept {
  if (header.cmsg_type == IPV6_PKTINFO) {
    const auto info = read_control<in6_pktinfo>(header);
    way.interface_index = static_cast<std::uint32_t>(info.ipi6_ifindex);
    set_ip(way.local, way.local_length, info.ipi6_addr, way.interface_index);
  } else if (header.cmsg_type == IPV6_TCLASS) {
    way.traffic_class = read_class(header);
  }
}

void take_control(msghdr& message, DatagramIn& in) noexcept {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == IPPROTO_IP) {
      take_v4(*header, in.way);
    } else if (header->cmsg_level == IPPROTO_IPV6) {
      take_v6(*header, in.way);
    } else if (udp_gro != 0 && header->cmsg_level == IPPROTO_UDP &&
               header->cmsg_type == udp_gro) {
      in.segment = static_cast<std::size_t>(read_control<int>(*header));
    }
  }
}

// Puts control messages into a buffer, one behind the other.
class ControlWriter {
 public:
  ControlWriter(msghdr& message, Control& control) noexcept : message_{message}, control_{control} {
    message_.msg_control = control.bytes;
    message_.msg_controllen = 0;
  }
  template <class T>
  void add(int level, int type, const T& value) noexcept {
    cmsghdr header{};
    header.cmsg_level = level;
    header.cmsg_type = type;
    header.cmsg_len = static_cast<decltype(header.cmsg_len)>(CMSG_LEN(sizeof value));
    char* const at = control_.bytes + used_;
    std::memset(at, 0, CMSG_SPACE(sizeof value));
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
    used_ += CMSG_SPACE(sizeof value);
    message_.msg_controllen = static_cast<decltype(message_.msg_controllen)>(used_);
  }

 private:
  msghdr& message_;
  Control& control_;
  std::size_t used_ = 0;
};

void add_v6(ControlWriter& writer, const PacketWay& way) noexcept {
  in6_pktinfo info{};
  std::uint32_t index = way.interface_index;
  if (way.local_length != 0) {
    const auto& local = reinterpret_cast<const sockaddr_in6&>(way.local);
    if (!IN6_IS_ADDR_MULTICAST(&local.sin6_addr)) info.ipi6_addr = local.sin6_addr;
    if (index == 0) index = local.sin6_scope_id;
  }
  info.ipi6_ifindex = static_cast<decltype(info.ipi6_ifindex)>(index);
  writer.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
}

void add_v4(ControlWriter& writer, const PacketWay& way) noexcept {
  in_addr local{};
  if (way.local_length != 0) local = reinterpret_cast<const sockaddr_in&>(way.local).sin_addr;
#ifdef IP_PKTINFO
  in_pktinfo info{};
  info.ipi_spec_dst = local;
  info.ipi_ifindex = static_cast<decltype(info.ipi_ifindex)>(way.interface_index);
  writer.add(IPPROTO_IP, IP_PKTINFO, info);
#else
  if (local.s_addr != 0) writer.add(IPPROTO_IP, IP_SENDSRCADDR, local);
#endif
}

void add_way(ControlWriter& writer, const PacketWay& way, bool v6) noexcept {
  if (way.local_length != 0 || way.interface_index != 0) {
    v6 ? add_v6(writer, way) : add_v4(writer, way);
  }
  if (way.traffic_class < 0) return;
  if (v6) {
    writer.add(IPPROTO_IPV6, IPV6_TCLASS, way.traffic_class);
  } else {
#ifdef IP_SENDSRCADDR  // the BSDs take a byte, others an int
    writer.add(IPPROTO_IP, IP_TOS, static_cast<unsigned char>(way.traffic_class));
#else
    writer.add(IPPROTO_IP, IP_TOS, way.traffic_class);
#endif
  }
}

// --- Receiving ---

void prepare(msghdr& message, DatagramIn& in, iovec& part, Control* control) noexcept {
  part = {in.data, in.room};
  message = {};
  message.msg_name = &in.from;
  message.msg_namelen = sizeof in.from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (control == nullptr) return;
  message.msg_control = control->bytes;
  message.msg_controllen = sizeof control->bytes;
}

void take(msghdr& message, std::size_t size, DatagramIn& in, ReceiveWhat what) noexcept {
  in.size = size;
  in.segment = 0;
  in.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  in.from_length = message.msg_namelen;
  forget(in.way);
  if (!what.way && !what.segments) return;
  take_control(message, in);
  // Options of the user's may have taken the room: then it is not known whether it is several.
  if (what.segments && in.segment == 0 && (message.msg_flags & MSG_CTRUNC) != 0) {
    in.truncated = true;
  }
}

// --- Sending ---

void prepare(msghdr& message, DatagramOut& out, Control& control) noexcept {
  message = {};
  message.msg_name = const_cast<sockaddr*>(out.to);
  message.msg_namelen = out.to_length;
  message.msg_iov = out.parts;
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(out.count);
  if (out.segment == 0 && out.way == nullptr) return;
  ControlWriter writer{message, control};
  if (out.segment != 0) {
    writer.add(IPPROTO_UDP, udp_segment, static_cast<std::uint16_t>(out.segment));
  }
  if (out.way != nullptr) add_way(writer, *out.way, out.family == AF_INET6);
}

}  // namespace

NativeHandle datagram_socket(int family) {
  const bool flagged = features.socket_flags;
  const int type = SOCK_DGRAM | (flagged ? sock_nonblock | sock_cloexec : 0);
  const int made = through(Call::socket, -1, 0,
                           [&](std::size_t) { return ::socket(family, type, 0); });
  return complete(made, Blocking::no, flagged);
}

DatagramsMoved receive_many(NativeHandle handle, DatagramIn* in, std::size_t count,
                            ReceiveWhat what) {
  const bool with_control = what.way || what.segments;
  std::array<iovec, most_messages> parts;
  std::array<Control, most_messages> controls;
  count = std::min(count, most_messages);
  if (features.message_batches && count > 1) {
    std::array<MessageHeader, most_messages> messages;
    const int came = through(Call::recv_many, handle, count, [&](std::size_t allowed) {
      for (std::size_t i = 0; i < allowed; ++i) {
        prepare(messages[i].msg_hdr, in[i], parts[i], with_control ? &controls[i] : nullptr);
      }
      return recvmmsg(fd(handle), messages.data(), static_cast<unsigned>(allowed), MSG_DONTWAIT,
                      nullptr);
    });
    if (came < 0) return {0, errno};
    for (std::size_t i = 0; i < static_cast<std::size_t>(came); ++i) {
      take(messages[i].msg_hdr, messages[i].msg_len, in[i], what);
    }
    return {static_cast<std::size_t>(came), 0};
  }
  for (std::size_t i = 0; i < count; ++i) {
    msghdr message;
    prepare(message, in[i], parts[0], with_control ? &controls[0] : nullptr);
    const ssize_t size = through(Call::recv_many, handle, 1, [&](std::size_t) {
      return ::recvmsg(fd(handle), &message, MSG_DONTWAIT);
    });
    if (size < 0) return {i, errno};
    take(message, static_cast<std::size_t>(size), in[i], what);
  }
  return {count, 0};
}

DatagramsMoved send_many(NativeHandle handle, DatagramOut* out, std::size_t count) {
  std::array<Control, most_messages> controls;
  count = std::min(count, most_messages);
  if (features.message_batches && count > 1) {
    std::array<MessageHeader, most_messages> messages;
    const int sent = through(Call::send_many, handle, count, [&](std::size_t allowed) {
      for (std::size_t i = 0; i < allowed; ++i) {
        prepare(messages[i].msg_hdr, out[i], controls[i]);
      }
      return static_cast<int>(without_sigpipe([&](int flags) -> ssize_t {
        return sendmmsg(fd(handle), messages.data(), static_cast<unsigned>(allowed), flags);
      }));
    });
    if (sent < 0) return {0, errno};
    return {static_cast<std::size_t>(sent), 0};
  }
  for (std::size_t i = 0; i < count; ++i) {
    msghdr message;
    prepare(message, out[i], controls[0]);
    const ssize_t sent = through(Call::send_many, handle, 1, [&](std::size_t) {
      return without_sigpipe([&](int flags) { return ::sendmsg(fd(handle), &message, flags); });
    });
    if (sent < 0) return {i, errno};
  }
  return {count, 0};
}

bool can_cut_segments(NativeHandle handle) {
  if (!features.segmentation) return false;
  int size = 0;
  socklen_t length = sizeof size;
  return calls::getsockopt(handle, IPPROTO_UDP, udp_segment, &size, &length) == 0;
}

bool join_segments(NativeHandle handle) {
  const int on = 1;
  return features.segmentation &&
         calls::setsockopt(handle, IPPROTO_UDP, udp_gro, &on, sizeof on) == 0;
}

int tell_packet_ways(NativeHandle handle, int family) {
  const int on = 1;
  const auto ask = [&](int level, int option) {
    return calls::setsockopt(handle, level, option, &on, sizeof on);
  };
  if (family == AF_INET6) {
    if (ask(IPPROTO_IPV6, IPV6_RECVPKTINFO) != 0) return -1;
    return ask(IPPROTO_IPV6, IPV6_RECVTCLASS);
  }
  if (ask(IPPROTO_IP, ask_way_v4) != 0) return -1;
#ifdef IP_RECVTOS
  return ask(IPPROTO_IP, IP_RECVTOS);
#else
  return 0;
#endif
}

int membership(NativeHandle handle, int family, const Membership& of, bool join) {
  const int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  if (of.source == nullptr) {
    group_req request{};
    request.gr_interface = of.interface_index;
    std::memcpy(&request.gr_group, of.group, of.group_length);
    return calls::setsockopt(handle, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &request,
                             sizeof request);
  }
  group_source_req request{};
  request.gsr_interface = of.interface_index;
  std::memcpy(&request.gsr_group, of.group, of.group_length);
  std::memcpy(&request.gsr_source, of.source, of.source_length);
  return calls::setsockopt(handle, level,
                           join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &request,
                           sizeof request);
}

int set_option(NativeHandle handle, int family, DatagramOption option, int value) {
  const bool v6 = family == AF_INET6;
  const int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const auto set = [&](int name, const auto& to) {
    return calls::setsockopt(handle, level, name, &to, sizeof to);
  };
  // Some systems take a byte only for these two of IPv4.
  const auto set_v4 = [&](int name) { return set(name, static_cast<unsigned char>(value)); };
  switch (option) {
    case DatagramOption::hops: return set(v6 ? IPV6_UNICAST_HOPS : IP_TTL, value);
    case DatagramOption::traffic_class: return set(v6 ? IPV6_TCLASS : IP_TOS, value);
    case DatagramOption::multicast_hops:
      return v6 ? set(IPV6_MULTICAST_HOPS, value) : set_v4(IP_MULTICAST_TTL);
    case DatagramOption::multicast_loop:
      return v6 ? set(IPV6_MULTICAST_LOOP, value) : set_v4(IP_MULTICAST_LOOP);
    case DatagramOption::multicast_interface: break;
  }
  if (v6) return set(IPV6_MULTICAST_IF, value);
  ip_mreqn request{};
  request.imr_ifindex = value;
  return set(IP_MULTICAST_IF, request);
}

int family_of(NativeHandle handle) {
  sockaddr_storage name;
  socklen_t length = sizeof name;
  name.ss_family = AF_UNSPEC;
  const int answer =
      calls::getsockname(handle, reinterpret_cast<sockaddr*>(&name), &length);
  return answer == 0 ? name.ss_family : AF_UNSPEC;
}

bool drops_datagrams(int family) noexcept {
  return features.drops_datagrams && family != AF_UNIX;
}

void drop_error_queue(NativeHandle handle) noexcept {
#ifdef MSG_ERRQUEUE
  msghdr message{};
  while (::recvmsg(fd(handle), &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) message = {};
#else
  static_cast<void>(handle);
#endif
}

}  // namespace ferry::internal::calls
