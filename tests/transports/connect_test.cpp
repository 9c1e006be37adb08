// create_connection() by address: what it tries, what it reports and when, and how it is given up.
#include "support/calls.hpp"
#include "support/sockets.hpp"


#include <climits>
#include <thread>
#include <tuple>

using namespace test;
using Catch::Matchers::Contains;

namespace {

const ferry::Address loopback{"127.0.0.1", 0};

std::string refused(const ferry::Address& address) {
  return "connect to " + address.to_string() + ": connection refused";
}
std::string story_of(const ferry::Connection<Recorder>& made) { return made.protocol->story(); }

// Turns until the system was asked to connect for the `count`th time, and not further.
void turn_until_connect(World& world, const Calls& calls, long count = 1) {
  for (int i = 0; i < 100 && calls.count(Call::connect) < count; ++i) world.turn();
  REQUIRE(calls.count(Call::connect) == count);
}

// A connect that stays under way, and that every poll reports as ready all the same: a socket that
// never began to connect is writable and hung up.
struct Stuck {
  Calls calls;
  ferry::NativeHandle handle = ferry::invalid_handle;
  Stuck() {
    calls.on_call = [this](Call call, ferry::NativeHandle fd) {
      if (call != Call::connect) return 0;
      handle = fd;
      return EINPROGRESS;
    };
  }
};

}  // namespace

TEST_CASE("create_connection gives the transport and the protocol, made and reading",
          "[A-014][S-094]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const ferry::Address address = listener.view().getsockname();
  auto made = world.run(world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1",
                                                     address.port()));
  Peer peer{accept_one(listener)};
  CHECK(story_of(made) == "made");
  CHECK(made.protocol->transport == made.transport.get());
  CHECK(made.transport->get_protocol() == made.protocol);
  CHECK(made.transport->get_extra_info(ferry::peername) == address);
  CHECK(made.transport->get_extra_info(ferry::sockname) == peer.socket().view().getpeername());
  CHECK(made.transport->is_reading());
  CHECK(is_nonblocking(made.transport->get_extra_info(ferry::socket).fileno()));
  peer.send("hi");
  made.transport->write("there");
  made.transport->close();
  world.run_until([&] { return made.protocol->lost; });
  CHECK(peer.receive() == "there");
  CHECK(story_of(made) != "made data:2");  // close() came first: S-008
}

TEST_CASE("a connect that succeeds at once is reported in a later turn", "[T-117]") {
  if (!has_unix_sockets()) return skip("this system has no Unix sockets");
  World world;
  const Directory directory;
  const ferry::Socket listener =
      listening_socket(ferry::Address::unix_path(directory / "listener"));
  Calls calls;
  const Recorders recorders;
  auto connecting =
      world.loop.create_task(world.loop.create_unix_connection(recorders, directory / "listener"));
  CHECK(calls.count(Call::connect) == 0);  // a task runs from the next turn on
  turn_until_connect(world, calls);        // connected: a Unix socket does not wait
  CHECK(recorders.made() == 0);
  CHECK_FALSE(connecting.done());
  world.run_until([&] { return connecting.done(); });
  CHECK(recorders.at(0).story() == "made");
  connecting.result().transport->abort();
}

TEST_CASE("a connect that fails at once is reported in a later turn, and nothing is left",
          "[T-117][C-22]") {
  World world;
  Calls calls;
  const int error = GENERATE(ECONNREFUSED, EACCES, ENETUNREACH);
  calls.fail(Call::connect, error);
  const Recorders recorders;
  auto connecting =
      world.loop.create_task(world.loop.create_connection(recorders, "127.0.0.1", 9));
  CHECK_FALSE(connecting.done());
  world.run_until([&] { return connecting.done(); });
  const ferry::Error failure{connecting.exception()};
  CHECK(failure == static_cast<std::errc>(error));
  CHECK_THAT(std::string{failure.what()}, Contains("connect to 127.0.0.1:9: "));
  CHECK(calls.count(Call::socket) == calls.count(Call::close));
  CHECK(recorders.size() == 0);
}

