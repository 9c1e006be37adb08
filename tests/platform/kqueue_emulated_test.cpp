// The kqueue selector against what real kernels do now and then: see tests/support/kqueue.
#include "support/calls.hpp"
#include "support/kqueue/emulation.hpp"
#include "support/posix/waker.hpp"
#include "support/sockets.hpp"
#include "support/traffic.hpp"
#include "support/world.hpp"

#include "platform/bsd/kqueue_selector.hpp"

#include <sys/event.h>

#include <cerrno>
#include <map>
#include <thread>

using namespace test;
using namespace ferry::internal;
using ferry::Socket;
using kqueue::Faults;

namespace {

std::vector<Event> poll(Selector& selector, std::chrono::nanoseconds timeout = 0s) {
  std::vector<Event> events;
  CHECK_FALSE(selector.poll(timeout, events));
  return events;
}

// What is told now, by token.
std::map<Token, std::uint32_t> told(Selector& selector) {
  std::map<Token, std::uint32_t> all;
  for (const Event& event : poll(selector)) all[event.token] |= event.ready;
  return all;
}
using Told = std::map<Token, std::uint32_t>;

constexpr std::uint32_t read_and_write = want_read | want_write;

}  // namespace

TEST_CASE("kqueue: an end is told while data is left, and as long as it lasts",
          "[kqueue][T-206]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), read_and_write, Trigger::level, 7));
  theirs.send("last words");
  shut_write(theirs.fileno());
  char first = 0;
  CHECK(told(*selector) == Told{{7, ready_read | ready_hint | ready_write}});
  REQUIRE(receive_plainly(ours.fileno(), &first, 1) == 1);
  CHECK(told(*selector) == Told{{7, ready_read | ready_hint | ready_write}});
  CHECK_FALSE(selector->modify(ours.fileno(), want_write, Trigger::level, 7));
  CHECK(told(*selector) == Told{{7, ready_write}});  // writing has not ended
}

TEST_CASE("kqueue: a transport reads all there is before the end", "[kqueue][T-206]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  const std::string all = pattern(100'000);
  REQUIRE(stream.peer.send(all) == all.size());
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->received == all);
  CHECK(stream.protocol->story() == "made data:100000 eof lost");
}

TEST_CASE("kqueue: a write filter that our own end keeps firing is not waited on",
          "[kqueue][T-206]") {
  const auto carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  {
    // The filter does fire …
    const auto selector = make_kqueue_selector();
    Pair pair = connected_pair(carrier);
    shut_write(pair.ours.fileno());
    CHECK_FALSE(selector->add(pair.ours.fileno(), want_write, Trigger::level, 7));
    CHECK((told(*selector)[7] & ready_hint) != 0);
    CHECK((told(*selector)[7] & ready_hint) != 0);
  }
  World world;  // … and a transport has taken it away.
  Stream stream = open_stream(world, carrier);
  fill(stream);
  stream.transport->write_eof();
  read_until(world, stream.peer, [&] { return stream.peer.ended(); });
  world.settle();
  CHECK(world.loop.poll_events(0s).size() == 0);
  stream.transport->abort();
}

TEST_CASE("kqueue: a reset is told to readers and writers, with a hint", "[kqueue][T-206]") {
  const auto selector = make_kqueue_selector();
  Pair pair = connected_pair(Carrier::tcp);
  const auto interest = GENERATE(want_read, want_write);
  pair.peer.reset();
  CHECK_FALSE(selector->add(pair.ours.fileno(), interest, Trigger::level, 7));
  CHECK(told(*selector) == Told{{7, ready_read | ready_write | ready_hint}});
}

TEST_CASE("kqueue: whom the system does not watch because his peer has gone is told that",
          "[kqueue][T-206]") {
  const auto selector = make_kqueue_selector();
  auto [reading, writing] = Pipe{};
  reading.close();
  Faults faults;
  const int error = GENERATE(0, EPIPE, EBADF);  // 0: what this flavour does by itself
  if (error != 0) faults.fail(EVFILT_WRITE, EV_ADD, error, 2);
  SECTION("when he is added") {
    CHECK_FALSE(selector->add(writing.fileno(), want_write, Trigger::level, 7));
  }
  SECTION("later") {
    CHECK_FALSE(selector->add(writing.fileno(), want_none, Trigger::level, 7));
    CHECK(told(*selector).empty());
    CHECK_FALSE(selector->modify(writing.fileno(), want_write, Trigger::level, 7));
  }
  const Told gone{{7, ready_read | ready_write | ready_hint}};
  CHECK(told(*selector) == gone);
  CHECK(poll(*selector, 3600s).size() == 1);  // does not wait for more
  CHECK_FALSE(selector->modify(writing.fileno(), want_none, Trigger::level, 7));
  CHECK(told(*selector).empty());
  CHECK_FALSE(selector->modify(writing.fileno(), want_write, Trigger::level, 7));
  CHECK(told(*selector) == gone);
  selector->remove(writing.fileno(), GENERATE(false, true));
  writing.close();
  CHECK(told(*selector).empty());
}

