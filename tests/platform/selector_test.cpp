// What every selector promises, asked of the one under test.
#include "support/calls.hpp"
#include "support/selectors.hpp"
#include "support/world.hpp"

#include <cerrno>
#include <set>
#include <thread>

using namespace test;
using namespace ferry::internal;
using ferry::Socket;

namespace {

constexpr auto forever = 3600s;
constexpr std::uint32_t everything = ready_read | ready_write | ready_hint;

std::vector<Event> poll(Selector& selector, std::chrono::nanoseconds timeout = 0s) {
  std::vector<Event> events;
  const ferry::Error error = selector.poll(timeout, events);
  CHECK_FALSE(error);
  return events;
}

// What somebody with this interest hears of a hang-up or an error at least. kqueue reports each
// direction by itself.
bool tells_the_end(std::uint32_t ready, std::uint32_t interest) {
  if (backend_name() != "kqueue") return (ready & everything) == everything;
  return (ready & ready_hint) != 0 && (ready & interest) == interest;
}

// What is reported for this token now; 0: nothing.
std::uint32_t ready(Selector& selector, Token token) {
  std::uint32_t all = 0;
  for (const Event& event : poll(selector)) {
    CHECK(event.token == token);
    all |= event.ready;
  }
  return all;
}

void drain(const Socket& socket) {
  set_nonblocking(socket.fileno());
  char buffer[4096];
  while (receive_plainly(socket.fileno(), buffer, sizeof buffer) > 0) {
  }
}

}  // namespace

TEST_CASE("a selector reports what is asked for, with its token, as long as it lasts",
          "[T-203][A-037]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  const auto handle = ours.fileno();
  CHECK_FALSE(selector->add(handle, want_read, Trigger::level, 7));
  CHECK(ready(*selector, 7) == 0);
  theirs.send("x");
  CHECK(ready(*selector, 7) == ready_read);
  CHECK(ready(*selector, 7) == ready_read);
  CHECK_FALSE(selector->modify(handle, want_read | want_write, Trigger::level, 8));
  CHECK(ready(*selector, 8) == (ready_read | ready_write));
  drain(ours);
  CHECK(ready(*selector, 8) == ready_write);
  CHECK_FALSE(selector->modify(handle, want_none, Trigger::level, 8));
  CHECK(ready(*selector, 8) == 0);
  CHECK_FALSE(selector->modify(handle, want_write, Trigger::level, 9));
  CHECK(ready(*selector, 9) == ready_write);
  selector->remove(handle, false);
  CHECK(ready(*selector, 9) == 0);
  selector->remove(handle, false);  // a late one
  CHECK_FALSE(selector->add(handle, want_write, Trigger::level, 10));
  CHECK(ready(*selector, 10) == ready_write);
  selector->remove(handle, true);
}

TEST_CASE("a selector reports an edge once, and each new one", "[T-203]") {
  const auto selector = make_selector();
  if (!selector->edge_triggered()) return skip("this selector reports by level only");
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_read | want_write, Trigger::edge, 7));
  CHECK(ready(*selector, 7) == ready_write);
  CHECK(ready(*selector, 7) == 0);
  theirs.send("x");
  CHECK((ready(*selector, 7) & ready_read) != 0);
  CHECK(ready(*selector, 7) == 0);
  theirs.send("y");
  CHECK((ready(*selector, 7) & ready_read) != 0);
  // The end comes with a hint: a short read does not mean that nothing is left.
  shut_write(theirs.fileno());
  CHECK((ready(*selector, 7) & (ready_read | ready_hint)) == (ready_read | ready_hint));
  CHECK(ready(*selector, 7) == 0);
}

TEST_CASE("a hang-up or an error is reported to whoever asks, in the direction that he asks for",
          "[T-203]") {
  const auto selector = make_selector();
  auto [reading, writing] = Pipe{};
  const auto interest = GENERATE(want_read, want_write);
  const auto trigger = GENERATE(Trigger::level, Trigger::edge);
  if (interest == want_write) fill_up(reading);  // where it is a connection
  SECTION("hang-up alone") {
    CHECK_FALSE(selector->add(reading.fileno(), interest, trigger, 7));
    CHECK(ready(*selector, 7) == 0);
    hang_up(writing);
    CHECK(tells_the_end(ready(*selector, 7), interest));
  }
  SECTION("error alone") {
    fill_up(writing);
    CHECK_FALSE(selector->add(writing.fileno(), interest, trigger, 7));
    CHECK(ready(*selector, 7) == 0);
    hang_up(reading);
    CHECK(tells_the_end(ready(*selector, 7), interest));
  }
  SECTION("to nobody, if nobody waits for anything") {
    CHECK_FALSE(selector->add(reading.fileno(), want_none, trigger, 7));
    hang_up(writing);
    CHECK(ready(*selector, 7) == 0);
    CHECK_FALSE(selector->modify(reading.fileno(), interest, trigger, 7));
    CHECK(tells_the_end(ready(*selector, 7), interest));
    CHECK_FALSE(selector->modify(reading.fileno(), want_none, trigger, 7));
    CHECK(ready(*selector, 7) == 0);
  }
}

