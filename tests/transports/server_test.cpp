// create_server(): what is bound, what is accepted, and with which options.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <climits>
#include <stdexcept>
#include <string_view>

using namespace test;
using Catch::Matchers::Contains;

namespace {

const ferry::Address loopback{"127.0.0.1", 0};

using Hosts = std::initializer_list<std::string_view>;

template <class Where, class Factory = Recorders>
std::shared_ptr<ferry::Server> serve(World& world, const Where& where, ferry::Port port = 0,
                                     ferry::ServerOptions options = {}, Factory factory = {}) {
  return world.run(world.loop.create_server(std::move(factory), where, port, options));
}
template <class Where>
ferry::Error failure(World& world, const Where& where, ferry::Port port = 0,
                     ferry::ServerOptions options = {}) {
  return error_of(world, world.loop.create_server(Recorders{}, where, port, options));
}

std::vector<std::string> hosts_of(const ferry::Server& server) {
  std::vector<std::string> hosts;
  for (const ferry::SocketView& socket : server.sockets()) {
    hosts.push_back(socket.getsockname().host());
  }
  return hosts;
}
bool one_port(const ferry::Server& server) {
  for (const ferry::SocketView& socket : server.sockets()) {
    if (socket.getsockname().port() != address_of(server).port()) return false;
  }
  return address_of(server).port() != 0;
}
int option(const ferry::Transport& transport, int level, int name) {
  return transport.get_extra_info(ferry::socket).getsockopt(level, name);
}

class Echo : public ferry::Protocol {
 public:
  explicit Echo(std::vector<ferry::Address>& peers) : peers_{peers} {}
  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    peers_.push_back(transport.get_extra_info(ferry::peername));
  }
  void data_received(ferry::BytesView data) override {
    transport_->write(data);
    transport_->close();
  }

 private:
  std::vector<ferry::Address>& peers_;
  ferry::Transport* transport_ = nullptr;
};

class EchoClient : public ferry::Protocol {
 public:
  EchoClient(std::string message, std::string& answer, ferry::Loop& loop)
      : message_{std::move(message)}, answer_{answer}, loop_{loop} {}
  void connection_made(ferry::Transport& transport) override { transport.write(message_); }
  void data_received(ferry::BytesView data) override { answer_ += data.text(); }
  void connection_lost(const ferry::Error&) override { loop_.stop(); }

 private:
  std::string message_;
  std::string& answer_;
  ferry::Loop& loop_;
};

}  // namespace

TEST_CASE("the echo client and the echo server of asyncio's page work together",
          "[S-085][S-087][S-094]") {
  World world;
  ferry::Loop& loop = world.loop;
  std::vector<ferry::Address> peers;
  int protocols = 0;
  auto server = loop.run_until_complete(loop.create_server(
      [&] {
        ++protocols;
        return std::make_shared<Echo>(peers);
      },
      "127.0.0.1", 0));
  const std::uint16_t port = address_of(*server).port();
  CHECK(port != 0);
  CHECK(protocols == 0);
  for (int i = 1; i <= 2; ++i) {
    std::string answer;
    auto made = loop.run_until_complete(loop.create_connection(
        [&] { return std::make_shared<EchoClient>("Hello World!", answer, loop); }, "127.0.0.1",
        port));
    loop.run_forever();
    CHECK(answer == "Hello World!");
    CHECK(protocols == i);  // one for each client
    CHECK(peers.back() == made.transport->get_extra_info(ferry::sockname));
  }
  server->close();
  loop.run_until_complete(server->wait_closed());
  loop.close();
}

TEST_CASE("each accepted connection has a protocol and names of its own", "[S-087]") {
  World world;
  const Recorders recorders;
  auto server = serve(world, "127.0.0.1", 0, {}, recorders);
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(dial(address_of(*server)));
    peers.back().send(std::to_string(i));
    world.run_until([&] { return recorders.made() == peers.size(); });
  }
  world.run_until([&] { return recorders.at(2).received == "2"; });
  for (std::size_t i = 0; i < 3; ++i) {
    const ferry::Transport& transport = *recorders.at(i).transport;
    CHECK(recorders.at(i).received == std::to_string(i));
    CHECK(transport.get_extra_info(ferry::peername) == peers[i].socket().view().getsockname());
    CHECK(transport.get_extra_info(ferry::sockname) == address_of(*server));
  }
  world.loop.close();
}

