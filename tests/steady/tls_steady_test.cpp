// What a message costs over TLS, beside what the TLS library takes for itself.
#include "steady/echo.hpp"
#include "support/tls/tls_stream.hpp"

using namespace test;

namespace {

struct Served {
  std::shared_ptr<Echo> protocol = std::make_shared<Echo>();
  std::optional<RawConnection> raw;
  std::shared_ptr<ferry::Transport> transport;
};

void open(World& world, Served& served) {
  Pair pair = connected_pair(Carrier::tcp);
  const ferry::SslContext context = server_context();
  auto future = world.loop.create_task(world.loop.connect_accepted_socket(
      [&] { return served.protocol; }, std::move(pair.ours), {.ssl = &context}));
  served.raw.emplace(world, std::move(pair.peer), raw_peer_of(Side::server));
  served.raw->run_until([&] { return future.done() && served.raw->peer().is_open(); });
  served.transport = future.take_result().transport;
  served.raw->step();
}

// How many allocations ferry made meanwhile; the peer's own are not counted.
long round_trip(World& world, Served& served, const std::string& message) {
  served.raw->received.clear();
  served.raw->write(message);
  long made = 0;
  while (served.raw->received.size() < message.size()) {
    const long before = allocations;
    world.loop.call_soon([&world] { world.loop.stop(); });
    world.loop.run_forever();
    made += allocations - before;
    served.raw->step();
  }
  return made;
}

}  // namespace

TEST_CASE("a message over TLS costs ferry no allocation, a receive and one send",
          "[S-038][A-056]") {
  World world;
  Served served;
  open(world, served);
  const std::string message = pattern(64);
  for (int i = 0; i < 100; ++i) round_trip(world, served, message);
  const long rounds = is_slow() ? 500 : 20'000;
  long made = 0;
  for (long i = 0; i < rounds; ++i) made += round_trip(world, served, message);
  CHECK(made == 0);
  CHECK(served.protocol->messages == rounds + 100);
  Calls calls;
  for (long i = 0; i < 100; ++i) round_trip(world, served, message);
  CHECK(calls.count(Call::recv) == 100);
  CHECK(calls.count(Call::send) + calls.count(Call::sendmsg) == 100);
  CHECK(calls.count(watching_call(world.loop.backend())) == 0);
  served.transport->abort();
  world.settle();
}
