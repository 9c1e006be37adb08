// Signals that come at bad moments: many, to other threads, between runs, too late, to a child.
#include "support/calls.hpp"
#include "support/posix/former.hpp"
#include "support/posix/waker.hpp"
#include "support/world.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

using namespace test;
using ferry::Loop;

namespace {

// Ends the run, and the test with it, if what is waited for does not come.
class Rescue {
 public:
  explicit Rescue(Loop& loop)
      : timer_{loop.call_later(20s, [this, &loop] {
          came_ = true;
          loop.stop();
        })} {}
  ~Rescue() {
    timer_.cancel();
    CHECK_FALSE(came_);
  }
  Rescue(const Rescue&) = delete;
  Rescue& operator=(const Rescue&) = delete;

 private:
  bool came_ = false;
  ferry::TimerHandle timer_;
};

// Blocks the signal in this thread: one that is sent to the process goes to another one.
class Blocked {
 public:
  explicit Blocked(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~Blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t before_;
};

// A pipe that is full, or an eventfd at its highest.
void fill_waker(ferry::NativeHandle handle) {
  const auto fd = static_cast<int>(handle);
  for (std::uint64_t chunk = std::uint64_t{1} << 63; chunk != 0; chunk >>= 1) {
    while (::write(fd, &chunk, sizeof chunk) > 0) {
    }
  }
  const std::uint64_t one = 1;
  REQUIRE(::write(fd, &one, sizeof one) == -1);
  REQUIRE(errno == EAGAIN);
}

// How a child of this process ends that does this.
template <class Do>
int in_child(Do what) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(what());
  int status = 0;
  while (::waitpid(child, &status, 0) == -1 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("of a burst of signals a call follows the last one", "[A-034][T-179]") {
  World world;
  constexpr int burst = 20'000;
  std::atomic<int> sent{0};
  int calls = 0, seen = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] {
    ++calls;
    seen = sent.load();
    if (seen == burst) world.loop.stop();
  });
  const Rescue rescue{world.loop};
  std::thread other{[&] {
    for (int i = 1; i <= burst; ++i) {
      sent.store(i);
      ::raise(SIGUSR1);
    }
  }};
  world.loop.run_forever();
  other.join();
  CHECK(seen == burst);
  CHECK(calls >= 1);
  world.turn();  // the last one may have come after what it wrote was seen
  CHECK(calls <= burst);
  const int before = calls;
  world.turn();
  CHECK(calls == before);
}

TEST_CASE("a signal that the system delivers to another thread wakes the loop", "[A-034][T-179]") {
  World world;
  std::thread::id where;
  world.loop.add_signal_handler(SIGUSR1, [&] {
    where = std::this_thread::get_id();
    world.loop.stop();
  });
  const Rescue rescue{world.loop};
  auto [reading, writing] = ferry::socketpair();
  const int end = static_cast<int>(reading.fileno());
  std::thread other{[&] {  // the only one that takes it
    pollfd waited{end, POLLIN, 0};
    while (::poll(&waited, 1, -1) != 1) {
    }
  }};
  const Blocked blocked{SIGUSR1};
  world.loop.call_soon([] { ::kill(::getpid(), SIGUSR1); });  // it sleeps then, or is about to
  world.loop.run_forever();
  CHECK(put(writing));
  other.join();
  CHECK(where == std::this_thread::get_id());
}

TEST_CASE("a signal is not lost if the waker is full", "[A-034][T-179]") {
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] {
    ++came;
    world.loop.stop();
  });
  const bool written = waking_call(world.loop.backend()) == Call::write;
  const ferry::NativeHandle waker = written ? waker_of(world.loop) : -1;
  Calls calls;
  const auto fill_and_raise = [&] {
    if (written) {
      fill_waker(waker);
    } else {  // what a user event never says: but if it did
      ::raise(SIGURG);
      calls.fail(waking_call(world.loop.backend()), EAGAIN);
    }
    ::raise(SIGUSR1);
  };
  world.loop.add_signal_handler(SIGURG, [] {});
  const Rescue rescue{world.loop};
  calls.before_next(waiting_call(world.loop.backend()), fill_and_raise);
  world.loop.run_forever();
  CHECK(came == 1);
  // And the waker works as before. (An eventfd's counter is never read back: nobody lives to see
  // it full but by this test.)
  std::uint64_t count = 0;
  if (world.loop.backend() == "epoll") {
    CHECK(::read(static_cast<int>(waker), &count, sizeof count) == sizeof count);
  }
  calls.before_next(waiting_call(world.loop.backend()), [] { ::raise(SIGUSR1); });
  world.loop.run_forever();
  CHECK(came == 2);
}

TEST_CASE("a signal between two runs is delivered in the next", "[A-034][T-182]") {
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] {
    ++came;
    world.loop.stop();
  });
  const Rescue rescue{world.loop};
  world.loop.call_soon([&] { world.loop.stop(); });
  world.loop.run_forever();
  ::raise(SIGUSR1);
  ::raise(SIGUSR1);
  CHECK(came == 0);
  world.loop.run_forever();
  CHECK(came == 1);
}

