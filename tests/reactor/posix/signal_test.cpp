// add_signal_handler(), and the end of a program by Ctrl+C.
#include "support/calls.hpp"
#include "support/posix/former.hpp"
#include "support/world.hpp"

#include <unistd.h>

#include <csignal>
#include <thread>

using namespace test;
using ferry::Loop;

TEST_CASE("a signal runs its callback in the loop's thread, in a turn", "[A-034]") {
  World world;
  int runs = 0;
  std::thread::id where;
  world.loop.add_signal_handler(SIGUSR1, [&] {
    ++runs;
    where = std::this_thread::get_id();
  });
  ::raise(SIGUSR1);
  CHECK(runs == 0);  // not in the signal handler
  world.turn();
  CHECK(runs == 1);
  std::thread{[] { ::raise(SIGUSR1); }}.join();
  world.turn();
  CHECK(runs == 2);
  CHECK(where == std::this_thread::get_id());
  world.turn();
  CHECK(runs == 2);
  CHECK(world.loop.remove_signal_handler(SIGUSR1));
}

TEST_CASE("a signal wakes a loop that sleeps, or is about to", "[A-034][S-088]") {
  World world;
  bool rescued = false;
  world.loop.add_signal_handler(SIGUSR1, [&] { world.loop.stop(); });
  const auto rescue = world.loop.call_later(20s, [&] {
    rescued = true;
    world.loop.stop();
  });
  Calls calls;
  SECTION("just before it sleeps") {
    calls.before_next(waiting_call(world.loop.backend()), [] { ::raise(SIGUSR1); });
    world.loop.run_forever();
  }
  SECTION("while it polls busily, without sleeping yet") {
    world.loop.set_busy_poll(20ms);
    calls.before_next(waiting_call(world.loop.backend()), [] { ::raise(SIGUSR1); }, 1);
    world.loop.run_forever();
  }
  SECTION("from another thread, which gives it time to sleep") {
    std::thread other;
    world.loop.call_soon([&] {
      other = std::thread{[self = ::pthread_self()] {
        ::usleep(5000);
        ::pthread_kill(self, SIGUSR1);
      }};
    });
    world.loop.run_forever();
    other.join();
  }
  SECTION("when the poll is interrupted by it") {
    calls.before_next(waiting_call(world.loop.backend()), [&] {
      calls.fail(waiting_call(world.loop.backend()), EINTR);
      ::raise(SIGUSR1);
    });
    world.loop.run_forever();
  }
  CHECK_FALSE(rescued);
  ferry::TimerHandle{rescue}.cancel();
}

TEST_CASE("the former disposition comes back: by removal, by close, with the loop",
          "[A-034][S-088]") {
  const Former former{SIGUSR1};
  World world;
  SECTION("removed") {
    world.loop.add_signal_handler(SIGUSR1, [] {});
    CHECK_FALSE(former.in_place());
    CHECK(world.loop.remove_signal_handler(SIGUSR1));
    CHECK(former.in_place());
    CHECK_FALSE(world.loop.remove_signal_handler(SIGUSR1));
    CHECK(former.in_place());
  }
  SECTION("set a second time in between") {
    int runs = 0;
    world.loop.add_signal_handler(SIGUSR1, [&] { runs += 100; });
    world.loop.add_signal_handler(SIGUSR1, [&] { ++runs; });
    ::raise(SIGUSR1);
    world.turn();
    CHECK(runs == 1);
    CHECK(world.loop.remove_signal_handler(SIGUSR1));
    CHECK(former.in_place());
  }
  SECTION("closed") {
    world.loop.add_signal_handler(SIGUSR1, [] {});
    world.loop.close();
    CHECK(former.in_place());
    CHECK_FALSE(world.loop.remove_signal_handler(SIGUSR1));
  }
  SECTION("gone") {
    Loop loop{backend()};
    loop.add_signal_handler(SIGUSR1, [] {});
    CHECK_FALSE(former.in_place());
  }
  CHECK(former.in_place());
  ::raise(SIGUSR1);
  CHECK(former_calls == 1);
}

TEST_CASE("a handler may remove itself, and what it throws is reported with its place",
          "[A-034][T-011]") {
  World world;
  const Former former{SIGUSR1};
  std::uint_least32_t line = 0;
  world.loop.set_exception_handler([&](Loop&, const ferry::ExceptionContext& context) {
    line = context.where.line();
  });
  world.loop.add_signal_handler(SIGUSR1, [&, text = std::string(100, 'x')] {
    CHECK(world.loop.remove_signal_handler(SIGUSR1));
    throw std::runtime_error{text};
  });
  const std::uint_least32_t expected = __LINE__ - 4;
  ::raise(SIGUSR1);
  world.turn();
  CHECK(line == expected);
  CHECK(former.in_place());
}

TEST_CASE("Ctrl+C ends run_forever, and the program closes as the example does",
          "[S-088][A-034]") {
  World world;
  const Former former{SIGINT};
  Loop& loop = world.loop;
  const auto factory = ferry::make<Recorder>;
  auto server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0));
  const int port = server->sockets().front().getsockname().port();
  auto client = loop.run_until_complete(loop.create_connection(factory, "127.0.0.1", port));
  loop.add_signal_handler(SIGINT, [&] { loop.stop(); });
  loop.call_soon([] { ::kill(::getpid(), SIGINT); });
  loop.run_forever();
  CHECK_FALSE(loop.is_running());
  CHECK(former_calls == 0);
  server->close();
  server->close_clients();
  loop.run_until_complete(server->wait_closed());
  world.run_until([&] { return client.protocol->lost; });
  CHECK(client.protocol->story() == "made eof lost");
  loop.close();
  CHECK(former.in_place());
}