TEST_CASE("what cannot be watched is refused, and nothing changes", "[T-204]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  const Unwatchable file, directory{Unwatchable::Kind::directory};
  CHECK(selector->add(file.fileno(), want_read, Trigger::level, 7) == error_of_file());
  CHECK(selector->add(directory.fileno(), want_read, Trigger::level, 7) == error_of_file());
  const auto closed = theirs.fileno();
  theirs.close();
  CHECK(selector->add(closed, want_read, Trigger::level, 7) == error_of_closed());
  CHECK(selector->add(-1, want_read, Trigger::level, 7) == error_of_closed());
  CHECK(poll(*selector).empty());
  const Socket again = duplicate(ours);  // the number that was refused, where numbers are reused
  if (again.fileno() != closed) return;
  CHECK_FALSE(selector->add(closed, want_write, Trigger::level, 8));
  CHECK((ready(*selector, 8) & ready_write) != 0);
}

TEST_CASE("a number closed and opened again behind its back is watched by the next change",
          "[T-204]") {
  const auto selector = make_selector();
  if (!can_reuse_numbers()) return skip("this system chooses the numbers of handles");
  auto [ours, theirs] = ferry::socketpair();
  auto [next, their_next] = ferry::socketpair();
  const auto number = ours.fileno();
  CHECK_FALSE(selector->add(number, want_read, Trigger::level, 7));
  ours.close();
  reuse_number(number, next);
  ours = Socket{number};
  SECTION("modify") { CHECK_FALSE(selector->modify(number, want_read, Trigger::level, 8)); }
  SECTION("remove and add") {
    selector->remove(number, true);
    CHECK_FALSE(selector->add(number, want_read, Trigger::level, 8));
  }
  their_next.send("x");
  CHECK(ready(*selector, 8) == ready_read);
  selector->remove(number, false);
  CHECK(poll(*selector).empty());
}

TEST_CASE("a number that was registered already is repaired, or refused without harm",
          "[T-204]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_write, Trigger::level, 7));
  const bool refused{selector->add(ours.fileno(), want_write, Trigger::level, 8)};
  const auto events = poll(*selector);
  REQUIRE(events.size() == 1);
  CHECK(events[0].token == (refused ? 7 : 8));
}

TEST_CASE("the system's limit is the error of the one that met it", "[T-204]") {
  const auto selector = make_selector();
  if (backend_name() == "poll" || backend_name() == "iocp") return skip("there is no watch list");
  const Call watch = watching_call(backend_name());
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_write, Trigger::level, 7));
  {
    Calls faults;
    faults.fail(watch, ENOSPC);
    CHECK(selector->add(theirs.fileno(), want_write, Trigger::level, 8) ==
          std::errc::no_space_on_device);
    faults.fail(watch, ENOMEM);
    CHECK(selector->modify(ours.fileno(), want_read, Trigger::level, 7) ==
          std::errc::not_enough_memory);
  }
  CHECK(ready(*selector, 7) == ready_write);
  CHECK_FALSE(selector->add(theirs.fileno(), want_write, Trigger::level, 8));
  CHECK(poll(*selector).size() == 2);
}

TEST_CASE("a poll waits as long as it is told, and not shorter", "[T-189][T-205]") {
  const auto selector = make_selector();
  for (const auto timeout : {1ns, 1000000ns, 1500000ns, 3000000ns}) {
    const auto before = std::chrono::steady_clock::now();
    CHECK(poll(*selector, timeout).empty());
    CHECK(std::chrono::steady_clock::now() - before >= timeout);
  }
}

TEST_CASE("a poll that is interrupted ends without an event or an error", "[T-205]") {
  const auto selector = make_selector();
  Calls calls;
  const Call wait = waiting_call(backend_name());
  std::vector<Event> events;
  if (backend_name() != "iocp") {  // where nothing interrupts
    calls.fail(wait, EINTR);
    CHECK_FALSE(selector->poll(forever, events));
    CHECK(events.empty());
  }
  calls.fail(wait, EINVAL);
  CHECK(selector->poll(0s, events) == std::errc::invalid_argument);
  CHECK(events.empty());
}

