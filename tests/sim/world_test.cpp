// The simulated machine itself: that it is deterministic, and that each of its faults does what its
// name says.
#include "support/catch.hpp"

#include <ferry/ferry.hpp>
#include <ferry/sim.hpp>

#include <cmath>
#include <csignal>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>

using Catch::Matchers::Contains;
using ferry::Seconds;
using ferry::SimWorld;

namespace {

// Answers what it gets, and remembers what it was told.
class Talk : public ferry::Protocol {
 public:
  explicit Talk(bool echo = false) : echo_{echo} {}
  void connection_made(ferry::Transport& made) override {
    transport = &made;
    story += "made ";
  }
  void data_received(ferry::BytesView data) override {
    received += data.text();
    if (echo_) transport->write(data);
  }
  bool eof_received() override {
    story += "eof ";
    return false;
  }
  void connection_lost(const ferry::Error& error) override {
    story += "lost";
    reason = error;
    lost = true;
  }
  ferry::Transport* transport = nullptr;
  std::string received, story;
  ferry::Error reason;
  bool lost = false;

 private:
  const bool echo_;
};

std::shared_ptr<ferry::Server> serve(SimWorld& world, std::string_view host = "10.0.0.2",
                                     int port = 80) {
  auto made = [] { return std::make_shared<Talk>(true); };
  return world.loop().run_until_complete(world.loop().create_server(made, host, port));
}

auto connect(SimWorld& world, std::string_view host = "10.0.0.2", int port = 80) {
  auto made = [] { return std::make_shared<Talk>(); };
  return world.loop().run_until_complete(world.loop().create_connection(made, host, port));
}

std::error_code why_not(SimWorld& world, std::string_view host = "10.0.0.2") {
  try {
    connect(world, host).transport->abort();
  } catch (const ferry::OsError& error) {
    return error.code();
  }
  return {};
}

void run_until(SimWorld& world, const std::function<bool()>& done) {
  while (!done()) world.loop().run_until_complete(world.loop().sleep(Seconds{0.001}));
}

// A conversation under a bad network; its trace.
std::string conversation(std::uint64_t seed) {
  SimWorld world{seed};
  world.set_network({.latency = Seconds{0.01},
                     .jitter = Seconds{0.02},
                     .bandwidth = 100'000,
                     .buffer = 1000,
                     .short_read = 0.3,
                     .short_write = 0.3,
                     .would_block = 0.2,
                     .spurious_event = 0.1});
  const auto server = serve(world);
  auto [transport, talk] = connect(world);
  const std::string text(20'000, 'x');
  transport->write(text);
  transport->write_eof();
  run_until(world, [&told = talk] { return told->lost; });
  CHECK(talk->received == text);
  CHECK(talk->story == "made eof lost");
  CHECK_FALSE(talk->reason);
  return world.trace();
}

}  // namespace

TEST_CASE("the same seed gives the same run, another one another") {
  const std::string first = conversation(7);
  CHECK(first == conversation(7));
  CHECK(first != conversation(8));
}

TEST_CASE("time is virtual: an hour of an idle server costs a few turns") {
  SimWorld world{1};
  const auto server = serve(world);
  const auto client = connect(world);
  world.set_turn_limit(50);
  world.loop().run_until_complete(world.loop().sleep(Seconds{3600.0}));
  CHECK(world.elapsed().count() >= 3600);
  CHECK(world.elapsed().count() < 3601);
  CHECK_FALSE(client.transport->is_closing());
}

TEST_CASE("latency and bandwidth are what they say") {
  SimWorld world{1};
  world.set_network({.latency = Seconds{0.5}});
  const auto server = serve(world);
  auto [transport, talk] = connect(world);
  CHECK(world.elapsed().count() >= 1.0);  // there and back
  CHECK(world.elapsed().count() < 1.01);
  world.set_network({.latency = Seconds{0.5}, .bandwidth = 1000});
  transport->write(std::string(2000, 'x'));
  run_until(world, [&told = talk] { return told->received.size() == 2000; });
  CHECK(world.elapsed().count() >= 4.0);  // connected after 1, 2 on the line, latency twice
  CHECK(world.elapsed().count() < 6.1);   // no more than 2 s on the way back
}

TEST_CASE("connects: nobody listens, nobody answers, refused, timed out") {
  SimWorld world{1};
  CHECK(why_not(world) == std::errc::connection_refused);
  const auto server = serve(world);
  CHECK_FALSE(why_not(world));
  world.set_network({.refused = 1});
  CHECK(why_not(world) == std::errc::connection_refused);
  world.set_network({.unanswered = 1});
  const Seconds before = world.elapsed();
  CHECK(why_not(world) == std::errc::timed_out);
  CHECK((world.elapsed() - before).count() >= 127);
  world.set_network({});
  world.lose_host("10.0.0.2");
  CHECK(why_not(world) == std::errc::timed_out);
}

TEST_CASE("a reset is one for both ends, and loses nobody") {
  SimWorld world{1};
  auto made = std::make_shared<Talk>(true);
  const auto server = world.loop().run_until_complete(
      world.loop().create_server([made] { return made; }, "10.0.0.2", 80));
  auto [transport, talk] = connect(world);
  run_until(world, [&] { return made->transport != nullptr; });
  world.set_network({.reset = 1});
  transport->write("hello");
  run_until(world, [&told = talk, &made] { return told->lost && made->lost; });
  CHECK(talk->reason == std::errc::connection_reset);
  CHECK(made->reason == std::errc::connection_reset);
  CHECK(made->story == "made lost");
}

TEST_CASE("out of descriptors at accept: the server rests, and goes on") {
  SimWorld world{1};
  int reports = 0;
  world.loop().set_exception_handler([&](ferry::Loop&, const ferry::ExceptionContext& context) {
    CHECK(context.exception == std::errc::too_many_files_open);
    ++reports;
  });
  const auto server = serve(world);
  world.set_network({.accept_fails = 1});
  auto [transport, talk] = connect(world);
  transport->write("still there?");
  world.loop().run_until_complete(world.loop().sleep(Seconds{1.0}));
  CHECK(talk->received.empty());
  CHECK(reports > 0);
  world.set_network({});
  run_until(world, [&told = talk] { return told->received == "still there?"; });
}

TEST_CASE("a buffer that is full holds up who writes, and nothing is lost") {
  SimWorld world{1};
  world.set_network({.buffer = 100});
  auto made = std::make_shared<Talk>(true);
  const auto server = world.loop().run_until_complete(
      world.loop().create_server([made] { return made; }, "10.0.0.2", 80));
  auto [transport, talk] = connect(world);
  transport->pause_reading();
  transport->write(std::string(5000, 'x'));
  world.loop().run_until_complete(world.loop().sleep(Seconds{10.0}));
  CHECK(made->received.size() == 5000);
  CHECK(made->transport->get_write_buffer_size() == 4900);
  transport->resume_reading();
  run_until(world, [&told = talk] { return told->received.size() == 5000; });
}

TEST_CASE("names have the answers, the delays and the errors that the test gives them") {
  SimWorld world{1};
  const auto server = serve(world);
  world.set_name("db", {"10.0.0.1", "10.0.0.2"}, Seconds{2.0});
  world.set_name("lost", {}, Seconds{0.5}, ferry::ResolverErrc::try_again);
  auto [transport, talk] = connect(world, "db");  // the first address refuses
  CHECK(world.elapsed().count() >= 2.0);
  CHECK(transport->get_extra_info(ferry::peername).to_string() == "10.0.0.2:80");
  CHECK(why_not(world, "lost") == ferry::ResolverErrc::try_again);
  CHECK(why_not(world, "nobody") == ferry::ResolverErrc::name_not_known);
}

TEST_CASE("Unix sockets are names in the world, and no files") {
  SimWorld world{1};
  auto& loop = world.loop();
  auto echo = [] { return std::make_shared<Talk>(true); };
  auto task = loop.create_unix_server(echo, "/no/such/folder/socket");
  const auto server = loop.run_until_complete(std::move(task));
  auto made = [] { return std::make_shared<Talk>(); };
  auto [transport, talk] =
      loop.run_until_complete(loop.create_unix_connection(made, "/no/such/folder/socket"));
  transport->write("hello");
  run_until(world, [&told = talk] { return told->received == "hello"; });
  CHECK_THROWS_AS(
      loop.run_until_complete(loop.create_unix_server(echo, "/no/such/folder/socket")),
      ferry::OsError);
  server->close();
  CHECK_THROWS_AS(
      loop.run_until_complete(loop.create_unix_connection(made, "/no/such/folder/socket")),
      ferry::OsError);
}

TEST_CASE("a signal reaches its handler") {
  SimWorld world{1};
  int came = 0;
  world.loop().add_signal_handler(SIGINT, [&] {
    ++came;
    world.loop().stop();
  });
  world.raise_signal(SIGINT);
  world.loop().run_forever();
  CHECK(came == 1);
  for (const int number : {0, -1, 65, 1000}) {
    CHECK_THROWS_AS(world.raise_signal(number), std::invalid_argument);
    CHECK_THROWS_AS(world.loop().add_signal_handler(number, [] {}), std::invalid_argument);
  }
}

TEST_CASE("signals have a handler each, and a removed one's is dropped") {
  SimWorld world{1};
  std::string came;
  world.loop().add_signal_handler(SIGINT, [&] { came += "int "; });
  world.loop().add_signal_handler(SIGTERM, [&] { came += "term "; });
  world.raise_signal(SIGINT);
  world.raise_signal(SIGTERM);
  CHECK(world.loop().remove_signal_handler(SIGINT));
  world.loop().add_signal_handler(SIGINT, [&] { came += "again "; });
  world.loop().call_later(std::chrono::seconds{1}, [&] { world.loop().stop(); });
  world.loop().run_forever();
  CHECK(came == "term ");
  world.raise_signal(SIGINT);
  world.loop().call_later(std::chrono::seconds{1}, [&] { world.loop().stop(); });
  world.loop().run_forever();
  CHECK(came == "term again ");
}

TEST_CASE("a loop that would sleep for ever says who waits, one that spins too") {
  SimWorld world{1};
  const auto server = serve(world);
  const auto client = connect(world);
  auto never = world.loop().create_future<void>();
  CHECK_THROWS_WITH(world.loop().run_until_complete(never),
                    Contains("sleep for ever") && Contains("server on 10.0.0.2:80") &&
                        Contains("10.0.0.1:") && Contains("world_test.cpp"));
  world.set_turn_limit(1000);
  std::function<void()> spin = [&] { world.loop().call_soon([&] { spin(); }); };
  spin();
  CHECK_THROWS_WITH(world.loop().run_forever(), Contains("does not come to rest"));
}

TEST_CASE("worlds do not see each other, and their sockets outlive them harmlessly") {
  auto one = std::make_unique<SimWorld>(1);
  SimWorld two{2};
  const auto server = serve(*one);
  CHECK(why_not(two) == std::errc::connection_refused);
  const auto client = connect(*one);
  const ferry::SocketView socket = client.transport->get_extra_info(ferry::socket);
  CHECK(socket.getpeername().to_string() == "10.0.0.2:80");
  std::thread{[&] { CHECK_FALSE(socket.getpeername()); }}.join();
  one.reset();
  CHECK_FALSE(socket.getpeername());
  CHECK_THROWS_AS(socket.getsockopt(1, 2), ferry::OsError);
}

TEST_CASE("a network that cannot be is refused, and the old one stays") {
  SimWorld world{1};
  const double nan = std::nan("");
  const double endless = std::numeric_limits<double>::infinity();
  world.set_network({.buffer = 77});
  CHECK_THROWS_WITH(world.set_network({.latency = Seconds{-1.0}}), Contains("latency is -1"));
  CHECK_THROWS_WITH(world.set_network({.jitter = Seconds{nan}}), Contains("jitter"));
  CHECK_THROWS_WITH(world.set_network({.jitter = Seconds{endless}}), Contains("jitter"));
  CHECK_THROWS_WITH(world.set_network({.bandwidth = -1}), Contains("bandwidth"));
  CHECK_THROWS_WITH(world.set_network({.buffer = 0}), Contains("buffer"));
  CHECK_THROWS_WITH(world.set_network({.short_read = 1.5}), Contains("short_read is 1.5"));
  CHECK_THROWS_WITH(world.set_network({.reset = nan}), Contains("reset"));
  CHECK_THROWS_AS(world.set_name("x", {"not an address"}), std::invalid_argument);
  CHECK_THROWS_AS(world.set_name("x", {}, Seconds{-1.0}), std::invalid_argument);
  CHECK_THROWS_AS(world.lose_host("not an address"), std::invalid_argument);
  CHECK(world.network().buffer == 77);
}

TEST_CASE("dice come from a fuzzer's bytes as well") {
  const std::string bytes = "abcdefgh";
  const auto draw = [&](std::size_t count) {
    SimWorld world{std::as_bytes(std::span{bytes}.first(count))};
    std::set<std::uint64_t> drawn;
    for (int i = 0; i < 4; ++i) drawn.insert(world.random(1000));
    return drawn.size();
  };
  CHECK(draw(8) > 1);
  CHECK(draw(0) == 1);  // zeros for ever
}