TEST_CASE("a connection to a server on every interface knows its own address", "[A-018][S-013]") {
  World world;
  const Recorders recorders;
  auto server = serve(world, "0.0.0.0", 0, {}, recorders);
  const ferry::Address here{"127.0.0.3", address_of(*server).port()};
  const Peer peer = dial(here);
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(recorders.at(0).transport->get_extra_info(ferry::sockname) == here);
  world.loop.close();
}

TEST_CASE("a server made without serving is bound but refuses until it starts", "[T-105][A-020]") {
  World world;
  const Recorders recorders;
  ferry::ServerOptions options;
  options.start_serving = false;
  auto server = serve(world, "127.0.0.1", 0, options, recorders);
  const ferry::Address address = address_of(*server);
  CHECK_FALSE(server->is_serving());
  CHECK(address.port() != 0);
  CHECK(try_connect(address) == ECONNREFUSED);
  world.run(server->start_serving());
  CHECK(server->is_serving());
  world.run(server->start_serving());  // nothing the second time
  const Peer peer = dial(address);
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(&server->get_loop() == &world.loop);
  server->close();
  CHECK_FALSE(server->is_serving());
  CHECK(server->sockets().empty());
  CHECK_THROWS_AS(world.run(server->start_serving()), ferry::MisuseError);
  world.loop.close();
}

TEST_CASE("a server outlives its loop and does nothing from then on", "[A-020]") {
  std::shared_ptr<ferry::Server> server;
  {
    World world;
    server = serve(world, "127.0.0.1");
    CHECK(&server->get_loop() == &world.loop);
  }
  CHECK(server->sockets().empty());
  CHECK_FALSE(server->is_serving());
  CHECK_THROWS_AS(server->get_loop(), ferry::MisuseError);
  server->close_clients();
  server->abort_clients();
  server->close();
}

TEST_CASE("a backlog of 0, of 1 and a huge one accept connections", "[T-103]") {
  World world;
  const Recorders recorders;
  ferry::ServerOptions options;
  options.backlog = GENERATE(0, 1, INT_MAX);
  auto server = serve(world, "127.0.0.1", 0, options, recorders);
  for (std::size_t i = 1; i <= 3; ++i) {
    const Peer peer = dial(address_of(*server));
    world.run_until([&] { return recorders.made() == i; });
  }
  world.run_until([&] { return recorders.lost() == 3; });
  CHECK(world.loop.poll_events(0s).size() == 0);  // and it sleeps in between
  server->close();
}

TEST_CASE("the backlog is 100, or what is asked for", "[A-019]") {
  World world;
  auto server = serve(world, "127.0.0.1");
  if (!backlog_of(server->sockets().at(0))) return skip("this system does not tell a backlog");
  CHECK(backlog_of(server->sockets().at(0)) == 100);
  server->close();
  ferry::ServerOptions options;
  options.backlog = 7;
  server = serve(world, "127.0.0.1", 0, options);
  CHECK(backlog_of(server->sockets().at(0)) == 7);
  server->close();
}

TEST_CASE("port 0 on several addresses is one port for all, in order", "[T-109][A-018]") {
  World world;
  Calls calls;
  const std::string first = own_host(2), second = own_host(1);
  std::shared_ptr<ferry::Server> server;
  SECTION("a list of hosts") { server = serve(world, Hosts{first, second}); }
  SECTION("a name with several addresses") {
    calls.answer("two.test", {first, second});
    server = serve(world, "two.test");
  }
  SECTION("the port that the first one found is taken on the second: another is tried") {
    int binds = 0;
    calls.on_call = [&](Call call, int) {  // the second one's, three times
      return call == Call::bind && ++binds % 2 == 0 && binds < 8 ? EADDRINUSE : 0;
    };
    server = serve(world, Hosts{first, second});
    CHECK(calls.count(Call::bind) == 8);  // two for each try
  }
  CHECK(hosts_of(*server) == std::vector<std::string>{first, second});
  CHECK(one_port(*server));
  for (std::size_t i = 0; i < 2; ++i) CHECK(try_connect(address_of(*server, i)) == 0);
  server->close();
}

