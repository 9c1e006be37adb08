// call_soon(): order, turns, handles, and what becomes of captures.
#include "support/world.hpp"

#include <string>

using namespace test;

namespace {

// Says when it dies.
struct Mortal {
  explicit Mortal(int& deaths) : deaths_{&deaths} {}
  Mortal(Mortal&& other) noexcept : deaths_{std::exchange(other.deaths_, nullptr)} {}
  ~Mortal() {
    if (deaths_ != nullptr) ++*deaths_;
  }
  int* deaths_;
};

}  // namespace

TEST_CASE("callbacks run in the order in which they were scheduled", "[A-035]") {
  World world;
  std::string order;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {  // more than one chunk of slots
    world.loop.call_soon([&order, i] { order += std::to_string(i) + " "; });
    expected += std::to_string(i) + " ";
  }
  CHECK(order.empty());
  world.turn();
  CHECK(order == expected);
}

TEST_CASE("what a callback schedules runs in the next turn", "[A-035][A-037]") {
  World world;
  std::string order;
  world.loop.call_soon([&] {
    order += "a";
    world.loop.call_soon([&] { order += "c"; });
    world.loop.call_later(0s, [&] { order += "d"; });
    world.loop.call_later(-1s, [&] { order += "e"; });
  });
  world.loop.call_soon([&] { order += "b"; });
  world.turn();
  CHECK(order == "ab");
  world.turn();
  CHECK(order == "abcde");
}

TEST_CASE("a callback that schedules itself for ever starves nobody", "[A-035][A-037]") {
  World world;
  Stream stream = open_stream(world);
  int rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds > 100000) FAIL("timers and I/O never had their turn");
    if (!stream.protocol->lost) world.loop.call_soon([&] { again(); });
  };
  again();
  bool timer = false;
  world.loop.call_later(1ms, [&] { timer = true; });
  stream.peer.close();
  world.run_until([&] { return timer && stream.protocol->lost; });
  world.settle();  // one more is scheduled if it ran before connection_lost() in the last turn
  CHECK(rounds > 1);
}

TEST_CASE("a cancelled callback does not run and its handle says so", "[A-035]") {
  World world;
  int deaths = 0, runs = 0;
  ferry::Handle handle = world.loop.call_soon([&, capture = Mortal{deaths}] { ++runs; });
  const ferry::Handle copy = handle;
  CHECK_FALSE(handle.cancelled());
  handle.cancel();
  CHECK(handle.cancelled());
  CHECK(ferry::Handle{handle}.cancelled());
  CHECK(deaths == 1);  // at once
  handle.cancel();     // does nothing
  CHECK(deaths == 1);
  world.turn();
  CHECK(runs == 0);
  CHECK_FALSE(copy.cancelled());  // it was copied before
}

TEST_CASE("a handle of a callback that ran cancels nothing that came later", "[A-035]") {
  World world;
  ferry::Handle old = world.loop.call_soon([] {});
  world.turn();
  int runs = 0;
  for (int i = 0; i < 300; ++i) world.loop.call_soon([&] { ++runs; });  // one has its place
  old.cancel();
  CHECK(old.cancelled());
  world.turn();
  CHECK(runs == 300);
}

TEST_CASE("a callback may cancel others of its turn, and itself", "[A-035]") {
  World world;
  int deaths = 0, runs = 0;
  ferry::Handle self, other;
  self = world.loop.call_soon([&, capture = Mortal{deaths}] {
    ++runs;
    self.cancel();
    CHECK(deaths == 0);  // its captures live until it returns
    other.cancel();
    CHECK(deaths == 1);
  });
  other = world.loop.call_soon([&, capture = Mortal{deaths}] { runs += 100; });
  world.turn();
  CHECK(runs == 1);
  CHECK(deaths == 2);
  CHECK(self.cancelled());
}

TEST_CASE("captures are destroyed when the callback has run, also when it threw", "[A-035]") {
  World world;
  int deaths = 0;
  world.loop.call_soon([capture = Mortal{deaths}] {});
  world.loop.call_soon([capture = Mortal{deaths}] { throw std::runtime_error{"oh"}; });
  world.loop.call_soon([&] { CHECK(deaths == 2); });
  world.turn();
  CHECK(world.take_reports().size() == 1);
}

TEST_CASE("a capture's destructor may use the loop and cancel what else there is", "[A-035]") {
  World world;
  int runs = 0;
  ferry::Handle victim = world.loop.call_soon([&] { runs += 100; });
  const auto last_words = std::shared_ptr<void>(nullptr, [&](void*) {
    victim.cancel();
    world.loop.call_soon([&] { ++runs; });
  });
  ferry::Handle handle = world.loop.call_soon([held = last_words] {});
  ferry::TimerHandle timer = world.loop.call_later(10s, [held = last_words] {});
  const_cast<std::shared_ptr<void>&>(last_words).reset();
  handle.cancel();
  timer.cancel();  // the last one to hold it
  world.turn();
  CHECK(runs == 1);
}

TEST_CASE("callbacks of any size and kind keep what they hold", "[A-035]") {
  World world;
  std::string seen;
  std::array<char, 200> large{};
  large[199] = 'l';
  world.loop.call_soon([&seen, large] { seen += large[199]; });
  world.loop.call_soon([&seen, only = std::make_unique<char>('m')] { seen += *only; });
  world.loop.call_soon([&seen, text = std::string{"stays where it points to"}] {
    seen += text.substr(0, 1);
  });
  struct alignas(64) Aligned {
    char value = 'a';
  };
  world.loop.call_soon([&seen, aligned = Aligned{}] {
    CHECK(reinterpret_cast<std::uintptr_t>(&aligned) % 64 == 0);
    seen += aligned.value;
  });
  struct Bytes {  // no multiple of a word
    char text[13] = {'o', 'd', 'd', 'l', 'y', ' ', 's', 'i', 'z', 'e', 'd', '!', '.'};
  };
  world.loop.call_soon([&seen, bytes = Bytes{}] { seen += std::string{bytes.text, 13}; });
  world.turn();
  CHECK(seen == "lmsaoddly sized!.");
}

TEST_CASE("an empty callback is refused where it is passed", "[C-22][A-035]") {
  World world;
  ferry::Loop& loop = world.loop;
  CHECK_THROWS_AS(loop.call_soon(nullptr), std::invalid_argument);
  CHECK_THROWS_AS(loop.call_later(1s, nullptr), std::invalid_argument);
  CHECK_THROWS_AS(loop.call_at(loop.time(), nullptr), std::invalid_argument);
  CHECK_THROWS_AS(loop.call_soon_threadsafe(nullptr), std::invalid_argument);
  CHECK_THROWS_AS(loop.add_signal_handler(some_signal(), nullptr), std::invalid_argument);
  auto [ours, theirs] = ferry::socketpair();
  CHECK_THROWS_AS(loop.add_reader(ours.fileno(), nullptr), std::invalid_argument);
  CHECK_THROWS_AS(loop.add_writer(ours.fileno(), nullptr), std::invalid_argument);
  CHECK_FALSE(loop.remove_reader(ours.fileno()));
  CHECK_THROWS_AS(loop.create_future<void>().add_done_callback(nullptr), std::invalid_argument);
  CHECK_FALSE(loop.remove_signal_handler(some_signal()));
}
