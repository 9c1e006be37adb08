// create_datagram_endpoint(): what it takes, and what it refuses.
#include "support/calls.hpp"
#include "support/datagrams.hpp"

using namespace test;
using ferry::Address;
using ferry::Family;
using Strings = std::vector<std::string>;

namespace {

ferry::Error refusal_of(World& world, const ferry::DatagramOptions& options) {
  return error_of(world, world.loop.create_datagram_endpoint(
                             ferry::make<DatagramRecorder>, options));
}

void finish(World& world, std::initializer_list<ferry::DatagramTransport*> transports) {
  for (ferry::DatagramTransport* transport : transports) transport->abort();
  world.settle();
}

}  // namespace

TEST_CASE("an endpoint needs an address or a family, one family must suit both", "[A-026]") {
  World world;
  CHECK_THROWS_AS(world.loop.create_datagram_endpoint(ferry::make<DatagramRecorder>,
                                                      ferry::DatagramOptions{}),
                  std::invalid_argument);
  const ferry::Error error =
      refusal_of(world, {.local_addr = any_port, .remote_addr = Address{"::1", 9}});
  CHECK(std::string{error.what()} ==
        "create_datagram_endpoint: no local and remote address of one family");
  CHECK(refusal_of(world, {.local_addr = any_port, .family = Family::ipv6}));
  CHECK_THROWS_AS(world.loop.create_datagram_endpoint(
                      ferry::make<DatagramRecorder>, {.local_host = std::string_view{"a\0b", 3}}),
                  std::invalid_argument);
  auto only_family = open_endpoint(world, {.family = Family::ipv4});
  Correspondent peer;
  only_family.transport->sendto("x", peer.address());
  world.run_until([&] { return peer.receive().size() == 1; });
  finish(world, {only_family.transport.get()});
}

TEST_CASE("local and remote side may be given by names, and both at once",
          "[A-026][S-011][S-013]") {
  World world;
  Correspondent server;
  const int port = server.address().port();
  auto client = open_endpoint(world, {.local_host = "127.0.0.1",
                                      .remote_host = "localhost",
                                      .remote_port = port,
                                      .family = Family::ipv4});
  client.transport->sendto("x");
  world.run_until([&] { return server.receive().size() == 1; });
  CHECK(server.senders[0] == client.transport->get_extra_info(ferry::sockname));
  CHECK(client.transport->get_extra_info(ferry::peername) == server.address());
  CHECK(client.transport->get_extra_info(ferry::socket));
  CHECK(client.transport->describe().find("-> 127.0.0.1:") != std::string::npos);
  finish(world, {client.transport.get()});
  CHECK_FALSE(client.transport->get_extra_info(ferry::socket));
  CHECK(client.transport->get_extra_info(ferry::peername) == server.address());
  CHECK(refusal_of(world, {.remote_host = "no.such.host.invalid", .remote_port = 9}));
}

TEST_CASE("a port is never shared unasked, and shared if both ask", "[T-151][A-026]") {
  World world;
  auto first = open_endpoint(world, {.local_addr = any_port});
  const ferry::Error error = refusal_of(world, {.local_addr = first.address()});
  CHECK(error.code() == std::errc::address_in_use);
  CHECK(std::string{error.what()}.starts_with("bind to " + first.address().to_string() + ": "));
  if (can_share_addresses()) {
    auto one = open_endpoint(world, {.local_addr = any_port, .reuse_port = true});
    auto two = open_endpoint(world, {.local_addr = one.address(), .reuse_port = true});
    CHECK(refusal_of(world, {.local_addr = one.address()}));
    finish(world, {one.transport.get(), two.transport.get()});
  } else {
    CHECK(refusal_of(world, {.local_addr = any_port, .reuse_port = true}));
  }
  finish(world, {first.transport.get()});
}

TEST_CASE("broadcasting needs leave, with leave and a remote address it is not connected",
          "[T-151][A-026]") {
  World world;
  Correspondent peer;
  auto without = open_endpoint(world, {.local_addr = any_port});
  auto with = open_endpoint(world, {.remote_addr = peer.address(), .allow_broadcast = true});
  without.transport->sendto("x", Address{"255.255.255.255", 9});
  world.run_until([&] { return !without.protocol->errors.empty(); });
  CHECK(without.protocol->errors[0].code() == std::errc::permission_denied);
  CHECK(with.transport->get_extra_info(ferry::socket).getsockopt(SOL_SOCKET, SO_BROADCAST) != 0);
  CHECK_FALSE(with.transport->get_extra_info(ferry::socket).getpeername());
  CHECK_FALSE(with.transport->get_extra_info(ferry::peername));
  with.transport->sendto("to the remote address");
  world.run_until([&] { return peer.receive().size() == 1; });
  Correspondent stranger;
  const Address name = with.transport->get_extra_info(ferry::socket).getsockname();
  stranger.send("from elsewhere", Address{"127.0.0.1", name.port()});
  world.run_until([&] { return with.protocol->datagrams.size() == 1; });
  CHECK_THROWS_AS(with.transport->sendto("x", stranger.address()), std::invalid_argument);
  finish(world, {without.transport.get(), with.transport.get()});
}

