// The completion port: packets that come late, polls that fail, wake-ups that are one.
#include "support/calls.hpp"
#include "support/selectors.hpp"
#include "support/sockets.hpp"

#include "platform/windows/errors.hpp"
#include "platform/windows/text.hpp"

#include <cerrno>
#include <set>

using namespace test;
using namespace ferry::internal;
using ferry::Socket;

namespace {

std::vector<Event> look(Selector& selector, std::chrono::nanoseconds timeout = 0s) {
  std::vector<Event> events;
  CHECK_FALSE(selector.poll(timeout, events));
  return events;
}
// What is reported for the first one to be ready; fails if nothing is.
Event wait(Selector& selector) {
  const auto events = look(selector, 30s);
  REQUIRE_FALSE(events.empty());
  return events[0];
}

}  // namespace

TEST_CASE("a packet that comes after its socket was let go of tells nobody", "[T-209][T-202]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  auto [other, their_other] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_read, Trigger::level, 7));
  CHECK_FALSE(selector->add(other.fileno(), want_read, Trigger::level, 8));
  CHECK(look(*selector).empty());  // now both polls are under way
  SECTION("cancelled") { selector->remove(ours.fileno(), false); }
  SECTION("cancelled and closed") {
    selector->remove(ours.fileno(), true);
    ours.close();
  }
  SECTION("done already, and waiting in the port") {
    theirs.send("x");
    their_other.send("x");
    CHECK(wait(*selector).token != 0);
    selector->remove(ours.fileno(), false);
  }
  their_other.send("x");
  for (int i = 0; i < 3; ++i) CHECK(wait(*selector).token == 8);
  selector->remove(other.fileno(), false);
  CHECK(look(*selector).empty());
}

TEST_CASE("a selector that goes takes back what it lent to the system", "[T-209]") {
  const std::size_t before = open_descriptors();
  std::vector<std::pair<Socket, Socket>> pairs;
  for (int i = 0; i < 70; ++i) pairs.push_back(ferry::socketpair());
  {
    const auto selector = make_selector();
    const std::size_t idle = open_descriptors();
    for (auto& pair : pairs) {
      CHECK_FALSE(selector->add(pair.first.fileno(), want_read, Trigger::level, 1));
    }
    CHECK(look(*selector).empty());
    CHECK(open_descriptors() == idle + 2);  // AFD's handles: one for 32 sockets
    for (std::size_t i = 0; i < 60; ++i) selector->remove(pairs[i].first.fileno(), false);
    pairs[65].second.send("x");
    CHECK(wait(*selector).token == 1);
    look(*selector);
  }  // with ten polls under way, one of them done
  pairs.clear();
  CHECK(open_descriptors() == before);
}

TEST_CASE("a peer's reset is told as one, whatever recv() says", "[T-203][S-061]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_read, Trigger::level, 7));
  SECTION("before the poll") {}
  SECTION("during the poll") { CHECK(look(*selector).empty()); }
  hang_up(theirs);
  const std::uint32_t all = ready_read | ready_write | ready_hint | ready_reset;
  CHECK(wait(*selector).ready == all);
  CHECK(wait(*selector).ready == all);  // by level
  CHECK_FALSE(selector->modify(ours.fileno(), want_none, Trigger::level, 7));
  CHECK(look(*selector).empty());
}

TEST_CASE("an orderly end is no reset", "[T-203]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_read, Trigger::level, 7));
  shut_write(theirs.fileno());
  CHECK(wait(*selector).ready == (ready_read | ready_hint));
}

TEST_CASE("a poll that the system has no memory for is tried again", "[T-204]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_read, Trigger::level, 7));
  Calls calls;
  calls.fail(Call::afd_poll, ENOBUFS, 2);
  for (int i = 0; i < 2; ++i) {  // its owner may look
    const auto events = look(*selector, 30s);
    REQUIRE(events.size() == 1);
    CHECK(events[0].token == 7);
  }
  CHECK(look(*selector).empty());
  CHECK(calls.count(Call::afd_poll) == 3);
  theirs.send("x");
  CHECK(wait(*selector).ready == ready_read);
}

TEST_CASE("a socket that was closed behind its back is told once, and then left alone",
          "[T-204]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  const auto handle = ours.fileno();
  CHECK_FALSE(selector->add(handle, want_read, Trigger::level, 7));
  CHECK(look(*selector).empty());
  ours.close();
  CHECK(wait(*selector).ready == (ready_read | ready_write | ready_hint));
  for (int i = 0; i < 3; ++i) CHECK(look(*selector).empty());
  selector->remove(handle, false);
}

TEST_CASE("a side that nobody waits for any more keeps its poll and is not reported",
          "[T-203][A-056]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  const auto handle = ours.fileno();
  Calls calls;
  CHECK_FALSE(selector->add(handle, want_read, Trigger::level, 7));
  CHECK(look(*selector).empty());
  for (int i = 0; i < 5; ++i) {  // paused and resumed: no call is made
    CHECK_FALSE(selector->modify(handle, want_none, Trigger::level, 7));
    CHECK(look(*selector).empty());
    CHECK_FALSE(selector->modify(handle, want_read, Trigger::level, 7));
    CHECK(look(*selector).empty());
  }
  CHECK(calls.count(Call::afd_poll) == 1);
  CHECK_FALSE(selector->modify(handle, want_none, Trigger::level, 7));
  theirs.send("x");
  CHECK(look(*selector, 5ms).empty());
  CHECK_FALSE(selector->modify(handle, want_read, Trigger::level, 7));
  CHECK(wait(*selector).ready == ready_read);
}

TEST_CASE("posted wake-ups are one until somebody looks", "[T-196]") {
  const auto selector = make_selector();
  Calls calls;
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 100; ++i) CHECK_FALSE(selector->wake());
    CHECK(calls.count(Call::port_post) == round);
    CHECK(look(*selector, 30s).empty());
  }
}

TEST_CASE("Windows' errors are errno's, in the words of other systems", "[C-22]") {
  CHECK(errno_of(WSAECONNREFUSED) == ECONNREFUSED);
  CHECK(errno_of(ERROR_NETNAME_DELETED) == ECONNRESET);
  CHECK(errno_of(WSAESHUTDOWN) == EPIPE);
  const ferry::Error refused = os_error(errno_of(WSAECONNREFUSED), "connect");
  CHECK(refused == std::errc::connection_refused);
  CHECK(refused.what() == "connect: connection refused");
  CHECK(os_error(errno_of(WSAEAFNOSUPPORT), "") == std::errc::address_family_not_supported);
  CHECK(errno_of(refused.code()) == ECONNREFUSED);
  // One that has no errno stays what it is.
  const ferry::Error strange = os_error(errno_of(ERROR_CRC), "read");
  CHECK(strange.code() == std::error_code(ERROR_CRC, std::system_category()));
  CHECK(strange.what().size() > std::string_view{"read: "}.size());
}

TEST_CASE("texts go to Windows and back as they are, or not at all", "[T-136]") {
  for (const char* text : {"", "plain", "b\xc3\xbc" "cher", "\xf0\x9f\x9b\xb6"}) {
    CHECK(from_wide(to_wide(text)) == text);
  }
  CHECK(to_wide("\xff").empty());
  World world;
  const ferry::Error error = error_of(
      world, world.loop.create_connection(ferry::make<Recorder>, "no-\xff-host", 9));
  CHECK(error.code() == ferry::ResolverErrc::name_not_known);
}
