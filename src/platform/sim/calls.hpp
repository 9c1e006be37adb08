// The simulated world in the shape of the system's calls (../sockets/system_calls.hpp).
#pragma once

#include "platform/sim/world.hpp"
#include "platform/sockets/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace ferry::internal::sim {

class SimCalls {
 public:
  static constexpr bool selector_tells_resets = false;
  static constexpr bool is_socket = true;
  static constexpr const char* receive_name = "receive";
  static constexpr const char* send_name = "send";
  using Part = BytesView;

  explicit SimCalls(World& world) noexcept : world_{&world} {}

  static Part part(const void* data, std::size_t size) noexcept {
    return {static_cast<const std::byte*>(data), size};
  }
  static bool was_cut() noexcept { return false; }

  NativeHandle stream_socket(int family) const {
    for (const Family known : {Family::ipv4, Family::ipv6, Family::unix_socket}) {
      if (family == system_family(known)) return world_->open(known);
    }
    errno = EAFNOSUPPORT;
    return -1;
  }
  NativeHandle datagram_socket(int family) const {
    for (const Family known : {Family::ipv4, Family::ipv6, Family::unix_socket}) {
      if (family == system_family(known)) return world_->open(known, true);
    }
    errno = EAFNOSUPPORT;
    return -1;
  }
  calls::DatagramsMoved receive_many(NativeHandle handle, calls::DatagramIn* in,
                                     std::size_t count, calls::ReceiveWhat) const {
    for (std::size_t i = 0; i < count; ++i) {
      SimDatagram datagram;
      if (world_->receive_datagram(handle, datagram) != 0) return {i, errno};
      in[i].truncated = datagram.bytes.size() > in[i].room;
      in[i].size = datagram.bytes.copy(reinterpret_cast<char*>(in[i].data), in[i].room);
      in[i].segment = 0;
      in[i].from_length = datagram.from ? to_system(datagram.from, in[i].from) : 0;
      calls::forget(in[i].way);
    }
    return {count, 0};
  }
  calls::DatagramsMoved send_many(NativeHandle handle, calls::OutOf<Part>* out,
                                  std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      std::string bytes;
      for (const Part& one : std::span{out[i].parts, out[i].count}) {
        bytes.append(reinterpret_cast<const char*>(one.data()), one.size());
      }
      const Address to = out[i].to != nullptr ? read(out[i].to, out[i].to_length) : Address{};
      if (world_->send_datagram(handle, std::move(bytes), to) != 0) return {i, errno};
    }
    return {count, 0};
  }
  bool can_cut_segments(NativeHandle) const noexcept { return false; }
  bool join_segments(NativeHandle) const noexcept { return false; }
  int tell_packet_ways(NativeHandle, int) const noexcept { return errno = ENOPROTOOPT, -1; }
  bool drops_datagrams(int) const noexcept { return false; }
  void drop_error_queue(NativeHandle) const noexcept {}
  static constexpr bool receives_without_a_name = true;
  int family_of(NativeHandle handle) const {
    const SimSocket* const socket = world_->find(handle);
    return socket != nullptr ? system_family(socket->family) : AF_UNSPEC;
  }
  void ignore_unreachable(NativeHandle) const noexcept {}
  int bind(NativeHandle handle, const sockaddr* address, socklen_t length) const {
    return world_->bind(handle, read(address, length));
  }
  int listen(NativeHandle handle, int backlog) const { return world_->listen(handle, backlog); }
  NativeHandle accept(NativeHandle handle, sockaddr* address, socklen_t* length) const {
    Address peer;
    const NativeHandle made = world_->accept(handle, peer);
    if (made != -1) write(peer, address, length);
    return made;
  }
  int connect(NativeHandle handle, const sockaddr* address, socklen_t length) const {
    return world_->connect(handle, read(address, length));
  }
  std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) const {
    return world_->recv(handle, into, size);
  }
  std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) const {
    return world_->send(handle, from, size);
  }
  std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count) const {
    // More than there can be room for, if there is more: then the world knows that somebody waits.
    std::string all;
    for (const Part& one : std::span{parts, count}) {
      if (all.size() > world_->network.buffer) break;
      all.append(reinterpret_cast<const char*>(one.data()), one.size());
    }
    return world_->send(handle, all.data(), all.size());
  }
  int shut_write(NativeHandle handle) const { return world_->shut_write(handle); }
  int close(NativeHandle handle) const { return world_->close(handle); }
  int getsockname(NativeHandle handle, sockaddr* address, socklen_t* length) const {
    if (world_->find(handle) == nullptr) return -1;
    write(world_->local_address(handle), address, length);
    return 0;
  }
  int getpeername(NativeHandle handle, sockaddr* address, socklen_t* length) const {
    const SimSocket* const socket = world_->find(handle);
    if (socket == nullptr) return -1;
    if (socket->state != SimSocket::State::connected) return errno = ENOTCONN, -1;
    write(socket->peer, address, length);
    return 0;
  }
  int setsockopt(NativeHandle handle, int level, int option, const void* value,
                 socklen_t length) const {
    SimSocket* const socket = world_->find(handle);
    if (socket == nullptr) return -1;
    if (level == SOL_SOCKET && option == SO_LINGER) {
      linger how{};
      std::memcpy(&how, value, std::min<std::size_t>(length, sizeof how));
      socket->reset_at_close = how.l_onoff != 0 && how.l_linger == 0;
      return 0;
    }
    int number = 0;
    std::memcpy(&number, value, std::min<std::size_t>(length, sizeof number));
    return world_->set_option(handle, level, option, number);
  }
  int getsockopt(NativeHandle handle, int level, int option, void* value,
                 socklen_t* length) const {
    const SimSocket* const socket = world_->find(handle);
    int number = socket != nullptr && socket->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    const bool type = level == SOL_SOCKET && option == SO_TYPE;
    if (!type && world_->get_option(handle, level, option, number) != 0) return -1;
    std::memcpy(value, &number, std::min<std::size_t>(*length, sizeof number));
    return 0;
  }
  int set_nonblocking(NativeHandle) const noexcept { return 0; }
  void no_sigpipe(NativeHandle) const noexcept {}
  bool listens(NativeHandle handle) const noexcept {
    const SimSocket* const socket = world_->find(handle);
    return socket != nullptr && socket->state == SimSocket::State::listening;
  }
  int pending_error(NativeHandle handle) const { return world_->pending_error(handle); }
  int claim_address(NativeHandle, bool) const noexcept { return 0; }
  int share_port(NativeHandle handle) const {
    SimSocket* const socket = world_->find(handle);
    if (socket == nullptr) return -1;
    socket->shared_port = true;
    return 0;
  }
  bool has_ended(NativeHandle handle) const {
    const SimSocket* const socket = world_->find(handle);
    return socket != nullptr && (World::state_of(*socket) & ready_hint) != 0;
  }

  std::uint32_t look(NativeHandle handle) const {
    const SimSocket* const socket = world_->find(handle);
    return socket == nullptr ? ready_read | ready_hint
                             : World::state_of(*socket) & (ready_read | ready_hint);
  }

  int stat(const char* path, calls::FileFacts& facts) const {
    facts.is_socket = true;
    facts.inode = world_->path_number(path);
    return facts.inode != 0 ? 0 : (errno = ENOENT, -1);
  }
  int unlink(const char* path) const { return world_->unlink(path); }

 private:
  static Address read(const sockaddr* address, socklen_t length) {
    SocketAddress name;
    name.length = length;
    std::memcpy(&name.storage, address, static_cast<std::size_t>(length));
    return name.address();
  }
  static void write(const Address& from, sockaddr* address, socklen_t* length) {
    const SocketAddress name{from};
    const auto room = static_cast<std::size_t>(std::min(*length, name.length));
    std::memcpy(address, &name.storage, room);
    *length = name.length;
  }

  World* world_;
};

}  // namespace ferry::internal::sim