TEST_CASE("a removed handler's pending signal is dropped", "[A-034][T-182]") {
  const Former former{SIGUSR1};
  World world;
  Loop& loop = world.loop;
  int came = 0, again = 0;
  const bool comes_back = GENERATE(false, true);
  const auto leave = [&] {
    CHECK(loop.remove_signal_handler(SIGUSR1));
    CHECK(former.in_place());
    if (comes_back) loop.add_signal_handler(SIGUSR1, [&] { ++again; });
  };
  SECTION("that no turn has seen") {
    loop.add_signal_handler(SIGUSR1, [&] { ++came; });
    ::raise(SIGUSR1);
    leave();
  }
  SECTION("that this turn is about to run") {
    loop.add_signal_handler(SIGUSR1, [&] { ++came; });
    ::raise(SIGUSR1);
    loop.call_soon(leave);  // before it, in the same turn
  }
  SECTION("by another signal's handler") {
    static_assert(SIGUSR1 < SIGUSR2);  // they run in this order
    loop.add_signal_handler(SIGUSR2, [&] { ++came; });
    loop.add_signal_handler(SIGUSR1, [&] {
      CHECK(loop.remove_signal_handler(SIGUSR2));
      leave();
    });
    ::raise(SIGUSR2);
    ::raise(SIGUSR1);
  }
  world.turn();
  world.turn();
  CHECK(came == 0);
  CHECK(again == 0);
  CHECK(former_calls == 0);
  CHECK(loop.remove_signal_handler(SIGUSR1) == comes_back);
}

TEST_CASE("a handler may remove itself, stop the loop, and have it closed", "[A-034][T-182]") {
  const Former former{SIGUSR1};
  Loop loop{backend()};
  const bool removes_itself = GENERATE(false, true), closes = GENERATE(false, true);
  int came = 0;
  bool refused = false;
  loop.add_signal_handler(SIGUSR1, [&, big = std::string(100, 'x')] {
    ++came;
    if (removes_itself) CHECK(loop.remove_signal_handler(SIGUSR1));
    try {
      loop.close();  // not while it runs: afterwards
    } catch (const ferry::MisuseError&) {
      refused = true;
    }
    CHECK(big == std::string(100, 'x'));  // it lives as long as it runs
    loop.stop();
  });
  ::raise(SIGUSR1);
  {
    const Rescue rescue{loop};
    loop.run_forever();
  }
  CHECK(came == 1);
  CHECK(refused);
  ::raise(SIGUSR1);  // pending, or the former one's
  if (closes) loop.close();
}

TEST_CASE("a signal that came is dropped when the loop closes", "[A-034][T-182]") {
  const Former former{SIGUSR1};
  int came = 0;
  {
    Loop loop{backend()};
    loop.add_signal_handler(SIGUSR1, [&] { ++came; });
    ::raise(SIGUSR1);
    if (GENERATE(false, true)) loop.close();
  }
  CHECK(came == 0);
  CHECK(former.in_place());
}

TEST_CASE("a signal to a forked child does not wake the parent's loop", "[T-183]") {
  const Former former{SIGUSR1};
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  Calls calls;
  const Call waking = waking_call(world.loop.backend());
  ::raise(SIGUSR1);
  CHECK(calls.count(waking) == 1);
  world.settle();
  CHECK(came == 1);
  calls.reset();
  CHECK(in_child([&] {
          ::raise(SIGUSR1);
          if (former_calls != 1 || !former.in_place()) return 99;  // as if no loop were here
          return static_cast<int>(calls.count(waking));
        }) == 0);
  // The parent's next sleep ends when its timer is due, and not before.
  world.loop.call_later(20ms, [&] { world.loop.stop(); });
  calls.reset();
  world.loop.run_forever();
  CHECK(calls.count(waiting_call(world.loop.backend())) == 1);
  CHECK(came == 1);
  ::raise(SIGUSR1);
  world.turn();
  CHECK(came == 2);
}

TEST_CASE("a handler that somebody puts back when no loop wants it passes on", "[A-034][T-181]") {
  const Former former{SIGUSR1};
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  // A library's, for a while that is longer than the loop's.
  void (*const ours)(int) = ::signal(SIGUSR1, [](int) {});
  world.loop.remove_signal_handler(SIGUSR1);
  ::signal(SIGUSR1, ours);
  ::raise(SIGUSR1);
  CHECK(former_calls == 1);
  CHECK(former.in_place());
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  ::raise(SIGUSR1);
  world.turn();
  CHECK(came == 1);
  CHECK(former_calls == 1);
}

TEST_CASE("a process that is forked while a handler runs can let go of signals", "[T-183]") {
  World world;
  world.loop.add_signal_handler(SIGUSR1, [] {});
  Calls calls;
  std::atomic<bool> inside{false}, go_on{false};
  calls.before_next(waking_call(world.loop.backend()), [&] {
    inside = true;
    while (!go_on) std::this_thread::yield();
  });
  std::thread other{[] { ::raise(SIGUSR1); }};
  while (!inside) std::this_thread::yield();
  const int status = in_child([&] {
    ::alarm(20);  // rather an end than a test that hangs
    return world.loop.remove_signal_handler(SIGUSR1) ? 0 : 1;
  });
  go_on = true;
  other.join();
  CHECK(status == 0);
}

TEST_CASE("a forked child may have a loop of its own, with signals of its own", "[T-183]") {
  const Former former{SIGUSR1};
  World world;
  int came = 0;
  world.loop.add_signal_handler(SIGUSR1, [&] { ++came; });
  const int status = in_child([&] {
    int in_the_child = 0;
    {
      Loop own{backend()};
      own.add_signal_handler(SIGUSR1, [&] { ++in_the_child; });
      ::raise(SIGUSR1);
      own.process_events(own.poll_events(0s));
      own.process_ready();
    }
    if (in_the_child != 1) return 1;
    if (!former.in_place()) return 2;  // the parent's loop is not one of the child's
    ::raise(SIGUSR1);
    return former_calls == 1 ? 0 : 3;
  });
  CHECK(status == 0);
  ::raise(SIGUSR1);
  world.turn();
  CHECK(came == 1);
}