TEST_CASE("a port that the system does not tell is an error, and no second port", "[T-109]") {
  World world;
  Calls calls;
  calls.answer("both.test", {own_host(2), own_host(1)});
  calls.fail(Call::getsockname, ENOBUFS);
  auto task = world.loop.create_server(ferry::make<Recorder>, "both.test", 0);
  CHECK_THROWS_WITH(world.run(std::move(task)), Contains("find the port of "));
}

TEST_CASE("no common port is an error, and does not try for ever", "[T-109]") {
  World world;
  Calls calls;
  calls.fail(Call::bind, EADDRINUSE, INT_MAX, -1, 1);
  const auto error = failure(world, Hosts{"127.0.0.3", "127.0.0.1"});
  CHECK(error == std::errc::address_in_use);
  CHECK_THAT(std::string{error.what()}, Contains("bind to 127.0.0."));
  CHECK(calls.count(Call::socket) == calls.count(Call::close));
}

TEST_CASE("braces around hosts are a list of hosts", "[A-018]") {
  World world;
  auto task = world.loop.create_server(Recorders{}, {"127.0.0.3", "127.0.0.1"}, 0);
  auto server = world.run(std::move(task));
  CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.3", "127.0.0.1"});
  server->close();
  server = world.run(world.loop.create_server(Recorders{}, {"127.0.0.1"}, 0));
  CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.1"});
  server->close();
  server = world.run(world.loop.create_server(Recorders{}, {"127.0.0.1", "127.0.0.2", "127.0.0.3"},
                                              0, ferry::ServerOptions{}));
  CHECK(hosts_of(*server).size() == 3);
  server->close();
  if (!has_address({"::1", 0})) return skip("no IPv6 on this machine");
  server = world.run(world.loop.create_server(Recorders{}, {"127.0.0.1", "::1"}, 0));
  CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.1", "::1"});
  CHECK(one_port(*server));
  server->close();
}

TEST_CASE("when one of several binds fails all are closed and the error names the address",
          "[T-110][A-018]") {
  World world;
  const ferry::Socket other = listening_socket();
  const ferry::Address busy = other.view().getsockname();
  const std::string quiet = own_host();
  Calls calls;
  const auto error = failure(world, Hosts{quiet, "127.0.0.1"}, busy.port());
  CHECK(error == std::errc::address_in_use);
  CHECK(error.what() == "bind to " + busy.to_string() + ": address already in use");
  CHECK(calls.count(Call::socket) == 2);
  CHECK(calls.count(Call::close) == 2);
}

TEST_CASE("an error of listen names the address and leaves nothing open", "[T-110]") {
  World world;
  Calls calls;
  calls.fail(Call::listen, EADDRINUSE, 1, -1, 1);  // the second one's
  const std::string first = own_host(1), second = own_host(2);
  const auto error = failure(world, Hosts{first, second}, 7777);
  CHECK(error == std::errc::address_in_use);
  CHECK(error.what() == "listen on " + second + ":7777: address already in use");
  CHECK(try_connect({first, 7777}) == ECONNREFUSED);
}

TEST_CASE("an address or a family that this machine lacks is skipped if another works",
          "[T-110][A-018]") {
  World world;
  Calls calls;
  SECTION("an address") {
    auto server = serve(world, Hosts{"240.0.0.1", "127.0.0.1"});
    CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.1"});
    server->close();
  }
  SECTION("a family") {
    calls.fail(Call::socket, EAFNOSUPPORT);
    auto server = serve(world, Hosts{"::1", "127.0.0.1"});
    CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.1"});
    server->close();
  }
  SECTION("if none works, it is an error that names one") {
    const auto error = failure(world, Hosts{"240.0.0.1", "240.0.0.2"}, 7777);
    CHECK(error == std::errc::address_not_available);
    CHECK_THAT(std::string{error.what()}, Contains("bind to 240.0.0."));
    calls.fail(Call::socket, EAFNOSUPPORT);
    CHECK(failure(world, "::1", 7777).what() ==
          "bind to [::1]:7777: address family not supported by protocol");
  }
}

TEST_CASE("a host that is given twice is bound once", "[T-110]") {
  World world;
  Calls calls;
  calls.answer("one.test", {"127.0.0.1"});
  auto server = serve(world, Hosts{"127.0.0.1", "one.test", "127.0.0.1"});
  CHECK(hosts_of(*server) == std::vector<std::string>{"127.0.0.1"});
  CHECK(calls.count(Call::bind) == 1);
  server->close();
}

