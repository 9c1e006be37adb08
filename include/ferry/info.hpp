// Typed keys of get_extra_info (S-010).
#pragma once

#include <ferry/address.hpp>
#include <ferry/socket.hpp>

#include <string_view>

namespace ferry {

// `transport.get_extra_info(ferry::peername)` is an Address: the key knows its type.
template <class T>
struct InfoKey {
  std::string_view name;
};

// The remote address; empty if there is none or it could not be told (S-011).
inline constexpr InfoKey<Address> peername{"peername"};
// The local address (S-013).
inline constexpr InfoKey<Address> sockname{"sockname"};
// The native socket, to set options on (S-012).
inline constexpr InfoKey<SocketView> socket{"socket"};

}  // namespace ferry
