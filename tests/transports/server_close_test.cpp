// How servers end: close(), wait_closed(), serve_forever(), and the ends of their clients.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <stdexcept>
#include <utility>

using namespace test;

namespace {

// A server with clients, all made.
struct Served {
  World& world;
  Recorders recorders;
  std::shared_ptr<ferry::Server> server;
  std::vector<Peer> peers;

  explicit Served(World& its_world, std::size_t clients = 0, ferry::ServerOptions options = {})
      : world{its_world},
        server{world.run(world.loop.create_server(recorders, "127.0.0.1", 0, options))} {
    for (std::size_t i = 0; i < clients; ++i) add_client();
  }
  void add_client() {
    peers.push_back(dial(address_of(*server)));
    world.run_until([&] { return recorders.made() == peers.size(); });
  }
  ferry::Transport& client(std::size_t i) { return *recorders.at(i).transport; }
};

ferry::Future<void> waiting(World& world, ferry::Server& server) {
  auto future = world.loop.create_task(server.wait_closed());
  world.settle();
  return future;
}
bool ends_cancelled(World& world, ferry::Future<void>& future) {
  world.run_until([&] { return future.done(); });
  return future.cancelled();
}
// The peer's end, which may come as a reset.
bool is_over(Peer& peer) {
  peer.receive();
  return peer.ended() || peer.error() == ECONNRESET;
}

}  // namespace

TEST_CASE("close() stops listening at once, and the connections live on", "[T-106][A-021][A-020]") {
  World world;
  Served served{world, 1};
  const ferry::Address address = address_of(*served.server);
  served.server->close();
  CHECK(try_connect(address) == ECONNREFUSED);
  CHECK(served.server->sockets().empty());
  CHECK_FALSE(served.server->is_serving());
  served.server->close();  // nothing the second time
  served.peers[0].send("still here");
  world.run_until([&] { return served.recorders.at(0).received == "still here"; });
  served.client(0).write("so am I");
  served.client(0).close();
  world.run_until([&] { return served.recorders.lost() == 1; });
  CHECK(served.peers[0].receive() == "so am I");
  served.server->close();
}

TEST_CASE("no connection is made after close() returned, wherever it was called from",
          "[T-106]") {
  World world;
  std::shared_ptr<ferry::Server> server;
  const Recorders recorders;
  bool in_factory = false;
  const auto factory = [&] {
    auto recorder = recorders();
    in_factory ? server->close() : void(recorder->on_made = [&] { server->close(); });
    return recorder;
  };
  ferry::ServerOptions options;
  SECTION("inside connection_made, with more in the queue") {
    options.backlog = 1;  // one is accepted in a turn
  }
  SECTION("inside the factory, with more in the batch") { in_factory = true; }
  server = world.run(world.loop.create_server(factory, "127.0.0.1", 0, options));
  std::vector<Peer> peers;
  for (int i = 0; i < 2; ++i) peers.push_back(dial(address_of(*server)));
  world.run_until([&] { return server->sockets().empty(); });
  world.settle();
  CHECK(recorders.size() == 1);
  CHECK(recorders.made() == (in_factory ? 0u : 1u));
  if (!in_factory) recorders.at(0).transport->close();
  world.run(server->wait_closed());
  world.settle();
  for (Peer& peer : peers) CHECK(is_over(peer));
}

TEST_CASE("connections accepted in the turn of close() are served", "[T-106][T-107]") {
  World world;
  Served served{world};
  served.peers.push_back(dial(address_of(*served.server)));
  world.run_until([&] { return served.recorders.size() == 1; });
  REQUIRE(served.recorders.made() == 0);  // accepted; the protocol has not heard of it
  served.server->close();
  auto waiter = waiting(world, *served.server);
  CHECK_FALSE(waiter.done());
  CHECK(served.recorders.made() == 1);
  served.peers[0].send("x");
  world.run_until([&] { return served.recorders.at(0).received == "x"; });
  served.client(0).close();
  world.run_until([&] { return waiter.done(); });
  CHECK(served.recorders.lost() == 1);
}

