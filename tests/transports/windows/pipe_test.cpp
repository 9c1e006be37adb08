// Pipes with names, and what Windows' pipes do alone.
#include "support/calls.hpp"
#include "support/pipes.hpp"
#include "support/sockets.hpp"

#include "platform/windows/text.hpp"

#include <algorithm>
#include <cerrno>
#include <thread>

using namespace test;
using Catch::Matchers::Contains;
using ferry::internal::to_wide;

namespace {

HANDLE object(ferry::NativeHandle handle) { return reinterpret_cast<HANDLE>(handle); }
ferry::NativeHandle number(HANDLE handle) { return reinterpret_cast<ferry::NativeHandle>(handle); }

std::string new_name() {
  static int count = 0;
  return R"(\\.\pipe\ferry-test-)" + std::to_string(process_id()) + "-" + std::to_string(++count);
}

// An end that the test holds itself, and that blocks.
ferry::Pipe open_plainly(const std::string& name, DWORD access = GENERIC_READ | GENERIC_WRITE,
                         DWORD flags = 0) {
  const HANDLE end = ::CreateFileW(to_wide(name).c_str(), access, 0, nullptr, OPEN_EXISTING, flags,
                                   nullptr);
  return end == INVALID_HANDLE_VALUE ? ferry::Pipe{} : ferry::Pipe{number(end)};
}
ferry::Pipe serve_plainly(const std::string& name, DWORD access, DWORD type = PIPE_TYPE_BYTE) {
  const HANDLE end = ::CreateNamedPipeW(to_wide(name).c_str(), access, type, 1, 4096, 4096, 0,
                                        nullptr);
  REQUIRE(end != INVALID_HANDLE_VALUE);
  return ferry::Pipe{number(end)};
}
bool put(const ferry::Pipe& into, const std::string& text) {
  DWORD written = 0;
  return ::WriteFile(object(into.fileno()), text.data(), static_cast<DWORD>(text.size()), &written,
                     nullptr) != 0 &&
         written == text.size();
}
// What is there now.
std::string take(const ferry::Pipe& from) {
  DWORD there = 0;
  if (::PeekNamedPipe(object(from.fileno()), nullptr, 0, nullptr, &there, nullptr) == 0) return {};
  std::string text(there, '\0');
  if (there > 0) ::ReadFile(object(from.fileno()), text.data(), there, &there, nullptr);
  text.resize(there);
  return text;
}

auto serve(World& world, const Recorders& recorders, const std::string& name) {
  return world.run(world.loop.start_serving_pipe(recorders, name));
}
auto connect(World& world, const std::string& name) {
  return world.run(world.loop.create_pipe_connection(ferry::make<Recorder>, name));
}

}  // namespace

TEST_CASE("bytes go both ways through a pipe that has a name", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name() + "-b\xc3\xbc" "cher";
  auto server = serve(world, recorders, name);
  CHECK(server->name() == name);
  CHECK(server->is_serving());
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 1; });
  client.transport->write("question");
  world.run_until([&] { return recorders.at(0).received == "question"; });
  recorders.at(0).transport->write("answer");
  world.run_until([&] { return client.protocol->received == "answer"; });
  CHECK(client.transport->get_extra_info(ferry::pipe));
  CHECK_FALSE(client.transport->get_extra_info("socket").has_value());
  recorders.at(0).transport->write("last words");
  recorders.at(0).transport->close();
  world.run_until([&] { return client.protocol->lost && recorders.lost() == 1; });
  CHECK(client.protocol->story() == "made data:16 eof lost");
  CHECK(recorders.at(0).story() == "made data:8 lost");
  server->close();
  CHECK_FALSE(server->is_serving());
}

TEST_CASE("a pipe that goes both ways has no half to close", "[A-048][S-027]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  auto client = connect(world, name);
  client.protocol->keep_open = true;
  world.run_until([&] { return recorders.made() == 1; });
  CHECK_FALSE(client.transport->can_write_eof());
  CHECK_THROWS_AS(client.transport->write_eof(), ferry::NotSupported);
  recorders.at(0).transport->close();
  world.run_until([&] { return client.protocol->lost; });
  CHECK(client.protocol->story() == "made eof lost");
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK_THAT(logs[0], Contains("no effect on a named pipe"));
  server->close();
}

