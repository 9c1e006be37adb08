#include <ferry/address.hpp>
#include <ferry/error.hpp>

#include "values/system_text.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace ferry {
namespace {

std::uint16_t checked_port(int number) {
  if (number < 0 || number > 65535) {
    throw std::invalid_argument{"port " + std::to_string(number) + " is not in 0..65535"};
  }
  return static_cast<std::uint16_t>(number);
}

// The NULs of abstract names are shown as '@'.
std::string printable(std::string_view path) {
  std::string text{path};
  std::replace(text.begin(), text.end(), '\0', '@');
  return text;
}

}  // namespace

Address::Address(std::string_view host, int port) {
  port_ = checked_port(port);
  if (host.find('\0') != std::string_view::npos) {
    throw std::invalid_argument{"the host has a NUL inside"};
  }
  internal::IpParts parts;
  if (!internal::parse_ip(host, parts)) {
    throw std::invalid_argument{"'" + std::string{host} + "' is not a numeric address"};
  }
  *this = from_ip(parts.family, parts.view(), port_, parts.scope_id);
}

Address Address::unix_path(std::string_view path) {
  const bool abstract = !path.empty() && path[0] == '\0';
  // A path in the file system keeps room for its NUL.
  if (path.size() > max_path - (abstract ? 0 : 1)) {
    throw OsError{std::make_error_code(std::errc::filename_too_long),
                  "'" + printable(path.substr(0, 40)) + "…' (" + std::to_string(path.size()) +
                      " bytes) is too long for the path of a Unix socket"};
  }
  if (!abstract && path.find('\0') != std::string_view::npos) {
    throw std::invalid_argument{"the path of a Unix socket has a NUL inside"};
  }
  Address address;
  address.family_ = Family::unix_socket;
  address.length_ = static_cast<std::uint8_t>(path.size());
  std::copy(path.begin(), path.end(), address.bytes_.begin());
  return address;
}

Address Address::from_ip(Family family, std::string_view ip_bytes, std::uint16_t port,
                         std::uint32_t scope_id, std::uint32_t flowinfo) noexcept {
  Address address;
  address.family_ = family;
  address.port_ = port;
  address.scope_id_ = scope_id;
  address.flowinfo_ = flowinfo;
  address.length_ = static_cast<std::uint8_t>(std::min<std::size_t>(ip_bytes.size(), 16));
  std::copy_n(ip_bytes.begin(), address.length_, address.bytes_.begin());
  return address;
}

Address Address::with_port(std::uint16_t port) const noexcept {
  Address changed = *this;
  changed.port_ = port;
  return changed;
}

std::string_view Address::ip_bytes() const noexcept {
  if (family_ != Family::ipv4 && family_ != Family::ipv6) return {};
  return {bytes_.data(), length_};
}

std::string_view Address::path() const noexcept {
  if (family_ != Family::unix_socket) return {};
  return {bytes_.data(), length_};
}

bool Address::is_wildcard() const noexcept {
  const std::string_view ip = ip_bytes();
  return std::all_of(ip.begin(), ip.end(), [](char byte) { return byte == '\0'; });
}

std::string Address::host() const {
  if (ip_bytes().empty()) return {};
  std::string text = internal::ip_to_text(ip_bytes());
  if (scope_id_ != 0) text += "%" + std::to_string(scope_id_);
  return text;
}

std::string Address::to_string() const {
  switch (family_) {
    case Family::none: return "none";
    case Family::ipv4: return host() + ":" + std::to_string(port_);
    case Family::ipv6: return "[" + host() + "]:" + std::to_string(port_);
    case Family::unix_socket: break;
  }
  return path().empty() ? "unix:unnamed" : printable(path());
}

bool operator==(const Address& a, const Address& b) noexcept {
  return a.family_ == b.family_ && a.port_ == b.port_ && a.scope_id_ == b.scope_id_ &&
         a.flowinfo_ == b.flowinfo_ && a.length_ == b.length_ &&
         std::equal(a.bytes_.begin(), a.bytes_.begin() + a.length_, b.bytes_.begin());
}

Port::Port(int number) : number_{checked_port(number)} {}

Port::Port(std::string_view service) {
  if (service.empty()) throw std::invalid_argument{"the port is an empty string"};
  if (service.find('\0') != std::string_view::npos) {
    throw std::invalid_argument{"the service name has a NUL inside"};
  }
  const char* end = service.data() + service.size();
  int number = 0;
  const auto [stop, error] = std::from_chars(service.data(), end, number);
  if (stop != end) {
    service_ = service;  // a name
    return;
  }
  if (error != std::errc{}) number = -1;
  if (number < 0 || number > 65535) {
    throw std::invalid_argument{"port " + std::string{service} + " is not in 0..65535"};
  }
  number_ = static_cast<std::uint16_t>(number);
}

}  // namespace ferry