TEST_CASE("wait_closed() returns when the server is closed and its connections are gone",
          "[T-107][A-021]") {
  World world;
  SECTION("close comes later") {
    Served served{world};
    auto waiter = waiting(world, *served.server);
    CHECK_FALSE(waiter.done());  // no connection, but open
    served.server->close();
    world.settle();
    CHECK(waiter.done());
  }
  SECTION("connections are alive") {
    Served served{world, 2};
    served.server->close();
    auto waiter = waiting(world, *served.server);
    CHECK_FALSE(waiter.done());
    served.client(0).close();
    world.settle();
    CHECK_FALSE(waiter.done());
    served.recorders.at(1).on_lost = [&] { CHECK_FALSE(waiter.done()); };
    served.client(1).abort();
    world.settle();
    CHECK(waiter.done());
    CHECK(served.recorders.lost() == 2);
  }
  SECTION("at once") {
    Served served{world, 1};
    served.client(0).close();
    world.run_until([&] { return served.recorders.lost() == 1; });
    served.server->close();
    CHECK(waiting(world, *served.server).done());
    CHECK(waiting(world, *served.server).done());  // and again
  }
  SECTION("the last connection is lost in the turn of close()") {
    Served served{world, 1};
    auto waiter = waiting(world, *served.server);
    world.loop.call_soon([&] { served.client(0).abort(); });
    world.loop.call_soon([&] { served.server->close(); });
    world.settle();
    CHECK(waiter.done());
  }
  SECTION("the server is closed inside the last connection_lost") {
    Served served{world, 1};
    auto waiter = waiting(world, *served.server);
    served.recorders.at(0).on_lost = [&] { served.server->close(); };
    served.client(0).abort();
    world.settle();
    CHECK(waiter.done());
  }
}

TEST_CASE("any number may wait, and one that is cancelled disturbs no other", "[T-107]") {
  World world;
  Served served{world, 1};
  std::vector<ferry::Future<void>> waiters;
  for (int i = 0; i < 3; ++i) waiters.push_back(waiting(world, *served.server));
  waiters[1].cancel();
  CHECK(ends_cancelled(world, waiters[1]));
  served.server->close();
  world.settle();
  CHECK_FALSE(waiters[0].done());
  waiters.push_back(waiting(world, *served.server));
  served.client(0).close();
  world.settle();
  for (const std::size_t i : {0u, 2u, 3u}) {
    CHECK(waiters[i].done());
    CHECK_FALSE(waiters[i].cancelled());
  }
}

TEST_CASE("serve_forever() serves until it is cancelled, then closes and waits",
          "[T-107][A-020]") {
  World world;
  ferry::ServerOptions options;
  options.start_serving = GENERATE(true, false);
  Served served{world, 0, options};
  auto forever = world.loop.create_task(served.server->serve_forever());
  world.settle();
  CHECK(served.server->is_serving());
  served.add_client();
  forever.cancel();
  world.settle();
  CHECK(served.server->sockets().empty());
  CHECK_FALSE(forever.done());  // its connection is alive
  served.client(0).close();
  CHECK(ends_cancelled(world, forever));
  CHECK(served.recorders.lost() == 1);
}

TEST_CASE("close() ends serve_forever()", "[T-107]") {
  World world;
  Served served{world};
  auto forever = world.loop.create_task(served.server->serve_forever());
  world.settle();
  served.server->close();
  CHECK(ends_cancelled(world, forever));
  CHECK_THROWS_AS(served.server->serve_forever(), ferry::MisuseError);  // closed by now
}

TEST_CASE("one at a time may serve_forever(), and only on a server that is open", "[T-107]") {
  World world;
  Served served{world};
  SECTION("the second one comes later") {
    auto first = world.loop.create_task(served.server->serve_forever());
    world.settle();
    CHECK_THROWS_AS(served.server->serve_forever(), ferry::MisuseError);
    first.cancel();
    CHECK(ends_cancelled(world, first));
  }
  SECTION("both begin in one turn") {
    auto first = world.loop.create_task(served.server->serve_forever());
    auto second = world.loop.create_task(served.server->serve_forever());
    world.settle();
    CHECK_FALSE(first.done());
    CHECK_THROWS_AS(second.result(), ferry::MisuseError);
    first.cancel();
    CHECK(ends_cancelled(world, first));
  }
  SECTION("it is closed before the task begins") {
    auto task = world.loop.create_task(served.server->serve_forever());
    served.server->close();
    world.settle();
    CHECK_THROWS_AS(task.result(), ferry::MisuseError);
  }
}

TEST_CASE("a loop that is closed ends its servers, their clients and those who wait",
          "[T-107][T-024]") {
  World world;
  Served served{world, 2};
  auto waiter = waiting(world, *served.server);
  const ferry::Address address = address_of(*served.server);
  world.loop.close();
  CHECK(try_connect(address) == ECONNREFUSED);
  CHECK(waiter.cancelled());
  CHECK(served.recorders.lost() == 0);  // nobody is called
  for (Peer& peer : served.peers) CHECK(is_over(peer));
}

