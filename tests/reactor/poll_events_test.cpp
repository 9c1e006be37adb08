// A turn in three steps, a loop that has nothing to do, and a poller that is disturbed.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <cerrno>

using namespace test;
using ferry::Loop;
using ferry::Socket;

TEST_CASE("a turn in three steps: wait, take in, run", "[A-053][A-037]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  std::string order;
  world.loop.add_reader(ours.fileno(), [&] {
    order += "r";
    world.loop.remove_reader(ours.fileno());
  });
  theirs.send("x");
  auto events = world.loop.poll_events(0s);
  CHECK(events.size() == 1);
  world.loop.call_soon([&] { order += "s"; });
  world.loop.process_events(std::move(events));
  CHECK(order.empty());
  world.loop.call_at(world.loop.time(), [&] { order += "t"; });
  world.loop.process_ready();
  CHECK(order == "srt");
  CHECK_FALSE(world.loop.is_running());
  world.loop.process_ready();  // nothing there
  world.loop.process_events({});
  CHECK(order == "srt");
}

TEST_CASE("poll_events waits as long as the loop would, and no longer than it is told",
          "[A-053]") {
  World world;
  Loop& loop = world.loop;
  Calls calls;
  bool ran = false;
  const auto timer = loop.call_later(5ms, [&] { ran = true; });
  auto events = loop.poll_events();
  CHECK(loop.time() >= timer.when());
  loop.process_events(std::move(events));
  loop.process_ready();
  CHECK(ran);
  const auto before = loop.time();
  loop.poll_events(3ms);  // nothing else would wake it
  CHECK(loop.time() - before >= 3ms);
  loop.call_soon([&] { ran = false; });
  loop.poll_events(3600s);  // something is ready: it does not wait
  loop.process_ready();
  CHECK_FALSE(ran);
  loop.poll_events(-1s);
  loop.call_soon_threadsafe([&] { ran = true; });
  loop.poll_events(3600s);
  loop.process_ready();
  CHECK(ran);
}

TEST_CASE("one loop can drive another", "[A-053]") {
  World world;
  Loop guest{backend()};
  std::string order;
  auto work = [](Loop& loop, std::string& log) -> ferry::Task<void> {
    log += "a";
    co_await loop.sleep(1ms);
    log += "b";
  };
  auto future = guest.create_task(work(guest, order));
  std::function<void()> step = [&] {
    guest.process_events(guest.poll_events(0s));
    guest.process_ready();
    if (!future.done()) world.loop.call_later(100us, step);
  };
  world.loop.call_soon(step);
  world.run_until([&] { return future.done(); });
  CHECK(order == "ab");
}

TEST_CASE("events of somebody who went before they were taken in call nobody", "[A-053][T-202]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  Stream stream = open_stream(world);
  world.loop.add_reader(ours.fileno(), [] { FAIL("it was removed"); });
  theirs.send("x");
  stream.peer.send("x");
  auto events = world.loop.poll_events(1s);
  world.loop.remove_reader(ours.fileno());
  stream.transport->abort();
  bool next = false;  // takes the place of one of them
  Socket another = duplicate(ours);
  world.loop.add_writer(another.fileno(), [&] {
    next = true;
    world.loop.remove_writer(another.fileno());
  });
  world.loop.process_events(std::move(events));
  world.loop.process_ready();
  CHECK_FALSE(next);  // it has not been reported
  CHECK(stream.protocol->received.empty());
  world.run_until([&] { return next && stream.protocol->lost; });
}

TEST_CASE("a loop with nothing to do sleeps until the next timer", "[T-203][T-189][A-036]") {
  World world;
  const auto carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  Stream idle = open_stream(world, carrier);
  Stream paused = open_stream(world, carrier);
  Stream ended = open_stream(world, carrier);
  Stream blocked = open_stream(world, carrier);
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0));
  auto [ours, theirs] = ferry::socketpair();
  world.loop.add_reader(ours.fileno(), [] { FAIL("nothing came"); });
  paused.transport->pause_reading();
  paused.peer.send("waits in the socket");
  ended.protocol->keep_open = true;
  ended.peer.shut_write();
  block_writing(blocked);
  world.run_until([&] { return ended.protocol->eof; });
  world.settle();
  Calls calls;
  world.loop.call_later(50ms, [&] { world.loop.stop(); });
  world.loop.run_forever();
  CHECK(calls.count(waiting_call(world.loop.backend())) == 1);
  CHECK(calls.count(Call::recv) == 0);
  CHECK(calls.count(Call::send) + calls.count(Call::sendmsg) == 0);
  world.loop.remove_reader(ours.fileno());
  server->close();
  for (const Stream* stream : {&idle, &paused, &ended, &blocked}) stream->transport->abort();
}

