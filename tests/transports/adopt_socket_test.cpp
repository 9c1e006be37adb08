// Sockets that are handed over: create_connection(sock) and connect_accepted_socket().
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <stdexcept>
#include <tuple>

using namespace test;
using Catch::Matchers::Contains;

namespace {

// Either call that takes a connected socket over.
enum class Via { create_connection, connect_accepted_socket };
Via any_call() { return GENERATE(Via::create_connection, Via::connect_accepted_socket); }
template <class Factory>
auto adopt(World& world, Via via, Factory factory, ferry::Socket&& socket) {
  return via == Via::create_connection
             ? world.loop.create_connection(std::move(factory), std::move(socket))
             : world.loop.connect_accepted_socket(std::move(factory), std::move(socket));
}

// How often this number is closed while it lives.
struct Closes {
  Calls calls;
  int count = 0;
  explicit Closes(ferry::NativeHandle handle) {
    calls.on_call = [this, handle](Call call, int fd) {
      if (call == Call::close && fd == handle) ++count;
      return 0;
    };
  }
};

// Takes the number `fd` for a socket of its own, whose peer tells whether it was closed by others.
struct Squatter {
  ferry::Socket mine, peer;
  explicit Squatter(ferry::NativeHandle fd) {
    std::tie(mine, peer) = ferry::socketpair();
    if (can_reuse_numbers()) REQUIRE(mine.fileno() == fd);
  }
  bool undisturbed() {
    peer.send("x");
    std::byte one{};
    return mine.recv({&one, 1}) == 1;
  }
};

}  // namespace

TEST_CASE("registering an open socket works as on asyncio's page", "[S-092][S-094]") {
  World world;
  ferry::Loop& loop = world.loop;
  ferry::Socket rsock, wsock;
  std::tie(rsock, wsock) = ferry::socketpair();
  const ferry::NativeHandle fd = rsock.fileno();
  std::string received;
  struct MyProtocol : ferry::Protocol {
    ferry::Loop& loop;
    std::string& received;
    ferry::Transport* transport = nullptr;
    MyProtocol(ferry::Loop& l, std::string& r) : loop{l}, received{r} {}
    void connection_made(ferry::Transport& made) override { transport = &made; }
    void data_received(ferry::BytesView data) override {
      received += data.text();
      transport->close();
    }
    void connection_lost(const ferry::Error&) override { loop.stop(); }
  };
  auto made = loop.run_until_complete(loop.create_connection(
      [&] { return std::make_shared<MyProtocol>(loop, received); }, std::move(rsock)));
  CHECK_FALSE(rsock);  // it has moved
  const ferry::SocketView view = made.transport->get_extra_info(ferry::socket);
  CHECK(view.fileno() == fd);
  CHECK(is_nonblocking(fd));
  CHECK_FALSE(is_nonblocking(wsock.fileno()));
  loop.call_soon([&] { wsock.send("abc"); });
  loop.run_forever();
  CHECK(received == "abc");
  CHECK_FALSE(is_open(fd));  // closed with its transport
  std::byte one{};
  CHECK(wsock.recv({&one, 1}) == 0);
}