TEST_CASE("close_clients() flushes and closes, abort_clients() aborts, and only their own",
          "[T-108][A-022]") {
  World world;
  Served served{world, 2};
  Served others{world, 1};
  Stream own = open_stream(world);
  const std::string much = pattern(4 << 20);
  for (std::size_t i = 0; i < 2; ++i) served.client(i).write(much);
  const bool abort = GENERATE(true, false);
  abort ? served.server->abort_clients() : served.server->close_clients();
  CHECK(served.client(0).is_closing());
  CHECK(served.recorders.lost() == 0);  // not inside the call
  std::vector<std::string> received(2);
  world.run_until([&] {
    for (std::size_t i = 0; i < 2; ++i) received[i] += served.peers[i].receive();
    return served.recorders.lost() == 2 && is_over(served.peers[0]) && is_over(served.peers[1]);
  });
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK((received[i] == much) == !abort);
    CHECK_FALSE(served.recorders.at(i).reason);
  }
  CHECK(served.server->is_serving());  // the server itself goes on
  served.add_client();
  CHECK_FALSE(others.client(0).is_closing());
  CHECK_FALSE(own.transport->is_closing());
  world.loop.close();
}

TEST_CASE("each client is lost once though callbacks close others meanwhile", "[T-108]") {
  World world;
  constexpr std::size_t count = 5;
  Served served{world, count};
  auto waiter = waiting(world, *served.server);
  served.server->close();
  for (std::size_t i = 0; i < count; ++i) {
    served.recorders.at(i).on_lost = [&served, i] {
      for (std::size_t j = 0; j < count; ++j) {
        if (!served.recorders.at(j).lost) served.client(j).abort();
      }
      i % 2 == 0 ? served.server->close_clients() : served.server->abort_clients();
    };
  }
  SECTION("all at once") { served.server->close_clients(); }
  SECTION("one, and its callback does the rest") { served.client(2).abort(); }
  world.run_until([&] { return waiter.done(); });
  for (std::size_t i = 0; i < count; ++i) CHECK(served.recorders.at(i).story() == "made lost");
}

TEST_CASE("connections that never came to be leave the count right", "[T-108][T-012]") {
  World world;
  const Recorders recorders;
  bool fails = false;
  const auto factory = [&] {
    if (fails) throw std::runtime_error{"no"};
    return recorders();
  };
  auto server = world.run(world.loop.create_server(factory, "127.0.0.1", 0));
  const auto arrives = [&] {
    Peer peer = dial(address_of(*server));
    world.run_until([&] { return recorders.size() == 1 || !world.reports.empty(); });
    return peer;
  };
  Peer peer;
  SECTION("the factory throws") {
    fails = true;
    peer = arrives();
    CHECK(world.take_reports().size() == 1);
  }
  SECTION("closed before the protocol heard of it") {
    peer = arrives();
    GENERATE(true, false) ? server->close_clients() : server->abort_clients();
  }
  SECTION("refused by the poller") {
    if (world.loop.backend() != "epoll") return skip(level_only);
    Calls calls;
    peer = arrives();
    calls.fail(Call::epoll_ctl, ENOSPC);
    world.settle();
    const auto reports = world.take_reports();
    REQUIRE(reports.size() == 1);  // nobody else would hear of it
    CHECK(reports[0].exception == std::errc::no_space_on_device);
  }
  world.settle();
  CHECK(recorders.made() == 0);
  CHECK(recorders.lost() == 0);
  CHECK(is_over(peer));
  fails = false;
  const Peer next = dial(address_of(*server));  // it listens on
  world.run_until([&] { return recorders.made() == 1; });
  server->close();
  auto waiter = waiting(world, *server);
  CHECK_FALSE(waiter.done());
  server->abort_clients();
  world.run_until([&] { return waiter.done(); });
}

TEST_CASE("dropping a server closes nothing: the loop keeps it", "[A-020][T-022]") {
  World world;
  Served served{world};
  const ferry::Address address = address_of(*served.server);
  served.server.reset();
  const Peer peer = dial(address);
  world.run_until([&] { return served.recorders.made() == 1; });
  world.loop.close();
  CHECK(try_connect(address) == ECONNREFUSED);
}
