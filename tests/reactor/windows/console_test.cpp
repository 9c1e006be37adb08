// add_signal_handler() by console events: Ctrl+C and Ctrl+Break.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <csignal>
#include <thread>

using namespace test;
using ferry::Loop;

namespace {

// A console of this process's own: whoever shares one is told of Ctrl+C as well.
bool take_console() {
  ::FreeConsole();
  ::SetConsoleCtrlHandler(nullptr, FALSE);  // whoever started us may have had us ignore it
  return ::AllocConsole() != 0;
}
bool press_ctrl_c() { return ::GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) != 0; }

}  // namespace

TEST_CASE("ferry takes a console event only if it is asked to, and gives it back",
          "[A-034][S-088]") {
  World world;
  Calls calls;
  world.turn();
  CHECK(calls.count(Call::sigaction) == 0);
  world.loop.add_signal_handler(SIGINT, [] {});
  CHECK(calls.count(Call::sigaction) == 1);
  world.loop.add_signal_handler(SIGBREAK, [] {});
  world.loop.add_signal_handler(SIGINT, [] {});
  CHECK(calls.count(Call::sigaction) == 1);  // one handler for both
  CHECK(world.loop.remove_signal_handler(SIGINT));
  CHECK(calls.count(Call::sigaction) == 1);
  CHECK(world.loop.remove_signal_handler(SIGBREAK));
  CHECK(calls.count(Call::sigaction) == 2);
  {
    Loop other{backend()};
    other.add_signal_handler(SIGBREAK, [] {});
    CHECK(calls.count(Call::sigaction) == 3);
  }
  CHECK(calls.count(Call::sigaction) == 4);
}

TEST_CASE("what is no console event cannot be caught", "[A-034][C-22]") {
  World world;
  for (const int number : {0, -1, 1000, SIGTERM, SIGSEGV}) {
    CHECK_THROWS_AS(world.loop.add_signal_handler(number, [] {}), std::invalid_argument);
    CHECK_FALSE(world.loop.remove_signal_handler(number));
  }
  Calls calls;
  calls.fail(Call::sigaction, EINVAL);
  CHECK_THROWS_AS(world.loop.add_signal_handler(SIGINT, [] {}), std::invalid_argument);
  world.loop.add_signal_handler(SIGINT, [] {});
}

TEST_CASE("a console event belongs to one loop at a time", "[A-034]") {
  World world;
  world.loop.add_signal_handler(SIGINT, [] {});
  Loop other{backend()};
  CHECK_THROWS_AS(other.add_signal_handler(SIGINT, [] {}), ferry::MisuseError);
  other.add_signal_handler(SIGBREAK, [] {});
  CHECK(world.loop.remove_signal_handler(SIGINT));
  other.add_signal_handler(SIGINT, [] {});  // free again
}

TEST_CASE("Ctrl+C wakes a loop that sleeps, and runs its callback there", "[A-034][S-088]") {
  if (!take_console()) return skip("no console can be had here");
  World world;  // whose descriptors are counted
  bool pressed = false;
  std::thread::id where;
  world.loop.add_signal_handler(SIGINT, [&] {
    where = std::this_thread::get_id();
    world.loop.stop();
  });
  // Inside the run, so that it sleeps or is about to when the event comes.
  world.loop.call_soon([&] {
    pressed = press_ctrl_c();
    if (!pressed) world.loop.stop();
  });
  world.loop.run_forever();
  CHECK(pressed);
  CHECK(where == std::this_thread::get_id());
  CHECK(world.loop.remove_signal_handler(SIGINT));
}