TEST_CASE("kqueue: a writer to a pipe that nobody reads is called", "[kqueue][T-206][A-033]") {
  World world;
  auto [reading, writing] = Pipe{};
  reading.close();
  int calls = 0;
  const auto number = writing.fileno();
  world.loop.add_writer(number, [&] {
    ++calls;
    world.loop.remove_writer(number);
  });
  world.run_until([&] { return calls > 0; });
  world.settle();
  CHECK(calls == 1);
}

TEST_CASE("kqueue: a filter that cannot be added is an error, and the other one is not left",
          "[kqueue][T-206][T-204]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  theirs.send("x");
  const int failing = GENERATE(EVFILT_READ, EVFILT_WRITE);
  {
    Faults faults;
    faults.fail(failing, EV_ADD, ENOMEM);
    CHECK(selector->add(ours.fileno(), read_and_write, Trigger::level, 7) ==
          std::errc::not_enough_memory);
  }
  CHECK(told(*selector).empty());
  CHECK_FALSE(selector->add(ours.fileno(), read_and_write, Trigger::level, 8));
  CHECK(told(*selector) == Told{{8, ready_read | ready_write}});
}

TEST_CASE("kqueue: an error of one change leaves the others of its call made",
          "[kqueue][T-206]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), want_write, Trigger::level, 7));
  theirs.send("x");
  Faults faults;
  const int error = GENERATE(ENOENT, EBADF, EINVAL);  // systems differ
  faults.fail(EVFILT_WRITE, EV_DELETE, error);
  CHECK_FALSE(selector->modify(ours.fileno(), want_read, Trigger::level, 7));
  CHECK((told(*selector)[7] & ready_read) != 0);
  faults.fail(EVFILT_READ, EV_DELETE, error);
  selector->remove(ours.fileno(), false);
  ours.close();
  CHECK(told(*selector).empty());
}

TEST_CASE("kqueue: changes that were interrupted are not made again", "[kqueue][T-205]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  Calls calls;
  calls.fail(Call::kevent_change, EINTR);
  CHECK_FALSE(selector->add(ours.fileno(), want_write, Trigger::level, 7));
  CHECK(calls.count(Call::kevent_change) == 1);
}

TEST_CASE("kqueue: reports carry the latest token, in both directions", "[kqueue][T-206]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  constexpr Token token = 0xfedcba9876543210;
  CHECK_FALSE(selector->add(ours.fileno(), want_write, Trigger::level, 7));
  theirs.send("x");
  CHECK_FALSE(selector->modify(ours.fileno(), read_and_write, Trigger::level, token));
  CHECK(told(*selector) == Told{{token, ready_read | ready_write}});
}

TEST_CASE("kqueue: a descriptor that is closed without a word, and one with its number",
          "[kqueue][T-202]") {
  const auto selector = make_kqueue_selector();
  auto [ours, theirs] = ferry::socketpair();
  CHECK_FALSE(selector->add(ours.fileno(), read_and_write, Trigger::level, 7));
  selector->remove(ours.fileno(), true);
  const auto number = ours.fileno();
  ours.close();
  auto [next, their_next] = ferry::socketpair();
  REQUIRE(next.fileno() == number);
  CHECK(told(*selector).empty());
  CHECK_FALSE(selector->add(number, want_write, Trigger::level, 8));
  CHECK(told(*selector) == Told{{8, ready_write}});
}

TEST_CASE("kqueue: what it cannot watch is an error of the call", "[kqueue][T-204]") {
  const auto selector = make_kqueue_selector();
  const Socket null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  const auto failure = selector->add(null.fileno(), want_read, Trigger::level, 7);
  CHECK(failure == (kqueue::flavour() == kqueue::Flavour::macos ? std::errc::invalid_argument
                                                                : std::errc::no_such_device));
  CHECK(told(*selector).empty());
}

