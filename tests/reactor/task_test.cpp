// Coroutines: when they run, how they end, what cancelling does, and what happens to their frames.
#include "support/world.hpp"

#include <memory>
#include <string>

using namespace test;
using ferry::CancelledError;
using ferry::Future;
using ferry::Loop;
using ferry::Task;

namespace {

// A frame's local that says when it is destroyed.
struct Local {
  explicit Local(std::string& log, char name) : log_{log}, name_{name} {}
  Local(const Local&) = delete;
  ~Local() { log_ += name_; }
  std::string& log_;
  char name_;
};

Task<int> nested(int depth, Future<void>* gate) {
  if (depth > 0) {
    const int below = co_await nested(depth - 1, gate);
    co_return below + 1;
  }
  if (gate != nullptr) co_await *gate;
  co_return 0;
}

Task<void> throwing(int depth) {
  if (depth == 0) throw std::runtime_error{"from below"};
  co_await throwing(depth - 1);
}

}  // namespace

TEST_CASE("a task does not begin before it is awaited or given to the loop", "[C-22]") {
  World world;
  bool begun = false;
  auto work = [](bool& flag, std::shared_ptr<int> held) -> Task<void> {
    flag = true;
    co_return;
    static_cast<void>(held);
  };
  auto held = std::make_shared<int>(1);
  {
    auto task = work(begun, held);
    CHECK(task);
    CHECK(held.use_count() == 2);
    world.settle();
  }
  CHECK_FALSE(begun);  // dropped: it never runs
  CHECK(held.use_count() == 1);
  auto task = work(begun, held);
  auto moved = std::move(task);
  CHECK_FALSE(task);
  CHECK_THROWS_AS(world.loop.create_task(std::move(task)), ferry::MisuseError);
  CHECK_THROWS_AS(world.loop.create_task(Task<int>{}), ferry::MisuseError);
  auto future = world.loop.create_task(std::move(moved));
  CHECK_FALSE(begun);  // not inside create_task()
  world.turn();
  CHECK(begun);
  CHECK(future.done());
  CHECK(held.use_count() == 1);  // the frame goes with the end
}

TEST_CASE("exceptions go up through the awaits, and can be caught on the way", "[S-086]") {
  World world;
  CHECK_THROWS_AS(world.run(throwing(3)), std::runtime_error);
  auto catching = []() -> Task<std::string> {
    try {
      co_await throwing(2);
    } catch (const std::runtime_error& error) {
      co_return error.what();
    }
    co_return "nothing";
  };
  CHECK(world.run(catching()) == "from below");
}

TEST_CASE("deep awaits do not use up the stack", "[C-22]") {
  World world;
  constexpr int depth = 100000;
  CHECK(world.run(nested(depth, nullptr)) == depth);
  auto gate = world.loop.create_future<void>();
  auto future = world.loop.create_task(nested(depth, &gate));
  world.settle();
  gate.set_result();
  world.settle();
  CHECK(future.result() == depth);
  auto catching = []() -> Task<void> { co_await throwing(2000); };
  CHECK_THROWS_AS(world.run(catching()), std::runtime_error);
}

TEST_CASE("many awaits one after the other do not use up the stack", "[C-22]") {
  World world;
  auto one = [](int value) -> Task<int> { co_return value; };
  auto many = [](Loop& loop, auto make) -> Task<long> {
    long sum = 0;
    Future<int> ready = loop.create_future<int>();
    ready.set_result(1);
    for (int i = 0; i < 100000; ++i) {
      sum += co_await make(1);
      sum += co_await ready;
    }
    co_return sum;
  };
  CHECK(world.run(many(world.loop, one)) == 200000);
}

TEST_CASE("a long chain of tasks that wait for each other does not use up the stack", "[C-22]") {
  World world;
  auto link = [](Future<int> next) -> Task<int> { co_return 1 + co_await next; };
  auto first = world.loop.create_future<int>();
  Future<int> last = first;
  for (int i = 0; i < 20000; ++i) last = world.loop.create_task(link(last));
  world.settle();
  first.set_result(0);
  world.run_until([&] { return last.done(); });
  CHECK(last.result() == 20000);
}

TEST_CASE("a task cancelled before it began never begins", "[S-094]") {
  World world;
  std::string log;
  auto work = [](std::string& text, std::shared_ptr<int>) -> Task<void> {
    text += "ran";
    co_return;
  };
  auto held = std::make_shared<int>(1);
  auto future = world.loop.create_task(work(log, held));
  CHECK(future.cancel());
  CHECK_FALSE(future.done());
  world.turn();
  CHECK(future.cancelled());
  CHECK_FALSE(future.cancel());
  CHECK(log.empty());
  CHECK(held.use_count() == 1);
}

TEST_CASE("a task that waits is cancelled at that point, and cleans up", "[S-094]") {
  World world;
  std::string log;
  auto work = [](Loop& loop, std::string& text) -> Task<void> {
    Local local{text, 'l'};
    try {
      co_await loop.sleep(3600s);
    } catch (const CancelledError&) {
      text += "c";
      throw;
    }
  };
  auto outer = [](Task<void> inner, std::string& text) -> Task<void> {
    Local local{text, 'o'};
    co_await std::move(inner);
    text += "not here";
  };
  auto future = world.loop.create_task(outer(work(world.loop, log), log));
  world.settle();
  CHECK(future.cancel());
  CHECK(log.empty());  // not inside cancel()
  world.settle();
  CHECK(log == "clo");
  CHECK(future.cancelled());
}

