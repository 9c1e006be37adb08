// The end of a loop: everything is closed, nobody is called, and what is used later does no harm.
#include "support/calls.hpp"
#include "support/world.hpp"


#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace test;
using ferry::Loop;
using ferry::Task;

namespace {

// Calls the loop and its transports when it dies.
class LastWords {
 public:
  explicit LastWords(Loop& loop, ferry::Transport* transport = nullptr)
      : loop_{loop}, transport_{transport} {}
  LastWords(const LastWords&) = delete;
  ~LastWords() {
    ++spoken;
    const auto never = [] { FAIL("called after the end of the loop"); };
    loop_.call_soon(never).cancel();
    loop_.call_soon(never);
    loop_.call_later(0s, never);
    loop_.call_later(1s, never).cancel();
    loop_.call_soon_threadsafe(never).cancel();
    loop_.add_signal_handler(some_signal(), never);
    loop_.remove_signal_handler(some_signal());
    loop_.add_reader(0, never);
    loop_.remove_reader(0);
    auto future = loop_.create_future<void>();
    future.add_done_callback(never);
    future.set_result();
    static_cast<void>(loop_.create_task(work(&loop_)));
    static_cast<void>(loop_.create_connection(ferry::make<Recorder>, "127.0.0.1", 1));
    loop_.stop();
    loop_.close();
    loop_.run_forever();
    loop_.process_events(loop_.poll_events(0s));
    loop_.process_ready();
    if (transport_ == nullptr) return;
    transport_->write("last words");
    transport_->set_write_buffer_limits({.high = 0});
    transport_->write_eof();
    transport_->resume_reading();
    transport_->close();
    transport_->abort();
  }
  static inline int spoken = 0;

 private:
  static Task<void> work(Loop* loop) {
    FAIL("begun after the end of the loop");
    co_await loop->sleep(0s);
  }
  Loop& loop_;
  ferry::Transport* transport_;
};

// A protocol that must hear of nothing once it is sealed, and that dies with last words.
class Sealed : public ferry::Protocol {
 public:
  explicit Sealed(Loop& loop) : loop_{loop} {}
  ~Sealed() override {
    if (transport != nullptr) LastWords{loop_, transport};
  }
  void connection_made(ferry::Transport& made) override {
    check();
    transport = &made;
  }
  void data_received(ferry::BytesView) override { check(); }
  bool eof_received() override {
    check();
    return false;
  }
  void pause_writing() override { check(); }
  void resume_writing() override { check(); }
  void connection_lost(const ferry::Error&) override {
    check();
    transport = nullptr;
  }
  static inline bool sealed = false;
  ferry::Transport* transport = nullptr;

 private:
  static void check() { CHECK_FALSE(sealed); }
  Loop& loop_;
};

// Calls everything that there is on a transport whose loop is closed or gone.
void use_dead_transport(ferry::Transport& transport) {
  transport.write("x");
  const std::vector<std::string> chunks{"a", "b"};
  transport.writelines(chunks);
  transport.write_eof();
  transport.close();
  transport.abort();
  CHECK_FALSE(transport.abort_with_reset());
  transport.pause_reading();
  transport.resume_reading();
  transport.set_write_buffer_limits({.high = 5});
  transport.set_flush_timeout(1s);
  transport.set_protocol(std::make_shared<Recorder>());
  CHECK(transport.get_protocol() == nullptr);
  CHECK(transport.get_write_buffer_size() == 0);
  CHECK(transport.is_closing());
  CHECK_FALSE(transport.is_reading());
  CHECK_FALSE(transport.describe().empty());
  CHECK_FALSE(transport.get_extra_info(ferry::socket));
}

struct Seal {
  Seal() {
    Sealed::sealed = false;
    LastWords::spoken = 0;
  }
  ~Seal() { Sealed::sealed = false; }
};

std::shared_ptr<ferry::Transport> open_sealed(World& world, Peer& peer) {
  Pair pair = connected_pair(Carrier::tcp);
  auto task = world.loop.create_connection(
      [&] { return std::make_shared<Sealed>(world.loop); }, std::move(pair.ours));
  peer = std::move(pair.peer);
  return world.run(std::move(task)).transport;
}

}  // namespace