TEST_CASE("much goes both ways at once through a named pipe", "[A-048][T-209]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 1; });
  const std::string there = pattern(1'000'000, 1), back = pattern(1'000'000, 2);
  client.transport->write(there);
  recorders.at(0).transport->write(back);
  CHECK(client.transport->get_write_buffer_size() > 0);
  world.run_until([&] {
    return recorders.at(0).received.size() == there.size() &&
           client.protocol->received.size() == back.size();
  });
  CHECK((recorders.at(0).received == there));
  CHECK((client.protocol->received == back));
  world.run_until([&] { return client.transport->get_write_buffer_size() == 0; });
  client.transport->close();
  world.run_until([&] { return recorders.lost() == 1; });
  server->close();
}

TEST_CASE("many clients of one name are served, one instance waiting at a time", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  constexpr std::size_t count = 12;
  std::vector<ferry::Future<ferry::Connection<Recorder>>> connecting;
  for (std::size_t i = 0; i < count; ++i) {
    connecting.push_back(world.loop.create_task(
        world.loop.create_pipe_connection(ferry::make<Recorder>, name)));
  }
  world.run_until([&] {
    return recorders.made() == count &&
           std::all_of(connecting.begin(), connecting.end(), [](auto& one) { return one.done(); });
  });
  for (auto& one : connecting) one.result().transport->close();
  world.run_until([&] { return recorders.lost() == count; });
  server->close();
}

TEST_CASE("a server that closes takes its name with it, and ends no client", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 1; });
  server->close();
  server->close();
  world.settle();
  client.transport->write("still here");
  world.run_until([&] { return recorders.at(0).received == "still here"; });
  client.transport->abort();
  world.run_until([&] { return recorders.lost() == 1; });
  world.settle();
  const auto error =
      error_of(world, world.loop.create_pipe_connection(ferry::make<Recorder>, name));
  CHECK(error == std::errc::no_such_file_or_directory);
  CHECK(error.what() == "connect to the pipe " + name + ": no such file or directory");
}

TEST_CASE("a loop that is closed lets go of its named pipes", "[A-048][T-024][T-209]") {
  const std::size_t before = open_descriptors();
  const std::string name = new_name();
  ferry::Pipe foreign;
  const Recorders recorders;
  {
    ferry::Loop loop{backend()};
    auto server = loop.run_until_complete(loop.start_serving_pipe(recorders, name));
    auto client =
        loop.run_until_complete(loop.create_pipe_connection(ferry::make<Recorder>, name));
    client.transport->write(std::string(1'000'000, 'x'));  // some of it is in flight
  }
  CHECK(open_descriptors() == before);
  CHECK_FALSE(open_plainly(name));
}

TEST_CASE("a client waits while all instances of a name are taken", "[A-048]") {
  World world;
  const std::string name = new_name();
  const ferry::Pipe server = serve_plainly(name, PIPE_ACCESS_DUPLEX);
  ferry::Pipe first = open_plainly(name);
  REQUIRE(first);
  auto connecting =
      world.loop.create_task(world.loop.create_pipe_connection(ferry::make<Recorder>, name));
  Calls calls;
  world.run_until([&] { return calls.count(Call::open) >= 3; });  // it tries again and again
  CHECK_FALSE(connecting.done());
  SECTION("until one is free") {
    first.close();
    ::DisconnectNamedPipe(object(server.fileno()));
    std::thread waits{[&] { ::ConnectNamedPipe(object(server.fileno()), nullptr); }};
    world.run_until([&] { return connecting.done(); });
    waits.join();
    auto made = connecting.take_result();
    CHECK(put(server, "hello"));
    world.run_until([&] { return made.protocol->received == "hello"; });
    made.transport->close();
    world.run_until([&] { return made.protocol->lost; });
  }
  SECTION("or until it is cancelled") {
    connecting.cancel();
    world.run_until([&] { return connecting.done(); });
    CHECK(connecting.cancelled());
  }
}

