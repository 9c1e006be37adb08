#include "platform/sockets/socket_address.hpp"

#include "values/system_text.hpp"

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <system_error>

namespace ferry::internal {
namespace {

constexpr std::size_t path_offset = offsetof(sockaddr_un, sun_path);

// Addresses of the BSDs' begin with their length, which some socket options read.
template <class Name>
void tell_length(Name& name) noexcept {
  if constexpr (requires { name.sin_len; }) name.sin_len = sizeof name;
  if constexpr (requires { name.sin6_len; }) name.sin6_len = sizeof name;
}

bool parse_scope(std::string_view text, std::uint32_t& scope_id) noexcept {
  if (text.empty() || text.size() >= IF_NAMESIZE) return false;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, scope_id);
  if (stop == end) return error == std::errc{};
  char name[IF_NAMESIZE] = {};
  std::memcpy(name, text.data(), text.size());
  scope_id = ::if_nametoindex(name);
  return scope_id != 0;
}

Address from_unix(const sockaddr_un& from, socklen_t length) noexcept {
  const auto size = static_cast<std::size_t>(length);
  if (size <= path_offset) return {};  // unnamed
  std::string_view path{from.sun_path, size - path_offset};
  if (path[0] != '\0') path = path.substr(0, path.find('\0'));
  // A peer may have bound a path that fills the field, without room for a NUL: not for us to name.
  const bool fits = path.size() < Address::max_path || path[0] == '\0';
  return fits ? Address::unix_path(path) : Address{};
}

}  // namespace

bool parse_ip(std::string_view text, IpParts& parts) noexcept {
  char buffer[INET6_ADDRSTRLEN] = {};
  const std::size_t percent = text.find('%');
  const std::string_view ip = text.substr(0, percent);
  if (ip.empty() || ip.size() >= sizeof buffer || ip.find('\0') != ip.npos) return false;
  std::memcpy(buffer, ip.data(), ip.size());
  if (percent == text.npos && ::inet_pton(AF_INET, buffer, parts.bytes) == 1) {
    parts.family = Family::ipv4;
    return true;
  }
  if (::inet_pton(AF_INET6, buffer, parts.bytes) != 1) return false;
  parts.family = Family::ipv6;
  return percent == text.npos || parse_scope(text.substr(percent + 1), parts.scope_id);
}

std::string ip_to_text(std::string_view bytes) {
  char buffer[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), buffer, sizeof buffer);
  return buffer;
}

socklen_t to_system(const Address& address, sockaddr_storage& storage) noexcept {
  if (address.family() == Family::ipv4) {
    auto& to = reinterpret_cast<sockaddr_in&>(storage);
    to = {};
    tell_length(to);
    to.sin_family = AF_INET;
    to.sin_port = htons(address.port());
    std::memcpy(&to.sin_addr, address.ip_bytes().data(), 4);
    return sizeof to;
  }
  if (address.family() == Family::ipv6) {
    auto& to = reinterpret_cast<sockaddr_in6&>(storage);
    to = {};
    tell_length(to);
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(address.port());
    to.sin6_flowinfo = address.flowinfo();
    to.sin6_scope_id = address.scope_id();
    std::memcpy(&to.sin6_addr, address.ip_bytes().data(), 16);
    return sizeof to;
  }
  auto& to = reinterpret_cast<sockaddr_un&>(storage);
  to = {};
  to.sun_family = AF_UNIX;
  const std::string_view path = address.path();
  if (!path.empty()) std::memcpy(to.sun_path, path.data(), path.size());
  const bool named = !path.empty() && path[0] != '\0';  // abstract names count every byte
  return static_cast<socklen_t>(path_offset + path.size() + (named ? 1 : 0));
}

Address from_system(const sockaddr_storage& storage, socklen_t length) noexcept {
  if (length < static_cast<socklen_t>(sizeof storage.ss_family)) return {};
  if (storage.ss_family == AF_INET) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(storage);
    return Address::from_ip(Family::ipv4, {reinterpret_cast<const char*>(&from.sin_addr), 4},
                            ntohs(from.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto& from = reinterpret_cast<const sockaddr_in6&>(storage);
    return Address::from_ip(Family::ipv6, {reinterpret_cast<const char*>(&from.sin6_addr), 16},
                            ntohs(from.sin6_port), from.sin6_scope_id, from.sin6_flowinfo);
  }
  if (storage.ss_family == AF_UNIX) {
    return from_unix(reinterpret_cast<const sockaddr_un&>(storage), length);
  }
  return {};
}

Error os_error(int number, std::string_view context) {
  return Error{system_error(number), context};
}
Error last_error(std::string_view context) { return os_error(errno, context); }

int system_family(Family family) noexcept {
  switch (family) {
    case Family::ipv4: return AF_INET;
    case Family::ipv6: return AF_INET6;
    case Family::unix_socket: return AF_UNIX;
    case Family::none: break;
  }
  return AF_UNSPEC;
}

bool is_multicast(const Address& address) noexcept {
  const std::string_view ip = address.ip_bytes();
  if (ip.empty()) return false;
  const auto first = static_cast<unsigned char>(ip[0]);
  return address.family() == Family::ipv4 ? first >= 224 && first < 240 : first == 0xff;
}

}  // namespace ferry::internal
