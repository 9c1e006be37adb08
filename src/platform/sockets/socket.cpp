#include <ferry/error.hpp>
#include <ferry/socket.hpp>

#include "platform/simulated.hpp"
#include "platform/sockets/calls.hpp"
#include "platform/sockets/socket_address.hpp"

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

}  // namespace

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
