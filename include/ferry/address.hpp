// Where a socket is: IPv4, IPv6, a Unix path, or nowhere.
#pragma once

#include <ferry/export.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ferry {

enum class Family : std::uint8_t { none, ipv4, ipv6, unix_socket };

// An address as a plain value: trivially copyable, comparable, printable, without a system header.
// The empty address prints "none": that is what an unnamed or unknown peer is.
class FERRY_API Address {
 public:
  static constexpr std::size_t max_path = 108;

  Address() noexcept = default;
  // A numeric host ("127.0.0.1", "::1", "fe80::1%2"; names are not resolved here) and a port of
  // 0..65535. Throws std::invalid_argument that names what is wrong.
  Address(std::string_view host, int port);
  // A path in the file system, or an abstract name (Linux) if it starts with a NUL, with every
  // byte counted. Throws OsError (filename too long) rather than cut it (T-114).
  static Address unix_path(std::string_view path);

  Family family() const noexcept { return family_; }
  explicit operator bool() const noexcept { return family_ != Family::none; }
  // The numeric host with its scope ("fe80::1%2"); empty for a Unix address.
  std::string host() const;
  std::uint16_t port() const noexcept { return port_; }
  std::uint32_t scope_id() const noexcept { return scope_id_; }
  std::uint32_t flowinfo() const noexcept { return flowinfo_; }
  // The path of a Unix address, abstract names with their leading NUL; else empty.
  std::string_view path() const noexcept;
  // "127.0.0.1:8888", "[::1]:8888", "/run/x.sock", "@abstract", "none".
  std::string to_string() const;

  // The bytes of an IP address in network order: 4 or 16 of them, else none.
  std::string_view ip_bytes() const noexcept;
  static Address from_ip(Family family, std::string_view ip_bytes, std::uint16_t port,
                         std::uint32_t scope_id = 0, std::uint32_t flowinfo = 0) noexcept;
  Address with_port(std::uint16_t port) const noexcept;
  bool is_wildcard() const noexcept;

  friend FERRY_API bool operator==(const Address& a, const Address& b) noexcept;

 private:
  Family family_ = Family::none;
  std::uint8_t length_ = 0;  // of bytes_
  std::uint16_t port_ = 0;
  std::uint32_t scope_id_ = 0;
  std::uint32_t flowinfo_ = 0;
  std::array<char, max_path> bytes_{};
};

// A port as a number, or as a service name ("http") that is resolved together with the host.
class FERRY_API Port {
 public:
  Port(int number);  // throws std::invalid_argument outside 0..65535 (C-22)
  // Digits are a number; anything else is a service name.
  Port(std::string_view service);
  Port(const char* service) : Port{std::string_view{service}} {}
  Port(const std::string& service) : Port{std::string_view{service}} {}

  bool is_number() const noexcept { return service_.empty(); }
  std::uint16_t number() const noexcept { return number_; }
  std::string_view service() const noexcept { return service_; }

 private:
  std::uint16_t number_ = 0;
  std::string_view service_;
};

}  // namespace ferry