TEST_CASE("an interrupted connect is waited for and never called again", "[T-117]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const SocketAddress name{listener.view().getsockname()};
  Calls calls;
  calls.on_call = [&](Call call, ferry::NativeHandle handle) {
    if (call != Call::connect) return 0;
    try_connect(handle, name.address());  // it goes on in spite of the signal
    return EINTR;
  };
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", name.address().port()));
  CHECK(calls.count(Call::connect) == 1);
  CHECK(made.transport->get_extra_info(ferry::peername) == name.address());
  made.transport->abort();
}

TEST_CASE("a writable event that proves neither success nor failure is waited out", "[T-118]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const ferry::Address address = listener.view().getsockname();
  Stuck stuck;
  const Recorders recorders;
  auto connecting = world.loop.create_task(
      world.loop.create_connection(recorders, "127.0.0.1", address.port()));
  turn_until_connect(world, stuck.calls);
  // No error, but no peer either: kqueue and AFD do not tell of such a socket at all.
  const std::size_t told = backend_name() == "kqueue" || backend_name() == "iocp" ? 0 : 1;
  for (int i = 0; i < 5; ++i) {
    auto events = world.loop.poll_events(0s);
    CHECK(events.size() == told);
    world.loop.process_events(std::move(events));
    world.loop.process_ready();
  }
  CHECK_FALSE(connecting.done());
  CHECK(recorders.size() == 0);
  const SocketAddress name{address};
  try_connect(stuck.handle, name.address());  // now it begins in earnest
  world.run_until([&] { return connecting.done(); });
  CHECK(connecting.result().transport->get_extra_info(ferry::peername) == address);
  connecting.result().transport->abort();
}

