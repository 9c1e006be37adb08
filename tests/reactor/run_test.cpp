// run_forever(), run_until_complete(), stop(): how a loop runs and ends.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <cerrno>
#include <memory>

using namespace test;
using ferry::Loop;
using ferry::MisuseError;
using ferry::Task;

namespace {

Task<int> number(Loop& loop, int value) {
  co_await loop.sleep(1ms);
  co_return value;
}

Task<void> failing() {
  throw std::runtime_error{"as the test wants"};
  co_return;
}

}  // namespace

TEST_CASE("a run that was stopped before it began makes one pass", "[T-193]") {
  World world;
  std::string order;
  world.loop.call_soon([&] {
    order += "a";
    world.loop.call_soon([&] { order += "b"; });
  });
  world.loop.call_later(1h, [] { FAIL("nobody waits for timers"); }).cancel();
  world.loop.stop();
  world.loop.stop();
  world.loop.run_forever();
  CHECK(order == "a");
  world.loop.stop();
  world.loop.run_forever();
  CHECK(order == "ab");
}

TEST_CASE("a pass of a stopped loop takes in what is ready by then", "[T-193][A-037]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  std::string order;
  theirs.send("x");
  world.loop.add_reader(ours.fileno(), [&] { order += "r"; });
  world.loop.call_at(world.loop.time(), [&] { order += "t"; });
  world.loop.call_soon([&] { order += "c"; });
  world.loop.stop();
  world.loop.run_forever();
  CHECK(order == "crt");  // was ready, events, timers
  world.loop.remove_reader(ours.fileno());
}

TEST_CASE("stop() lets the turn finish, and what was scheduled after it waits for the next run",
          "[T-193][A-037]") {
  World world;
  std::string order;
  world.loop.call_soon([&] {
    order += "a";
    world.loop.stop();
    world.loop.stop();  // twice is once
    world.loop.call_soon([&] { order += "d"; });
  });
  world.loop.call_soon([&] { order += "b"; });
  world.loop.call_soon_threadsafe([&] { order += "c"; });
  world.loop.run_forever();
  CHECK(order == "abc");
  CHECK_FALSE(world.loop.is_running());
  world.loop.call_soon([&] {
    order += "e";
    world.loop.stop();
  });
  world.loop.run_forever();
  CHECK(order == "abcde");
}

TEST_CASE("what the turn of stop() posts waits for the next run, by whatever way it came",
          "[T-193][A-035][A-037]") {
  World world;
  std::string order;
  world.loop.call_soon_threadsafe([&] { order += "b"; });
  world.loop.call_soon([&] {
    order += "a";
    world.loop.stop();
    world.loop.call_soon_threadsafe([&] { order += "c"; });
  });
  world.loop.run_forever();
  CHECK(order == "ab");
  world.turn();
  CHECK(order == "abc");
}

TEST_CASE("a stop() in the turn in which run_until_complete() ends by itself is the next run's",
          "[T-193][S-090]") {
  World world;
  auto future = world.loop.create_future<void>();
  world.loop.call_soon([&] {
    future.set_result();  // the run hears of it in the next turn
    world.loop.call_soon([&] { world.loop.stop(); });
  });
  world.loop.run_until_complete(future);
  bool later = false;
  world.loop.call_soon([&] { world.loop.call_soon([&] { later = true; }); });
  world.loop.run_forever();  // one pass, and no more
  CHECK_FALSE(later);
  // One that had its effect is over.
  world.loop.call_soon([&] { world.loop.stop(); });
  CHECK_THROWS_AS(world.loop.run_until_complete(world.loop.create_future<void>()), MisuseError);
  world.loop.call_soon([&] { world.loop.call_soon([&] { world.loop.stop(); }); });
  world.loop.run_forever();
  CHECK(later);
}

