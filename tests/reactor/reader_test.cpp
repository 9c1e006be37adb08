// add_reader(), add_writer(), and descriptors that change owners.
#include "support/calls.hpp"
#include "support/sockets.hpp"
#include "support/world.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>

using namespace test;
using ferry::Loop;
using ferry::NativeHandle;
using ferry::Socket;

namespace {

// A number for which the next open() or socket() will be used.
void reopen_as(Socket& socket, const Socket& original) {
  const NativeHandle number = socket.fileno();
  socket.close();
  reuse_number(number, original);
  socket = Socket{number};
}

// That nothing is reported though the loop looks several times: it would sleep.
bool sleeps(World& world) {
  for (int i = 0; i < 3; ++i) {
    world.turn();
    if (world.loop.poll_events(0s).size() > 0) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a reader is called as long as there is something to read", "[A-033]") {
  World world;
  Pipe pipe;
  std::string got;
  world.loop.add_reader(pipe.read.fileno(), [&] {
    got += get(pipe.read, 1);
  });
  CHECK(sleeps(world));
  put(pipe.write, "abc");
  world.run_until([&] { return got == "abc"; });
  CHECK(sleeps(world));
  CHECK(world.loop.remove_reader(pipe.read.fileno()));
  put(pipe.write, "d");
  CHECK(sleeps(world));
  CHECK(got == "abc");
}

TEST_CASE("a writer is called as long as there is room", "[A-033]") {
  World world;
  Pipe pipe;
  int calls = 0;
  fill_up(pipe.write);
  world.loop.add_writer(pipe.write.fileno(), [&] { ++calls; });
  CHECK(sleeps(world));
  CHECK(calls == 0);
  while (!get(pipe.read).empty()) {
  }
  world.run_until([&] { return calls >= 3; });
  CHECK(world.loop.remove_writer(pipe.write.fileno()));
  CHECK(sleeps(world));
}

TEST_CASE("removing tells whether there was one, of this kind", "[A-033]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  const NativeHandle handle = ours.fileno();
  Loop& loop = world.loop;
  CHECK_FALSE(loop.remove_reader(handle));
  CHECK_FALSE(loop.remove_writer(handle));
  CHECK_FALSE(loop.remove_reader(ferry::invalid_handle));
  loop.add_reader(handle, [] {});
  CHECK_FALSE(loop.remove_writer(handle));
  loop.add_writer(handle, [] {});
  CHECK(loop.remove_reader(handle));
  CHECK_FALSE(loop.remove_reader(handle));
  CHECK(loop.remove_writer(handle));
  CHECK_FALSE(loop.remove_writer(handle));
}

TEST_CASE("a second reader replaces the first, and leaves the writer alone", "[A-033]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  const NativeHandle handle = ours.fileno();
  std::string order;
  auto capture = std::make_shared<int>(1);
  world.loop.add_reader(handle, [&order, capture] { order += "old"; });
  world.loop.add_writer(handle, [&] {
    order += "w";
    world.loop.remove_writer(handle);
  });
  world.loop.add_reader(handle, [&] {
    order += "r";
    get(ours);
  });
  CHECK(capture.use_count() == 1);
  theirs.send("x");
  world.turn();
  CHECK(order == "rw");  // reading first
  CHECK(sleeps(world));
  CHECK(world.loop.remove_reader(handle));
}

TEST_CASE("a callback may remove or replace itself and the other one", "[A-033][T-132]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  const NativeHandle handle = ours.fileno();
  theirs.send("x");
  std::string order;
  const auto both = [&](const std::function<void()>& reader) {
    world.loop.add_reader(handle, [&order, reader, pad = std::string(100, 'p')] {
      order += "r";
      reader();
      CHECK(pad.size() == 100);  // it lives until it returns
    });
    world.loop.add_writer(handle, [&] { order += "w"; });
  };
  SECTION("removes both") {
    both([&] {
      CHECK(world.loop.remove_reader(handle));
      CHECK(world.loop.remove_writer(handle));
    });
    world.turn();
    CHECK(order == "r");
    CHECK(sleeps(world));
  }
  SECTION("removes both, and adds a writer in the same turn") {
    both([&] {
      world.loop.remove_reader(handle);
      world.loop.remove_writer(handle);
      world.loop.add_writer(handle, [&] {
        order += "n";
        world.loop.remove_writer(handle);
      });
    });
    world.turn();
    CHECK(order == "r");  // the new one has not been reported yet
    world.run_until([&] { return order == "rn"; });
    CHECK(sleeps(world));
  }
  SECTION("replaces itself") {
    both([&] {
      world.loop.remove_writer(handle);
      world.loop.add_reader(handle, [&] {
        order += "2";
        world.loop.remove_reader(handle);
      });
    });
    world.run_until([&] { return order == "r2"; });
    CHECK(sleeps(world));
  }
}

TEST_CASE("what a reader or writer throws is reported with its place, and it goes on",
          "[A-033][T-011]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  std::vector<std::uint_least32_t> lines;
  world.loop.set_exception_handler([&](Loop&, const ferry::ExceptionContext& context) {
    CHECK(context.exception.what() == "oh");
    lines.push_back(context.where.line());
  });
  theirs.send("x");
  world.loop.add_reader(ours.fileno(), [] { throw std::runtime_error{"oh"}; });
  world.loop.add_writer(ours.fileno(), [] { throw std::runtime_error{"oh"}; });
  const std::uint_least32_t reader = __LINE__ - 2, writer = __LINE__ - 1;
  world.turn();
  world.turn();
  CHECK(lines == std::vector{reader, writer, reader, writer});
  world.loop.remove_reader(ours.fileno());
  world.loop.remove_writer(ours.fileno());
}

TEST_CASE("a reader for what cannot be watched is refused, and nothing changes", "[A-033][T-204]") {
  World world;
  Pipe pipe;
  const auto never = [] { FAIL("it was refused"); };
  SECTION("a closed descriptor") {
    const NativeHandle handle = pipe.read.fileno();
    pipe.read.close();
    CHECK_THROWS_AS(world.loop.add_reader(handle, never), ferry::OsError);
    CHECK_FALSE(world.loop.remove_reader(handle));
    CHECK_THROWS_AS(world.loop.add_writer(ferry::invalid_handle, never), ferry::OsError);
  }
  SECTION("a regular file") {
    const Unwatchable file;
    CHECK_THROWS_AS(world.loop.add_reader(file.fileno(), never), ferry::OsError);
    CHECK_THROWS_AS(world.loop.add_writer(file.fileno(), never), ferry::OsError);
    CHECK_FALSE(world.loop.remove_reader(file.fileno()));
  }
  SECTION("a full watch list") {
    if (backend_name() == "poll" || backend_name() == "iocp") {
      return skip("there is no watch list");
    }
    const Call watch = watching_call(world.loop.backend());
    Calls calls;
    calls.fail(watch, ENOSPC);
    CHECK_THROWS_AS(world.loop.add_reader(pipe.read.fileno(), never), ferry::OsError);
    CHECK_FALSE(world.loop.remove_reader(pipe.read.fileno()));
    bool came = false;  // the next one has luck
    world.loop.add_reader(pipe.read.fileno(), [&] { came = !get(pipe.read).empty(); });
    calls.fail(watch, ENOMEM);
    CHECK_THROWS_AS(world.loop.add_writer(pipe.read.fileno(), never), ferry::OsError);
    put(pipe.write);
    world.run_until([&] { return came; });
    CHECK(world.loop.remove_reader(pipe.read.fileno()));
  }
  CHECK(sleeps(world));
}

TEST_CASE("a descriptor that a transport or a server owns is refused", "[A-033][T-132]") {
  World world;
  const auto never = [] { FAIL("it was refused"); };
  Stream stream = open_stream(world);
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0));
  for (const NativeHandle handle :
       {stream.transport->get_extra_info(ferry::socket).fileno(),
        server->sockets().front().fileno()}) {
    CHECK_THROWS_AS(world.loop.add_reader(handle, never), ferry::MisuseError);
    CHECK_THROWS_AS(world.loop.add_writer(handle, never), ferry::MisuseError);
    CHECK_FALSE(world.loop.remove_reader(handle));
    CHECK_FALSE(world.loop.remove_writer(handle));
  }
  stream.transport->pause_reading();  // still its own
  const auto handle = stream.transport->get_extra_info(ferry::socket).fileno();
  CHECK_THROWS_AS(world.loop.add_reader(handle, never), ferry::MisuseError);
  stream.transport->resume_reading();
  stream.peer.send("hello");
  world.run_until([&] { return stream.protocol->received == "hello"; });
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  server->close();
}

