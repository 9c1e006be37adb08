// What the value types need of the system: IP addresses, errors and the environment as text.
#pragma once

#include <ferry/address.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

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

// This process's variables, "NAME=value", and whether two names are one variable's.
std::vector<std::string> environment_entries();
bool same_variable(std::string_view one, std::string_view other) noexcept;

}  // namespace ferry::internal
