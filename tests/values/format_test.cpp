// format.hpp: ferry's values in fmt's braces.
#include "support/catch.hpp"

#include <ferry/format.hpp>

#include <string>

TEST_CASE("addresses, errors and bytes can be formatted") {
  CHECK(fmt::format("{}", ferry::Address{"127.0.0.1", 80}) == "127.0.0.1:80");
  CHECK(fmt::format("{}", ferry::Address{"::1", 80}) == "[::1]:80");
  CHECK(fmt::format("{}", ferry::Address{}) == "none");
  CHECK(fmt::format("{}", ferry::Address::unix_path({"\0x", 2})) == "@x");
  const ferry::Error error{std::make_error_code(std::errc::connection_refused), "connect"};
  CHECK(fmt::format("lost: {}", error) == "lost: connect: connection refused");
  CHECK(fmt::format("lost: {}", ferry::Error{}) == "lost: none");
  CHECK(fmt::format("{}", ferry::BytesView{"a\0b"}) == std::string("a\0b", 3));
}

TEST_CASE("they take the format of text") {
  CHECK(fmt::format("[{:>8}]", ferry::Address{}) == "[    none]");
  CHECK(fmt::format("[{:<6}]", ferry::BytesView{"abc"}) == "[abc   ]");
  CHECK(fmt::format("[{:^6}]", ferry::Error{}) == "[ none ]");
  CHECK(fmt::format("[{:.2}]", ferry::BytesView{"abc"}) == "[ab]");
}
