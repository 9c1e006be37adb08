// The steady path: what a message costs when nothing is out of the ordinary.
#include "steady/echo.hpp"
#include "support/calls.hpp"
#include "support/world.hpp"

using namespace test;

namespace {

struct Served {
  std::shared_ptr<Echo> protocol = std::make_shared<Echo>();
  Peer peer;
};

void open(World& world, Served& served) {
  Pair pair = connected_pair(Carrier::tcp);
  served.peer = std::move(pair.peer);
  auto task = world.loop.create_connection([&] { return served.protocol; }, std::move(pair.ours));
  world.run(std::move(task));
}

// One message there and back; the peer's own calls are plain ones, which nobody counts.
void round_trip(ferry::Loop& loop, Served& served, const std::string& message) {
  const auto handle = served.peer.socket().fileno();
  char back[256];
  std::size_t got = 0;
  if (send_plainly(handle, message.data(), message.size()) < 0) return;
  while (got < message.size()) {
    loop.call_soon([&loop] { loop.stop(); });
    loop.run_forever();
    const auto count = receive_plainly(handle, back, sizeof back);
    if (count > 0) got += static_cast<std::size_t>(count);
  }
}

constexpr long full = 1000000;

}  // namespace

TEST_CASE("a message costs no allocation, over a million of them", "[S-038][A-056]") {
  World world;
  Served served;
  open(world, served);
  const std::string message = pattern(64);
  const long many = is_slow() ? full / 50 : full;
  for (int i = 0; i < 1000; ++i) round_trip(world.loop, served, message);
  const long before = allocations;
  for (long i = 0; i < many; ++i) round_trip(world.loop, served, message);
  CHECK(allocations - before == 0);
  CHECK(served.protocol->messages == many + 1000);
  served.peer.close();
  world.settle();
}

TEST_CASE("a message costs a wait, a receive and a send, and no epoll_ctl", "[S-038][A-056]") {
  World world;
  Served served;
  open(world, served);
  const std::string message = pattern(64);
  for (int i = 0; i < 10; ++i) round_trip(world.loop, served, message);
  Calls calls;
  const long rounds = is_slow() ? 200 : 1000;
  for (long i = 0; i < rounds; ++i) round_trip(world.loop, served, message);
  // Four writes of 16 bytes each, gathered into one send; a turn that finds nothing is the test's.
  CHECK(calls.count(Call::recv) == rounds);
  CHECK(calls.count(Call::send) + calls.count(Call::sendmsg) == rounds);
  CHECK(calls.count(waiting_call(world.loop.backend())) >= rounds);
  CHECK(calls.count(watching_call(world.loop.backend())) == 0);
  // The waker is not rung by the loop's own thread.
  CHECK(calls.count(waking_call(world.loop.backend())) == 0);
  CHECK(calls.count(Call::read) == 0);
  CHECK(calls.count(Call::setsockopt) == 0);
  served.peer.close();
  world.settle();
}
