// Address: where a socket is, as a value.
#include "support/catch.hpp"

#include "platform/sockets/socket_address.hpp"

#include <ferry/address.hpp>
#include <ferry/error.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>

using ferry::Address;
using ferry::Family;
using ferry::internal::SocketAddress;
using Catch::Matchers::Contains;

static_assert(std::is_trivially_copyable_v<Address>);
static_assert(std::is_trivially_destructible_v<Address>);

namespace {

std::string refusal(std::string_view host, int port) {
  try {
    const Address address{host, port};
    return "accepted as " + address.to_string();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}
// Through the system's own form and back.
Address there_and_back(const Address& address) { return SocketAddress{address}.address(); }

}  // namespace

TEST_CASE("the empty address is nowhere and prints none") {
  const Address none;
  CHECK_FALSE(none);
  CHECK(none.family() == Family::none);
  CHECK(none.to_string() == "none");
  CHECK(none.host().empty());
  CHECK(none.path().empty());
  CHECK(none.ip_bytes().empty());
  CHECK(none.port() == 0);
  CHECK(none == Address{});
}

TEST_CASE("an address is made from a numeric host and a port, and prints as it is written",
          "[S-011][S-013]") {
  const Address four{"127.0.0.1", 8888};
  CHECK(four);
  CHECK(four.family() == Family::ipv4);
  CHECK(four.host() == "127.0.0.1");
  CHECK(four.port() == 8888);
  CHECK(four.to_string() == "127.0.0.1:8888");
  CHECK(four.ip_bytes() == std::string_view{"\x7f\0\0\1", 4});
  const Address six{"::1", 65535};
  CHECK(six.family() == Family::ipv6);
  CHECK(six.to_string() == "[::1]:65535");
  CHECK(six.ip_bytes().size() == 16);
  CHECK(Address("2001:DB8:0:0::1", 0).to_string() == "[2001:db8::1]:0");
  CHECK(Address("::ffff:1.2.3.4", 1).host() == "::ffff:1.2.3.4");
  CHECK(Address("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 1).family() == Family::ipv6);
}

TEST_CASE("the scope of an IPv6 address is a part of it", "[T-128]") {
  const Address address{"fe80::1%2", 80};
  CHECK(address.scope_id() == 2);
  CHECK(address.host() == "fe80::1%2");
  CHECK(address.to_string() == "[fe80::1%2]:80");
  CHECK_FALSE(address == Address("fe80::1", 80));
  CHECK_FALSE(address == Address("fe80::1%3", 80));
  CHECK(there_and_back(address) == address);
  char name[IF_NAMESIZE] = {};
  if (::if_indextoname(1, name) != nullptr) {  // the loopback's, as a rule
    CHECK(Address("fe80::1%" + std::string{name}, 80).scope_id() == 1);
  }
}

TEST_CASE("what is no numeric address is refused by name", "[C-22][T-136]") {
  for (const char* host :
       {"", "localhost", "127.0.0", "127.0.0.256", "127.0.0.1 ", " 127.0.0.1", "127.1", "0x7f.1",
        "::1::", ":::", "12345::", "[::1]", "127.0.0.1%1", "fe80::1%", "fe80::1%no-such-interface",
        "fe80::1%99999999999", "fe80::1%4294967296", "fe80::1%1%2", "%1"}) {
    CHECK(refusal(host, 80) == "'" + std::string{host} + "' is not a numeric address");
  }
  CHECK(refusal({"127.0.0.1\0x", 11}, 80) == "the host has a NUL inside");
  CHECK_THAT(refusal(std::string(1000, '1'), 80), Contains("is not a numeric address"));
}

TEST_CASE("a port outside of 0..65535 is refused by number", "[C-22]") {
  CHECK(refusal("127.0.0.1", 65536) == "port 65536 is not in 0..65535");
  CHECK(refusal("127.0.0.1", -1) == "port -1 is not in 0..65535");
  CHECK(Address("127.0.0.1", 0).port() == 0);
  CHECK(Address("127.0.0.1", 65535).port() == 65535);
}

TEST_CASE("a Unix address is a path, or an abstract name in its whole length", "[T-114]") {
  const Address path = Address::unix_path("/run/x.sock");
  CHECK(path.family() == Family::unix_socket);
  CHECK(path.path() == "/run/x.sock");
  CHECK(path.to_string() == "/run/x.sock");
  CHECK(path.host().empty());
  CHECK(path.port() == 0);
  const std::string_view name{"\0name\0\0", 7};
  const Address abstract = Address::unix_path(name);
  CHECK(abstract.path() == name);
  CHECK(abstract.to_string() == "@name@@");
  CHECK_FALSE(abstract == Address::unix_path(name.substr(0, 6)));
  for (const Address& address : {path, abstract}) CHECK(there_and_back(address) == address);
}

TEST_CASE("a path is never cut: too long is an error, and so is a NUL inside", "[T-114]") {
  const std::string longest(Address::max_path - 1, 'x');
  CHECK(Address::unix_path(longest).path() == longest);
  CHECK(there_and_back(Address::unix_path(longest)).path() == longest);
  const std::string name = std::string(1, '\0') + longest;
  CHECK(Address::unix_path(name).path() == name);
  CHECK(there_and_back(Address::unix_path(name)).path() == name);
  for (const std::string& path : {longest + "x", name + "x", std::string(5000, 'x')}) {
    try {
      Address::unix_path(path);
      FAIL("taken: " << path.size());
    } catch (const ferry::OsError& error) {
      CHECK(error.code() == std::errc::filename_too_long);
      CHECK_THAT(error.what(), Contains("(" + std::to_string(path.size()) + " bytes)"));
    }
  }
  CHECK_THROWS_AS(Address::unix_path({"/tmp/a\0b", 8}), std::invalid_argument);
}

TEST_CASE("addresses are equal if all of them is", "[S-011]") {
  const Address address{"10.0.0.1", 80};
  CHECK(address == Address("10.0.0.1", 80));
  CHECK_FALSE(address == Address("10.0.0.1", 81));
  CHECK_FALSE(address == Address("10.0.0.2", 80));
  CHECK_FALSE(address == Address("::ffff:10.0.0.1", 80));
  CHECK_FALSE(address == Address{});
  CHECK_FALSE(Address("::1", 0) == Address{});
  CHECK(address.with_port(81) == Address("10.0.0.1", 81));
  CHECK(address.port() == 80);
  const auto flow = [&](std::uint32_t info) {
    return Address::from_ip(Family::ipv6, Address("::1", 0).ip_bytes(), 80, 0, info);
  };
  CHECK(flow(7).flowinfo() == 7);
  CHECK_FALSE(flow(7) == flow(8));
  CHECK(there_and_back(flow(7)) == flow(7));
}

TEST_CASE("addresses survive the way through the system's form", "[S-011][S-013]") {
  for (const Address& address :
       {Address{"127.0.0.1", 1}, Address{"255.255.255.255", 65535}, Address{"0.0.0.0", 0},
        Address{"::", 0}, Address{"2001:db8::1:2", 443}, Address{"::ffff:1.2.3.4", 80}}) {
    CHECK(there_and_back(address) == address);
    CHECK(Address::from_ip(address.family(), address.ip_bytes(), address.port()) == address);
  }
}

TEST_CASE("wildcards are known") {
  CHECK(Address("0.0.0.0", 80).is_wildcard());
  CHECK(Address("::", 80).is_wildcard());
  CHECK_FALSE(Address("0.0.0.1", 80).is_wildcard());
  CHECK_FALSE(Address("::1", 80).is_wildcard());
}

TEST_CASE("what the system tells of a peer is never taken for more than it is", "[T-114][T-102]") {
  SocketAddress unnamed;
  unnamed.get()->sa_family = AF_UNIX;
  unnamed.length = sizeof unnamed.storage.ss_family;
  CHECK_FALSE(unnamed.address());
  SocketAddress nothing;  // as macOS' accept() gives for a peer that is gone
  nothing.length = 0;
  CHECK_FALSE(nothing.address());
  SocketAddress strange;
  strange.get()->sa_family = AF_UNSPEC + 77;
  CHECK_FALSE(strange.address());
  SocketAddress full;  // a path without room for its NUL
  auto& name = reinterpret_cast<sockaddr_un&>(full.storage);
  name.sun_family = AF_UNIX;
  for (char& letter : name.sun_path) letter = 'x';
  full.length = sizeof name + 1;
  CHECK_FALSE(full.address());
}