TEST_CASE("running a running loop and closing it are errors", "[T-194]") {
  World world;
  Loop& loop = world.loop;
  int refused = 0;
  bool started = false;
  const auto try_all = [&] {
    CHECK(loop.is_running());
    CHECK_THROWS_AS(loop.run_forever(), MisuseError);
    CHECK_THROWS_AS(loop.run_until_complete(loop.create_future<void>()), MisuseError);
    auto never = [](bool& begun) -> Task<void> {
      begun = true;
      co_return;
    };
    CHECK_THROWS_AS(loop.run_until_complete(never(started)), MisuseError);
    CHECK_THROWS_AS(loop.process_ready(), MisuseError);
    CHECK_THROWS_AS(loop.close(), MisuseError);
    ++refused;
  };
  loop.call_soon([&] {
    try_all();
    loop.stop();
  });
  loop.run_forever();
  loop.call_soon(try_all);
  world.turn();  // driven by hand it runs as well
  CHECK(refused == 2);
  world.settle();
  CHECK_FALSE(started);  // what was refused has not begun
  CHECK_FALSE(loop.is_running());
}

TEST_CASE("another loop may run inside a callback of this one", "[T-194][T-199]") {
  World world;
  int value = 0;
  world.loop.call_soon([&] {
    Loop inner{backend()};
    value = inner.run_until_complete(number(inner, 5));
  });
  world.turn();
  CHECK(value == 5);
}

TEST_CASE("a closed loop refuses work, and closing it again does nothing", "[T-194]") {
  World world;
  Loop& loop = world.loop;
  loop.close();
  loop.close();
  CHECK(loop.is_closed());
  CHECK_FALSE(loop.is_running());
  CHECK_THROWS_AS(loop.run_forever(), MisuseError);
  CHECK_THROWS_AS(loop.run_until_complete(number(loop, 1)), MisuseError);
  CHECK_THROWS_AS(loop.run_until_complete(loop.create_future<void>()), MisuseError);
  CHECK_THROWS_AS(loop.create_task(number(loop, 1)), MisuseError);
  CHECK_THROWS_AS(loop.call_soon([] {}), MisuseError);
  CHECK_THROWS_AS(loop.call_later(1s, [] {}), MisuseError);
  CHECK_THROWS_AS(loop.call_at(loop.time(), [] {}), MisuseError);
  CHECK_THROWS_AS(loop.call_soon_threadsafe([] {}), MisuseError);
  CHECK_THROWS_AS(loop.poll_events(0s), MisuseError);
  CHECK_THROWS_AS(loop.process_ready(), MisuseError);
  CHECK_THROWS_AS(loop.add_signal_handler(some_signal(), [] {}), MisuseError);
  auto [ours, theirs] = ferry::socketpair();
  CHECK_THROWS_AS(loop.add_reader(ours.fileno(), [] {}), MisuseError);
  CHECK_THROWS_AS(loop.add_writer(ours.fileno(), [] {}), MisuseError);
  const auto make = [] { return ferry::make<Recorder>(); };
  CHECK_THROWS_AS(loop.create_connection(make, "127.0.0.1", 1), MisuseError);
  CHECK_THROWS_AS(loop.create_connection(make, std::move(ours)), MisuseError);
  CHECK_THROWS_AS(loop.create_unix_connection(make, "/x"), MisuseError);
  CHECK_THROWS_AS(loop.create_server(make, "127.0.0.1", 0), MisuseError);
  CHECK_THROWS_AS(loop.create_unix_server(make, "/x"), MisuseError);
  CHECK(ours);  // was left alone
  loop.stop();
  CHECK_FALSE(loop.remove_reader(ours.fileno()));
  CHECK_FALSE(loop.remove_signal_handler(some_signal()));
}

TEST_CASE("what is posted to a closed loop never reaches another one", "[T-194][T-199]") {
  World world;
  Loop closed{backend()};
  closed.close();
  Loop next{backend()};
  CHECK_THROWS_AS(closed.call_soon_threadsafe([] { FAIL("in a stranger's loop"); }),
                  MisuseError);
  next.stop();
  next.run_forever();
}

