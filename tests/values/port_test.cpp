// Port: a number, or the name of a service.
#include "support/catch.hpp"

#include <ferry/address.hpp>

#include <climits>
#include <stdexcept>
#include <string>
#include <string_view>

using ferry::Port;

namespace {

template <class From>
std::string refusal(From from) {
  try {
    const Port port{from};
    return "accepted";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("a port is a number of 0..65535", "[C-22]") {
  for (const int number : {0, 1, 80, 65535}) {
    const Port port = number;
    CHECK(port.is_number());
    CHECK(port.number() == number);
    CHECK(port.service().empty());
  }
  for (const int number : {-1, 65536, INT_MAX, INT_MIN}) {
    CHECK(refusal(number) == "port " + std::to_string(number) + " is not in 0..65535");
  }
}

TEST_CASE("digits are a number, however they are given", "[C-22][T-133]") {
  const std::string text = "8080";
  for (const Port& port : {Port{"8080"}, Port{text}, Port{std::string_view{text}}}) {
    CHECK(port.is_number());
    CHECK(port.number() == 8080);
  }
  CHECK(Port{"0"}.number() == 0);
  CHECK(Port{"00080"}.number() == 80);
  CHECK(Port{"65535"}.number() == 65535);
  for (const char* digits : {"65536", "-1", "99999999999999999999", "-99999999999999999999"}) {
    CHECK(refusal(digits) == "port " + std::string{digits} + " is not in 0..65535");
  }
}

TEST_CASE("anything else is a service name, for the resolver to judge", "[C-22]") {
  for (const char* name : {"http", "80x", "x80", "+80", " 80", "80 ", "0x50", "-", "1e3"}) {
    const Port port = name;
    CHECK_FALSE(port.is_number());
    CHECK(port.service() == name);
  }
}

TEST_CASE("an empty port, or one with a NUL inside, is refused", "[C-22]") {
  CHECK(refusal("") == "the port is an empty string");
  CHECK(refusal(std::string{}) == "the port is an empty string");
  CHECK(refusal(std::string_view{"http\0x", 6}) == "the service name has a NUL inside");
  CHECK(refusal(std::string_view{"80\0", 3}) == "the service name has a NUL inside");
}