TEST_CASE("closing a loop with streams in every state closes them and calls nobody",
          "[T-024]") {
  Seal seal;
  World world;
  std::vector<std::shared_ptr<ferry::Transport>> transports(8);
  std::vector<Peer> peers(8);
  for (std::size_t i = 0; i < 8; ++i) transports[i] = open_sealed(world, peers[i]);
  const std::string much(8 << 20, 'x');
  transports[0]->write(much);  // pending writes
  transports[1]->write(much);
  transports[1]->close();  // flushing
  transports[2]->pause_reading();
  peers[3].send("just came");
  peers[4].reset();
  transports[5]->abort();  // its connection_lost() has been scheduled
  transports[6]->write(much);
  transports[6]->set_flush_timeout(1s);
  transports[6]->close();
  peers[7].close();
  auto events = world.loop.poll_events(0s);
  world.loop.process_events(std::move(events));  // taken in, but not handled
  Sealed::sealed = true;
  world.loop.close();
  CHECK(LastWords::spoken == 8);
  for (const std::size_t i : {0u, 1u, 2u, 3u, 5u, 6u}) {
    while (!peers[i].receive().empty()) {
    }
    CHECK((peers[i].ended() || peers[i].error() != 0));
  }
  for (auto& transport : transports) use_dead_transport(*transport);
}

TEST_CASE("a loop that goes with streams open closes them, and they outlive it", "[T-024]") {
  Seal seal;
  Pair pair = connected_pair(Carrier::tcp);
  Peer& peer = pair.peer;
  std::shared_ptr<ferry::Transport> transport;
  auto protocol = std::make_shared<Recorder>();
  {
    Loop loop{backend()};
    auto task = loop.create_connection([&] { return protocol; }, std::move(pair.ours));
    transport = loop.run_until_complete(std::move(task)).transport;
    transport->write("first");
  }
  CHECK(peer.receive() == "first");
  CHECK(peer.ended());
  CHECK(protocol->story() == "made");
  use_dead_transport(*transport);
  CHECK(transport->get_extra_info(ferry::peername));  // stays readable
  CHECK(protocol->story() == "made");
}

TEST_CASE("closing a loop with servers, their clients and waiters closes them all", "[T-024]") {
  Seal seal;
  World world;
  Loop& loop = world.loop;
  auto words = std::make_shared<LastWords>(loop);
  auto task = loop.create_server(
      [&loop, words] { return std::make_shared<Sealed>(loop); }, "127.0.0.1", 0);
  words.reset();
  auto server = world.run(std::move(task));
  const auto address = server->sockets().front().getsockname();
  const auto factory = [&loop] { return std::make_shared<Sealed>(loop); };
  auto first = world.loop.create_connection(factory, address.host(), address.port());
  auto client = world.run(std::move(first)).transport;
  auto forever = loop.create_task(server->serve_forever());
  auto waiting = loop.create_task(server->wait_closed());
  world.settle();
  CHECK_FALSE(waiting.done());
  auto unaccepted_task = loop.create_connection(factory, address.host(), address.port());
  auto unaccepted = loop.create_task(std::move(unaccepted_task));
  auto unawaited = server->wait_closed();
  SECTION("while it serves") { world.turn(); }
  SECTION("when the server was closed, and its clients were not") {
    server->close();
    Sealed::sealed = true;
  }
  Sealed::sealed = true;
  loop.close();
  CHECK(LastWords::spoken >= 3);  // both protocols and the factory
  CHECK_FALSE(server->is_serving());
  CHECK(server->sockets().empty());
  server->close();
  server->close_clients();
  server->abort_clients();
  CHECK(waiting.cancelled());
  CHECK(forever.cancelled());
  use_dead_transport(*client);
}

TEST_CASE("a server that outlives its loop does no harm", "[T-024]") {
  std::shared_ptr<ferry::Server> server;
  {
    World world;
    server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0));
  }
  server->close();
  server->close_clients();
  CHECK(server->sockets().empty());
  CHECK_FALSE(server->is_serving());
  CHECK_THROWS_AS(server->get_loop(), ferry::MisuseError);
  World other;
  other.run(server->wait_closed());
  CHECK_THROWS_AS(other.run(server->start_serving()), ferry::MisuseError);
  CHECK_THROWS_AS(server->serve_forever(), ferry::MisuseError);
}

