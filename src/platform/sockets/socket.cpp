#include <ferry/error.hpp>
#include <ferry/socket.hpp>

#include "platform/sockets/calls.hpp"
#include "platform/sockets/socket_address.hpp"

#include <string>

namespace ferry {
namespace {

std::size_t moved(std::ptrdiff_t count, const char* what, NativeHandle handle) {
  if (count < 0) {
    internal::last_error(std::string{what} + " on socket " + std::to_string(handle)).raise();
  }
  return static_cast<std::size_t>(count);
}

}  // namespace

Address SocketView::getsockname() const noexcept {
  internal::SocketAddress name;
  if (internal::calls::getsockname(handle_, name.get(), &name.length) != 0) return {};
  return name.address();
}

Address SocketView::getpeername() const noexcept {
  internal::SocketAddress name;
  if (internal::calls::getpeername(handle_, name.get(), &name.length) != 0) return {};
  return name.address();
}

void SocketView::setsockopt(int level, int option, int value) const {
  if (internal::calls::setsockopt(handle_, level, option, &value, sizeof value) != 0) {
    internal::last_error("set socket option " + std::to_string(option)).raise();
  }
}

int SocketView::getsockopt(int level, int option) const {
  int value = 0;
  socklen_t length = sizeof value;
  if (internal::calls::getsockopt(handle_, level, option, &value, &length) != 0) {
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
  if (handle_ != invalid_handle) internal::calls::close(detach());
}

std::size_t Socket::send(BytesView data) const {
  internal::calls::no_sigpipe(handle_);
  return moved(internal::calls::send(handle_, data.data(), data.size()), "send", handle_);
}

std::size_t Socket::recv(std::span<std::byte> into) const {
  return moved(internal::calls::recv(handle_, into.data(), into.size()), "receive", handle_);
}

std::pair<Socket, Socket> socketpair() {
  NativeHandle pair[2];
  if (internal::calls::socket_pair(pair) != 0) {
    internal::last_error("make a socket pair").raise();
  }
  return {Socket{pair[0]}, Socket{pair[1]}};
}

}  // namespace ferry
