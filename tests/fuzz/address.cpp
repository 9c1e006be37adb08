// Addresses and ports from any text, and from what a system might fill in.
#include "fuzz/fuzz.hpp"
#include "platform/sockets/socket_address.hpp"

#include <ferry/address.hpp>
#include <ferry/error.hpp>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

using ferry::Address;
using ferry::Family;
using ferry::internal::SocketAddress;
using fuzz::require;

namespace {

void same_through_the_system(const Address& address) {
  const SocketAddress name{address};
  require(name.address() == address, "an address is the same after its way through sockaddr");
}

void numeric_host(std::string_view text, int port) {
  std::optional<Address> parsed;
  try {
    parsed.emplace(text, port);
  } catch (const std::invalid_argument&) {
    return;
  }
  require(text.find('\0') == text.npos, "a host with a NUL is refused");
  require(parsed->port() == port, "the port is kept");
  require(parsed->ip_bytes().size() == (parsed->family() == Family::ipv4 ? 4 : 16), "its size");
  require(Address{parsed->host(), port} == *parsed, "the host's text is the same address");
  require(parsed->with_port(1).with_port(parsed->port()) == *parsed, "with_port() is undone");
  const std::string ending = ":" + std::to_string(port);
  const std::string whole = parsed->family() == Family::ipv4 ? parsed->host() + ending
                                                             : "[" + parsed->host() + "]" + ending;
  require(parsed->to_string() == whole, "to_string() is host and port");
  same_through_the_system(*parsed);
}

void unix_path(std::string_view text) {
  std::optional<Address> made;
  try {
    made = Address::unix_path(text);
  } catch (const ferry::OsError& error) {
    require(error.code() == std::errc::filename_too_long && text.size() >= Address::max_path,
            "only what is too long is too long");
    return;
  } catch (const std::invalid_argument&) {
    require(text.find('\0', 1) != text.npos && text[0] != '\0', "only a NUL inside is refused");
    return;
  }
  require(made->path() == text, "the path is kept whole");
  require(made->to_string().size() >= text.size(), "and shown whole");
  if (!text.empty()) same_through_the_system(*made);
}

void port(std::string_view text) {
  try {
    const ferry::Port made{text};
    require(made.is_number() == made.service().empty(), "a number or a name");
    require(made.is_number() || made.service() == text, "the name is kept");
    require(!made.is_number() || ferry::Port{std::to_string(made.number())}.is_number(),
            "a number's text is a number");
  } catch (const std::invalid_argument&) {
  }
}

// Of any length that a system answers, of one of its families, with anything in it.
void filled_in(unsigned family, std::string_view bytes) {
  static constexpr int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
  SocketAddress name;
  const std::size_t size = std::min(bytes.size(), sizeof(sockaddr_un));
  std::memcpy(&name.storage, bytes.data(), size);
  name.storage.ss_family = static_cast<decltype(name.storage.ss_family)>(families[family % 4]);
  name.length = static_cast<socklen_t>(size);
  const Address address = name.address();
  if (address) same_through_the_system(address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  const unsigned kind = input.byte();
  const auto number = static_cast<int>(kind % 4 == 0 ? input.word() : 0);
  switch (kind % 4) {
    case 0: numeric_host(input.rest(), number); break;
    case 1: unix_path(input.rest()); break;
    case 2: port(input.rest()); break;
    default: filled_in(kind / 4, input.rest()); break;
  }
  return 0;
}