TEST_CASE("a connect is reported as failed by the socket's own error", "[T-118]") {
  World world;
  const ferry::Socket nobody = bound_socket(loopback);
  const ferry::Address address = nobody.view().getsockname();
  const auto failure = error_of(
      world, world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", address.port()));
  CHECK(failure == std::errc::connection_refused);
  CHECK(failure.what() == refused(address));
}

TEST_CASE("a cancelled connect closes, and a stray event does not reach its number's new owner",
          "[T-121][T-131]") {
  World world;
  int strays = 0;
  ferry::Socket ours;
  const ferry::Socket listener = listening_socket();
  {
    Stuck stuck;
    const Recorders recorders;
    auto connecting =
        world.loop.create_task(world.loop.create_connection(recorders, "127.0.0.1", 9));
    turn_until_connect(world, stuck.calls);
    const SocketAddress name{listener.view().getsockname()};
    try_connect(stuck.handle, name.address());  // at once: nothing is known of it yet
    auto events = world.loop.poll_events(0s);
    REQUIRE(events.size() == 1);  // of the number that is about to change hands
    connecting.cancel();
    ferry::Socket theirs;
    world.loop.call_soon([&] {
      CHECK_FALSE(is_open(stuck.handle));
      std::tie(ours, theirs) = ferry::socketpair();
      if (can_reuse_numbers()) REQUIRE(ours.fileno() == stuck.handle);
      world.loop.add_reader(ours.fileno(), [&] { ++strays; });
    });
    world.loop.process_events(std::move(events));
    world.loop.process_ready();
    CHECK(connecting.cancelled());
    for (int i = 0; i < 3; ++i) world.turn();
    CHECK(strays == 0);
    theirs.send("x");  // the new watch is a real one
    world.run_until([&] { return strays > 0; });
    world.loop.remove_reader(ours.fileno());
    CHECK(recorders.size() == 0);
  }
}

TEST_CASE("a loop that is closed while it connects closes the descriptor and cancels",
          "[T-131]") {
  World world;
  Stuck stuck;
  const Recorders recorders;
  auto connecting =
      world.loop.create_task(world.loop.create_connection(recorders, "127.0.0.1", 9));
  turn_until_connect(world, stuck.calls);
  world.loop.close();
  CHECK_FALSE(is_open(stuck.handle));
  CHECK(connecting.done());
  CHECK(connecting.cancelled());
  CHECK(recorders.size() == 0);
}

TEST_CASE("a connect cancelled before its protocol heard of it makes no connection", "[T-131]") {
  World world;
  const ferry::Socket listener = listening_socket();
  Calls calls;
  const Recorders recorders;
  auto connecting = world.loop.create_task(world.loop.create_connection(
      recorders, "127.0.0.1", listener.view().getsockname().port()));
  world.run_until([&] { return recorders.size() == 1 || connecting.done(); });
  REQUIRE(recorders.made() == 0);  // the protocol is there, connection_made() is next
  connecting.cancel();
  world.settle();
  CHECK(connecting.cancelled());
  // Cancelled in the turn of connection_made(): told, and told of the end; before it: neither.
  CHECK(recorders.made() == recorders.lost());
  Peer peer{accept_one(listener)};
  peer.receive();
  CHECK(peer.ended());
}

TEST_CASE("what comes together with the connect's completion comes after connection_made",
          "[T-130]") {
  World world;
  const ferry::Socket listener = listening_socket();
  Calls calls;
  auto connecting = world.loop.create_task(world.loop.create_connection(
      ferry::make<Recorder>, "127.0.0.1", listener.view().getsockname().port()));
  turn_until_connect(world, calls);
  Peer peer{accept_one(listener)};  // before the loop has looked
  SECTION("data") {
    peer.send("hi");
    world.run_until([&] { return connecting.done(); });
    const auto made = connecting.result();
    world.run_until([&] { return made.protocol->received == "hi"; });
    CHECK(story_of(made) == "made data:2");
    made.transport->abort();
  }
  SECTION("data and a reset") {
    peer.send("hi");
    peer.reset();
    world.run_until([&] { return connecting.done(); });
    const auto made = connecting.result();  // it did connect
    world.run_until([&] { return made.protocol->lost; });
    CHECK(made.protocol->reason == std::errc::connection_reset);
    CHECK_THAT(story_of(made), Contains("made data:2 lost:"));
  }
  SECTION("a reset") {
    peer.reset();
    world.run_until([&] { return connecting.done(); });
    const auto made = connecting.result();
    world.run_until([&] { return made.protocol->lost; });
    CHECK(made.protocol->reason == std::errc::connection_reset);
    CHECK(made.protocol->events.size() == 2);
  }
}

TEST_CASE("a name's addresses are tried in order, each with a fresh socket", "[T-124][C-22]") {
  World world;
  const ferry::Socket listener = listening_socket({own_host(3), 0});
  const ferry::Address address = listener.view().getsockname();
  const std::uint16_t port = address.port();
  Calls calls;
  calls.answer("three.test", {own_host(1), own_host(2), own_host(3)});
  auto made =
      world.run(world.loop.create_connection(ferry::make<Recorder>, "three.test", port));
  CHECK(made.transport->get_extra_info(ferry::peername) == address);
  CHECK(calls.count(Call::socket) == 3);
  CHECK(calls.count(Call::connect) == 3);
  CHECK(calls.count(Call::close) == 2);
  made.transport->abort();
}

TEST_CASE("when all addresses fail the error is the one, the common one, or all of them joined",
          "[T-124]") {
  World world;
  const std::uint16_t port = 7777;
  const ferry::Address first{own_host(1), port}, second{own_host(2), port};
  Calls calls;
  calls.answer("one.test", {first.host()});
  calls.answer("two.test", {first.host(), second.host()});
  calls.answer("none.test", {});
  const auto failure = [&](std::string_view host, ferry::ConnectOptions options = {}) {
    return error_of(world, world.loop.create_connection(ferry::make<Recorder>, host, port,
                                                        options));
  };
  SECTION("one address") {
    CHECK(failure("one.test").what() == refused(first));
    CHECK(failure("one.test") == std::errc::connection_refused);
  }
  SECTION("different texts") {
    const auto error = failure("two.test");
    CHECK(error == std::errc::connection_refused);
    CHECK(error.what() == "connect to two.test:" + std::to_string(port) + ": " + refused(first) +
                              "; " + refused(second));
  }
  SECTION("the same text twice, and both of them on demand") {
    calls.answer("here.test", {"127.0.0.4", "127.0.0.5"});
    ferry::ConnectOptions options;
    options.local_host = "here.test";
    CHECK(failure("one.test", options).what() == refused(first));
    options.all_errors = true;
    CHECK_THAT(std::string{failure("one.test", options).what()},
               Contains(refused(first) + "; " + refused(first)));
  }
  SECTION("no address at all") {
    const auto error = failure("none.test");
    CHECK(error.code() == ferry::ResolverErrc::no_address);
    CHECK_THAT(std::string{error.what()}, Contains("none.test"));
  }
  CHECK(calls.count(Call::socket) == calls.count(Call::close));
}

TEST_CASE("a local address is bound to, one of another family or not here is skipped",
          "[T-127][A-014]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const std::uint16_t port = listener.view().getsockname().port();
  Calls calls;
  calls.answer("mixed.test", {"::1", "127.0.0.2"});
  calls.answer("far.test", {"240.0.0.1", "127.0.0.2"});  // the first one is nobody's
  ferry::ConnectOptions options;
  SECTION("an address") { options.local_addr = {"127.0.0.2", 0}; }
  SECTION("an address wins over a host") {
    options.local_addr = {"127.0.0.2", 0};
    options.local_host = "127.0.0.3";
  }
  SECTION("a numeric host") { options.local_host = "127.0.0.2"; }
  SECTION("a name, with one of another family before it") { options.local_host = "mixed.test"; }
  SECTION("a name, with one that cannot be bound before it") { options.local_host = "far.test"; }
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", port, options));
  CHECK(made.transport->get_extra_info(ferry::sockname).host() == "127.0.0.2");
  CHECK(made.transport->get_extra_info(ferry::peername).host() == "127.0.0.1");
  made.transport->abort();
}

TEST_CASE("a local port is bound to", "[T-127]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const std::string host = own_host();
  ferry::ConnectOptions options;
  options.local_host = host;
  options.local_port = 7777;
  auto made = world.run(world.loop.create_connection(
      ferry::make<Recorder>, "127.0.0.1", listener.view().getsockname().port(), options));
  CHECK(made.transport->get_extra_info(ferry::sockname) == ferry::Address(host, 7777));
  made.transport->abort();
}

TEST_CASE("local addresses that cannot be used are all named in the error", "[T-127]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const ferry::Address remote = listener.view().getsockname();
  Calls calls;
  calls.answer("far.test", {"240.0.0.1", "240.0.0.2"});
  ferry::ConnectOptions options;
  const auto failure = [&] {
    return error_of(world, world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1",
                                                        remote.port(), options));
  };
  options.local_host = "far.test";
  const std::string text{failure().what()};
  const std::string tail = " to connect to " + remote.to_string() +
                           ": cannot assign requested address";
  CHECK_THAT(text, Contains("bind to 240.0.0.1:0" + tail));
  CHECK_THAT(text, Contains("bind to 240.0.0.2:0" + tail));
  CHECK(calls.count(Call::connect) == 0);
  options.local_host = {};
  options.local_addr = {"::1", 0};
  CHECK(failure() == std::errc::address_family_not_supported);
  CHECK_THAT(std::string{failure().what()}, Contains(remote.to_string()));
}

