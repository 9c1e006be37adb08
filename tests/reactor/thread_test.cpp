// call_soon_threadsafe(): from any thread, in order, never lost, and cancelled for good.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

using namespace test;
using ferry::Loop;

namespace {

// Remembers in which thread it died.
struct Mortal {
  explicit Mortal(std::vector<std::thread::id>& deaths) : deaths_{&deaths} {}
  Mortal(Mortal&& other) noexcept : deaths_{std::exchange(other.deaths_, nullptr)} {}
  ~Mortal() {
    if (deaths_ != nullptr) deaths_->push_back(std::this_thread::get_id());
  }
  std::vector<std::thread::id>* deaths_;
};

// Ends a run that would hang, and says so.
class Rescue {
 public:
  explicit Rescue(Loop& loop)
      : timer_{loop.call_later(120s, [this, &loop] {
          needed = true;
          loop.stop();
        })} {}
  ~Rescue() {
    timer_.cancel();
    CHECK_FALSE(needed);
  }
  bool needed = false;

 private:
  ferry::TimerHandle timer_;
};

void wait_until(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::yield();
}

// How often a loop was woken.
long rings(const Calls& calls) { return calls.count(waking_call(backend_name())); }

}  // namespace

TEST_CASE("a post runs in the loop's thread, in a later turn, in its order", "[A-035][S-005]") {
  World world;
  std::string order;
  std::thread::id where;
  std::thread{[&] {
    for (const char name : {'a', 'b', 'c'}) {
      world.loop.call_soon_threadsafe([&order, &where, name] {
        order += name;
        where = std::this_thread::get_id();
      });
    }
  }}.join();
  CHECK(order.empty());
  world.turn();
  CHECK(order == "abc");
  CHECK(where == std::this_thread::get_id());
  world.loop.call_soon_threadsafe([&] {
    order += "d";
    world.loop.call_soon_threadsafe([&] { order += "e"; });
  });
  world.turn();
  CHECK(order == "abcd");
  world.turn();
  CHECK(order == "abcde");
}

TEST_CASE("a post that comes just as the loop goes to sleep wakes it", "[T-196][A-035]") {
  World world;
  const Rescue rescue{world.loop};
  Calls calls;
  calls.before_next(waiting_call(world.loop.backend()), [&] {
    std::thread{[&] { world.loop.call_soon_threadsafe([&] { world.loop.stop(); }); }}.join();
  });
  world.loop.run_forever();
  CHECK(calls.count(waiting_call(world.loop.backend())) == 1);
}

TEST_CASE("the waker is rung only if the loop sleeps, and once for many posts", "[T-196]") {
  World world;
  Loop& loop = world.loop;
  const Rescue rescue{loop};
  Calls calls;
  const Call wait = waiting_call(loop.backend());
  int runs = 0;
  const auto post_ten = [&] {
    for (int i = 0; i < 10; ++i) loop.call_soon_threadsafe([&] { ++runs; });
    loop.call_soon_threadsafe([&] { loop.stop(); });
  };
  SECTION("before the run") {
    post_ten();
    loop.run_forever();
    CHECK(rings(calls) == 0);
  }
  SECTION("in a callback") {
    loop.call_soon(post_ten);
    loop.run_forever();
    CHECK(rings(calls) == 0);
  }
  SECTION("while it sleeps") {
    calls.before_next(wait, post_ten);
    loop.run_forever();
    CHECK(rings(calls) == 1);
  }
  SECTION("while it looks, but does not sleep") {
    loop.set_busy_poll(10s);
    calls.before_next(wait, post_ten, 1);
    loop.run_forever();
    CHECK(rings(calls) == 0);
  }
  SECTION("after it was woken once") {
    calls.before_next(wait, [&] { loop.call_soon_threadsafe(post_ten); });
    loop.run_forever();
    CHECK(rings(calls) == 1);
  }
  CHECK(runs == 10);
}