TEST_CASE("with busy polling the loop looks before it sleeps, and still sleeps",
          "[A-036][T-189]") {
  World world;
  Loop& loop = world.loop;
  const Call wait = waiting_call(loop.backend());
  Calls calls;
  SECTION("off: it sleeps at once") {
    loop.set_busy_poll(1ms);
    loop.set_busy_poll(0s);
    loop.call_later(20ms, [&] { loop.stop(); });
    loop.run_forever();
    CHECK(calls.count(wait) == 1);
  }
  SECTION("on: first it looks, then it sleeps for the rest") {
    loop.set_busy_poll(1ms);
    const auto timer = loop.call_later(20ms, [&] { loop.stop(); });
    loop.run_forever();
    CHECK(loop.time() >= timer.when());
    CHECK(calls.count(wait) >= 2);
  }
  SECTION("on, and a timer comes first") {
    loop.set_busy_poll(3600s);
    const auto timer = loop.call_later(2ms, [&] { loop.stop(); });
    loop.run_forever();
    CHECK(loop.time() >= timer.when());
  }
  SECTION("on, and an event comes while it looks") {
    loop.set_busy_poll(3600s);
    auto [ours, theirs] = ferry::socketpair();
    loop.add_reader(ours.fileno(), [&] { loop.stop(); });
    calls.before_next(wait, [&theirs] { theirs.send("x"); }, 3);
    loop.run_forever();
    CHECK(calls.count(wait) == 4);
    loop.remove_reader(ours.fileno());
  }
}

TEST_CASE("a poll that is interrupted again and again keeps timers on time", "[T-205]") {
  if (backend_name() == "iocp") return skip("nothing interrupts a wait on Windows");
  World world;
  const Call wait = waiting_call(world.loop.backend());
  Calls calls;
  calls.fail(wait, EINTR, 50);
  std::string order;
  const auto first = world.loop.call_later(3ms, [&] { order += "a"; });
  const auto second = world.loop.call_later(6ms, [&] {
    order += "b";
    world.loop.stop();
  });
  bool early = false;
  world.loop.call_at(first.when(), [&] { early = world.loop.time() < first.when(); });
  world.loop.run_forever();
  CHECK(order == "ab");
  CHECK_FALSE(early);
  CHECK(world.loop.time() >= second.when());
  CHECK(calls.count(wait) > 50);
}

TEST_CASE("more ready descriptors than one poll can report are all served", "[T-205]") {
  World world;
  constexpr std::size_t count = 700;
  auto [ours, theirs] = ferry::socketpair();
  std::vector<Socket> copies;
  std::vector<int> calls(count, 0);
  for (std::size_t i = 0; i < count; ++i) {
    copies.push_back(duplicate(ours));
    world.loop.add_reader(copies[i].fileno(), [&calls, i] { ++calls[i]; });
  }
  theirs.send("x");
  std::size_t served = 0;
  for (int turns = 0; turns < 4; ++turns) world.turn();
  for (const int each : calls) served += each > 0 ? 1 : 0;
  CHECK(served == count);
  for (const Socket& copy : copies) CHECK(world.loop.remove_reader(copy.fileno()));
}

TEST_CASE("a readiness that proves false calls nobody and loses nothing", "[T-205]") {
  World world;
  const auto carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  Stream stream = open_stream(world, carrier);
  const Socket thief = duplicate(stream.transport->get_extra_info(ferry::socket).fileno());
  stream.peer.send("stolen");
  auto events = world.loop.poll_events(5s);
  CHECK(events.size() == 1);
  std::byte buffer[16];
  CHECK(thief.recv(buffer) == 6);
  world.loop.process_events(std::move(events));
  world.loop.process_ready();
  CHECK(stream.protocol->story() == "made");
  world.settle();
  stream.peer.send("kept");
  world.run_until([&] { return stream.protocol->received == "kept"; });
  stream.transport->abort();
}