TEST_CASE("run_until_complete gives the result, and the loop can run again", "[S-086][S-094]") {
  World world;
  for (int i = 0; i < 3; ++i) {
    CHECK(world.loop.run_until_complete(number(world.loop, i)) == i);
    CHECK_FALSE(world.loop.is_running());
  }
  auto future = world.loop.create_future<std::unique_ptr<int>>();
  world.loop.call_soon([&] { future.set_result(std::make_unique<int>(7)); });
  CHECK(*world.loop.run_until_complete(future) == 7);
}

TEST_CASE("run_until_complete throws what the task threw, and leaves the loop usable", "[S-086]") {
  World world;
  CHECK_THROWS_AS(world.loop.run_until_complete(failing()), std::runtime_error);
  CHECK_FALSE(world.loop.is_running());
  auto nobody = [](Loop& loop) -> Task<void> {
    auto task = loop.create_server([] { return ferry::make<Recorder>(); }, "127.0.0.1", 0);
    auto server = co_await std::move(task);
    const int port = server->sockets().front().getsockname().port();
    server->close();
    auto connecting =
        loop.create_connection([] { return ferry::make<Recorder>(); }, "127.0.0.1", port);
    co_await std::move(connecting);
  };
  try {
    world.loop.run_until_complete(nobody(world.loop));
    FAIL("it connected to nobody");
  } catch (const ferry::OsError& error) {
    CHECK(error.code() == std::errc::connection_refused);
  }
  CHECK_FALSE(world.loop.is_running());
  CHECK(world.loop.run_until_complete(number(world.loop, 3)) == 3);
}

TEST_CASE("a run stopped before its task is done throws, and the task lives on", "[S-086]") {
  World world;
  auto gate = world.loop.create_future<void>();
  auto waiting = [](ferry::Future<void> until) -> Task<int> {
    co_await until;
    co_return 9;
  };
  auto future = world.loop.create_task(waiting(gate));
  world.loop.call_soon([&] { world.loop.stop(); });
  CHECK_THROWS_AS(world.loop.run_until_complete(future), MisuseError);
  CHECK_FALSE(future.done());
  // What remains of the first run does not end a second one.
  gate.set_result();
  bool later = false;
  world.loop.call_later(5ms, [&] {
    later = true;
    world.loop.stop();
  });
  world.loop.run_forever();
  CHECK(later);
  CHECK(world.loop.run_until_complete(future) == 9);
}

TEST_CASE("a poller that fails ends the run with its error, and the next run works",
          "[S-086][T-204]") {
  World world;
  auto gate = world.loop.create_future<void>();
  {
    Calls calls;
    calls.fail(waiting_call(world.loop.backend()), EINVAL);
    CHECK_THROWS_AS(world.loop.run_until_complete(gate), ferry::OsError);
  }
  CHECK_FALSE(world.loop.is_running());
  gate.set_result();
  bool later = false;
  world.loop.call_later(5ms, [&] {
    later = true;
    world.loop.stop();
  });
  world.loop.run_forever();
  CHECK(later);
}

TEST_CASE("the calls of the loop that asyncio's page uses are there", "[S-094]") {
  World world;
  Loop& loop = world.loop;
  auto factory = [] { return ferry::make<Recorder>(); };
  auto server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0));
  REQUIRE(server->sockets().size() == 1);
  const int port = server->sockets().front().getsockname().port();
  auto client = loop.run_until_complete(loop.create_connection(factory, "127.0.0.1", port));
  client.protocol->on_lost = [&] { loop.stop(); };
  loop.call_soon([&] { client.transport->close(); });
  loop.run_forever();
  CHECK(client.protocol->lost);
  server->close();
  loop.run_until_complete(server->wait_closed());
  loop.close();
}
