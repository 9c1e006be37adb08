#include <ferry/error.hpp>
#include <ferry/socket.hpp>

#include "platform/simulated.hpp"
#include "platform/sockets/calls.hpp"
#include "platform/sockets/socket_address.hpp"

#include <limits>
#include <stdexcept>
#include <string>

namespace ferry {
namespace {

using internal::SimulatedSockets;

// Asks the system, or the world to which a simulated socket belongs.
template <class Real, class Simulated>
auto ask(NativeHandle handle, Real real, Simulated simulated) -> decltype(real()) {
  if (!internal::is_simulated(handle)) return real();
  SimulatedSockets* const world = internal::simulated_sockets(handle);
  return world != nullptr ? simulated(*world) : static_cast<decltype(real())>(-1);
}

std::size_t moved(std::ptrdiff_t count, const char* what, NativeHandle handle) {
  if (count < 0) {
    internal::last_error(std::string{what} + " on socket " + std::to_string(handle)).raise();
  }
  return static_cast<std::size_t>(count);
}

// One end's name; the empty one if there is none.
template <class Ask>
Address name_of(NativeHandle handle, Ask ask_system,
                Address (SimulatedSockets::*ask_world)(NativeHandle)) noexcept {
  if (internal::is_simulated(handle)) {
    SimulatedSockets* const world = internal::simulated_sockets(handle);
    return world != nullptr ? (world->*ask_world)(handle) : Address{};
  }
  internal::SocketAddress name;
  if (ask_system(handle, name.get(), &name.length) != 0) return {};
  return name.address();
}

void change_membership(NativeHandle handle, const MulticastGroup& group, bool join) {
  const std::string doing = std::string{join ? "join " : "leave "} + group.group.host() +
                            (group.source ? " from " + group.source.host() : std::string{});
  if (!internal::is_multicast(group.group)) {
    throw std::invalid_argument{(join ? "join " : "leave ") + group.group.to_string() +
                                ": not a multicast group"};
  }
  if (group.source && group.source.family() != group.group.family()) {
    throw std::invalid_argument{doing + ": the source is of another family"};
  }
  const auto real = [&] {
    const internal::SocketAddress name{group.group}, source{group.source};
    const bool any = !group.source;
    return internal::calls::membership(
        handle, internal::system_family(group.group.family()),
        {name.get(), name.length, any ? nullptr : source.get(), any ? 0 : source.length,
         group.interface_index != 0 ? group.interface_index : group.group.scope_id()},
        join);
  };
  const auto simulated = [&](SimulatedSockets& world) {
    return world.membership(handle, group.group, group.source, join);
  };
  if (ask(handle, real, simulated) != 0) internal::last_error(doing).raise();
}

using internal::calls::DatagramOption;

void set_datagram_option(NativeHandle handle, DatagramOption option, const char* what, int value,
                         int most) {
  if (value < 0 || value > most) {
    throw std::invalid_argument{std::string{what} + ": " + std::to_string(value) +
                                " is not in 0..." + std::to_string(most)};
  }
  const auto real = [&] {
    const int family = internal::calls::family_of(handle);
    if (family == AF_UNSPEC) return -1;
    return internal::calls::set_option(handle, family, option, value);
  };
  const auto simulated = [&](SimulatedSockets& world) {
    return world.set_datagram_option(handle, static_cast<int>(option), value);
  };
  if (ask(handle, real, simulated) != 0) internal::last_error(what).raise();
}

}  // namespace

void SocketView::join_multicast(const MulticastGroup& group) const {
  change_membership(handle_, group, true);
}
void SocketView::leave_multicast(const MulticastGroup& group) const {
  change_membership(handle_, group, false);
}
void SocketView::set_multicast_interface(std::uint32_t interface_index) const {
  constexpr int most = std::numeric_limits<int>::max();
  const int index = interface_index <= most ? static_cast<int>(interface_index) : -1;
  set_datagram_option(handle_, DatagramOption::multicast_interface, "set the multicast interface",
                      index, most);
}
void SocketView::set_multicast_hops(int hops) const {
  set_datagram_option(handle_, DatagramOption::multicast_hops, "set the multicast hops", hops,
                      255);
}
void SocketView::set_multicast_loop(bool on) const {
  set_datagram_option(handle_, DatagramOption::multicast_loop, "set the multicast loop", on ? 1 : 0,
                      1);
}
void SocketView::set_hops(int hops) const {
  set_datagram_option(handle_, DatagramOption::hops, "set the hops", hops, 255);
}
void SocketView::set_traffic_class(int value) const {
  set_datagram_option(handle_, DatagramOption::traffic_class, "set the traffic class", value, 255);
}

Address SocketView::getsockname() const noexcept {
  return name_of(handle_, internal::calls::getsockname, &SimulatedSockets::local_address);
}

Address SocketView::getpeername() const noexcept {
  return name_of(handle_, internal::calls::getpeername, &SimulatedSockets::peer_address);
}

void SocketView::setsockopt(int level, int option, int value) const {
  const int answer = ask(
      handle_,
      [&] { return internal::calls::setsockopt(handle_, level, option, &value, sizeof value); },
      [&](SimulatedSockets& world) { return world.set_option(handle_, level, option, value); });
  if (answer != 0) {
    internal::last_error("set socket option " + std::to_string(option)).raise();
  }
}

int SocketView::getsockopt(int level, int option) const {
  int value = 0;
  socklen_t length = sizeof value;
  const int answer = ask(
      handle_,
      [&] { return internal::calls::getsockopt(handle_, level, option, &value, &length); },
      [&](SimulatedSockets& world) { return world.get_option(handle_, level, option, value); });
  if (answer != 0) {
    internal::last_error("get socket option " + std::to_string(option)).raise();
  }
  return value;
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = other.detach();
  }
  return *this;
}

void Socket::close() noexcept {
  // Never again on EINTR: the number may be somebody else's by then.
  if (handle_ == invalid_handle) return;
  const NativeHandle handle = detach();
  ask(
      handle, [&] { return internal::calls::close(handle); },
      [&](SimulatedSockets& world) { return world.close(handle); });
}

std::size_t Socket::send(BytesView data) const {
  const auto real = [&] {
    internal::calls::no_sigpipe(handle_);
    return internal::calls::send(handle_, data.data(), data.size());
  };
  const auto simulated = [&](SimulatedSockets& world) {
    return world.send(handle_, data.data(), data.size());
  };
  return moved(ask(handle_, real, simulated), "send", handle_);
}

std::size_t Socket::recv(std::span<std::byte> into) const {
  const auto real = [&] { return internal::calls::recv(handle_, into.data(), into.size()); };
  const auto simulated = [&](SimulatedSockets& world) {
    return world.recv(handle_, into.data(), into.size());
  };
  return moved(ask(handle_, real, simulated), "receive", handle_);
}

std::pair<Socket, Socket> socketpair() {
  NativeHandle pair[2];
  if (internal::calls::socket_pair(pair) != 0) {
    internal::last_error("make a socket pair").raise();
  }
  return {Socket{pair[0]}, Socket{pair[1]}};
}

}  // namespace ferry