TEST_CASE("what is no pipe's name is refused", "[A-048]") {
  World world;
  const std::string name = GENERATE(as<std::string>{}, "ferry", R"(\\.\pipe\)", R"(\\.\COM1)",
                                    R"(C:\pipe\x)", "\\\\.\\pipe\\\xff",
                                    R"(\\another-machine\pipe\x)");
  const auto connecting =
      error_of(world, world.loop.create_pipe_connection(ferry::make<Recorder>, name));
  CHECK(connecting == std::errc::invalid_argument);
  CHECK_THAT(std::string{connecting.what()}, Contains("is no pipe's name"));
  const auto serving =
      error_of(world, world.loop.start_serving_pipe(ferry::make<Recorder>, name));
  CHECK(serving == std::errc::invalid_argument);
}

TEST_CASE("a name has one server", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  const auto error = error_of(world, world.loop.start_serving_pipe(recorders, name));
  if (!error) {
    skip("Wine does not enforce FILE_FLAG_FIRST_PIPE_INSTANCE");
  } else {
    CHECK(error == std::errc::address_in_use);
    CHECK(error.what() == "serve the pipe " + name + ": address already in use");
  }
  server->close();
}

TEST_CASE("a client that has gone before it is accepted is served all the same", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  {
    ferry::Pipe client = open_plainly(name);
    REQUIRE(client);
    CHECK(put(client, "in passing"));
  }
  world.run_until([&] { return recorders.lost() == 1; });
  CHECK(recorders.at(0).story() == "made data:10 eof lost");
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 2; });
  client.transport->close();
  world.run_until([&] { return recorders.lost() == 2; });
  server->close();
}

TEST_CASE("a server that cannot make its next instance tells so once, and goes on", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  auto server = serve(world, recorders, name);
  Calls calls;
  SECTION("no memory for it") { calls.fail(Call::pipe, ENOMEM, 3); }
  SECTION("it cannot be attached") { calls.fail(Call::pipe_attach, ENOMEM, 3, -1, 1); }
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 1; });
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].exception == std::errc::not_enough_memory);
  CHECK_THAT(reports[0].message, Contains(name));
  client.transport->close();
  world.run_until([&] { return recorders.lost() == 1; });
  server->close();
}

TEST_CASE("an instance that cannot wait is replaced", "[A-048]") {
  World world;
  const Recorders recorders;
  const std::string name = new_name();
  Calls calls;
  calls.fail(Call::pipe_listen, ENOBUFS, 1);
  auto server = serve(world, recorders, name);
  world.run_until([&] { return !world.reports.empty(); });
  CHECK(world.take_reports()[0].exception == std::errc::no_buffer_space);
  auto client = connect(world, name);
  world.run_until([&] { return recorders.made() == 1 || client.protocol->lost; });
  client.transport->close();
  server->close();
  world.run_until([&] { return recorders.lost() == recorders.made() && client.protocol->lost; });
}

TEST_CASE("a factory that throws turns its client away", "[A-048][T-012]") {
  World world;
  const std::string name = new_name();
  const auto factory = []() -> std::shared_ptr<Recorder> { throw std::runtime_error{"no"}; };
  auto server = world.run(world.loop.start_serving_pipe(factory, name));
  auto client = connect(world, name);
  world.run_until([&] { return client.protocol->lost; });
  CHECK(world.take_reports().size() == 1);
  server->close();
}