TEST_CASE("many threads post, and all of it runs, in order for each thread", "[T-196]") {
  constexpr int threads = 8;
  const int posts = sanitized ? 10000 : 200000;
  World world;
  const Rescue rescue{world.loop};
  std::vector<int> seen(threads, 0);
  int finished = 0, wrong = 0;
  std::vector<std::thread> all;
  for (std::size_t number = 0; number < threads; ++number) {
    all.emplace_back([&, number] {
      for (int i = 0; i < posts; ++i) {
        world.loop.call_soon_threadsafe([&, number, i] {
          if (seen[number]++ != i) ++wrong;
          if (i == posts - 1 && ++finished == threads) world.loop.stop();
        });
      }
    });
  }
  world.loop.run_forever();
  for (std::thread& thread : all) thread.join();
  CHECK(wrong == 0);
  for (const int count : seen) CHECK(count == posts);
}

TEST_CASE("no wake-up is lost between a loop that goes to sleep and threads that post",
          "[T-196]") {
  const int rounds = sanitized ? 2000 : 10000;
  World world;
  const Rescue rescue{world.loop};
  std::atomic<int> answered{0};
  std::thread pinger{[&] {
    for (int i = 0; i < rounds; ++i) {
      world.loop.call_soon_threadsafe([&] { ++answered; });
      // Each post meets a loop that has nothing to do: it is about to sleep, or sleeps.
      while (answered.load() <= i) {
      }
    }
    world.loop.call_soon_threadsafe([&] { world.loop.stop(); });
  }};
  world.loop.run_forever();
  if (rescue.needed) answered = rounds;
  pinger.join();
  CHECK(answered == rounds);
}

TEST_CASE("a full waker counts as rung, an interrupted one is rung again", "[T-196]") {
  if (backend_name() == "iocp") return skip("a completion port is neither full nor interrupted");
  World world;
  Calls calls;
  SECTION("full") {
    calls.fail(waking_call(backend_name()), EAGAIN);
    const auto timer = world.loop.call_later(5ms, [] {});  // it was full: something wakes the loop
    calls.before_next(waiting_call(world.loop.backend()), [&] {
      world.loop.call_soon_threadsafe([&] { world.loop.stop(); });
    });
    world.loop.run_forever();
    CHECK(rings(calls) == 1);
  }
  SECTION("interrupted") {
    const Rescue rescue{world.loop};
    calls.fail(waking_call(backend_name()), EINTR, 3);
    calls.before_next(waiting_call(world.loop.backend()), [&] {
      world.loop.call_soon_threadsafe([&] { world.loop.stop(); });
    });
    world.loop.run_forever();
    CHECK(rings(calls) == 4);
  }
}

TEST_CASE("a waker that fails is reported, nothing is lost, and the next post tries again",
          "[T-196]") {
  World world;
  Loop& loop = world.loop;
  const Rescue rescue{loop};
  Calls calls;
  std::string order;
  calls.fail(waking_call(backend_name()), EBADF);
  calls.before_next(waiting_call(loop.backend()), [&] {
    loop.call_soon_threadsafe([&] { order += "a"; });
    CHECK(rings(calls) == 1);
    loop.call_soon_threadsafe([&] {
      order += "b";
      loop.stop();
    });
    CHECK(rings(calls) == 2);
  });
  loop.run_forever();
  CHECK(order == "ab");
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].exception == std::errc::bad_file_descriptor);
}

TEST_CASE("a cancelled post does not run", "[T-197][A-035]") {
  World world;
  int runs = 0;
  std::vector<std::thread::id> deaths;
  auto handle = world.loop.call_soon_threadsafe([&, mortal = Mortal{deaths}] { ++runs; });
  CHECK_FALSE(handle.cancelled());
  std::thread{[handle]() mutable { handle.cancel(); }}.join();
  handle.cancel();
  CHECK(handle.cancelled());
  world.turn();
  CHECK(runs == 0);
  CHECK(deaths == std::vector{std::this_thread::get_id()});
  auto late = world.loop.call_soon_threadsafe([&] { ++runs; });
  world.turn();
  CHECK(runs == 1);
  late.cancel();
  handle.cancel();
  world.loop.call_soon_threadsafe([&] { ++runs; });
  late.cancel();
  world.turn();
  CHECK(runs == 2);
}

TEST_CASE("a post cancelled by an earlier one of its batch does not run", "[T-197]") {
  World world;
  std::string order;
  ferry::ThreadsafeHandle self, next;
  self = world.loop.call_soon_threadsafe([&] {
    order += "a";
    self.cancel();  // returns at once
    next.cancel();
  });
  next = world.loop.call_soon_threadsafe([&] { order += "b"; });
  world.loop.call_soon_threadsafe([&] { order += "c"; });
  world.turn();
  CHECK(order == "ac");
}