TEST_CASE("a reader's number that was closed and opened again is watched anew when it is set",
          "[T-204][T-132]") {
  if (!can_reuse_numbers()) return skip("this system chooses the numbers of handles");
  World world;
  Pipe first, second;
  const NativeHandle handle = first.read.fileno();
  int old_calls = 0, calls = 0;
  world.loop.add_reader(handle, [&] { ++old_calls; });
  reopen_as(first.read, second.read);  // behind the loop's back
  world.loop.add_reader(handle, [&] {
    ++calls;
    get(first.read);
  });
  put(second.write);
  world.run_until([&] { return calls > 0; });
  CHECK(old_calls == 0);
  CHECK(world.loop.remove_reader(handle));
  put(second.write);
  CHECK(sleeps(world));
}

TEST_CASE("a reader left behind does not harm the transport that is given its number",
          "[T-132][T-202][T-204]") {
  if (!can_reuse_numbers()) return skip("this system chooses the numbers of handles");
  World world;
  Stream stream;
  std::string watched;
  NativeHandle handle = ferry::invalid_handle;
  auto capture = std::make_shared<int>(1);
  {
    Pipe pipe;
    Pair pair = connected_pair(Carrier::tcp);
    handle = pipe.read.fileno();
    world.loop.add_reader(handle, [&watched, capture] { watched += "x"; });
    put(pipe.write);
    reopen_as(pipe.read, pair.ours);  // closed without remove_reader(), and somebody else's now
    pair.ours.close();
    stream.protocol = std::make_shared<Recorder>();
    auto task = world.loop.create_connection([&] { return stream.protocol; },
                                             std::move(pipe.read));
    stream.transport = world.run(std::move(task)).transport;
    stream.peer = std::move(pair.peer);
  }
  CHECK(stream.transport->get_extra_info(ferry::socket).fileno() == handle);
  world.loop.remove_reader(handle);  // the late clean-up
  world.settle();
  CHECK(capture.use_count() == 1);
  stream.peer.send("hello");
  world.run_until([&] { return stream.protocol->received == "hello"; });
  CHECK(watched.empty());
  stream.transport->write("there");
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.peer.receive() == "there");
}

