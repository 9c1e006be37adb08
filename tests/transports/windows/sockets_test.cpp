// What sockets do on Windows alone.
#include "support/calls.hpp"
#include "support/sockets.hpp"
#include "support/traffic.hpp"

#include "platform/windows/text.hpp"

#include <cerrno>

using namespace test;
using Catch::Matchers::Contains;
using ferry::Address;

namespace {

DWORD open_handles() {
  DWORD count = 0;
  ::GetProcessHandleCount(::GetCurrentProcess(), &count);
  return count;
}

auto serve(World& world, Recorders recorders, int port = 0, ferry::ServerOptions options = {}) {
  return world.run(world.loop.create_server(std::move(recorders), "127.0.0.1", port, options));
}

}  // namespace

TEST_CASE("an address is shared with nobody, whether we ask or they do", "[T-112][A-019]") {
  World world;
  ferry::ServerOptions options;
  options.reuse_address = GENERATE(true, false);
  auto server = serve(world, {}, 0, options);
  const Address address = address_of(*server);
  const auto second = error_of(world, world.loop.create_server(ferry::make<Recorder>, "127.0.0.1",
                                                               address.port(), options));
  CHECK((second == std::errc::address_in_use || second == std::errc::permission_denied));
  CHECK_THAT(std::string{second.what()}, Contains("bind to " + address.to_string()));
  // Another program that would take the port by SO_REUSEADDR.
  const ferry::Socket thief = new_socket(ferry::Family::ipv4);
  thief.view().setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  CHECK_FALSE(bind_to(thief, address));
  server->close();
}

TEST_CASE("there is no reuse_port, and that is an error", "[T-112]") {
  World world;
  ferry::ServerOptions options;
  options.reuse_port = true;
  const auto error = error_of(
      world, world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0, options));
  CHECK(error == std::errc::no_protocol_option);
  CHECK(error.what() == "bind to 127.0.0.1:0: protocol not available");
}

TEST_CASE("a server starts again on its port after it was closed", "[T-112]") {
  World world;
  auto server = serve(world, {});
  const int port = address_of(*server).port();
  server->close();
  world.settle();
  server = serve(world, {}, port);
  CHECK(address_of(*server).port() == port);
  server->close();
}

TEST_CASE("closing one server ends no other", "[T-210]") {
  World world;
  const Recorders recorders;
  auto first = serve(world, recorders), second = serve(world, recorders);
  Peer early = dial(address_of(*second));
  world.run_until([&] { return recorders.made() == 1; });
  first->close();
  first->abort_clients();
  world.settle();
  CHECK(second->is_serving());
  Peer late = dial(address_of(*second));
  world.run_until([&] { return recorders.made() == 2; });
  for (Peer* peer : {&early, &late}) peer->send("x");
  world.run_until([&] {
    return recorders.at(0).received == "x" && recorders.at(1).received == "x";
  });
  second->close();
  second->abort_clients();
}

TEST_CASE("closing with unread input resets the peer", "[T-210]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->pause_reading();
  stream.peer.send("unread");
  world.settle();
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  read_to_end(world, stream.peer);
  CHECK(stream.peer.error() == ECONNRESET);
}

TEST_CASE("accepted and connected sockets answer all calls", "[T-209]") {
  World world;
  const Recorders recorders;
  auto server = serve(world, recorders);
  const Address address = address_of(*server);
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", address.port()));
  world.run_until([&] { return recorders.made() == 1; });
  for (ferry::Transport* transport : {made.transport.get(), recorders.at(0).transport}) {
    const ferry::SocketView view = transport->get_extra_info(ferry::socket);
    CHECK(view.getsockname());
    CHECK(view.getpeername());
    CHECK(view.getsockopt(SOL_SOCKET, SO_ERROR) == 0);
    CHECK(view.getsockopt(IPPROTO_TCP, TCP_NODELAY) != 0);
    CHECK_FALSE(is_inherited(view.fileno()));
  }
  made.transport->write_eof();  // shutdown()
  world.run_until([&] { return recorders.lost() == 1 && made.protocol->lost; });
  CHECK(made.protocol->story() == "made eof lost");
  server->close();
}