TEST_CASE("what cannot be watched is refused, with the reason", "[A-028][T-157]") {
  World world;
  const auto refused = [&](ferry::NativeHandle handle, ferry::internal::Direction direction) {
    ferry::Pipe end{handle};
    const std::string text = thrown_by<std::invalid_argument>([&] {
      if (direction == ferry::internal::Direction::read) {
        static_cast<void>(world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(end)));
      } else {
        static_cast<void>(world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(end)));
      }
      return 0;
    });
    CHECK(end.fileno() == handle);
    static_cast<void>(end.detach());
    return text;
  };
  constexpr auto read = ferry::internal::Direction::read;
  constexpr auto write = ferry::internal::Direction::write;
  SECTION("a pipe that is not overlapped") {
    HANDLE ends[2] = {};
    REQUIRE(::CreatePipe(&ends[0], &ends[1], nullptr, 0) != 0);
    CHECK_THAT(refused(number(ends[0]), read), Contains("not opened for overlapped I/O"));
    CHECK_THAT(refused(number(ends[1]), write), Contains("not opened for overlapped I/O"));
    for (const HANDLE end : ends) ::CloseHandle(end);
  }
  SECTION("a socket") {
    auto [one, other] = ferry::socketpair();
    CHECK_THAT(refused(one.fileno(), read), Contains("is a socket"));
  }
  SECTION("the wrong end") {
    const auto ends = ferry::make_pipe();
    CHECK_THAT(refused(ends.read.fileno(), write), Contains("cannot be written"));
    const std::string name = new_name();
    const ferry::Pipe server =
        serve_plainly(name, PIPE_ACCESS_OUTBOUND | FILE_FLAG_OVERLAPPED);
    CHECK_THAT(refused(server.fileno(), read), Contains("cannot be read"));
  }
  SECTION("messages") {
    const ferry::Pipe server =
        serve_plainly(new_name(), PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                      PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE);
    CHECK_THAT(refused(server.fileno(), read), Contains("reads messages"));
  }
  SECTION("a device") {
    const ferry::Pipe null{number(::CreateFileW(L"NUL", GENERIC_READ, 0, nullptr, OPEN_EXISTING,
                                                FILE_FLAG_OVERLAPPED, nullptr))};
    CHECK_THAT(refused(null.fileno(), read), Contains("is a device, and no pipe"));
  }
}

TEST_CASE("a pipe cannot outlive its writers", "[T-155]") {
  World world;
  auto ends = ferry::make_pipe();
  auto protocol = std::make_shared<Recorder>();
  CHECK_THROWS_AS(read_end(world, std::move(ends.read), protocol, {.outlive_writers = true}),
                  ferry::NotSupported);
}