TEST_CASE("a wake-up ends the next poll at once, and several are one", "[T-196]") {
  const auto selector = make_selector();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i <= round * 100; ++i) CHECK_FALSE(selector->wake());
    CHECK(poll(*selector, forever).empty());
    const auto before = std::chrono::steady_clock::now();
    poll(*selector, 2ms);  // nothing is left of them
    CHECK(std::chrono::steady_clock::now() - before >= 2ms);
  }
}

TEST_CASE("a wake-up from another thread ends a poll that waits", "[T-196]") {
  const auto selector = make_selector();
  std::thread other{[&] { selector->wake(); }};
  CHECK(poll(*selector, forever).empty());
  other.join();
}

TEST_CASE("wake() is fit for a signal handler: it leaves errno alone, and takes no for yes",
          "[T-196][A-034]") {
  const auto selector = make_selector();
  const Call waking = waking_call(backend_name());
  Calls calls;
  errno = EDOM;
  CHECK_FALSE(selector->wake());
  CHECK(errno == EDOM);
  if (backend_name() == "iocp") {  // rung is rung, until somebody looks
    CHECK(poll(*selector, forever).empty());
    errno = EDOM;
  } else {
    calls.fail(waking, EAGAIN);  // full: it will wake
    CHECK_FALSE(selector->wake());
    CHECK(errno == EDOM);
  }
  calls.fail(waking, EBADF);
  CHECK(selector->wake() == std::errc::bad_file_descriptor);
  CHECK(errno == EDOM);
  CHECK_FALSE(selector->wake());
  poll(*selector, forever);
}

TEST_CASE("a waker can be rung any number of times without a poll", "[T-196]") {
  const auto selector = make_selector();
  for (int i = 0; i < 100000; ++i) {  // more than a pipe holds
    if (selector->wake()) FAIL("a full waker is no error");
  }
  CHECK(poll(*selector, forever).empty());
  CHECK(poll(*selector).empty());
}

TEST_CASE("more ready handles than one poll reports are all reported in turn", "[T-205]") {
  const auto selector = make_selector();
  auto [ours, theirs] = ferry::socketpair();
  constexpr Token count = 1200;
  std::vector<Socket> copies;
  for (Token i = 0; i < count; ++i) {
    copies.push_back(duplicate(ours));
    CHECK_FALSE(selector->add(copies.back().fileno(), want_write, Trigger::level, i + 1));
  }
  std::set<Token> seen;
  for (int polls = 0; polls < 5; ++polls) {
    for (const Event& event : poll(*selector)) seen.insert(event.token);
  }
  CHECK(seen.size() == count);
}

TEST_CASE("handles that come and go in any order keep their own reports", "[T-202]") {
  const auto selector = make_selector();
  std::vector<std::pair<Socket, Socket>> pairs;
  for (int i = 0; i < 20; ++i) pairs.push_back(ferry::socketpair());
  const auto add = [&](std::size_t i) {
    CHECK_FALSE(selector->add(pairs[i].first.fileno(), want_read, Trigger::level, i + 1));
  };
  for (std::size_t i = 0; i < 20; ++i) add(i);
  for (const std::size_t i : {0u, 19u, 7u, 18u, 1u}) {
    selector->remove(pairs[i].first.fileno(), false);
  }
  CHECK_FALSE(selector->modify(pairs[5].first.fileno(), want_none, Trigger::level, 6));
  add(7);
  for (auto& pair : pairs) pair.second.send("x");
  std::set<Token> seen;
  for (const Event& event : poll(*selector)) seen.insert(event.token);
  CHECK(seen == std::set<Token>{3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18});
}

TEST_CASE("a selector that cannot be made says so, and leaves nothing open", "[T-204]") {
  const std::string name = backend_name();
  const std::size_t before = open_descriptors();
  std::vector<Call> needed{Call::pipe};
  if (name == "epoll") needed = {Call::epoll_create, Call::eventfd, Call::epoll_ctl};
  if (name == "kqueue") needed = {Call::kqueue, Call::fcntl};
  if (name == "iocp") needed = {Call::port_create, Call::afd_open};
  for (const Call call : needed) {
    Calls faults;
    faults.fail(call, EMFILE);
    CHECK_THROWS_AS(make_selector(), ferry::OsError);
    CHECK(open_descriptors() == before);
  }
}