TEST_CASE("closing a loop with callbacks, timers, readers, signals and posts drops them all",
          "[T-024]") {
  Seal seal;
  World world;
  Loop& loop = world.loop;
  auto [ours, theirs] = ferry::socketpair();
  theirs.send("x");
  const auto bearer = [&loop] {
    return [words = std::make_shared<LastWords>(loop)] { FAIL("called after the end"); };
  };
  std::vector<ferry::Handle> handles{loop.call_soon(bearer())};
  handles.push_back(loop.call_later(0s, bearer()));
  handles.push_back(loop.call_later(3600s, bearer()));
  auto posted = loop.call_soon_threadsafe(bearer());
  loop.add_reader(ours.fileno(), bearer());
  loop.add_writer(ours.fileno(), bearer());
  loop.add_signal_handler(some_signal(), bearer());
  raise_now(some_signal());
  auto future = loop.create_future<void>();
  future.add_done_callback(bearer());
  future.set_result();
  auto pending = loop.create_future<void>();
  pending.add_done_callback([] { FAIL("called after the end"); });
  auto events = loop.poll_events(0s);
  loop.process_events(std::move(events));
  loop.close();
  CHECK(LastWords::spoken == 8);
  for (ferry::Handle& handle : handles) handle.cancel();
  posted.cancel();
  pending.set_result();
}

TEST_CASE("closing a loop with tasks that wait for everything destroys their frames",
          "[T-024][T-131]") {
  Seal seal;
  World world;
  Loop& loop = world.loop;
  auto waits = [](auto awaited, Loop& on) -> Task<void> {
    LastWords words{on};
    co_await std::move(awaited);
    FAIL("went on after the end");
  };
  auto gate = loop.create_future<void>();
  auto fine = loop.create_task(waits(gate, loop));
  auto nested = loop.create_task(waits(waits(gate, loop), loop));
  auto asleep = loop.create_task(waits(loop.sleep(3600s), loop));
  auto chained = loop.create_task(waits(asleep, loop));
  Pair pair = connected_pair(Carrier::tcp);
  auto connecting_task = loop.create_connection(
      [&loop] { return std::make_shared<Sealed>(loop); }, std::move(pair.ours));
  auto connecting = loop.create_task(waits(std::move(connecting_task), loop));
  world.turn();
  gate.set_result();  // woken, but they do not run any more
  auto unbegun = loop.create_task(waits(gate, loop));
  auto cancelled = loop.create_task(waits(loop.sleep(1s), loop));
  cancelled.cancel();
  Sealed::sealed = true;
  loop.close();
  CHECK(LastWords::spoken == 6);  // of those that had begun
  for (const auto& future : {fine, nested, asleep, chained, connecting, unbegun, cancelled}) {
    CHECK(future.cancelled());  // for whoever holds it still
  }
  pair.peer.receive();
  CHECK(pair.peer.ended());
}

TEST_CASE("closing a loop does not wait for a look-up that hangs, and drops its late answer",
          "[T-024]") {
  std::mutex mutex;
  std::condition_variable changed;
  bool asked = false, answer = false, left = false;
  Calls calls;
  calls.on_call = [&](Call call, int) {
    if (call != Call::getaddrinfo) return 0;
    std::unique_lock lock{mutex};
    asked = true;
    changed.notify_all();
    changed.wait(lock, [&] { return answer; });
    left = true;
    changed.notify_all();
    return EAI_FAIL;
  };
  {
    World world;
    auto task = world.loop.create_connection(ferry::make<Recorder>, "host.invalid", 80);
    auto future = world.loop.create_task(std::move(task));
    world.settle();
    {
      std::unique_lock lock{mutex};
      changed.wait(lock, [&] { return asked; });
    }
    world.loop.close();  // at once
    CHECK(future.cancelled());
  }
  std::unique_lock lock{mutex};
  CHECK_FALSE(left);
  answer = true;
  changed.notify_all();
  changed.wait(lock, [&] { return left; });
}

TEST_CASE("a loop can be made and closed many times without a trace", "[T-024]") {
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 200; ++i) {
    Loop loop{backend()};
    if (i % 2 == 0) loop.call_soon([] {});
    if (i % 3 == 0) loop.close();
  }
  CHECK(open_descriptors() == before);
}