TEST_CASE("a handle that may only be written tells of its reader's end when it writes",
          "[T-152]") {
  World world;
  const std::string name = new_name();
  ferry::Pipe reader = serve_plainly(name, PIPE_ACCESS_INBOUND);
  ferry::Pipe writer = open_plainly(name, GENERIC_WRITE, FILE_FLAG_OVERLAPPED);
  REQUIRE(writer);
  auto writing = write_end(world, std::move(writer));
  writing.transport->write("hello");
  CHECK(take(reader) == "hello");
  reader.close();
  world.settle();
  CHECK_FALSE(writing.protocol->lost);
  writing.transport->write("nobody");
  world.run_until([&] { return writing.protocol->lost; });
  CHECK(writing.protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("empty messages of a server are passed over", "[A-048]") {
  World world;
  const std::string name = new_name();
  ferry::Pipe server = serve_plainly(name, PIPE_ACCESS_DUPLEX, PIPE_TYPE_MESSAGE);
  auto client = connect(world, name);
  CHECK(put(server, "one"));
  CHECK(put(server, ""));
  CHECK(put(server, "two"));
  CHECK(put(server, ""));
  world.run_until([&] { return client.protocol->received == "onetwo"; });
  world.settle();  // which ends: nothing is ready for ever
  CHECK(put(server, ""));
  CHECK(put(server, "three"));
  CHECK(put(server, ""));
  server.close();
  world.run_until([&] { return client.protocol->lost; });
  CHECK(client.protocol->received == "onetwothree");
}

TEST_CASE("what comes the other way of a write pipe is dropped", "[T-152]") {
  World world;
  const std::string name = new_name();
  ferry::Pipe other = serve_plainly(name, PIPE_ACCESS_DUPLEX);
  auto writing = write_end(world, open_plainly(name, GENERIC_READ | GENERIC_WRITE,
                                               FILE_FLAG_OVERLAPPED));
  CHECK(put(other, std::string(3000, 'x')));
  world.settle();
  writing.transport->write("hello");
  CHECK(take(other) == "hello");
  CHECK(writing.protocol->story() == "made");
  other.close();
  world.run_until([&] { return writing.protocol->lost; });
  CHECK(writing.protocol->story() == "made lost");
}

TEST_CASE("a write that is in flight counts until it is done", "[S-028][T-209]") {
  World world;
  const std::string name = new_name();
  ferry::Pipe reader = serve_plainly(name, PIPE_ACCESS_INBOUND);
  auto writing = write_end(world, open_plainly(name, GENERIC_WRITE, FILE_FLAG_OVERLAPPED));
  const std::string sent = pattern(200'000);
  writing.transport->write(sent);
  const std::size_t queued = writing.transport->get_write_buffer_size();
  CHECK(queued >= sent.size() - 4096);
  for (int i = 0; i < 5; ++i) world.turn();
  CHECK(writing.transport->get_write_buffer_size() == queued);
  std::string got;
  SECTION("and close() waits for it") { writing.transport->close(); }
  SECTION("as does the buffer's size") {}
  world.run_until([&] {
    got += take(reader);
    return got.size() == sent.size();
  });
  CHECK((got == sent));
  world.run_until([&] { return writing.transport->get_write_buffer_size() == 0; });
  writing.transport->close();
  world.run_until([&] { return writing.protocol->lost; });
  CHECK_FALSE(writing.protocol->reason);
}

TEST_CASE("abort() with a write in flight drops it, and its memory stays for the system",
          "[T-209]") {
  World world;
  for (int i = 0; i < 20; ++i) {
    auto ends = ferry::make_pipe();
    auto writing = write_end(world, std::move(ends.write));
    writing.transport->write(std::string(400'000, 'x'));
    CHECK(writing.transport->get_write_buffer_size() > 0);
    writing.transport->abort();
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->story() == "made pause lost");
  }
}

TEST_CASE("calls on a pipe that fail are told, or tried again", "[A-028]") {
  World world;
  auto ends = ferry::make_pipe();
  Calls calls;
  SECTION("a wait for bytes") {
    auto reading = read_end(world, std::move(ends.read));
    calls.fail(Call::pipe_wait, ENOBUFS, 2);
    auto writing = write_end(world, std::move(ends.write));
    writing.transport->write("hello");
    world.run_until([&] { return reading.protocol->received == "hello"; });
    writing.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
  }
  SECTION("a read") {
    auto reading = read_end(world, std::move(ends.read));
    calls.fail(Call::read, EACCES);
    auto writing = write_end(world, std::move(ends.write));
    writing.transport->write("hello");
    world.run_until([&] { return reading.protocol->lost && writing.protocol->lost; });
    CHECK(reading.protocol->reason.what() == "read from the pipe: permission denied");
  }
  SECTION("a write") {
    auto writing = write_end(world, std::move(ends.write));
    calls.fail(Call::write, EACCES);
    writing.transport->write("hello");
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->reason.what() == "write to the pipe: permission denied");
  }
  SECTION("the port") {
    calls.fail(Call::pipe_attach, ENOMEM);
    const auto error = error_of(
        world, world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(ends.read)));
    CHECK(error == std::errc::not_enough_memory);
    CHECK_THAT(std::string{error.what()}, Contains("to the completion port"));
  }
  SECTION("small steps") {
    calls.limit(Call::read, 3);
    calls.limit(Call::write, 2);
    auto reading = read_end(world, std::move(ends.read));
    auto writing = write_end(world, std::move(ends.write));
    writing.transport->write("hello, in small steps");
    writing.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->received == "hello, in small steps");
  }
}
