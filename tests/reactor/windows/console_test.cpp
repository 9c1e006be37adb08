// add_signal_handler() by console events: Ctrl+C, Ctrl+Break, the console's end.
#include "support/calls.hpp"
#include "support/world.hpp"

#include "platform/windows/console.hpp"

#include <array>
#include <csignal>
#include <thread>

using namespace test;
using ferry::Loop;
using ferry::internal::deliver_console_event;

namespace {

// A console of this process's own: whoever shares one is told of Ctrl+C as well. Given back, since
// the process that draws it has our standard streams.
class OwnConsole {
 public:
  OwnConsole() {
    ::FreeConsole();
    ::SetConsoleCtrlHandler(nullptr, FALSE);  // whoever started us may have had us ignore it
    taken_ = ::AllocConsole() != 0;
  }
  ~OwnConsole() { ::FreeConsole(); }
  OwnConsole(const OwnConsole&) = delete;
  OwnConsole& operator=(const OwnConsole&) = delete;
  explicit operator bool() const { return taken_; }

 private:
  bool taken_ = false;
};
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

TEST_CASE("a handler that a new console took away is put in its place again", "[A-034][S-088]") {
  World world;
  Calls calls;
  world.loop.add_signal_handler(SIGINT, [] {});
  calls.fail(Call::sigaction, EINVAL, 1);  // it is not there
  CHECK(world.loop.remove_signal_handler(SIGINT));
  const long before = calls.count(Call::sigaction);
  world.loop.add_signal_handler(SIGINT, [] {});
  CHECK(calls.count(Call::sigaction) == before + 1);
}

TEST_CASE("what is no console event cannot be caught", "[A-034][C-22][T-181]") {
  World world;
  for (const int number : {0, -1, 64, 65, 1000, SIGSEGV}) {
    CHECK_THROWS_AS(world.loop.add_signal_handler(number, [] {}), std::invalid_argument);
    CHECK_FALSE(world.loop.remove_signal_handler(number));
  }
  Calls calls;
  calls.fail(Call::sigaction, EINVAL);
  CHECK_THROWS_AS(world.loop.add_signal_handler(SIGINT, [] {}), std::invalid_argument);
  world.loop.add_signal_handler(SIGINT, [] {});
}

TEST_CASE("loops that take the same console event are all called, and one may leave",
          "[A-034][T-181]") {
  World world;
  Loop other{backend()};
  int ours = 0, theirs = 0;
  world.loop.add_signal_handler(SIGINT, [&] { ++ours; });
  other.add_signal_handler(SIGINT, [&] { ++theirs; });
  const auto deliver = [&] {
    const int number = deliver_console_event(CTRL_C_EVENT);
    for (Loop* const loop : {&world.loop, &other}) {
      loop->process_events(loop->poll_events(0s));
      loop->process_ready();
    }
    return number;
  };
  CHECK(deliver() == SIGINT);
  CHECK(ours == 1);
  CHECK(theirs == 1);
  Calls calls;
  CHECK(world.loop.remove_signal_handler(SIGINT));
  CHECK(calls.count(Call::sigaction) == 0);
  CHECK(deliver() == SIGINT);
  CHECK(ours == 1);
  CHECK(theirs == 2);
  CHECK(other.remove_signal_handler(SIGINT));
  CHECK(calls.count(Call::sigaction) == 1);  // the handler goes with the last
  CHECK(deliver() == 0);
  CHECK(theirs == 2);
  other.close();
}

TEST_CASE("each console event is a signal: all that end the console are SIGTERM", "[A-034]") {
  struct Known {
    DWORD event;
    int number;
  };
  constexpr std::array all{Known{CTRL_C_EVENT, SIGINT}, Known{CTRL_BREAK_EVENT, SIGBREAK},
                           Known{CTRL_CLOSE_EVENT, SIGTERM}, Known{CTRL_SHUTDOWN_EVENT, SIGTERM}};
  World world;
  CHECK(deliver_console_event(CTRL_LOGOFF_EVENT) == 0);  // anybody's, for a service
  for (const Known& known : all) {
    CHECK(deliver_console_event(known.event) == 0);  // nobody asked for it
    std::thread::id where;
    world.loop.add_signal_handler(known.number, [&] {
      where = std::this_thread::get_id();
      world.loop.stop();
    });
    int number = 0;
    std::thread windows{[&] { number = deliver_console_event(known.event); }};
    world.loop.run_forever();
    windows.join();
    CHECK(number == known.number);
    CHECK(where == std::this_thread::get_id());
    CHECK(world.loop.remove_signal_handler(known.number));
  }
  CHECK(deliver_console_event(1000) == 0);
}

TEST_CASE("Ctrl+C wakes a loop that sleeps, and runs its callback there", "[A-034][S-088]") {
  const OwnConsole console;
  if (!console) return skip("no console can be had here");
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
