// ferry::Address to and from the system's sockaddr; errno to Error and back.
#pragma once

#include <ferry/address.hpp>
#include <ferry/error.hpp>

#include "platform/sockets/calls.hpp"

#include <string_view>
#include <system_error>

namespace ferry::internal {

// Fills in a system's address; how long it is.
socklen_t to_system(const Address& address, sockaddr_storage& storage) noexcept;
// As a call filled it in; the empty one for what is neither IP nor Unix.
Address from_system(const sockaddr_storage& storage, socklen_t length) noexcept;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);

  SocketAddress() noexcept = default;
  explicit SocketAddress(const Address& address) noexcept
      : length{to_system(address, storage)} {}
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  Address address() const noexcept { return from_system(storage, length); }
};

// The calling thread's errno, worded: "bind to 127.0.0.1:80: permission denied".
Error last_error(std::string_view context);
Error os_error(int number, std::string_view context);
// An errno as the system's own code, and the errno of such a code.
std::error_code system_error(int number) noexcept;
int errno_of(const std::error_code& code) noexcept;
int system_family(Family family) noexcept;
bool is_multicast(const Address& address) noexcept;  // whether it is a group

}  // namespace ferry::internal