TEST_CASE("a socket of the caller's is taken over, one that is none for datagrams is not",
          "[A-026][T-122][T-123]") {
  World world;
  ferry::Socket mine = new_socket(Family::ipv4, SOCK_DGRAM);
  REQUIRE(bind_to(mine, any_port));
  auto protocol = std::make_shared<DatagramRecorder>();
  auto made = world.run(
      world.loop.create_datagram_endpoint([&] { return protocol; }, std::move(mine)));
  CHECK_FALSE(mine);
  Correspondent peer;
  peer.send("x", made.transport->get_extra_info(ferry::sockname));
  world.run_until([&] { return protocol->datagrams.size() == 1; });
  CHECK_THROWS_AS(made.transport->sendto("x"), std::invalid_argument);
  made.transport->sendto("y", peer.address());
  world.run_until([&] { return peer.receive().size() == 1; });

  ferry::Socket connected = new_socket(Family::ipv4, SOCK_DGRAM);
  REQUIRE(try_connect(connected, peer.address()) == 0);
  auto other = world.run(world.loop.create_datagram_endpoint(ferry::make<DatagramRecorder>,
                                                             std::move(connected)));
  CHECK(other.transport->get_extra_info(ferry::peername) == peer.address());
  other.transport->sendto("z");
  world.run_until([&] { return peer.receive().size() == 2; });

  ferry::Socket stream = new_socket(Family::ipv4);
  CHECK_THROWS_AS(world.loop.create_datagram_endpoint(ferry::make<DatagramRecorder>,
                                                      std::move(stream)),
                  std::invalid_argument);
  CHECK(stream);  // still the caller's
  ferry::Socket datagrams = new_socket(Family::ipv4, SOCK_DGRAM);
  CHECK_THROWS_AS(world.loop.create_connection(ferry::make<Recorder>, std::move(datagrams)),
                  std::invalid_argument);
  CHECK(datagrams);
  finish(world, {made.transport.get(), other.transport.get()});
}

TEST_CASE("when the factory throws or the socket cannot be set up, nothing is left", "[T-012]") {
  World world;
  Calls calls;
  const auto thrower = []() -> std::shared_ptr<DatagramRecorder> {
    throw std::runtime_error{"no protocol"};
  };
  const ferry::Error error = error_of(
      world, world.loop.create_datagram_endpoint(thrower, {.local_addr = any_port}));
  CHECK(std::string{error.what()} == "no protocol");
  calls.fail(Call::socket, EMFILE);
  CHECK(refusal_of(world, {.local_addr = any_port}).code() ==
        std::errc::too_many_files_open);
  calls.fail(Call::bind, EACCES);
  CHECK(refusal_of(world, {.local_addr = any_port}).code() == std::errc::permission_denied);
  if (world.loop.backend() != "epoll") return;  // others watch when there is something to wait for
  calls.fail(Call::epoll_ctl, ENOSPC);
  CHECK(refusal_of(world, {.local_addr = any_port}).code() == std::errc::no_space_on_device);
}

TEST_CASE("an endpoint that nobody waits for any more is gone, untold", "[A-026][T-131]") {
  World world;
  auto protocol = std::make_shared<DatagramRecorder>();
  {
    auto future = world.loop.create_task(
        world.loop.create_datagram_endpoint([&] { return protocol; }, {.local_addr = any_port}));
    world.turn();
    future.cancel();
    world.settle();
  }
  world.settle();
  CHECK(protocol.use_count() == 1);
}

TEST_CASE("a loop that closes drops its endpoints, and calls nobody", "[T-012]") {
  auto protocol = std::make_shared<DatagramRecorder>();
  std::shared_ptr<ferry::DatagramTransport> transport;
  {
    World world;
    auto endpoint = open_endpoint(world, {.local_addr = any_port}, protocol);
    transport = endpoint.transport;
  }
  CHECK(protocol->story() == "made");
  CHECK(protocol.use_count() == 1);
  transport->sendto("x", Address{"127.0.0.1", 9});
  transport->close();
  CHECK(transport->is_closing());
}

