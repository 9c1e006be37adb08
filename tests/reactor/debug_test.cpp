// Debug mode: slow callbacks, wrong threads, what was left open.
#include "support/world.hpp"

#include <algorithm>
#include <cstdlib>
#include <thread>

using namespace test;
using ferry::Loop;
using ferry::MisuseError;

namespace {

void take_long(Loop& loop) {
  const auto end = loop.time() + 2ms;
  while (loop.time() < end) {
  }
}

bool mentions(const std::vector<std::string>& lines, const std::string& what) {
  for (const std::string& line : lines) {
    if ((line + " ").find(what) != line.npos) return true;
  }
  return false;
}

std::string here(int line) { return "debug_test.cpp:" + std::to_string(line) + " "; }

// Whether `call`, made by another thread while the loop runs, is refused.
bool refused(World& world, const std::function<void()>& call) {
  bool misuse = false;
  world.loop.call_soon([&] {
    std::thread{[&] {
      try {
        call();
      } catch (const MisuseError&) {
        misuse = true;
      }
    }}.join();
  });
  world.turn();
  return misuse;
}

}  // namespace

TEST_CASE("a slow callback is logged with the place that scheduled it", "[A-041]") {
  World world;
  Loop& loop = world.loop;
  loop.set_debug(true);
  CHECK(loop.get_debug());
  loop.set_slow_callback_duration(1ms);
  const auto slow = [&] { take_long(loop); };
  int line = 0;
  SECTION("call_soon") {
    loop.call_soon(slow); line = __LINE__;
  }
  SECTION("call_later") {
    loop.call_later(0s, slow); line = __LINE__;
  }
  SECTION("call_at") {
    loop.call_at(loop.time(), slow); line = __LINE__;
  }
  SECTION("call_soon_threadsafe") {
    loop.call_soon_threadsafe(slow); line = __LINE__;
  }
  SECTION("one that throws") {
    loop.call_soon([&] { take_long(loop); throw 1; }); line = __LINE__;
  }
  world.turn();
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  INFO(logs[0]);
  CHECK(mentions(logs, here(line)));
  world.take_reports();
}

TEST_CASE("slow readers, writers and signal handlers are logged with their places", "[A-041]") {
  World world;
  Loop& loop = world.loop;
  loop.set_debug(true);
  loop.set_slow_callback_duration(1ms);
  auto [ours, theirs] = ferry::socketpair();
  const auto handle = ours.fileno();
  loop.add_reader(handle, [] {});
  loop.add_writer(handle, [&] { loop.remove_writer(handle); take_long(loop); });
  const int writer = __LINE__ - 1;
  world.settle();
  auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(mentions(logs, here(writer)));
  loop.remove_reader(handle);
  loop.add_signal_handler(some_signal(), [&] { take_long(loop); });
  const int signal = __LINE__ - 1;
  if (!raise_now(some_signal())) return;
  world.settle();
  logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(mentions(logs, here(signal)));
}

TEST_CASE("a protocol that takes long is logged with its handle", "[A-041]") {
  World world;
  world.loop.set_debug(true);
  world.loop.set_slow_callback_duration(1ms);
  Stream stream = open_stream(world);
  const auto handle = stream.transport->get_extra_info(ferry::socket).fileno();
  stream.protocol->on_data = [&] { take_long(world.loop); };
  world.take_logs();
  stream.peer.send("x");
  world.run_until([&] { return stream.protocol->received == "x"; });
  CHECK(mentions(world.take_logs(), "handle " + std::to_string(handle)));
  stream.transport->abort();
}

TEST_CASE("a callback that is quick enough, or no debug mode, logs nothing", "[A-041]") {
  World world;
  world.loop.set_slow_callback_duration(1ms);
  world.loop.call_soon([&] { take_long(world.loop); });
  world.turn();
  world.loop.set_slow_callback_duration(3600s);
  world.loop.set_debug(true);
  world.loop.call_soon([&] { take_long(world.loop); });
  world.loop.call_soon_threadsafe([&] { take_long(world.loop); });
  world.turn();
  world.loop.set_slow_callback_duration(
      ferry::Seconds{std::numeric_limits<double>::infinity()});
  world.loop.call_soon([&] { take_long(world.loop); });
  world.turn();
  CHECK(world.logs.empty());
}

