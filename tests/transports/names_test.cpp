// Hosts and services: when they are looked up, where, and what comes of it.
#include "support/calls.hpp"
#include "support/sockets.hpp"


#include <condition_variable>
#include <mutex>
#include <thread>

extern char** environ;

using namespace test;
using Catch::Matchers::Contains;

namespace {

// While it lives, the first `most` look-ups hang until they are let go; then they fail.
class HangingLookUps final : public ferry::internal::calls::Hook {
 public:
  explicit HangingLookUps(int most = 1) : left_{most} { ferry::internal::calls::set_hook(this); }
  ~HangingLookUps() override {
    let_go();
    ferry::internal::calls::set_hook(nullptr);  // waits for them
  }
  HangingLookUps(const HangingLookUps&) = delete;
  HangingLookUps& operator=(const HangingLookUps&) = delete;

  // Blocks until one hangs.
  void wait() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return inside_ > 0; });
  }
  void let_go() {
    const std::lock_guard lock{mutex_};
    free_ = true;
    changed_.notify_all();
  }

 private:
  int before(Call call, ferry::NativeHandle, std::size_t&) override {
    if (call != Call::getaddrinfo) return 0;
    std::unique_lock lock{mutex_};
    if (left_-- <= 0) return 0;
    ++inside_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return free_; });
    --inside_;
    changed_.notify_all();
    return EAI_AGAIN;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int left_;
  int inside_ = 0;
  bool free_ = false;
};

auto connect_to(World& world, std::string_view host, ferry::Port port = 9) {
  return world.loop.create_connection(ferry::make<Recorder>, host, port);
}

}  // namespace