TEST_CASE("cancel() from another thread waits for a callback that runs", "[T-197]") {
  World world;
  const int rounds = sanitized ? 50 : 300;
  int early = 0;
  for (int i = 0; i < rounds; ++i) {
    std::atomic<bool> running{false}, cancelling{false}, ended{false};
    ferry::ThreadsafeHandle handle = world.loop.call_soon_threadsafe([&] {
      running = true;
      wait_until(cancelling);
      for (int pause = 0; pause < 20; ++pause) std::this_thread::yield();
      ended = true;
    });
    world.loop.call_soon_threadsafe([] {});  // it is not the last of its batch
    std::vector<std::thread> others;
    std::atomic<int> returned_early{0};
    for (int count = 0; count < 2; ++count) {
      others.emplace_back([&, mine = handle]() mutable {
        wait_until(running);
        cancelling = true;
        mine.cancel();
        if (!ended) ++returned_early;
      });
    }
    world.turn();
    for (std::thread& other : others) other.join();
    early += returned_early;
  }
  CHECK(early == 0);
}

TEST_CASE("cancel() does not wait for a post that the loop has fetched and not begun", "[T-197]") {
  World world;
  std::string ran;
  ferry::ThreadsafeHandle first, second;
  // Runs before what was posted, and holds the loop until both are cancelled.
  world.loop.call_soon([&] {
    std::thread{[&] {
      first.cancel();
      second.cancel();
    }}.join();
    ran += "c";
  });
  first = world.loop.call_soon_threadsafe([&] { ran += "1"; });
  second = world.loop.call_soon_threadsafe([&] { ran += "2"; });
  world.loop.call_soon_threadsafe([&] { ran += "3"; });
  world.loop.call_later(0s, [&] { world.loop.call_soon([&] { world.loop.stop(); }); });
  world.loop.run_forever();
  CHECK(ran == "c3");
}

