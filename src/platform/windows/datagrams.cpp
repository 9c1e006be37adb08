// Datagrams by Winsock: one by one.
#include "platform/windows/calls.hpp"

#include "platform/windows/errors.hpp"

#include <mswsock.h>

#include <cstring>

namespace ferry::internal::calls {
namespace {

SOCKET native(NativeHandle handle) noexcept { return static_cast<SOCKET>(handle); }

int failed() noexcept {
  errno = errno_of(static_cast<DWORD>(::WSAGetLastError()));
  return -1;
}
int checked(int answer) noexcept { return answer == SOCKET_ERROR ? failed() : answer; }

// What packet information needs, for IPv6 the larger.
union Control {
  WSACMSGHDR first;
  char bytes[WSA_CMSG_SPACE(sizeof(IN6_PKTINFO))];
};

LPFN_WSARECVMSG find_receive(SOCKET socket) noexcept {
  GUID id = WSAID_WSARECVMSG;
  LPFN_WSARECVMSG found = nullptr;
  DWORD size = 0;
  const int answer = ::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &found,
                                sizeof found, &size, nullptr, nullptr);
  return answer == 0 ? found : nullptr;
}

void take_control(const WSAMSG& message, PacketWay& way) noexcept {
  auto& all = const_cast<WSAMSG&>(message);
  for (WSACMSGHDR* header = WSA_CMSG_FIRSTHDR(&all); header != nullptr;
       header = WSA_CMSG_NXTHDR(&all, header)) {
    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
      IN_PKTINFO info;
      std::memcpy(&info, WSA_CMSG_DATA(header), sizeof info);
      auto& local = reinterpret_cast<sockaddr_in&>(way.local);
      local = {};
      local.sin_family = AF_INET;
      local.sin_addr = info.ipi_addr;
      way.local_length = sizeof local;
      way.interface_index = info.ipi_ifindex;
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
      IN6_PKTINFO info;
      std::memcpy(&info, WSA_CMSG_DATA(header), sizeof info);
      auto& local = reinterpret_cast<sockaddr_in6&>(way.local);
      local = {};
      local.sin6_family = AF_INET6;
      local.sin6_addr = info.ipi6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) local.sin6_scope_id = info.ipi6_ifindex;
      way.local_length = sizeof local;
      way.interface_index = info.ipi6_ifindex;
    }
  }
}

int receive_with_way(NativeHandle handle, DatagramIn& in, DWORD& size) {
  static const LPFN_WSARECVMSG receive = find_receive(native(handle));  // the same for all
  if (receive == nullptr) return failed();
  WSABUF part = calls::part(in.data, in.room);
  Control control;
  WSAMSG message{};
  message.name = reinterpret_cast<sockaddr*>(&in.from);
  message.namelen = sizeof in.from;
  message.lpBuffers = &part;
  message.dwBufferCount = 1;
  message.Control = {sizeof control, control.bytes};
  const int answer = checked(receive(native(handle), &message, &size, nullptr, nullptr));
  in.from_length = message.namelen;
  if (answer == 0 || errno == EMSGSIZE) take_control(message, in.way);
  return answer;
}

int receive_plain(NativeHandle handle, DatagramIn& in, DWORD& size) {
  WSABUF part = calls::part(in.data, in.room);
  DWORD flags = 0;
  in.from_length = sizeof in.from;
  return checked(::WSARecvFrom(native(handle), &part, 1, &size, &flags,
                               reinterpret_cast<sockaddr*>(&in.from), &in.from_length, nullptr,
                               nullptr));
}