TEST_CASE("a local host's name is resolved off the loop's thread", "[T-127][A-039]") {
  World world;
  const ferry::Socket listener = listening_socket();
  Calls calls;
  calls.answer("here.test", {"127.0.0.2"});
  std::thread::id looked_up_on;
  calls.on_call = [&](Call call, int) {
    if (call == Call::getaddrinfo) looked_up_on = std::this_thread::get_id();
    return 0;
  };
  ferry::ConnectOptions options;
  options.local_host = "here.test";
  auto made = world.run(world.loop.create_connection(
      ferry::make<Recorder>, "127.0.0.1", listener.view().getsockname().port(), options));
  CHECK(calls.count(Call::getaddrinfo) == 1);
  CHECK(looked_up_on != std::thread::id{});
  CHECK(looked_up_on != std::this_thread::get_id());
  made.transport->abort();
}

TEST_CASE("the scope of a link-local address survives resolving, connecting and peername",
          "[T-128]") {
  const ferry::Address here = link_local();
  if (!here || !has_address(here)) return skip("no link-local IPv6 address on this machine");
  World world;
  const ferry::Socket listener = listening_socket(here);
  const ferry::Address address = listener.view().getsockname();
  REQUIRE(address.scope_id() != 0);
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, here.host(), address.port()));
  CHECK(made.transport->get_extra_info(ferry::peername) == address);
  CHECK(made.transport->get_extra_info(ferry::sockname).scope_id() == here.scope_id());
  made.transport->abort();
}