TEST_CASE("kqueue: it is not inherited, whatever the system does by itself", "[kqueue][T-116]") {
  const auto number = duplicate(0).fileno();
  const auto selector = make_kqueue_selector();
  REQUIRE(is_open(number));
  CHECK_FALSE(is_inherited(number));
}

TEST_CASE("kqueue: without user events, or with such as never come, a pipe wakes",
          "[kqueue][T-196]") {
  Faults faults;
  GENERATE(true, false) ? faults.without_user_events() : faults.mute_user_events();
  const std::size_t before = open_descriptors();
  const auto selector = make_kqueue_selector();
  CHECK(open_descriptors() == before + 3);
  for (int i = 0; i < 100'000; ++i) {  // more than a pipe holds
    if (selector->wake()) FAIL("a full waker is no error");
  }
  CHECK(poll(*selector, 3600s).empty());
  while (!poll(*selector).empty()) {
  }
  std::thread other{[&] { selector->wake(); }};
  CHECK(poll(*selector, 3600s).empty());
  other.join();
}

TEST_CASE("kqueue: a pipe whose other end was closed does not make the loop spin",
          "[kqueue][T-184]") {
  Faults faults;
  faults.without_user_events();
  ferry::Loop loop{ferry::Backend::kqueue()};
  check_closed_waker(loop);
}

TEST_CASE("kqueue: a selector whose pipe cannot be made leaves nothing open",
          "[kqueue][T-204]") {
  Faults faults;
  faults.without_user_events();
  const std::size_t before = open_descriptors();
  Calls calls;
  SECTION("no pipe") { calls.fail(Call::pipe, EMFILE); }
  SECTION("not watched") { faults.fail(EVFILT_READ, EV_ADD, ENOMEM); }
  CHECK_THROWS_AS(make_kqueue_selector(), ferry::OsError);
  CHECK(open_descriptors() == before);
}

TEST_CASE("kqueue: where a call gives few events, all have their turn", "[kqueue][T-205]") {
  Faults faults;
  faults.at_most(1);
  const auto selector = make_kqueue_selector();
  std::vector<std::pair<Socket, Socket>> pairs;
  for (Token i = 1; i <= 20; ++i) {
    pairs.push_back(ferry::socketpair());
    CHECK_FALSE(selector->add(pairs.back().first.fileno(), want_write, Trigger::level, i));
  }
  Told seen;
  for (int i = 0; i < 20; ++i) seen.merge(told(*selector));
  CHECK(seen.size() == 20);
  selector->wake();
  for (int i = 0; i < 21; ++i) poll(*selector);
}

TEST_CASE("kqueue: connections live through events in any order, one at a time",
          "[kqueue][T-206]") {
  Faults faults;
  faults.shuffle(GENERATE(1u, 2u, 3u));
  if (GENERATE(true, false)) faults.at_most(1);
  World world;
  std::vector<Stream> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(open_stream(world, i % 2 == 0 ? Carrier::tcp : Carrier::unix_pair));
  }
  const std::string all = pattern(300'000);
  for (Stream& stream : streams) stream.transport->write(all);
  std::vector<std::string> got(streams.size());
  world.run_until([&] {
    bool done = true;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      got[i] += streams[i].peer.receive();
      done = done && got[i].size() == all.size();
    }
    return done;
  });
  for (const std::string& bytes : got) CHECK(bytes == all);
  for (Stream& stream : streams) {
    stream.peer.send("bye");
    stream.peer.shut_write();
  }
  for (Stream& stream : streams) {
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->received == "bye");
  }
}

TEST_CASE("kqueue: a connection that cannot be waited for ends with the reason",
          "[kqueue][T-204]") {
  World world;
  Stream stream = open_stream(world);
  Faults faults;
  SECTION("to write") {
    faults.fail(EVFILT_WRITE, EV_ADD, ENOMEM);
    const std::string chunk = pattern(65536);
    for (int i = 0; i < 4096 && !stream.transport->is_closing(); ++i) {
      stream.transport->write(chunk);
    }
    CHECK(stream.transport->is_closing());
    CHECK_FALSE(stream.protocol->lost);  // never inside a call
  }
  SECTION("to read") {
    stream.transport->pause_reading();
    faults.fail(EVFILT_READ, EV_ADD, ENOMEM);
    stream.transport->resume_reading();
  }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::not_enough_memory);
  CHECK(world.take_reports().empty());
}