TEST_CASE("a descriptor that a reader uses may be handed to a transport", "[T-132][T-202]") {
  World world;
  Pair pair = connected_pair(Carrier::tcp);
  const NativeHandle handle = pair.ours.fileno();
  bool called = false;
  world.loop.add_reader(handle, [&] { called = true; });
  auto protocol = std::make_shared<Recorder>();
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  auto made = world.run(std::move(task));
  CHECK_FALSE(world.loop.remove_reader(handle));
  pair.peer.send("x");
  world.run_until([&] { return protocol->received == "x"; });
  CHECK_FALSE(called);
  made.transport->abort();
}

TEST_CASE("a reader closed behind the loop's back harms nobody else", "[T-204]") {
  World world;
  Stream stream = open_stream(world);
  Pipe pipe;
  const NativeHandle handle = pipe.read.fileno();
  int calls = 0;
  world.loop.add_reader(handle, [&] {  // whose read() would tell it
    if (++calls > 3) world.loop.remove_reader(handle);
  });
  pipe.read.close();
  stream.peer.send("hello");
  world.run_until([&] { return stream.protocol->received == "hello"; });
  world.settle();
  world.loop.remove_reader(handle);
  CHECK(sleeps(world));
  stream.transport->abort();
}

TEST_CASE("a transport closed in a turn keeps its late reports from the next one of its number",
          "[T-202][T-132]") {
  if (!can_reuse_numbers()) return skip("this system chooses the numbers of handles");
  World world;
  Stream first = open_stream(world, Carrier::unix_pair);
  Stream second = open_stream(world, Carrier::unix_pair);
  const NativeHandle number = second.transport->get_extra_info(ferry::socket).fileno();
  Pair fresh = connected_pair(Carrier::unix_pair);
  auto protocol = std::make_shared<Recorder>();
  ferry::Future<ferry::Connection<Recorder>> made;
  // Both are ready in one batch. The first one's callback closes the second, and its number goes
  // to a third one at once.
  first.protocol->on_data = [&] {
    second.transport->abort();
    Socket socket = std::move(fresh.ours);
    if (socket.fileno() != number) {
      reuse_number(number, socket);
      socket = Socket{number};
    }
    auto task = world.loop.create_connection([&] { return protocol; }, std::move(socket));
    made = world.loop.create_task(std::move(task));
  };
  first.peer.send("1");
  second.peer.send("2");
  second.peer.close();
  world.run_until([&] { return made && made.done() && second.protocol->lost; });
  CHECK(second.protocol->received.empty());
  CHECK(second.protocol->story() == "made lost");
  CHECK(protocol->story() == "made");
  CHECK(made.result().transport->get_extra_info(ferry::socket).fileno() == number);
  second.transport->close();  // late calls to the dead one
  second.transport->resume_reading();
  second.transport.reset();
  second.protocol.reset();
  fresh.peer.send("3");
  world.run_until([&] { return protocol->received == "3"; });
  made.result().transport->write("4");
  made.result().transport->close();
  first.transport->close();
  world.run_until([&] { return protocol->lost && first.protocol->lost; });
  CHECK(fresh.peer.receive() == "4");
}