TEST_CASE("an adopted TCP socket knows its names and is without delay", "[A-014][A-024][A-006]") {
  World world;
  const Via via = any_call();
  const ferry::Socket listener = listening_socket();
  Peer peer = dial(listener.view().getsockname());
  auto made = world.run(adopt(world, via, ferry::make<Recorder>, accept_one(listener)));
  const ferry::Transport& transport = *made.transport;
  CHECK(transport.get_extra_info(ferry::sockname) == listener.view().getsockname());
  CHECK(transport.get_extra_info(ferry::peername) == peer.socket().view().getsockname());
  CHECK(transport.get_extra_info(ferry::socket).getsockopt(IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(is_nonblocking(transport.get_extra_info(ferry::socket).fileno()));
  peer.send("to the server's side");
  world.run_until([&] { return !made.protocol->received.empty(); });
  made.transport->write("back");
  made.transport->close();
  world.run_until([&] { return made.protocol->lost; });
  CHECK(made.protocol->story() == "made data:20 lost");
  CHECK(peer.receive() == "back");
  CHECK(peer.ended());
}

TEST_CASE("a connection that its peer has reset before it is adopted is made and lost",
          "[A-024][T-123]") {
  World world;
  const Via via = any_call();
  const ferry::Socket listener = listening_socket();
  Peer peer = dial(listener.view().getsockname());
  ferry::Socket socket = accept_one(listener);
  peer.send("last words");
  peer.reset();
  auto made = world.run(adopt(world, via, ferry::make<Recorder>, std::move(socket)));
  world.run_until([&] { return made.protocol->lost; });
  CHECK_FALSE(made.transport->get_extra_info(ferry::peername));  // nobody knows it any more
  CHECK(made.protocol->received == "last words");
  CHECK(made.protocol->reason == std::errc::connection_reset);
}

TEST_CASE("a socket of the wrong kind is an error before anything happens", "[T-123][C-22]") {
  World world;
  const Via via = any_call();
  const Recorders recorders;
  const Unwatchable no_socket;
  ferry::Socket socket;
  std::string why;
  SECTION("a datagram socket") {
    socket = new_socket(ferry::Family::ipv4, SOCK_DGRAM);
    why = " is not a stream socket";
  }
  SECTION("no socket at all") {
    socket = ferry::Socket{no_socket.fileno()};
    why = " is not a stream socket";
  }
  SECTION("a listening one") {
    socket = listening_socket();
    why = " is listening";
  }
  SECTION("one that is not connected") {
    socket = new_socket(ferry::Family::ipv4);
    why = " is not connected";
  }
  SECTION("a Unix one that is not connected") {
    if (!has_unix_sockets()) return skip("this system has no Unix sockets");
    socket = new_socket(ferry::Family::unix_socket);
    why = " is not connected";
  }
  SECTION("an empty one") { why = " is not a stream socket"; }
  const ferry::NativeHandle fd = socket.fileno();
  CHECK_THAT(thrown_by<std::invalid_argument>(
                 [&] { return adopt(world, via, recorders, std::move(socket)); }),
             Contains("socket " + std::to_string(fd) + why));
  CHECK(socket.fileno() == fd);  // still the caller's, and as it was
  if (fd != ferry::invalid_handle) {
    CHECK(is_open(fd));
    if (can_tell_blocking(fd)) CHECK_FALSE(is_nonblocking(fd));
  }
  world.settle();
  CHECK(recorders.size() == 0);
  if (socket.fileno() == no_socket.fileno()) socket.detach();
}

TEST_CASE("a socket whose adoption fails is closed exactly once", "[T-122][T-012]") {
  World world;
  const Via via = any_call();
  ferry::Socket ours, theirs;
  std::tie(ours, theirs) = ferry::socketpair();
  const ferry::NativeHandle fd = ours.fileno();
  Closes closes{fd};
  std::function<std::shared_ptr<Recorder>()> factory = [] { return nullptr; };
  SECTION("the factory throws") {
    factory = []() -> std::shared_ptr<Recorder> { throw std::runtime_error{"no protocol"}; };
    CHECK(error_of(world, adopt(world, via, factory, std::move(ours))).what() == "no protocol");
  }
  SECTION("the factory gives none") {
    CHECK_THAT(std::string{error_of(world, adopt(world, via, factory, std::move(ours))).what()},
               Contains("protocol is null"));
  }
  SECTION("the task is dropped before it began") {
    { const auto never = adopt(world, via, factory, std::move(ours)); }
  }
  SECTION("the task is cancelled before it began") {
    auto task = world.loop.create_task(adopt(world, via, factory, std::move(ours)));
    task.cancel();
    world.run_until([&] { return task.done(); });
    CHECK(task.cancelled());
  }
  SECTION("the loop is closed before the task began") {
    auto task = world.loop.create_task(adopt(world, via, factory, std::move(ours)));
    world.loop.close();
  }
  CHECK_FALSE(ours);
  CHECK(closes.count == 1);
  Squatter squatter{fd};
  if (!world.loop.is_closed()) world.settle();
  CHECK(squatter.undisturbed());
  CHECK(closes.count == 1);
  std::byte one{};
  CHECK(theirs.recv({&one, 1}) == 0);
}

TEST_CASE("an adoption cancelled on its way closes the socket exactly once", "[T-122]") {
  World world;
  const Via via = any_call();
  ferry::Socket ours, theirs;
  std::tie(ours, theirs) = ferry::socketpair();
  const ferry::NativeHandle fd = ours.fileno();
  Closes closes{fd};
  const Recorders recorders;
  auto task = world.loop.create_task(adopt(world, via, recorders, std::move(ours)));
  const int turns = GENERATE(1, 2, 3);  // the protocol is made; has heard of it; all is done
  for (int i = 0; i < turns; ++i) world.turn();
  REQUIRE(recorders.size() == 1);
  if (task.cancel()) {
    world.run_until([&] { return task.done(); });
    CHECK(task.cancelled());
  } else {
    task.result().transport->abort();
  }
  world.run_until([&] { return closes.count > 0; });
  Squatter squatter{fd};
  world.settle();
  CHECK(squatter.undisturbed());
  CHECK(closes.count == 1);
  CHECK(recorders.made() == recorders.lost());
}

TEST_CASE("an adopted socket that cannot be watched fails the call and is closed",
          "[T-122][T-012]") {
  World world;
  const Via via = any_call();
  if (world.loop.backend() != "epoll") return skip(level_only);
  ferry::Socket ours, theirs;
  std::tie(ours, theirs) = ferry::socketpair();
  Closes closes{ours.fileno()};
  closes.calls.fail(Call::epoll_ctl, ENOSPC);
  const Recorders recorders;
  const auto failure = error_of(world, adopt(world, via, recorders, std::move(ours)));
  CHECK(failure == std::errc::no_space_on_device);
  CHECK(closes.count == 1);
  CHECK(recorders.at(0).story().empty());  // never made, so never lost
}

TEST_CASE("a socket that cannot be made non-blocking is refused and closed", "[T-122][S-092]") {
  World world;
  Calls calls;
  auto [ours, theirs] = ferry::socketpair();
  Peer peer{std::move(theirs)};
  calls.fail(Call::fcntl, EIO);
  auto task = world.loop.create_connection(ferry::make<Recorder>, std::move(ours));
  CHECK_THROWS_WITH(world.run(std::move(task)), Contains("non-blocking"));
  CHECK(peer.receive().empty());
  CHECK(peer.ended());

  ferry::Socket listener = new_socket(ferry::Family::ipv4);
  REQUIRE(bind_to(listener, {"127.0.0.1", 0}));
  calls.fail(Call::fcntl, EIO);
  auto serving = world.loop.create_server(ferry::make<Recorder>, std::move(listener));
  CHECK_THROWS_WITH(world.run(std::move(serving)), Contains("non-blocking"));
}