TEST_CASE("multicast: joined groups are received, left ones are not, what is no group is refused",
          "[T-151]") {
  World world;
  const bool v6 = GENERATE(false, true);
  const std::string any = v6 ? "::" : "0.0.0.0";
  const Address group{v6 ? "ff12::4242" : "239.42.42.42", 0};
  // Loopback has no route for IPv6's groups.
  const Address here = v6 ? link_local() : Address{"127.0.0.1", 0};
  if (!here) return skip("no link-local IPv6 address on this machine");
  auto receiver = open_endpoint(world, {.local_addr = {any, 0}});
  const ferry::SocketView socket = receiver.transport->get_extra_info(ferry::socket);
  CHECK(thrown_by<std::invalid_argument>([&] {
          return socket.join_multicast({.group = Address{v6 ? "::1" : "10.0.0.1", 0}}), 0;
        }) == (v6 ? "join [::1]:0: not a multicast group"
                  : "join 10.0.0.1:0: not a multicast group"));
  CHECK_THROWS_AS(socket.leave_multicast({.group = group}), ferry::OsError);  // not joined
  const std::uint32_t index = v6 ? here.scope_id() : loopback_interface();
  try {
    socket.join_multicast({.group = group, .interface_index = index});
  } catch (const ferry::OsError& error) {
    return skip(std::string{"no multicast here: "} + error.what());
  }
  auto sender = open_endpoint(world, {.local_addr = here});
  const ferry::SocketView out = sender.transport->get_extra_info(ferry::socket);
  out.set_multicast_interface(index);
  out.set_multicast_hops(0);  // stays in this machine
  out.set_multicast_loop(true);
  const Address to = group.with_port(receiver.address().port());
  sender.transport->sendto("for all", to);
  world.run_until([&] {
    return !receiver.protocol->datagrams.empty() || !sender.protocol->errors.empty();
  });
  if (!sender.protocol->errors.empty()) {
    return skip("no multicast here: " +
                std::string{sender.protocol->errors[0].what()});
  }
  CHECK(receiver.protocol->datagrams == Strings{"for all"});
  socket.leave_multicast({.group = group, .interface_index = index});
  sender.transport->sendto("for nobody", to);
  sender.transport->sendto("for you",
                           here.with_port(receiver.address().port()));
  world.run_until([&] { return receiver.protocol->datagrams.size() == 2; });
  CHECK(receiver.protocol->datagrams[1] == "for you");
  finish(world, {receiver.transport.get(), sender.transport.get()});
}

TEST_CASE("multicast from one source only", "[T-151]") {
  World world;
  auto receiver = open_endpoint(world, {.local_addr = Address{"0.0.0.0", 0}});
  const ferry::SocketView socket = receiver.transport->get_extra_info(ferry::socket);
  const Address group{"232.42.42.42", 0};
  const Address wanted{own_host(1), 0}, other{own_host(2), 0};
  CHECK_THROWS_AS(socket.join_multicast({.group = group, .source = Address{"::1", 0}}),
                  std::invalid_argument);
  const std::uint32_t index = loopback_interface();
  if (!has_address(wanted) || !has_address(other)) {
    return skip("this system has one loopback address only");
  }
  try {
    socket.join_multicast({.group = group, .source = wanted, .interface_index = index});
  } catch (const ferry::OsError& error) {
    return skip(std::string{"no multicast by source here: "} + error.what());
  }
  const Address to = group.with_port(receiver.address().port());
  auto good = open_endpoint(world, {.local_addr = wanted});
  auto bad = open_endpoint(world, {.local_addr = other});
  for (auto* sender : {&bad, &good}) {
    sender->transport->get_extra_info(ferry::socket).set_multicast_interface(index);
    sender->transport->sendto(sender == &good ? "good" : "bad", to);
  }
  world.run_until([&] { return !receiver.protocol->datagrams.empty(); });
  CHECK(receiver.protocol->datagrams == Strings{"good"});
  finish(world, {receiver.transport.get(), good.transport.get(), bad.transport.get()});
}

TEST_CASE("options of a datagram socket are checked, and set for its family", "[A-026]") {
  World world;
  const std::string ip = GENERATE("127.0.0.1", "::1");
  if (!has_address(Address{ip, 0})) {
    return skip("there is no " + ip);
  }
  auto endpoint = open_endpoint(world, {.local_addr = {ip, 0}});
  const ferry::SocketView socket = endpoint.transport->get_extra_info(ferry::socket);
  CHECK_THROWS_AS(socket.set_hops(256), std::invalid_argument);
  CHECK_THROWS_AS(socket.set_multicast_hops(-1), std::invalid_argument);
  CHECK_THROWS_AS(socket.set_traffic_class(300), std::invalid_argument);
  CHECK_THROWS_AS(socket.set_multicast_interface(987654), ferry::OsError);
  socket.set_hops(7);
  const bool v6 = ip == "::1";
  CHECK(socket.getsockopt(v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP),
                          v6 ? IPV6_UNICAST_HOPS : IP_TTL) == 7);
  finish(world, {endpoint.transport.get()});
}

TEST_CASE("the scope of a link-local address survives sendto() and datagram_received()",
          "[T-128]") {
  World world;
  const Address here = link_local();
  if (!here) return skip("no link-local address here");
  auto server = open_endpoint(world, {.local_addr = here});
  auto client = open_endpoint(world, {.local_addr = here});
  client.transport->sendto("x", server.address());
  world.run_until([&] { return !server.protocol->datagrams.empty(); });
  CHECK(server.protocol->senders[0] == client.address());
  CHECK(server.protocol->senders[0].scope_id() == here.scope_id());
  server.transport->sendto("y", server.protocol->senders[0]);
  world.run_until([&] { return !client.protocol->datagrams.empty(); });
  finish(world, {server.transport.get(), client.transport.get()});
}