TEST_CASE("debug mode that is switched on or off inside a callback harms nothing", "[A-041]") {
  World world;
  auto [ours, theirs] = ferry::socketpair();
  theirs.send("x");
  for (const bool on : {true, false}) {
    world.loop.call_soon([&, on] { world.loop.set_debug(on); });
    world.loop.call_soon_threadsafe([&, on] { world.loop.set_debug(!on); });
    world.loop.add_reader(ours.fileno(), [&, on] { world.loop.set_debug(on); });
    world.turn();
  }
  world.loop.remove_reader(ours.fileno());
  CHECK(world.logs.empty());
}

TEST_CASE("the environment switches debug mode on", "[A-041]") {
  const char* const old = std::getenv("FERRY_DEBUG");
  const std::string before = old != nullptr ? old : "";
  struct Setting {
    const char* value;
    bool on;
  };
  for (const auto [value, on] : {Setting{"1", true}, Setting{"yes", true}, Setting{"0", false},
                                 Setting{"", false}}) {
    set_environment("FERRY_DEBUG", value);
    Loop loop{backend()};
    CHECK(loop.get_debug() == on);
  }
  set_environment("FERRY_DEBUG", nullptr);
  CHECK_FALSE(Loop{backend()}.get_debug());
  if (old != nullptr) set_environment("FERRY_DEBUG", before.c_str());
}

TEST_CASE("what was left open is named when the loop is closed", "[A-041][T-024]") {
  World world;
  world.loop.set_debug(true);
  const auto factory = ferry::make<Recorder>;
  auto server = world.run(world.loop.create_server(factory, "127.0.0.1", 0));
  const int server_line = __LINE__ - 1;
  const int port = server->sockets().front().getsockname().port();
  auto client = world.run(world.loop.create_connection(factory, "127.0.0.1", port));
  const int client_line = __LINE__ - 1;
  const auto handle = client.transport->get_extra_info(ferry::socket).fileno();
  Stream closed = open_stream(world);
  closed.transport->abort();
  world.settle();
  CHECK(world.logs.empty());
  world.loop.close();
  auto logs = world.take_logs();
  CHECK(logs.size() == 3);  // the server, its client, and the client itself
  const auto of_client = std::partition(logs.begin(), logs.end(), [&](const std::string& line) {
    return line.find("fd=" + std::to_string(handle) + " ") == line.npos;
  });
  REQUIRE(of_client + 1 == logs.end());
  CHECK(mentions({*of_client}, here(client_line)));
  logs.erase(of_client);
  for (const std::string& line : logs) CHECK(mentions({line}, here(server_line)));
  CHECK(mentions(logs, "server"));
}

TEST_CASE("calls of the loop from another thread are refused before anything changes",
          "[S-005][T-199][A-041]") {
  World world;
  Loop& loop = world.loop;
  loop.set_debug(true);
  loop.set_slow_callback_duration(3600s);
  const auto bad = [] { FAIL("from a wrong thread"); };
  auto [ours, theirs] = ferry::socketpair();
  CHECK(refused(world, [&] { loop.call_soon(bad); }));
  CHECK(refused(world, [&] { loop.call_later(0s, bad); }));
  CHECK(refused(world, [&] { loop.call_at(loop.time(), bad); }));
  CHECK(refused(world, [&] { loop.stop(); }));
  CHECK(refused(world, [&] { loop.close(); }));
  CHECK(refused(world, [&] { loop.run_forever(); }));
  CHECK(refused(world, [&] { loop.add_reader(ours.fileno(), bad); }));
  CHECK(refused(world, [&] { loop.add_writer(ours.fileno(), bad); }));
  CHECK(refused(world, [&] { loop.add_signal_handler(some_signal(), bad); }));
  CHECK(refused(world, [&] { static_cast<void>(loop.create_task(loop.sleep(0s))); }));
  CHECK(refused(world, [&] { loop.set_exception_handler(nullptr); }));
  CHECK(refused(world, [&] { loop.set_log_sink(nullptr); }));
  CHECK(refused(world, [&] { loop.set_busy_poll(1s); }));
  CHECK(refused(world, [&] { loop.set_slow_callback_duration(1s); }));
  const auto factory = ferry::make<Recorder>;
  CHECK(refused(world, [&] {
    static_cast<void>(loop.create_connection(factory, "127.0.0.1", 1));
  }));
  CHECK(refused(world, [&] {
    static_cast<void>(loop.create_connection(factory, std::move(ours)));
  }));
  CHECK(refused(world, [&] { static_cast<void>(loop.create_unix_connection(factory, "/x")); }));
  CHECK(refused(world, [&] { static_cast<void>(loop.create_server(factory, "127.0.0.1", 0)); }));
  CHECK(refused(world, [&] { static_cast<void>(loop.create_unix_server(factory, "/x")); }));
  CHECK(ours);
  CHECK_FALSE(loop.remove_reader(ours.fileno()));
  CHECK_FALSE(loop.remove_signal_handler(some_signal()));
  loop.add_reader(ours.fileno(), [] {});
  CHECK(refused(world, [&] { loop.remove_reader(ours.fileno()); }));
  CHECK(loop.remove_reader(ours.fileno()));
  bool came = false;
  CHECK_FALSE(refused(world, [&] { loop.call_soon_threadsafe([&] { came = true; }); }));
  world.settle();
  CHECK(came);
}