TEST_CASE("the scope of an address that cannot be reached is in the error", "[T-128]") {
  World world;
  Calls calls;
  calls.fail(Call::connect, ENETUNREACH);
  const auto failure =
      error_of(world, world.loop.create_connection(ferry::make<Recorder>, "fe80::1%1", 9));
  if (failure == std::errc::address_family_not_supported ||
      failure.code().category() == ferry::resolver_category()) {
    return skip("no IPv6 on this machine");
  }
  CHECK(failure.what() == "connect to [fe80::1%1]:9: network is unreachable");
}

TEST_CASE("a family that is asked for is the only one tried", "[A-014]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const std::uint16_t port = listener.view().getsockname().port();
  Calls calls;
  calls.answer("both.test", {"::1", "127.0.0.1"});
  ferry::ConnectOptions options;
  options.family = ferry::Family::ipv4;
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, "both.test", port, options));
  CHECK(calls.count(Call::connect) == 1);
  CHECK(made.transport->get_extra_info(ferry::peername).family() == ferry::Family::ipv4);
  made.transport->abort();
  options.family = ferry::Family::ipv6;
  const auto failure = error_of(
      world, world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", port, options));
  CHECK(failure.code().category() == ferry::resolver_category());
  CHECK_THAT(std::string{failure.what()}, Contains("'127.0.0.1'"));
}

TEST_CASE("wrong arguments of a connect throw at the call and name what is wrong",
          "[C-22][A-014]") {
  World world;
  Calls calls;
  const auto connect = [&](std::string_view host, ferry::Port port,
                           ferry::ConnectOptions options = {}) {
    return world.loop.create_connection(ferry::make<Recorder>, host, port, options);
  };
  using Wrong = std::invalid_argument;
  for (const int port : {65536, -1, INT_MAX, INT_MIN}) {
    const std::string text = "port " + std::to_string(port) + " is not in 0..65535";
    CHECK(thrown_by<Wrong>([&] { return connect("127.0.0.1", port); }) == text);
    CHECK(thrown_by<Wrong>([&] { return connect("127.0.0.1", std::to_string(port)); }) == text);
    ferry::ConnectOptions options;
    options.local_port = port;
    CHECK(thrown_by<Wrong>([&] { return connect("127.0.0.1", 9, options); }) == text);
  }
  CHECK_THAT(thrown_by<Wrong>([&] { return connect({"some\0host", 9}, 9); }),
             Contains("'some…' has a NUL"));
  CHECK_THAT(thrown_by<Wrong>([&] { return connect(std::string(256, 'a'), 9); }),
             Contains("aaaa…' has 256 bytes; 255 are the most"));
  ferry::ConnectOptions options;
  options.local_host = {"some\0host", 9};
  CHECK_THAT(thrown_by<Wrong>([&] { return connect("127.0.0.1", 9, options); }),
             Contains("'some…' has a NUL"));
  world.settle();
  CHECK(calls.count(Call::socket) == 0);
  CHECK(calls.count(Call::getaddrinfo) == 0);
}

TEST_CASE("a task that is dropped before it began does nothing", "[C-22]") {
  World world;
  Calls calls;
  const Recorders recorders;
  { const auto never = world.loop.create_connection(recorders, "127.0.0.1", 9); }
  world.settle();
  CHECK(calls.count(Call::socket) == 0);
  CHECK(recorders.size() == 0);
}

TEST_CASE("a client's factory that throws gives its caller the error and closes the socket",
          "[T-012]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const std::uint16_t port = listener.view().getsockname().port();
  const auto throwing = []() -> std::shared_ptr<Recorder> { throw std::runtime_error{"no"}; };
  const auto nothing = [] { return std::shared_ptr<Recorder>{}; };
  CHECK(error_of(world, world.loop.create_connection(throwing, "127.0.0.1", port)).what() == "no");
  CHECK_THAT(std::string{
                 error_of(world, world.loop.create_connection(nothing, "127.0.0.1", port)).what()},
             Contains("protocol is null"));
  for (int i = 0; i < 2; ++i) {
    Peer peer{accept_one(listener)};
    peer.receive();
    CHECK(peer.ended());
  }
}
