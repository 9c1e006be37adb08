// Datagrams in the simulated machine: each is lost, doubled, overtaken as the network's dice say.
#include "platform/sim/world.hpp"

#include "platform/sockets/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ferry::internal::sim {
namespace {

constexpr std::size_t overhead = 64;  // of an empty one, so that a flood of those is lost too

int fail(int error) noexcept {
  errno = error;
  return -1;
}

bool is_broadcast(const Address& address) { return address.host() == "255.255.255.255"; }

}  // namespace

int World::connect_datagrams(SimSocket& socket, const Address& address) {
  if (address.family() != socket.family) return fail(EAFNOSUPPORT);
  if (socket.family == Family::unix_socket && paths_.count(std::string{address.path()}) == 0) {
    return fail(ENOENT);
  }
  if (socket.family != Family::unix_socket && !socket.bound) {
    name_itself(socket, address);
    socket.bound = true;
  }
  socket.peer = address;
  socket.state = SimSocket::State::connected;
  return 0;
}

int World::send_datagram(NativeHandle handle, std::string bytes, const Address& to) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->pending_error != 0) return fail(std::exchange(socket->pending_error, 0));
  const bool connected = socket->state == SimSocket::State::connected;
  const Address target = to ? to : socket->peer;
  if (!to && !connected) return fail(EDESTADDRREQ);
  if (target.family() != socket->family) return fail(EAFNOSUPPORT);
  if (bytes.size() > network.mtu) return fail(EMSGSIZE);
  if (is_broadcast(target) && socket->options[{SOL_SOCKET, SO_BROADCAST}] == 0) {
    return fail(EACCES);
  }
  if (socket->send_held) return fail(EAGAIN);
  if (dice.chance(network.would_block)) {
    socket->send_held = true;
    after(moment(), [this, handle, id = socket->id] {
      SimSocket* const again = find(handle);
      if (again == nullptr || again->id != id) return;
      again->send_held = false;
      notify(again, ready_write);
    });
    return fail(EAGAIN);
  }
  if (!socket->bound && socket->family != Family::unix_socket) {
    socket->local = Address{socket->family == Family::ipv4 ? "0.0.0.0" : "::", free_port()};
    socket->bound = true;
  }
  Address from = socket->local;
  if (from.is_wildcard() && socket->family != Family::unix_socket) {
    SimSocket seen;
    seen.local = socket->local;
    name_itself(seen, target);
    from = seen.local;
  }
  note(handle, "sent to", bytes.size(), target.to_string());
  send_off(*socket, bytes, from, target);
  return 0;
}

void World::send_off(SimSocket& socket, const std::string& bytes, const Address& from,
                     const Address& to) {
  if (lost_hosts.contains(to.host())) return note(socket.handle, "nobody answers there");
  if (dice.chance(network.lost)) return note(socket.handle, "the network loses it");
  const int copies = dice.chance(network.duplicated) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    TimePoint at = now_ + one_way();
    if (dice.chance(network.reordered)) {
      at += moment();
    } else {
      at = socket.last_arrival = std::max(socket.last_arrival, at);
    }
    after(at - now_, [this, datagram = SimDatagram{bytes, from}, to, id = socket.id] {
      datagram_arrives(datagram, to, id);
    });
  }
}

bool World::receives(const SimSocket& socket, const Address& from, const Address& to) {
  if (!socket.datagrams || !socket.bound || socket.family != to.family()) return false;
  if (socket.state == SimSocket::State::connected && socket.peer != from) return false;
  if (socket.family == Family::unix_socket) return socket.local == to;
  if (socket.local.port() != to.port()) return false;
  if (is_multicast(to)) return socket.groups.contains(to.host());
  return socket.local == to || socket.local.is_wildcard() || is_broadcast(to);
}

void World::datagram_arrives(const SimDatagram& datagram, const Address& to,
                             std::uint64_t sender) {
  const bool to_many = is_multicast(to) || is_broadcast(to);
  bool anybody = false;
  for (const auto& socket : sockets_) {
    if (!socket || !receives(*socket, datagram.from, to)) continue;
    anybody = true;
    const std::size_t size = datagram.bytes.size() + overhead;
    if (socket->inbox_size + size > std::max(network.buffer, size)) {
      note(socket->handle, "has no room for a datagram");
    } else {
      socket->inbox_size += size;
      socket->inbox.push_back(datagram);
      notify(socket.get(), ready_read);
    }
    if (!to_many) return;
  }
  if (!anybody && !to_many) after(one_way(), [this, sender] { unreachable(sender); });
}

// Only who is connected hears of that.
void World::unreachable(std::uint64_t sender) {
  for (const auto& socket : sockets_) {
    if (!socket || socket->id != sender) continue;
    if (socket->state != SimSocket::State::connected) return;
    note(socket->handle, "hears that nobody is there");
    socket->pending_error = ECONNREFUSED;
    notify(socket.get(), ready_read | ready_write);
  }
}

int World::receive_datagram(NativeHandle handle, SimDatagram& into) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->pending_error != 0) return fail(std::exchange(socket->pending_error, 0));
  if (socket->inbox.empty() || socket->inbox_held) return fail(EAGAIN);
  if (dice.chance(network.would_block)) {
    socket->inbox_held = true;
    after(moment(), [this, handle, id = socket->id] {
      SimSocket* const again = find(handle);
      if (again == nullptr || again->id != id) return;
      again->inbox_held = false;
      notify(again, ready_read);
    });
    return fail(EAGAIN);
  }
  into = std::move(socket->inbox.front());
  socket->inbox.pop_front();
  socket->inbox_size -= into.bytes.size() + overhead;
  note(handle, "received from", into.bytes.size(), into.from.to_string());
  return 0;
}

int World::membership(NativeHandle handle, const Address& group, const Address&, bool join) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (join) {
    return socket->groups.insert(group.host()).second ? 0 : fail(EADDRINUSE);
  }
  return socket->groups.erase(group.host()) > 0 ? 0 : fail(EADDRNOTAVAIL);
}

int World::set_datagram_option(NativeHandle handle, int, int) {
  return find(handle) != nullptr ? 0 : -1;
}

}  // namespace ferry::internal::sim