TEST_CASE("Unix sockets work where Windows has them, and say so where not", "[A-025][C-22]") {
  World world;
  const Directory directory;
  const std::string path = directory / "socket";
  const Recorders recorders;
  if (!has_unix_sockets()) {
    const auto serving = error_of(world, world.loop.create_unix_server(recorders, path));
    CHECK(serving == std::errc::address_family_not_supported);
    CHECK(serving.what() ==
          "bind to " + path + ": address family not supported by protocol");
    const auto connecting = error_of(world, world.loop.create_unix_connection(recorders, path));
    CHECK(connecting == std::errc::address_family_not_supported);
    CHECK_THAT(std::string{connecting.what()}, Contains("connect to " + path));
    CHECK(recorders.size() == 0);
    return;
  }
  auto server = world.run(world.loop.create_unix_server(recorders, path));
  auto made = world.run(world.loop.create_unix_connection(ferry::make<Recorder>, path));
  made.transport->write("x");
  world.run_until([&] { return recorders.size() == 1 && recorders.at(0).received == "x"; });
  made.transport->close();
  world.run_until([&] { return made.protocol->lost && recorders.lost() == 1; });
  server->close();
  CHECK(made.protocol->story() == "made lost");
}

TEST_CASE("a file that is no socket is left alone by a Unix server", "[T-113]") {
  const Directory directory;
  const std::string path = directory / "b\xc3\xbc" "cher";  // UTF-8, as every path of ours
  ferry::internal::calls::FileFacts facts;
  CHECK(ferry::internal::calls::stat(path.c_str(), facts) == -1);
  CHECK(errno == ENOENT);
  World world;
  {
    const HANDLE file =
        ::CreateFileW(ferry::internal::to_wide(path).c_str(), GENERIC_WRITE, 0, nullptr,
                      CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    REQUIRE(file != INVALID_HANDLE_VALUE);
    ::CloseHandle(file);
    REQUIRE(ferry::internal::calls::stat(path.c_str(), facts) == 0);
    CHECK_FALSE(facts.is_socket);
    CHECK(facts.inode != 0);
  }
  const auto error = error_of(world, world.loop.create_unix_server(ferry::make<Recorder>, path));
  CHECK(error == std::errc::address_in_use);
  CHECK(ferry::internal::calls::stat(path.c_str(), facts) == 0);
  CHECK(ferry::internal::calls::unlink(path.c_str()) == 0);
}

TEST_CASE("10,000 connections opened and aborted in turn leave no handle", "[T-209][T-210]") {
  World world;
  const Recorders recorders;
  auto server = serve(world, recorders);
  const int port = address_of(*server).port();
  constexpr int batch = 50;
  const auto one_batch = [&] {
    recorders.list->clear();
    std::vector<ferry::Future<ferry::Connection<Recorder>>> connecting;
    for (int i = 0; i < batch; ++i) {
      connecting.push_back(world.loop.create_task(
          world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", port)));
    }
    world.run_until([&] { return recorders.made() == batch; });
    for (int i = 0; i < batch; ++i) {
      world.run_until([&] { return connecting[static_cast<std::size_t>(i)].done(); });
      const auto made = connecting[static_cast<std::size_t>(i)].result();
      const auto& accepted = recorders.at(static_cast<std::size_t>(i)).transport;
      i % 2 == 0 ? made.transport->abort() : accepted->abort();
      i % 4 < 2 ? static_cast<void>(accepted->abort_with_reset()) : made.transport->close();
    }
    world.run_until([&] { return recorders.lost() == batch; });
    connecting.clear();
    world.settle();
  };
  for (int i = 0; i < 2; ++i) one_batch();  // whatever the system makes once
  const DWORD handles = open_handles();
  for (int i = 0; i < 10000 / batch; ++i) one_batch();
  CHECK(open_handles() <= handles + 5);
  server->close();
}
