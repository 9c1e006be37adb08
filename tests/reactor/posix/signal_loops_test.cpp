// Several loops, in several threads, that take the same signal; and what is no signal to take.
#include "support/calls.hpp"
#include "support/posix/former.hpp"
#include "support/world.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <latch>
#include <thread>

using namespace test;
using ferry::Loop;

namespace {

void strangers_handler(int) {}
bool stranger_in_place(int number) {
  struct sigaction now {};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler == &strangers_handler;
}

void turn(Loop& loop) {
  loop.process_events(loop.poll_events(0s));
  loop.process_ready();
}

}  // namespace

TEST_CASE("what cannot be caught is refused at once, and nothing changes", "[A-034][C-22][T-181]") {
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  for (const int number : {0, -1, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGFPE}) {
    Calls calls;
    CHECK_THROWS_AS(world.loop.add_signal_handler(number, [] {}), std::invalid_argument);
    CHECK_FALSE(world.loop.remove_signal_handler(number));
    CHECK(calls.count(Call::sigaction) == 0);
  }
  const Former former{SIGUSR2};
  Calls calls;
  calls.fail(Call::sigaction, EINVAL);
  CHECK_THROWS_AS(world.loop.add_signal_handler(SIGUSR2, [] {}), std::invalid_argument);
  CHECK_FALSE(world.loop.remove_signal_handler(SIGUSR2));
  CHECK(former.in_place());
  ::raise(SIGUSR2);
  CHECK(former_calls == 1);
  {
    Loop other{backend()};
    other.add_signal_handler(SIGUSR2, [] {});
  }
  CHECK(former.in_place());  // nobody else has it
  // One that is ours already stays ours.
  calls.fail(Call::sigaction, EINVAL);
  CHECK_THROWS_AS(world.loop.add_signal_handler(SIGUSR1, [] {}), std::invalid_argument);
  ::raise(SIGUSR1);
  world.turn();
  CHECK(came == 1);
}

TEST_CASE("loops that take the same signal are all called, and one may leave", "[A-034][T-181]") {
  const Former former{SIGUSR1};
  World world;
  Loop other{backend()};
  int ours = 0, theirs = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++ours; });
  other.add_signal_handler(SIGUSR1, [&] { ++theirs; });
  const auto both_turn = [&] {
    turn(world.loop);
    turn(other);
  };
  ::raise(SIGUSR1);
  both_turn();
  CHECK(ours == 1);
  CHECK(theirs == 1);
  SECTION("the first") { CHECK(world.loop.remove_signal_handler(SIGUSR1)); }
  SECTION("the second") { CHECK(other.remove_signal_handler(SIGUSR1)); }
  SECTION("by closing") { other.close(); }
  CHECK_FALSE(former.in_place());
  ::raise(SIGUSR1);
  turn(world.loop);
  if (!other.is_closed()) turn(other);
  CHECK(ours + theirs == 3);
  // Whoever left has nothing to give back.
  CHECK(world.loop.remove_signal_handler(SIGUSR1) == (ours == 2));
  if (!other.is_closed()) CHECK(other.remove_signal_handler(SIGUSR1) == (theirs == 2));
  CHECK(former.in_place());
  CHECK(former_calls == 0);
  other.close();
}

TEST_CASE("any thread that runs a loop may take a signal", "[A-034][T-181]") {
  const Former former{SIGUSR1};
  constexpr std::size_t count = 3;
  std::latch all_have_it{count + 1}, one_has_left{count + 1}, checked{count};
  std::array<int, count> first{}, second{};
  std::array<bool, count> rescued{};
  const auto live = [&](std::size_t i) {
    Loop loop{backend()};
    int came = 0;
    std::thread::id where;
    const auto run = [&] {
      const auto rescue = loop.call_later(20s, [&] {
        rescued[i] = true;
        loop.stop();
      });
      loop.run_forever();
      ferry::TimerHandle{rescue}.cancel();
    };
    loop.add_signal_handler(SIGUSR1, [&] {
      ++came;
      where = std::this_thread::get_id();
      loop.stop();
    });
    all_have_it.arrive_and_wait();
    run();
    first[i] = where == std::this_thread::get_id() ? came : -1;
    if (i == 0) loop.remove_signal_handler(SIGUSR1);
    one_has_left.arrive_and_wait();
    if (i == 0) {
      checked.arrive_and_wait();  // the others have had it
      turn(loop);
    } else {
      run();
      checked.arrive_and_wait();
    }
    second[i] = came - 1;
  };
  std::array<std::thread, count> threads;
  for (std::size_t i = 0; i < count; ++i) threads[i] = std::thread{live, i};
  all_have_it.arrive_and_wait();
  ::raise(SIGUSR1);
  one_has_left.arrive_and_wait();
  ::raise(SIGUSR1);
  for (std::thread& thread : threads) thread.join();
  CHECK(first == std::array<int, count>{1, 1, 1});
  CHECK(second == std::array<int, count>{0, 1, 1});
  CHECK(rescued == std::array<bool, count>{});
  CHECK(former.in_place());
}

TEST_CASE("a loop that comes later finds nothing of what one that went had", "[T-181][T-182]") {
  World world;
  {
    Loop gone{backend()};
    gone.add_signal_handler(SIGUSR1, [] {});
    gone.add_signal_handler(SIGUSR2, [] {});
    ::raise(SIGUSR1);
  }
  const Former former{SIGUSR2};
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  world.turn();
  CHECK(came == 0);
  CHECK(former.in_place());
  ::raise(SIGUSR1);
  world.turn();
  CHECK(came == 1);
}

TEST_CASE("a handler that somebody else has put in ferry's place stays", "[A-034][T-181]") {
  const Former former{SIGUSR1};
  World world;
  world.loop.add_signal_handler(SIGUSR1, [] {});
  struct sigaction strangers {};
  strangers.sa_handler = &strangers_handler;
  SECTION("when the loop leaves") {
    ::sigaction(SIGUSR1, &strangers, nullptr);
    CHECK(world.loop.remove_signal_handler(SIGUSR1));
  }
  SECTION("and comes back when a loop that took it from them has left, with all others") {
    ::sigaction(SIGUSR1, &strangers, nullptr);
    Loop other{backend()};
    int came = 0;
    other.add_signal_handler(SIGUSR1, [&] { ++came; });
    CHECK_FALSE(stranger_in_place(SIGUSR1));
    ::raise(SIGUSR1);
    turn(other);
    CHECK(came == 1);
    CHECK(world.loop.remove_signal_handler(SIGUSR1));
    CHECK_FALSE(stranger_in_place(SIGUSR1));
  }
  CHECK(stranger_in_place(SIGUSR1));
}
