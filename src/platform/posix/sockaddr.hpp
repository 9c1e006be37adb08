// ferry::Address to and from the system's sockaddr; errno to Error.
#pragma once

#include <ferry/address.hpp>
#include <ferry/error.hpp>

#include <sys/socket.h>

#include <string_view>

namespace ferry::internal {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);

  SocketAddress() noexcept = default;
  explicit SocketAddress(const Address& address) noexcept;
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  // As a call filled it in; `none` for what is neither IP nor Unix.
  Address address() const noexcept;
};

// The calling thread's errno, worded: "bind to 127.0.0.1:80: permission denied".
Error last_error(std::string_view context);
Error os_error(int number, std::string_view context);
int system_family(Family family) noexcept;

}  // namespace ferry::internal
