// What the value types need of the system: IP addresses and errors as text.
#pragma once

#include <ferry/address.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace ferry::internal {

struct IpParts {
  Family family = Family::none;
  char bytes[16] = {};
  std::uint32_t scope_id = 0;
  std::string_view view() const noexcept {
    return {bytes, family == Family::ipv4 ? std::size_t{4} : std::size_t{16}};
  }
};

// Implemented by the platform. False if `text` is not a numeric address; a scope may be a number or
// the name of an interface of this machine.
bool parse_ip(std::string_view text, IpParts& parts) noexcept;
// `bytes` are 4 or 16, in network order.
std::string ip_to_text(std::string_view bytes);
// In words: the same on every system where the error is one that all of them have.
std::string message_of(const std::error_code& code);

}  // namespace ferry::internal