TEST_CASE("no host means every interface, IPv4 and IPv6 side by side", "[T-111][A-018]") {
  World world;
  const bool both = has_address({"::1", 0});
  const Recorders recorders;
  auto server = serve(world, "", 0, {}, recorders);
  const std::uint16_t port = address_of(*server).port();
  CHECK(one_port(*server));
  CHECK(server->sockets().size() == (both ? 2u : 1u));
  const Peer peer = dial({"127.0.0.2", port});
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(recorders.at(0).transport->get_extra_info(ferry::peername).family() ==
        ferry::Family::ipv4);
  if (both) {
    const Peer other = dial({"::1", port});
    world.run_until([&] { return recorders.made() == 2; });
  }
  world.loop.close();
  if (!both) skip("no IPv6 on this machine");
}

TEST_CASE("IPv6 listeners take IPv6 only, whatever the system's setting", "[T-111][A-018]") {
  if (!has_address({"::1", 0})) return skip("no IPv6 on this machine");
  World world;
  const std::string host = own_host();
  auto server = serve(world, "::");
  CHECK(server->sockets().at(0).getsockopt(IPPROTO_IPV6, IPV6_V6ONLY) == 1);
  const std::uint16_t port = address_of(*server).port();
  CHECK(try_connect({host, port}) == ECONNREFUSED);
  auto other = serve(world, host, port);  // the port is free on IPv4
  CHECK(try_connect({host, port}) == 0);
  server->close();
  other->close();
}

TEST_CASE("a family that is asked for is the only one bound", "[A-018]") {
  World world;
  ferry::ServerOptions options;
  options.family = ferry::Family::ipv4;
  auto server = serve(world, "", 0, options);
  CHECK(hosts_of(*server) == std::vector<std::string>{"0.0.0.0"});
  server->close();
}

TEST_CASE("a server can be restarted on its port in spite of old connections", "[T-112][A-019]") {
  if (!can_share_addresses()) return skip("this system shares an address with nobody, old or new");
  World world;
  const Recorders recorders;
  const std::string host = own_host();
  auto server = serve(world, host, 0, {}, recorders);
  const std::uint16_t port = address_of(*server).port();
  Peer peer = dial(address_of(*server));
  world.run_until([&] { return recorders.made() == 1; });
  recorders.at(0).transport->close();  // our side ends first: it is ours that is left over
  world.run_until([&] { return recorders.lost() == 1; });
  server->close();
  peer.receive();
  CHECK(peer.ended());
  peer.close();
  ferry::ServerOptions options;
  options.reuse_address = false;  // the proof that something is left over
  CHECK(failure(world, host, port, options) == std::errc::address_in_use);
  server = serve(world, host, port);
  CHECK(failure(world, host, port).what() ==
        "bind to " + host + ":" + std::to_string(port) + ": address already in use");
  server->close();
}

TEST_CASE("reuse_port shares a port among those who ask for it", "[A-019][T-112]") {
  if (!can_share_addresses()) return skip("this system has no SO_REUSEPORT");
  World world;
  ferry::ServerOptions options;
  options.reuse_port = true;
  auto first = serve(world, "127.0.0.1", 0, options);
  const std::uint16_t port = address_of(*first).port();
  CHECK(failure(world, "127.0.0.1", port) == std::errc::address_in_use);
  auto second = serve(world, "127.0.0.1", port, options);
  CHECK(address_of(*second) == address_of(*first));
  first->close();
  second->close();
  Calls calls;  // a system that lacks it
  calls.fail(Call::setsockopt, ENOPROTOOPT, 1, -1, 1);
  const auto error = failure(world, "127.0.0.1", 0, options);
  CHECK(error == std::errc::no_protocol_option);
  CHECK_THAT(std::string{error.what()}, Contains("bind to 127.0.0.1:0"));
}

TEST_CASE("keep_alive is set on every accepted connection, if asked for", "[A-019]") {
  World world;
  const Recorders recorders;
  ferry::ServerOptions options;
  options.keep_alive = GENERATE(true, false);
  auto server = serve(world, "127.0.0.1", 0, options, recorders);
  const Peer first = dial(address_of(*server)), second = dial(address_of(*server));
  world.run_until([&] { return recorders.made() == 2; });
  for (std::size_t i = 0; i < 2; ++i) {
    const int on = option(*recorders.at(i).transport, SOL_SOCKET, SO_KEEPALIVE);
    CHECK((on != 0) == options.keep_alive);
  }
  world.loop.close();
}