TEST_CASE("calls of futures from another thread are refused before anything changes",
          "[S-005][T-199]") {
  World world;
  world.loop.set_debug(true);
  auto future = world.loop.create_future<int>();
  auto task = world.loop.create_task(world.loop.sleep(3600s));
  world.settle();
  CHECK(refused(world, [&] { future.set_result(1); }));
  CHECK(refused(world, [&] { future.set_exception(std::make_exception_ptr(1)); }));
  CHECK(refused(world, [&] { future.cancel(); }));
  CHECK(refused(world, [&] { future.add_done_callback([] { FAIL("wrong thread"); }); }));
  CHECK(refused(world, [&] { task.cancel(); }));
  world.settle();
  CHECK_FALSE(future.done());
  CHECK_FALSE(task.done());
  future.set_result(2);
}

TEST_CASE("calls of a transport from another thread are refused before anything changes",
          "[S-005][T-199]") {
  World world;
  world.loop.set_debug(true);
  world.loop.set_slow_callback_duration(3600s);
  Stream stream = open_stream(world);
  auto& transport = *stream.transport;
  const std::vector<std::string> chunks{"a", "b"};
  const auto limits = transport.get_write_buffer_limits();
  CHECK(refused(world, [&] { transport.write("x"); }));
  CHECK(refused(world, [&] { transport.writelines(chunks); }));
  CHECK(refused(world, [&] { transport.write_eof(); }));
  CHECK(refused(world, [&] { transport.close(); }));
  CHECK(refused(world, [&] { transport.abort(); }));
  CHECK(refused(world, [&] { transport.abort_with_reset(); }));
  CHECK(refused(world, [&] { transport.pause_reading(); }));
  CHECK(refused(world, [&] { transport.set_write_buffer_limits({.high = 1}); }));
  CHECK(refused(world, [&] { transport.set_flush_timeout(1s); }));
  CHECK(refused(world, [&] { transport.get_write_buffer_size(); }));
  CHECK(refused(world, [&] { transport.set_protocol(std::make_shared<Recorder>()); }));
  CHECK(transport.is_reading());
  CHECK_FALSE(transport.is_closing());
  CHECK(transport.get_write_buffer_limits() == limits);
  CHECK(transport.get_protocol() == stream.protocol);
  transport.pause_reading();
  CHECK(refused(world, [&] { transport.resume_reading(); }));
  CHECK_FALSE(transport.is_reading());
  transport.resume_reading();
  transport.write("still here");
  stream.peer.send("and you?");
  world.run_until([&] { return stream.protocol->received == "and you?"; });
  CHECK(stream.peer.receive() == "still here");
  transport.close();
  world.run_until([&] { return stream.protocol->lost; });
}

TEST_CASE("calls of a server from another thread are refused before anything changes",
          "[S-005][T-199]") {
  World world;
  world.loop.set_debug(true);
  world.loop.set_slow_callback_duration(3600s);
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0));
  CHECK(refused(world, [&] { server->close(); }));
  CHECK(refused(world, [&] { server->close_clients(); }));
  CHECK(refused(world, [&] { server->abort_clients(); }));
  CHECK(server->is_serving());
  CHECK(server->sockets().size() == 1);
  server->close();
}

TEST_CASE("without debug mode nobody asks for the thread", "[S-005]") {
  World world;
  bool came = false;
  CHECK_FALSE(refused(world, [&] { world.loop.call_soon([&] { came = true; }); }));
  world.turn();
  CHECK(came);
}

TEST_CASE("while nobody runs the loop, any one thread may use it", "[S-005][T-199]") {
  World world;
  world.loop.set_debug(true);
  bool came = false;
  std::thread{[&] {
    world.loop.call_soon([&] { came = true; });
    world.loop.stop();
    world.loop.run_forever();
  }}.join();
  CHECK(came);
  world.turn();
}