TEST_CASE("a listener closed while somebody holds a duplicate does not make the loop spin",
          "[T-203][T-202]") {
  World world;
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0));
  const auto address = server->sockets().front().getsockname();
  const Socket copy = duplicate(server->sockets().front().fileno());
  server->close();
  world.settle();
  auto protocol = std::make_shared<Recorder>();
  auto task = world.loop.create_connection([&] { return protocol; }, address.host(),
                                           address.port());
  auto made = world.run(std::move(task));  // the duplicate listens on
  CHECK(sleeps(world));
  made.transport->abort();
  world.settle();
}

TEST_CASE("a hang-up or an error alone is told to who reads and to who writes", "[T-203]") {
  World world;
  Pipe pipe;
  int calls = 0;
  SECTION("the writer of a full pipe whose reader went") {
    fill_up(pipe.write);
    world.loop.add_writer(pipe.write.fileno(), [&] {
      ++calls;
      world.loop.remove_writer(pipe.write.fileno());
    });
    CHECK(sleeps(world));
    hang_up(pipe.read);
  }
  SECTION("the reader of an empty pipe whose writer went") {
    world.loop.add_reader(pipe.read.fileno(), [&] {
      ++calls;
      world.loop.remove_reader(pipe.read.fileno());
    });
    hang_up(pipe.write);
  }
  SECTION("who waits only to write, where only the reading side can tell") {
    fill_up(pipe.read);  // where it is a connection
    world.loop.add_writer(pipe.read.fileno(), [&] {
      ++calls;
      world.loop.remove_writer(pipe.read.fileno());
    });
    CHECK(sleeps(world));
    hang_up(pipe.write);
  }
  world.run_until([&] { return calls > 0; });
  CHECK(sleeps(world));
  CHECK(calls == 1);
}

TEST_CASE("a paused stream whose peer reset it lets the loop sleep, and tells when resumed",
          "[T-203]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->pause_reading();
  stream.peer.reset();
  world.settle();
  CHECK(sleeps(world));
  CHECK_FALSE(stream.protocol->lost);
  stream.transport->resume_reading();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
}

TEST_CASE("a paused stream that writes hears of the reset by writing", "[T-203]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->pause_reading();
  block_writing(stream);
  stream.peer.reset();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason);
}

TEST_CASE("a watch list that is full for one connection hurts that one only", "[T-204]") {
  World world;
  if (world.loop.backend() != "epoll") return skip(level_only);
  Stream other = open_stream(world);
  SECTION("a client's") {
    Pair pair = connected_pair(Carrier::tcp);
    auto task = world.loop.create_connection(ferry::make<Recorder>, std::move(pair.ours));
    Calls calls;
    calls.fail(Call::epoll_ctl, ENOSPC);
    CHECK_THROWS_AS(world.run(std::move(task)), ferry::OsError);
    pair.peer.receive();
    CHECK(pair.peer.ended());
  }
  SECTION("an accepted one") {
    std::vector<std::shared_ptr<Recorder>> accepted;
    auto task = world.loop.create_server(
        [&] { return accepted.emplace_back(std::make_shared<Recorder>()); }, "127.0.0.1", 0);
    auto server = world.run(std::move(task));
    const auto address = server->sockets().front().getsockname();
    {
      Calls calls;
      calls.fail(Call::epoll_ctl, ENOSPC);
      Peer unlucky = dial(address);
      world.run_until([&] { return unlucky.receive().empty() && unlucky.ended(); });
    }
    const auto reports = world.take_reports();
    REQUIRE(reports.size() == 1);
    CHECK(reports[0].exception == std::errc::no_space_on_device);
    REQUIRE(accepted.size() == 1);
    CHECK(accepted[0]->story().empty());  // it was never made
    Peer lucky = dial(address);
    lucky.send("me");
    world.run_until([&] { return accepted.size() == 2 && accepted[1]->received == "me"; });
    server->close();
    server->abort_clients();
    world.run(server->wait_closed());  // both are counted out
  }
  other.peer.send("still there");
  world.run_until([&] { return other.protocol->received == "still there"; });
  other.transport->abort();
}
