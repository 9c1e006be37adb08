// What a transport tells about itself: names, its socket, and that they stay readable.
#include "support/lender.hpp"
#include "support/sockets.hpp"
#include "support/world.hpp"

#include <any>
#include <memory>
#include <string>
#include <type_traits>

using namespace test;
using ferry::Address;
using ferry::peername;
using ferry::sockname;

namespace {

// A server and one connection to it, both ends ferry's.
struct Both {
  std::shared_ptr<ferry::Server> server;
  std::shared_ptr<ferry::Transport> client;
  ferry::Transport* accepted = nullptr;
};
template <class Listen, class Connect>
Both connect_both(World& world, Listen listen, Connect connect) {
  const Recorders theirs;
  Both both;
  auto listening = listen(theirs);
  both.server = world.run(std::move(listening));
  auto connecting = connect(*both.server);
  both.client = world.run(std::move(connecting)).transport;
  world.run_until([&] { return theirs.made() == 1; });
  both.accepted = theirs.at(0).transport;
  return both;
}
Both connect_tcp(World& world, std::string_view listen_on, std::string_view connect_to) {
  return connect_both(
      world,
      [&](auto factory) { return world.loop.create_server(factory, listen_on, 0); },
      [&](ferry::Server& server) {
        return world.loop.create_connection(ferry::make<ferry::Protocol>, connect_to,
                                            address_of(server).port());
      });
}

void close_both(World& world, Both& both) {
  both.server->close();
  both.client->close();
  world.run(both.server->wait_closed());
}

template <class View>
concept MovesData = requires(View& view, std::span<std::byte> room) { view.send("x"); } ||
                    requires(View& view, std::span<std::byte> room) { view.recv(room); } ||
                    requires(View& view) { view.close(); };

constexpr ferry::InfoKey<int> nonsense{"nonsense"};
constexpr ferry::InfoKey<int> mistyped{"peername"};

}  // namespace

TEST_CASE("get_extra_info() gives what is asked for by key or by name, or the default", "[S-010]") {
  World world;
  Both both = connect_tcp(world, "127.0.0.1", "127.0.0.1");
  const ferry::Transport& transport = *both.client;
  const Address peer = transport.get_extra_info(peername);
  CHECK(peer == address_of(*both.server));
  CHECK(transport.get_extra_info(peername, Address{"::1", 9}) == peer);
  CHECK(std::any_cast<Address>(transport.get_extra_info("peername")) == peer);
  CHECK(std::any_cast<Address>(transport.get_extra_info("sockname")) ==
        transport.get_extra_info(sockname));
  CHECK(std::any_cast<ferry::SocketView>(transport.get_extra_info("socket")).fileno() ==
        transport.get_extra_info(ferry::socket).fileno());
  CHECK(transport.get_extra_info(nonsense) == 0);
  CHECK(transport.get_extra_info(nonsense, 42) == 42);
  CHECK(transport.get_extra_info(mistyped, 42) == 42);
  CHECK_FALSE(transport.get_extra_info("nonsense").has_value());
  CHECK(std::any_cast<int>(transport.get_extra_info("nonsense", 42)) == 42);
  CHECK_FALSE(transport.get_extra_info("").has_value());
  close_both(world, both);
}

TEST_CASE("peername and sockname are the two ends' addresses, on both ends, and outlive them",
          "[S-011][S-013][T-023]") {
  struct Case {
    const char *listen_on, *connect_to;
  };
  const Case hosts = GENERATE(Case{"127.0.0.1", "127.0.0.1"}, Case{"0.0.0.0", "127.0.0.1"},
                              Case{"::1", "::1"}, Case{"::", "::1"});
  if (!has_address(Address{hosts.connect_to, 0})) return skip("no IPv6 here");
  World world;
  Both both = connect_tcp(world, hosts.listen_on, hosts.connect_to);
  const auto accepted = std::make_shared<Recorder>();
  both.accepted->set_protocol(accepted);
  accepted->made = true;
  const Address server{hosts.connect_to, address_of(*both.server).port()};
  const Address client = both.client->get_extra_info(ferry::socket).getsockname();
  CHECK(client.host() == hosts.connect_to);
  CHECK(client.port() != server.port());
  int asked = 0;
  const auto check = [&] {
    CHECK(both.client->get_extra_info(peername) == server);
    CHECK(both.client->get_extra_info(sockname) == client);
    ++asked;
  };
  accepted->on_lost = [&] {
    CHECK(both.accepted->get_extra_info(peername) == client);
    CHECK(both.accepted->get_extra_info(sockname) == server);
    ++asked;
  };
  check();
  CHECK(both.accepted->get_extra_info(peername) == client);
  CHECK(both.accepted->get_extra_info(sockname) == server);
  both.client->close();
  check();
  close_both(world, both);
  check();
  CHECK(asked == 4);
}

