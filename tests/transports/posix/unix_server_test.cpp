// Unix sockets: servers on paths and abstract names, connects, and the file in between.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

using namespace test;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;
using ferry::Address;

std::shared_ptr<ferry::Server> serve(World& world, std::string_view path,
                                     const Recorders& recorders = {},
                                     ferry::UnixServerOptions options = {}) {
  return world.run(world.loop.create_unix_server(recorders, path, options));
}
ferry::Error failure(World& world, std::string_view path) {
  return error_of(world, world.loop.create_unix_server(Recorders{}, path));
}
auto connect(World& world, std::string_view path) {
  return world.run(world.loop.create_unix_connection(ferry::make<Recorder>, path));
}
bool is_socket(const std::string& path) { return fs::is_socket(fs::symlink_status(path)); }
bool is_there(const std::string& path) { return fs::exists(fs::symlink_status(path)); }
// A socket's file without its socket.
void leave_stale(const std::string& path) { bound_socket(Address::unix_path(path)); }

// An abstract name that no other process uses.
std::string abstract_name(const std::string& end) {
  return std::string(1, '\0') + "ferry-test-" + std::to_string(::getpid()) + end;
}

}  // namespace

TEST_CASE("a server on a path serves, and its file is gone when it is closed", "[A-025]") {
  World world;
  const Directory directory;
  const std::string path = directory / "server";
  const Recorders recorders;
  auto server = serve(world, path, recorders);
  CHECK(address_of(*server) == Address::unix_path(path));
  CHECK(is_socket(path));
  auto made = connect(world, path);
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(made.transport->get_extra_info(ferry::peername) == Address::unix_path(path));
  CHECK(recorders.at(0).transport->get_extra_info(ferry::sockname) == Address::unix_path(path));
  made.transport->write("hello");
  world.run_until([&] { return recorders.at(0).received == "hello"; });
  recorders.at(0).transport->write("there");
  recorders.at(0).transport->close();
  world.run_until([&] { return made.protocol->lost; });
  CHECK(made.protocol->story() == "made data:5 eof lost");
  server->close();
  CHECK_FALSE(is_there(path));
}

TEST_CASE("an unnamed peer has the empty address", "[T-114]") {
  World world;
  const Directory directory;
  const Recorders recorders;
  auto server = serve(world, directory / "server", recorders);
  auto made = connect(world, directory / "server");
  world.run_until([&] { return recorders.made() == 1; });
  const Address peer = recorders.at(0).transport->get_extra_info(ferry::peername);
  CHECK(peer.path().empty());
  CHECK_FALSE(peer);
  CHECK(peer.to_string() == "none");
  CHECK_FALSE(made.transport->get_extra_info(ferry::sockname));
  world.loop.close();
}

TEST_CASE("accepted Unix sockets are non-blocking and not inherited", "[T-116]") {
  World world;
  const Directory directory;
  const Recorders recorders;
  auto server = serve(world, directory / "server", recorders);
  const Peer peer = dial(Address::unix_path(directory / "server"));
  world.run_until([&] { return recorders.made() == 1; });
  const auto fd = recorders.at(0).transport->get_extra_info(ferry::socket).fileno();
  CHECK(is_nonblocking(fd));
  CHECK((::fcntl(static_cast<int>(fd), F_GETFD) & FD_CLOEXEC) != 0);
  world.loop.close();
}

TEST_CASE("a stale socket file is removed", "[T-113][A-025]") {
  World world;
  const Directory directory;
  const std::string path = directory / "stale";
  leave_stale(path);
  REQUIRE(is_socket(path));
  auto server = serve(world, path);
  CHECK(try_connect(Address::unix_path(path)) == 0);
  server->close();
}