TEST_CASE("a task may catch its cancellation and go on", "[S-094]") {
  World world;
  auto stubborn = [](Loop& loop) -> Task<int> {
    int caught = 0;
    for (int i = 0; i < 2; ++i) {
      try {
        co_await loop.sleep(3600s);
      } catch (const CancelledError&) {
        ++caught;
      }
    }
    co_await loop.sleep(1ms);  // the clean-up may wait
    co_return caught;
  };
  auto future = world.loop.create_task(stubborn(world.loop));
  world.settle();
  CHECK(future.cancel());
  world.settle();
  CHECK_FALSE(future.done());
  CHECK(future.cancel());
  world.run_until([&] { return future.done(); });
  CHECK(future.result() == 2);
}

TEST_CASE("a task cancelled while it runs is cancelled where it next waits", "[S-094]") {
  World world;
  std::string log;
  Future<void> self;
  auto work = [](Loop& loop, Future<void>& me, std::string& text) -> Task<void> {
    CHECK(me.cancel());
    text += "a";
    Future<void> ready = loop.create_future<void>();
    ready.set_result();
    co_await ready;  // does not wait
    text += "b";
    co_await loop.sleep(3600s);
    text += "not here";
  };
  self = world.loop.create_task(work(world.loop, self, log));
  world.settle();
  CHECK(log == "ab");
  CHECK(self.cancelled());
}

TEST_CASE("a task cancelled in its last step ends cancelled, unless it throws", "[S-094]") {
  World world;
  Future<int> self;
  auto returning = [](Future<int>& me) -> Task<int> {
    CHECK(me.cancel());
    co_return 1;
  };
  self = world.loop.create_task(returning(self));
  world.settle();
  CHECK(self.cancelled());
  auto failing = [](Future<int>& me) -> Task<int> {
    me.cancel();
    throw std::runtime_error{"my own"};
    co_return 1;
  };
  self = world.loop.create_task(failing(self));
  world.settle();
  CHECK_FALSE(self.cancelled());
  CHECK_THROWS_AS(self.result(), std::runtime_error);
}

TEST_CASE("a task cancelled when its result is there already is cancelled all the same",
          "[S-094]") {
  World world;
  auto gate = world.loop.create_future<void>();
  auto work = [](Future<void> until) -> Task<void> { co_await until; };
  auto future = world.loop.create_task(work(gate));
  world.settle();
  gate.set_result();
  CHECK(future.cancel());  // woken, but it has not run yet
  world.settle();
  CHECK(future.cancelled());
}

TEST_CASE("sleep() comes back in time, and leaves no timer when it is cancelled", "[A-035]") {
  World world;
  const auto before = world.loop.time();
  world.run(world.loop.sleep(5ms));
  CHECK(world.loop.time() - before >= 5ms);
  world.run(world.loop.sleep(-1s));
  auto future = world.loop.create_task(world.loop.sleep(3600s));
  world.settle();
  future.cancel();
  world.settle();
  CHECK(future.cancelled());
  auto never = world.loop.create_task(
      world.loop.sleep(ferry::Seconds{std::numeric_limits<double>::infinity()}));
  world.settle();
  CHECK_FALSE(never.done());
}

TEST_CASE("dropping the future of a task neither stops nor cancels it", "[S-094]") {
  World world;
  bool done = false;
  auto work = [](Loop& loop, bool& flag) -> Task<void> {
    co_await loop.sleep(1ms);
    flag = true;
  };
  static_cast<void>(world.loop.create_task(work(world.loop, done)));
  world.run_until([&] { return done; });
}

TEST_CASE("the end of the loop destroys what is suspended, innermost first", "[T-024]") {
  World world;
  std::string log;
  auto inner = [](std::string& text, Future<void> gate, Loop& loop) -> Task<void> {
    Local local{text, 'i'};
    struct AtEnd {
      Loop& loop;
      ~AtEnd() { loop.call_soon([] { FAIL("after the end"); }); }
    } at_end{loop};
    co_await gate;
    text += "not here";
  };
  auto outer = [&inner](std::string& text, Future<void> gate, Loop& loop) -> Task<void> {
    Local local{text, 'o'};
    co_await inner(text, gate, loop);
  };
  auto gate = world.loop.create_future<void>();
  auto future = world.loop.create_task(outer(log, gate, world.loop));
  auto unbegun = [](std::shared_ptr<Local>) -> Task<void> { co_return; };
  world.settle();
  static_cast<void>(world.loop.create_task(unbegun(std::make_shared<Local>(log, 'u'))));
  world.loop.close();
  CHECK(log.size() == 3);
  CHECK(log.find("io") != log.npos);
  CHECK(log.find('u') != log.npos);
  CHECK(future.cancelled());
  gate.set_result();
  CHECK(log.size() == 3);
}

TEST_CASE("the frames of a deep await can be destroyed while it waits", "[T-024]") {
  World world;
  auto gate = world.loop.create_future<void>();
  auto future = world.loop.create_task(nested(1000, &gate));
  auto other = world.loop.create_task(nested(1000, &gate));
  world.settle();
  world.loop.close();
  CHECK(future.cancelled());
  CHECK(other.cancelled());
}