TEST_CASE("cancel() waits for its own callback only, not for the rest of the batch", "[T-197]") {
  World world;
  const int rounds = sanitized ? 200 : 2000;
  std::atomic<int> in_vain{0};
  for (int i = 0; i < rounds; ++i) {
    std::atomic<bool> running{false}, back{false};
    auto handle = world.loop.call_soon_threadsafe([&] { running = true; });
    world.loop.call_soon_threadsafe([&] {
      // Comes after it in the batch, and waits for who cancels it.
      const auto deadline = std::chrono::steady_clock::now() + 20s;
      while (!back && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      if (!back) ++in_vain;
    });
    std::thread other{[&, mine = handle]() mutable {
      wait_until(running);
      mine.cancel();
      back = true;
    }};
    world.turn();
    other.join();
  }
  CHECK(in_vain == 0);
}

TEST_CASE("once cancel() has returned, a post neither runs nor will run", "[T-197]") {
  struct Item {
    std::atomic<int> runs{0};
    std::atomic<bool> over{false};
  };
  constexpr int threads = 4;
  const std::size_t posts = sanitized ? 2000 : 10000;
  World world;
  const Rescue rescue{world.loop};
  std::vector<std::vector<Item>> items(threads);
  std::atomic<int> finished{0}, broken{0};
  std::vector<std::thread> all;
  for (auto& mine : items) mine = std::vector<Item>(posts);
  for (auto& mine : items) {
    all.emplace_back([&] {
      for (std::size_t i = 0; i < posts; ++i) {
        Item& item = mine[i];
        auto handle = world.loop.call_soon_threadsafe([&] {
          if (item.over) ++broken;
          ++item.runs;
          if (item.over) ++broken;
        });
        for (std::size_t pause = i % 8; pause > 0; --pause) std::this_thread::yield();
        if (i % 3 == 0) continue;
        handle.cancel();
        item.over = true;
      }
      ++finished;
      world.loop.call_soon_threadsafe([&] {
        if (finished == threads) world.loop.stop();
      });
    });
  }
  world.loop.run_forever();
  for (std::thread& thread : all) thread.join();
  world.settle();
  CHECK(broken == 0);
  int wrong = 0, cancelled = 0;
  for (const auto& mine : items) {
    for (std::size_t i = 0; i < posts; ++i) {
      if (i % 3 == 0 ? mine[i].runs != 1 : mine[i].runs > 1) ++wrong;
      if (mine[i].runs == 0) ++cancelled;
    }
  }
  CHECK(wrong == 0);
  CHECK(cancelled > 0);
}

TEST_CASE("captures of posts die in the loop's thread, whatever becomes of them", "[T-197]") {
  World world;
  std::vector<std::thread::id> deaths;
  int runs = 0;
  ferry::ThreadsafeHandle kept;
  std::thread{[&] {
    world.loop.call_soon_threadsafe([&, mortal = Mortal{deaths}] { ++runs; });
    world.loop.call_soon_threadsafe([&, mortal = Mortal{deaths}] { throw 5; });
    auto cancelled = world.loop.call_soon_threadsafe([&, mortal = Mortal{deaths}] { ++runs; });
    cancelled.cancel();
    kept = cancelled;
  }}.join();
  world.turn();
  CHECK(deaths.size() == 3);
  CHECK(runs == 1);
  std::thread{[&] {
    world.loop.call_soon_threadsafe([&, mortal = Mortal{deaths}] { ++runs; });
  }}.join();
  world.loop.close();  // in this thread
  CHECK(deaths == std::vector<std::thread::id>(4, std::this_thread::get_id()));
  CHECK(runs == 1);
  CHECK(world.take_reports().size() == 1);
}

TEST_CASE("a handle of a post is harmless when its loop is gone", "[T-197]") {
  ferry::ThreadsafeHandle left, ran;
  {
    Loop loop{backend()};
    ran = loop.call_soon_threadsafe([] {});
    loop.stop();
    loop.run_forever();
    left = loop.call_soon_threadsafe([] { FAIL("it was left behind"); });
  }
  World world;
  int runs = 0;
  world.loop.call_soon_threadsafe([&] { ++runs; });
  world.loop.call_soon_threadsafe([&] { ++runs; });
  std::thread{[left, ran]() mutable {
    left.cancel();
    ran.cancel();
    ferry::ThreadsafeHandle{}.cancel();
  }}.join();
  left.cancel();
  world.turn();
  CHECK(runs == 2);  // another loop's
  CHECK(left.cancelled());
}

TEST_CASE("posts that race with the end of the loop run, or are refused, or are dropped",
          "[T-196][T-197]") {
  for (int round = 0; round < 20; ++round) {
    auto loop = std::make_unique<Loop>(backend());
    std::atomic<bool> begun{false};
    std::atomic<int> made{0}, gone{0};
    int runs = 0;
    std::thread poster{[&] {
      try {
        for (;;) {
          auto token = std::shared_ptr<void>(nullptr, [&](void*) { ++gone; });
          ++made;
          loop->call_soon_threadsafe([&runs, token] { ++runs; });
          begun = true;
        }
      } catch (const ferry::MisuseError&) {  // closed
      }
    }};
    wait_until(begun);
    loop->stop();
    loop->run_forever();
    loop->close();
    poster.join();
    loop.reset();
    REQUIRE(made == gone);
    REQUIRE(runs > 0);
  }
}

TEST_CASE("two loops in two threads share nothing", "[T-199]") {
  const auto work = [](int& echoed) {
    Loop loop{backend()};
    auto both = ferry::socketpair();
    auto one = loop.run_until_complete(
        loop.create_connection(ferry::make<ferry::Protocol>, std::move(both.first)));
    struct Echo : ferry::Protocol {
      explicit Echo(int& count) : count_{count} {}
      void data_received(ferry::BytesView data) override {
        count_ += static_cast<int>(data.size());
      }
      int& count_;
    };
    auto other = loop.run_until_complete(loop.create_connection(
        [&] { return std::make_shared<Echo>(echoed); }, std::move(both.second)));
    for (int i = 0; i < 200; ++i) {
      one.transport->write("x");
      loop.call_later(1us * i, [] {});
      loop.call_soon_threadsafe([] {});
      loop.run_until_complete(loop.sleep(0s));
    }
    while (echoed < 200) loop.run_until_complete(loop.sleep(0s));
  };
  int first = 0, second = 0;
  std::thread thread{[&] { work(first); }};
  work(second);
  thread.join();
  CHECK(first == 200);
  CHECK(second == 200);
}