TEST_CASE("what is not a stale socket is an address in use and stays as it is", "[T-113]") {
  World world;
  const Directory directory;
  const std::string path = directory / "taken";
  ferry::Socket other;
  std::shared_ptr<ferry::Server> live;
  SECTION("a live server of our own") { live = serve(world, path); }
  SECTION("a live server of others") { other = listening_socket(Address::unix_path(path)); }
  SECTION("a live server that is too busy to answer") {
    other = listening_socket(Address::unix_path(path), 0);
    const auto blocked = [&] {
      ferry::Socket client = new_socket(ferry::Family::unix_socket);
      set_nonblocking(client.fileno());
      return try_connect(client, Address::unix_path(path)) == EAGAIN;
    };
    for (int i = 0; i < 10 && !blocked(); ++i) {
    }
    REQUIRE(blocked());
  }
  SECTION("a datagram socket") {
    other = new_socket(ferry::Family::unix_socket, SOCK_DGRAM);
    const SocketAddress name{Address::unix_path(path)};
    REQUIRE(::bind(static_cast<int>(other.fileno()), name.get(), name.length) == 0);
  }
  SECTION("a regular file") { std::ofstream{path} << "precious"; }
  SECTION("a directory") { fs::create_directory(path); }
  SECTION("a FIFO") { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }
  SECTION("a link to nowhere") { fs::create_symlink(directory / "nowhere", path); }
  struct stat before {}, after {};
  REQUIRE(::lstat(path.c_str(), &before) == 0);
  const auto error = failure(world, path);
  CHECK(error == std::errc::address_in_use);
  CHECK(error.what() == "bind to " + path + ": address already in use");
  REQUIRE(::lstat(path.c_str(), &after) == 0);
  CHECK(before.st_ino == after.st_ino);
  CHECK(before.st_size == after.st_size);
  if (live) {
    CHECK(try_connect(Address::unix_path(path)) == 0);  // undisturbed
    live->close();
  }
}

TEST_CASE("at close the file is removed only if it is still the server's own", "[T-113][A-025]") {
  World world;
  const Directory directory;
  const std::string path = directory / "server";
  auto server = serve(world, path);
  SECTION("it is gone already") { fs::remove(path); }
  SECTION("another server has taken the path") {
    fs::remove(path);
    auto other = serve(world, path);
    server->close();
    CHECK(is_socket(path));
    CHECK(try_connect(Address::unix_path(path)) == 0);
    other->close();
    CHECK_FALSE(is_there(path));
  }
  SECTION("a file has taken the path") {
    std::ofstream{directory / "new"} << "precious";
    fs::rename(directory / "new", path);
    server->close();
    CHECK(is_there(path));
  }
  server->close();
  CHECK(world.reports.empty());
}

TEST_CASE("the file stays if cleanup_socket is off, and goes with the loop if it is on",
          "[A-025]") {
  const Directory directory;
  const std::string path = directory / "server";
  const bool on = GENERATE(true, false);
  {
    World world;
    ferry::UnixServerOptions options;
    options.cleanup_socket = on;
    auto server = serve(world, path, {}, options);
    if (!on) server->close();
  }
  CHECK(is_there(path) == !on);
}

TEST_CASE("a Unix server made without serving is bound but refuses", "[T-105][A-025]") {
  World world;
  const Directory directory;
  const std::string path = directory / "server";
  ferry::UnixServerOptions options;
  options.start_serving = false;
  const Recorders recorders;
  auto server = serve(world, path, recorders, options);
  CHECK(try_connect(Address::unix_path(path)) == ECONNREFUSED);
  world.run(server->start_serving());
  const Peer peer = dial(Address::unix_path(path));
  world.run_until([&] { return recorders.made() == 1; });
  world.loop.close();
}

TEST_CASE("a Unix server that cannot start leaves no file, and its error names the path",
          "[T-113][T-110]") {
  World world;
  const Directory directory;
  Calls calls;
  calls.fail(Call::listen, ENOBUFS);
  const std::string path = directory / "server";
  CHECK_THAT(std::string{failure(world, path).what()}, Contains("listen on " + path));
  CHECK_FALSE(is_there(path));
  const auto error = failure(world, directory / "no/such/directory");
  CHECK(error == std::errc::no_such_file_or_directory);
  CHECK_THAT(std::string{error.what()}, Contains("bind to " + directory / "no/such/directory"));
  CHECK(calls.count(Call::socket) == calls.count(Call::close));
}

TEST_CASE("abstract names keep every NUL and their whole length, and touch no file", "[T-114]") {
  World world;
  const Recorders recorders, others;
  Calls calls;
  const std::string name = abstract_name(std::string{"\0in\0side\0\0", 10});
  auto server = serve(world, name, recorders);
  auto shorter = serve(world, name.substr(0, name.size() - 1), others);  // another name
  CHECK(address_of(*server).path() == name);
  auto made = connect(world, name);
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(others.size() == 0);
  CHECK(made.transport->get_extra_info(ferry::peername).path() == name);
  made.transport->abort();
  CHECK(failure(world, name) == std::errc::address_in_use);
  server->close();
  shorter->close();
  CHECK(calls.count(Call::unlink) == 0);
  CHECK(calls.count(Call::stat) == 0);
}