TEST_CASE("the names of a Unix connection are its paths, and an unnamed end is empty",
          "[S-011][S-013][T-114]") {
  if (!has_unix_sockets()) return skip("this system has no Unix sockets");
  World world;
  const Directory directory;
  const bool abstract = GENERATE(false, true);
  const std::string path = abstract ? '\0' + (directory / "abstract") : directory / "socket";
  Both both = connect_both(
      world, [&](auto factory) { return world.loop.create_unix_server(factory, path); },
      [&](ferry::Server&) {
        return world.loop.create_unix_connection(ferry::make<ferry::Protocol>, path);
      });
  const auto check = [&] {
    CHECK(both.client->get_extra_info(peername) == Address::unix_path(path));
    CHECK(both.client->get_extra_info(sockname).path().empty());
  };
  check();
  CHECK(both.accepted->get_extra_info(sockname) == Address::unix_path(path));
  CHECK(both.accepted->get_extra_info(peername).path().empty());
  CHECK(both.accepted->get_extra_info(peername).host().empty());
  close_both(world, both);
  check();
}

TEST_CASE("socket is a view: options can be set, data cannot pass, it owns nothing", "[S-012]") {
  static_assert(std::is_trivially_destructible_v<ferry::SocketView>);
  static_assert(!MovesData<ferry::SocketView>);
  static_assert(MovesData<ferry::Socket>);  // so that the question is the right one
  const Carrier carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  World world;
  Pair pair = connected_pair(carrier);
  const ferry::NativeHandle number = pair.ours.fileno();
  auto stream = open_as(world, std::move(pair), std::make_shared<Recorder>());
  {
    const ferry::SocketView view = stream.transport->get_extra_info(ferry::socket);
    CHECK(view.fileno() == number);
    CHECK(view.getsockopt(SOL_SOCKET, SO_KEEPALIVE) == 0);
    view.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    CHECK_THROWS_AS(view.setsockopt(SOL_SOCKET, -1, 1), ferry::OsError);
  }
  const ferry::SocketView again = stream.transport->get_extra_info(ferry::socket);
  CHECK(again.getsockopt(SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(again.getsockname() == stream.transport->get_extra_info(sockname));
  CHECK(again.getpeername() == stream.transport->get_extra_info(peername));
  stream.peer.send("still open");
  world.run_until([&] { return stream.protocol->received == "still open"; });
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.transport->get_extra_info(ferry::socket));
  CHECK_FALSE(is_open(number));
}

TEST_CASE("every TCP connection sends without delay, however it was made", "[A-006]") {
  World world;
  const auto without_delay = [](const ferry::Transport& transport) {
    const auto view = transport.get_extra_info(ferry::socket);
    return view.getsockopt(IPPROTO_TCP, TCP_NODELAY) != 0;
  };
  SECTION("by name or address, and accepted by a server") {
    Both both = connect_tcp(world, "127.0.0.1", "127.0.0.1");
    CHECK(without_delay(*both.client));
    CHECK(without_delay(*both.accepted));
    close_both(world, both);
  }
  SECTION("from a socket that was connected or accepted elsewhere") {
    Pair pair = connected_pair(Carrier::tcp);
    CHECK(pair.ours.view().getsockopt(IPPROTO_TCP, TCP_NODELAY) == 0);
    auto connect = world.loop.create_connection(ferry::make<ferry::Protocol>, std::move(pair.ours));
    const auto connected = world.run(std::move(connect));
    auto accept = world.loop.connect_accepted_socket(ferry::make<ferry::Protocol>,
                                                     std::move(pair.peer.socket()));
    const auto accepted = world.run(std::move(accept));
    CHECK(without_delay(*connected.transport));
    CHECK(without_delay(*accepted.transport));
    connected.transport->close();
  }
  SECTION("by a server on a listener that was made elsewhere") {
    const Recorders theirs;
    auto listen = world.loop.create_server(theirs, bound_socket({"127.0.0.1", 0}));
    const auto server = world.run(std::move(listen));
    Peer peer = dial(address_of(*server));
    world.run_until([&] { return theirs.made() == 1; });
    CHECK(without_delay(*theirs.at(0).transport));
    server->close();
    peer.close();
    world.run(server->wait_closed());
  }
}

TEST_CASE("a peer that reset before its name was asked for has none, and the loss is told",
          "[T-023][S-011][S-061]") {
  const Carrier carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  World world;
  Pair pair = connected_pair(carrier);
  const Address ours = pair.ours.view().getsockname();
  if (carrier == Carrier::unix_pair) pair.ours.send("unread");
  pair.peer.reset();
  auto stream = open_as(world, std::move(pair), std::make_shared<Recorder>());
  CHECK(stream.protocol->made);
  const Address peer = stream.transport->get_extra_info(peername);
  if (carrier == Carrier::tcp) CHECK_FALSE(peer);
  CHECK((peer.host().empty() && peer.path().empty()));
  CHECK(stream.transport->get_extra_info(sockname) == ours);
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->events.size() == 2);
  CHECK(stream.transport->get_extra_info(peername) == peer);
}