int send_with_way(NativeHandle handle, DatagramOut& out) {
  const PacketWay& way = *out.way;
  if (way.traffic_class >= 0) return errno = EOPNOTSUPP, -1;
  const bool v6 = out.family == AF_INET6;
  Control control{};
  WSAMSG message{};
  message.name = const_cast<sockaddr*>(out.to);
  message.namelen = out.to_length;
  message.lpBuffers = out.parts;
  message.dwBufferCount = static_cast<DWORD>(out.count);
  message.Control.buf = control.bytes;
  WSACMSGHDR& header = control.first;
  if (v6) {
    IN6_PKTINFO info{};
    info.ipi6_ifindex = way.interface_index;
    if (way.local_length != 0) {
      const auto& local = reinterpret_cast<const sockaddr_in6&>(way.local);
      if (!IN6_IS_ADDR_MULTICAST(&local.sin6_addr)) info.ipi6_addr = local.sin6_addr;
      if (info.ipi6_ifindex == 0) info.ipi6_ifindex = local.sin6_scope_id;
    }
    header = {WSA_CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
    std::memcpy(WSA_CMSG_DATA(&header), &info, sizeof info);
    message.Control.len = WSA_CMSG_SPACE(sizeof info);
  } else {
    IN_PKTINFO info{};
    if (way.local_length != 0) {
      info.ipi_addr = reinterpret_cast<const sockaddr_in&>(way.local).sin_addr;
    }
    info.ipi_ifindex = way.interface_index;
    header = {WSA_CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
    std::memcpy(WSA_CMSG_DATA(&header), &info, sizeof info);
    message.Control.len = WSA_CMSG_SPACE(sizeof info);
  }
  DWORD sent = 0;
  return checked(::WSASendMsg(native(handle), &message, 0, &sent, nullptr, nullptr));
}

}  // namespace

DatagramsMoved receive_many(NativeHandle handle, DatagramIn* in, std::size_t count,
                            ReceiveWhat what) {
  for (std::size_t i = 0; i < count; ++i) {
    DatagramIn& one = in[i];
    one.segment = 0;
    forget(one.way);
    DWORD size = 0;
    const int answer = through(Call::recv_many, handle, 1, [&](std::size_t) {
      return what.way ? receive_with_way(handle, one, size) : receive_plain(handle, one, size);
    });
    one.truncated = answer != 0 && errno == EMSGSIZE;
    if (answer != 0 && !one.truncated) return {i, errno};
    one.size = one.truncated ? one.room : size;
  }
  return {count, 0};
}

DatagramsMoved send_many(NativeHandle handle, DatagramOut* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const int answer = through(Call::send_many, handle, 1, [&](std::size_t) {
      if (out[i].way != nullptr) return send_with_way(handle, out[i]);
      DWORD sent = 0;
      return checked(::WSASendTo(native(handle), out[i].parts, static_cast<DWORD>(out[i].count),
                                 &sent, 0, out[i].to, out[i].to_length, nullptr, nullptr));
    });
    if (answer != 0) return {i, errno};
  }
  return {count, 0};
}

int tell_packet_ways(NativeHandle handle, int family) {
  const DWORD on = 1;
  return family == AF_INET6
             ? calls::setsockopt(handle, IPPROTO_IPV6, IPV6_PKTINFO, &on, sizeof on)
             : calls::setsockopt(handle, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

int membership(NativeHandle handle, int family, const Membership& of, bool join) {
  const int level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  if (of.source == nullptr) {
    GROUP_REQ request{};
    request.gr_interface = of.interface_index;
    std::memcpy(&request.gr_group, of.group, static_cast<std::size_t>(of.group_length));
    return calls::setsockopt(handle, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &request,
                             sizeof request);
  }
  GROUP_SOURCE_REQ request{};
  request.gsr_interface = of.interface_index;
  std::memcpy(&request.gsr_group, of.group, static_cast<std::size_t>(of.group_length));
  std::memcpy(&request.gsr_source, of.source, static_cast<std::size_t>(of.source_length));
  return calls::setsockopt(handle, level,
                           join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &request,
                           sizeof request);
}

int set_option(NativeHandle handle, int family, DatagramOption option, int value) {
  const bool v6 = family == AF_INET6;
  const auto set = [&](int v4_name, int v6_name) {
    const DWORD to = static_cast<DWORD>(value);
    return calls::setsockopt(handle, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? v6_name : v4_name, &to,
                             sizeof to);
  };
  switch (option) {
    case DatagramOption::hops: return set(IP_TTL, IPV6_UNICAST_HOPS);
    case DatagramOption::traffic_class: return set(IP_TOS, IPV6_TCLASS);
    case DatagramOption::multicast_hops: return set(IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS);
    case DatagramOption::multicast_loop: return set(IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP);
    case DatagramOption::multicast_interface: break;
  }
  // For IPv4 an index is an address that begins with 0.
  if (!v6) value = static_cast<int>(htonl(static_cast<u_long>(value)));
  return set(IP_MULTICAST_IF, IPV6_MULTICAST_IF);
}

int family_of(NativeHandle handle) {
  WSAPROTOCOL_INFOW facts;
  socklen_t length = sizeof facts;
  const int answer = calls::getsockopt(handle, SOL_SOCKET, SO_PROTOCOL_INFOW, &facts, &length);
  return answer == 0 ? facts.iAddressFamily : AF_UNSPEC;
}

void ignore_unreachable(NativeHandle handle) noexcept {
  constexpr DWORD sio_udp_connreset = 0x9800000C;  // not in every header
  BOOL on = FALSE;
  DWORD size = 0;
  ::WSAIoctl(native(handle), sio_udp_connreset, &on, sizeof on, nullptr, 0, &size, nullptr,
             nullptr);
}

}  // namespace ferry::internal::calls