TEST_CASE("an abstract name may fill the whole field", "[T-114]") {
  World world;
  std::string name = abstract_name("-long");
  name.resize(Address::max_path, '\0');
  const Recorders recorders;
  auto server = serve(world, name, recorders);
  CHECK(address_of(*server).path() == name);
  auto made = connect(world, name);
  CHECK(made.transport->get_extra_info(ferry::peername).path() == name);
  world.loop.close();
}

TEST_CASE("a path of the greatest length works", "[T-114]") {
  World world;
  const Directory directory;
  std::string path = directory / "x";
  path.resize(Address::max_path - 1, 'x');  // with room for its NUL
  const Recorders recorders;
  auto server = serve(world, path, recorders);
  CHECK(is_socket(path));
  auto made = connect(world, path);
  CHECK(made.transport->get_extra_info(ferry::peername).path() == path);
  world.run_until([&] { return recorders.made() == 1; });
  made.transport->abort();
  server->close();
  CHECK_FALSE(is_there(path));
  world.loop.close();
}

TEST_CASE("a peer whose path fills the field without a NUL does no harm", "[T-114][T-102]") {
  World world;
  const Directory directory;
  const Recorders recorders;
  auto server = serve(world, directory / "server", recorders);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memset(name.sun_path, 'x', sizeof name.sun_path);
  const std::string start = directory / "x";
  std::memcpy(name.sun_path, start.data(), start.size());
  ferry::Socket client = new_socket(ferry::Family::unix_socket);
  REQUIRE(::bind(static_cast<int>(client.fileno()), reinterpret_cast<const sockaddr*>(&name),
                 sizeof name) == 0);
  REQUIRE(try_connect(client, Address::unix_path(directory / "server")) == 0);
  world.run_until([&] { return recorders.made() == 1; });
  CHECK(recorders.at(0).story() == "made");
  client.view().getsockname();  // nor here
  world.loop.close();
}

TEST_CASE("a path too long, empty or with a NUL inside is an error at the call", "[T-114][C-22]") {
  World world;
  Calls calls;
  const std::string longest(Address::max_path, 'x');
  for (const bool server : {true, false}) {
    const auto call = [&](std::string_view path) {
      if (server) {
        static_cast<void>(world.loop.create_unix_server(Recorders{}, path));
      } else {
        static_cast<void>(world.loop.create_unix_connection(Recorders{}, path));
      }
      return 0;
    };
    CHECK_THAT(thrown_by<ferry::OsError>([&] { return call("/" + longest); }),
               Contains("'/xxx") && Contains("(109 bytes) is too long"));
    CHECK_THROWS_AS(call(longest), ferry::OsError);  // no room for its NUL
    CHECK_THROWS_AS(call(std::string(1, '\0') + longest), ferry::OsError);
    try {
      call(longest);
    } catch (const ferry::OsError& error) {
      CHECK(error.code() == std::errc::filename_too_long);
    }
    CHECK_THAT(thrown_by<std::invalid_argument>([&] { return call(""); }),
               Contains("the path is empty"));
    CHECK_THAT(thrown_by<std::invalid_argument>([&] { return call({"/tmp/a\0b", 8}); }),
               Contains("NUL"));
  }
  CHECK(calls.count(Call::socket) == 0);
}

TEST_CASE("a connect to a path that nobody serves is an error that names it", "[C-22][A-025]") {
  World world;
  const Directory directory;
  const auto error = [&](const std::string& path) {
    return error_of(world, world.loop.create_unix_connection(ferry::make<Recorder>, path));
  };
  const std::string path = directory / "nobody";
  CHECK(error(path).what() == "connect to " + path + ": no such file or directory");
  leave_stale(path);
  CHECK(error(path) == std::errc::connection_refused);
  CHECK(error(path).what() == "connect to " + path + ": connection refused");
  CHECK(is_socket(path));  // a client removes nothing
}