TEST_CASE("accepted sockets are non-blocking, not inherited, and without delay",
          "[T-116][A-006]") {
  World world;
  const Recorders recorders;
  std::shared_ptr<ferry::Server> server;
  std::vector<Peer> early;
  SECTION("of a server that bound itself") { server = serve(world, "127.0.0.1", 0, {}, recorders); }
  SECTION("of a bound socket that was passed in") {
    server = world.run(world.loop.create_server(recorders, bound_socket(loopback)));
  }
  SECTION("of a listening one, with a connection in its queue") {
    ferry::Socket listener = listening_socket();
    early.push_back(dial(listener.view().getsockname()));
    server = world.run(world.loop.create_server(recorders, std::move(listener)));
  }
  Calls calls;
  const Peer late = dial(address_of(*server));
  world.run_until([&] { return recorders.made() == early.size() + 1; });
  for (const auto& recorder : *recorders.list) {
    const auto fd = recorder->transport->get_extra_info(ferry::socket).fileno();
    CHECK(is_nonblocking(fd));
    CHECK_FALSE(is_inherited(fd));
    CHECK(option(*recorder->transport, IPPROTO_TCP, TCP_NODELAY) == 1);
  }
  CHECK((calls.count(Call::fcntl) == 0) == accepted_from_birth());
  world.loop.close();
}

TEST_CASE("a socket that is passed in is served on and closed with the server", "[A-014][A-018]") {
  World world;
  const Recorders recorders;
  ferry::Socket listener = GENERATE(true, false) ? listening_socket() : bound_socket(loopback);
  const ferry::NativeHandle fd = listener.fileno();
  const ferry::Address address = listener.view().getsockname();
  auto server = world.run(world.loop.create_server(recorders, std::move(listener)));
  CHECK_FALSE(listener);
  CHECK(server->sockets().at(0).fileno() == fd);
  if (can_tell_blocking(fd)) CHECK(is_nonblocking(fd));
  const Peer peer = dial(address);
  world.run_until([&] { return recorders.made() == 1; });
  server->close();
  CHECK_FALSE(is_open(fd));
  world.loop.close();
}

TEST_CASE("wrong arguments of a server throw at the call and name what is wrong", "[C-22]") {
  World world;
  Calls calls;
  using Wrong = std::invalid_argument;
  const auto call = [&](auto&&... arguments) {
    return [&] {
      return world.loop.create_server(Recorders{},
                                      std::forward<decltype(arguments)>(arguments)...);
    };
  };
  CHECK(thrown_by<Wrong>(call("127.0.0.1", 65536)) == "port 65536 is not in 0..65535");
  CHECK(thrown_by<Wrong>(call("127.0.0.1", -1)) == "port -1 is not in 0..65535");
  CHECK(thrown_by<Wrong>(call("127.0.0.1", "70000")) == "port 70000 is not in 0..65535");
  CHECK_THAT(thrown_by<Wrong>(call(Hosts{}, 0)), Contains("list of hosts is empty"));
  CHECK_THAT(thrown_by<Wrong>(call(Hosts{"127.0.0.1", {"a\0b", 3}}, 0)),
             Contains("'a…' has a NUL"));
  CHECK(calls.count(Call::socket) == 0);
}

TEST_CASE("a socket of the wrong kind is refused by a server and stays the caller's",
          "[C-22][T-123]") {
  World world;
  ferry::Socket socket;
  ferry::Socket listener;
  SECTION("a datagram socket") { socket = new_socket(ferry::Family::ipv4, SOCK_DGRAM); }
  SECTION("a connected one") {
    listener = listening_socket();
    socket = new_socket(ferry::Family::ipv4);
    REQUIRE(try_connect(socket, listener.view().getsockname()) == 0);
  }
  SECTION("an empty one") {}
  const ferry::NativeHandle fd = socket.fileno();
  CHECK(thrown_by<std::invalid_argument>(
            [&] { return world.loop.create_server(Recorders{}, std::move(socket)); }) ==
        "create_server: socket " + std::to_string(fd) + " is not an unconnected stream socket");
  CHECK(socket.fileno() == fd);
  if (socket && can_tell_blocking(fd)) CHECK_FALSE(is_nonblocking(fd));
}