TEST_CASE("a literal address with a numeric port is not looked up", "[T-133][A-017]") {
  World world;
  const ferry::Socket listener = listening_socket();
  const std::uint16_t port = listener.view().getsockname().port();
  const std::string digits = std::to_string(port);
  Calls calls;
  ferry::ConnectOptions options;
  options.local_host = "127.0.0.2";
  auto made = world.run(
      world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", digits, options));
  CHECK(made.transport->get_extra_info(ferry::peername).port() == port);
  made.transport->abort();
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", "0"));
  CHECK(address_of(*server).port() != 0);
  server->close();
  if (has_address({"::1", 0})) {
    server = world.run(world.loop.create_server(ferry::make<Recorder>, "::1", 0));
    CHECK(address_of(*server).host() == "::1");
    server->close();
  }
  CHECK(calls.count(Call::getaddrinfo) == 0);
}

TEST_CASE("names, scopes and service names are looked up", "[T-133][A-017][C-22]") {
  World world;
  Calls calls;
  calls.fail(Call::connect, EACCES);
  calls.answer("one.test", {"127.0.0.1"});
  SECTION("a name") { CHECK(error_of(world, connect_to(world, "one.test")));  }
  SECTION("a scope") { CHECK(error_of(world, connect_to(world, "fe80::1%1"))); }
  SECTION("a service") { CHECK(error_of(world, connect_to(world, "127.0.0.1", "http"))); }
  CHECK(calls.count(Call::getaddrinfo) == 1);
}

TEST_CASE("a service name stands for its port", "[C-22][T-133]") {
  World world;
  namespace calls = ferry::internal::calls;
  calls::AddrInfo* known = nullptr;
  calls::AddrInfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  if (calls::look_up("127.0.0.1", "http", &hints, &known) != 0) {
    return skip("this machine does not know the service http");
  }
  calls::free_addresses(known);
  Calls faults;
  faults.fail(Call::connect, EACCES);
  CHECK_THAT(std::string{error_of(world, connect_to(world, "127.0.0.1", "http")).what()},
             Contains("connect to 127.0.0.1:80: "));
}

TEST_CASE("the order of the resolver's answers is kept", "[T-133]") {
  World world;
  Calls calls;
  calls.answer("three.test", {"127.0.0.3", "127.0.0.1", "127.0.0.2", "127.0.0.1"});
  calls.fail(Call::connect, EACCES, 3);
  const std::string text{error_of(world, connect_to(world, "three.test")).what()};
  const auto third = text.find("127.0.0.3:9"), first = text.find("127.0.0.1:9"),
             second = text.find("127.0.0.2:9");
  CHECK(third < first);
  CHECK(first < second);
  CHECK(second != text.npos);
  CHECK(calls.count(Call::connect) == 3);  // the repeated one was tried once
}

TEST_CASE("an unknown service is an error that names it", "[C-22][T-136]") {
  World world;
  const auto failure = error_of(world, connect_to(world, "127.0.0.1", "no-such-service"));
  CHECK(failure.code().category() == ferry::resolver_category());
  CHECK_THAT(std::string{failure.what()}, Contains("no-such-service"));
  const auto serving = error_of(
      world, world.loop.create_server(ferry::make<Recorder>, "", "no-such-service"));
  CHECK(serving.code().category() == ferry::resolver_category());
  CHECK_THAT(std::string{serving.what()}, Contains("no-such-service"));
}

TEST_CASE("errors of the resolver have a category of their own", "[T-136]") {
  using ferry::ResolverErrc;
  World world;
  const auto [code, meaning] = GENERATE(table<int, ResolverErrc>({
      {EAI_NONAME, ResolverErrc::name_not_known},
      {EAI_AGAIN, ResolverErrc::try_again},
      {EAI_FAIL, ResolverErrc::failure},
      {EAI_FAMILY, ResolverErrc::family_unsupported},
      {EAI_SERVICE, ResolverErrc::service_unsupported},
      {EAI_MEMORY, ResolverErrc::out_of_memory},
      {EAI_BADFLAGS, ResolverErrc::other},
  }));
  Calls calls;
  calls.fail(Call::getaddrinfo, code);
  const auto failure = error_of(world, connect_to(world, "some.test"));
  CHECK(failure.code() == meaning);
  CHECK(failure.code().category() == ferry::resolver_category());
  CHECK_THAT(std::string{failure.what()},
             Contains("resolve 'some.test'") && Contains(failure.code().message()));
  CHECK_THROWS_AS(failure.raise(), ferry::OsError);
}

#ifdef EAI_SYSTEM
TEST_CASE("a resolver's error that is the system's keeps its errno", "[T-136]") {
  World world;
  Calls calls;
  calls.on_call = [](Call call, int) {
    if (call != Call::getaddrinfo) return 0;
    errno = EMFILE;
    return EAI_SYSTEM;
  };
  const auto failure = error_of(world, connect_to(world, "some.test"));
  CHECK(failure == std::errc::too_many_files_open);
  CHECK_THAT(std::string{failure.what()}, Contains("resolve 'some.test'"));
}
#endif

TEST_CASE("a name with a NUL or of more than 255 bytes is refused, not cut", "[T-136]") {
  World world;
  Calls calls;
  const std::string longest(255, 'a');
  CHECK_THROWS_AS(connect_to(world, longest + "a"), std::invalid_argument);
  CHECK_THROWS_AS(connect_to(world, {"localhost\0.evil", 15}), std::invalid_argument);
  CHECK_THROWS_AS(connect_to(world, "127.0.0.1", std::string_view{"http\0x", 6}),
                  std::invalid_argument);
  CHECK_THROWS_AS(connect_to(world, "127.0.0.1", ""), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.create_server(ferry::make<Recorder>,
                                           std::string_view{"localhost\0.evil", 15}, 0),
                  std::invalid_argument);
  CHECK_THROWS_AS(world.loop.create_server(ferry::make<Recorder>, longest + "a", 0),
                  std::invalid_argument);
  CHECK(calls.count(Call::getaddrinfo) == 0);
  calls.fail(Call::getaddrinfo, EAI_NONAME);
  CHECK(error_of(world, connect_to(world, longest)).code() ==
        ferry::ResolverErrc::name_not_known);  // that one is the resolver's to judge
}

TEST_CASE("a look-up that hangs holds up nobody who cancels it", "[T-135]") {
  World world;
  HangingLookUps hanging;
  const Recorders recorders;
  auto connecting =
      world.loop.create_task(world.loop.create_connection(recorders, "slow.test", 9));
  world.turn();
  hanging.wait();
  SECTION("at once") { connecting.cancel(); }
  SECTION("by a time-out") {
    world.loop.call_later(1ms, [connecting]() mutable { connecting.cancel(); });
  }
  world.run_until([&] { return connecting.done(); });
  CHECK(connecting.cancelled());
  hanging.let_go();
  // Sleeps until the late answer is posted, and takes it in: nobody waits for it.
  world.loop.process_events(world.loop.poll_events(30s));
  world.loop.process_ready();
  CHECK(recorders.size() == 0);
}

TEST_CASE("a look-up that hangs holds up no other one", "[T-135][A-039]") {
  World world;
  const ferry::Socket listener = listening_socket();
  HangingLookUps hanging;
  auto slow = world.loop.create_task(connect_to(world, "slow.test"));
  world.turn();
  hanging.wait();
  auto made = world.run(connect_to(world, "localhost", listener.view().getsockname().port()));
  CHECK(made.protocol->made);
  CHECK_FALSE(slow.done());
  made.transport->abort();
  hanging.let_go();
  world.run_until([&] { return slow.done(); });
  CHECK(ferry::Error{slow.exception()}.code() == ferry::ResolverErrc::try_again);
}

TEST_CASE("a loop can be closed and destroyed while a look-up hangs", "[T-135]") {
  const bool destroyed_first = GENERATE(true, false);
  HangingLookUps hanging;
  const Recorders recorders;
  ferry::Future<ferry::Connection<Recorder>> connecting;
  {
    World world;
    connecting =
        world.loop.create_task(world.loop.create_connection(recorders, "slow.test", 9));
    world.turn();
    hanging.wait();
    world.loop.close();
    if (!destroyed_first) hanging.let_go();
  }
  CHECK(connecting.done());
  CHECK(connecting.cancelled());
  CHECK(recorders.size() == 0);
}

// Run by the test below, in a process of its own.
TEST_CASE("helper: ends with a look-up that hangs for ever", "[.][T-135]") {
  give_up_after(60);  // if the process does not end
  static HangingLookUps& hanging = *new HangingLookUps;
  World world;
  auto connecting = world.loop.create_task(connect_to(world, "slow.test"));
  world.turn();
  hanging.wait();
  CHECK_FALSE(connecting.done());
  world.loop.close();
}

TEST_CASE("a process can exit while a look-up hangs", "[T-135]") {
  CHECK(run_alone("helper: ends with a look-up that hangs for ever") == 0);
}

TEST_CASE("names are looked up off the loop's thread, and debug mode logs slow look-ups",
          "[A-039]") {
  World world;
  world.loop.set_debug(true);
  HangingLookUps hanging;
  auto connecting = world.loop.create_task(connect_to(world, "slow.test", 77));
  world.turn();
  hanging.wait();
  // The loop runs meanwhile: it is a timer of its that lets the look-up go.
  world.loop.call_later(110ms, [&] { hanging.let_go(); });
  world.run_until([&] { return connecting.done(); });
  CHECK(connecting.exception() != nullptr);
  std::string slow;
  for (const std::string& line : world.take_logs()) {
    if (line.find("resolving") != line.npos) slow += line;
  }
  CHECK_THAT(slow, Contains("resolving slow.test:77 took 0."));
}

TEST_CASE("a slow look-up is not logged outside debug mode", "[A-039]") {
  World world;
  HangingLookUps hanging;
  auto connecting = world.loop.create_task(connect_to(world, "slow.test"));
  world.loop.call_later(110ms, [&] { hanging.let_go(); });
  world.run_until([&] { return connecting.done(); });
  CHECK(connecting.exception() != nullptr);
  CHECK(world.logs.empty());
}
