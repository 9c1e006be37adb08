// What is wrong with an argument throws at the call, what the system refuses at the await.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <memory>

using namespace test;
using ferry::Loop;
using ferry::Task;

namespace {

// A factory whose capture counts: a closure that is destroyed twice would show.
auto counting_factory(std::shared_ptr<Recorder> protocol, std::shared_ptr<int> held) {
  return [protocol, held] {
    ++*held;
    return protocol;
  };
}

}  // namespace

TEST_CASE("a call that is not awaited touches nothing", "[C-22]") {
  World world;
  Pair pair = connected_pair(Carrier::unix_pair);
  Calls calls;
  int made = 0;
  const auto factory = [&made] {
    ++made;
    return ferry::make<Recorder>();
  };
  {
    auto connecting = world.loop.create_connection(factory, "127.0.0.1", 1);
    auto serving = world.loop.create_server(factory, "127.0.0.1", 0);
    auto unix_connecting = world.loop.create_unix_connection(factory, "/nowhere/at/all");
    auto unix_serving = world.loop.create_unix_server(factory, "/nowhere/at/all");
    auto sleeping = world.loop.sleep(1s);
    CHECK(connecting);
  }
  CHECK(calls.count(Call::socket) == 0);
  CHECK(calls.count(Call::getaddrinfo) == 0);
  CHECK(calls.count(Call::close) == 0);
  {
    auto over_socket = world.loop.create_connection(factory, std::move(pair.ours));
    CHECK_FALSE(pair.ours);  // taken at the call
  }
  CHECK(calls.count(Call::close) == 1);  // and closed with the task that never ran
  CHECK(made == 0);
  world.settle();
}

TEST_CASE("wrong arguments throw at the call", "[C-22]") {
  World world;
  Loop& loop = world.loop;
  const auto factory = ferry::make<Recorder>;
  const std::string nul("local\0host", 10);
  CHECK_THROWS_AS(loop.create_connection(factory, "127.0.0.1", 65536), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_connection(factory, "127.0.0.1", -1), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_connection(factory, nul, 80), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_connection(factory, std::string(300, 'a'), 80),
                  std::invalid_argument);
  CHECK_THROWS_AS(loop.create_server(factory, "127.0.0.1", 65536), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_server(factory, {}, 0), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_unix_connection(factory, ""), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_connection(factory, ferry::Socket{}), std::invalid_argument);
  CHECK_THROWS_AS(loop.create_server(factory, ferry::Socket{}), std::invalid_argument);
}

TEST_CASE("what the system refuses is thrown at the await", "[C-22]") {
  World world;
  const auto factory = ferry::make<Recorder>;
  auto server = world.run(world.loop.create_server(factory, "127.0.0.1", 0));
  const int port = server->sockets().front().getsockname().port();
  auto again = world.loop.create_server(factory, "127.0.0.1", port);  // no error yet
  CHECK_THROWS_AS(world.run(std::move(again)), ferry::OsError);
  server->close();
  auto nobody = world.loop.create_connection(factory, "127.0.0.1", port);
  CHECK_THROWS_AS(world.run(std::move(nobody)), ferry::OsError);
  Calls calls;
  calls.fail(Call::socket, EMFILE);
  auto no_socket = world.loop.create_connection(factory, "127.0.0.1", port);
  CHECK_THROWS_AS(world.run(std::move(no_socket)), ferry::OsError);
}

TEST_CASE("factories with captures may be passed in an await, or before it", "[C-22]") {
  World world;
  auto protocol = std::make_shared<Recorder>();
  auto held = std::make_shared<int>(0);
  SECTION("before it: any capture") {
    auto work = [](Loop& loop, std::shared_ptr<Recorder> recorder, std::shared_ptr<int> count,
                   ferry::Socket socket) -> Task<void> {
      auto task = loop.create_connection(counting_factory(recorder, count), std::move(socket));
      auto made = co_await std::move(task);
      made.transport->close();
    };
    Pair pair = connected_pair(Carrier::tcp);
    world.run(work(world.loop, protocol, held, std::move(pair.ours)));
    CHECK(*held == 1);
  }
  SECTION("inside it: references") {
    auto work = [](Loop& loop, std::shared_ptr<Recorder> recorder, ferry::Socket socket,
                   int& count) -> Task<void> {
      auto made = co_await loop.create_connection(
          [&] {
            ++count;
            return recorder;
          },
          std::move(socket));
      made.transport->close();
    };
    Pair pair = connected_pair(Carrier::tcp);
    world.run(work(world.loop, protocol, std::move(pair.ours), *held));
    CHECK(*held == 1);
  }
  SECTION("inside it: a function, options and a server") {
    auto work = [](Loop& loop) -> Task<void> {
      auto server = co_await loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0,
                                                {.backlog = 5, .keep_alive = true});
      const auto port = server->sockets().front().getsockname().port();
      auto made = co_await loop.create_connection(ferry::make<Recorder>, "127.0.0.1", port,
                                                  {.family = ferry::Family::ipv4});
      made.transport->close();
      server->close();
      server->abort_clients();
      co_await server->wait_closed();
    };
    world.run(work(world.loop));
  }
  SECTION("outside of coroutines: any capture") {
    Pair pair = connected_pair(Carrier::tcp);
    auto made = world.loop.run_until_complete(
        world.loop.create_connection(counting_factory(protocol, held), std::move(pair.ours)));
    CHECK(made.protocol == protocol);
    made.transport->close();
    CHECK(*held == 1);
  }
  world.settle();
  CHECK(held.use_count() == 1);
}
