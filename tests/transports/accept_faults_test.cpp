// What goes wrong in accepting, and that a server goes on.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <stdexcept>
#include <string>

using namespace test;
using Catch::Matchers::Contains;

namespace {

std::shared_ptr<ferry::Server> serve(World& world, const Recorders& recorders) {
  return world.run(world.loop.create_server(recorders, "127.0.0.1", 0));
}
int listener_of(const ferry::Server& server) {
  return static_cast<int>(server.sockets().at(0).fileno());
}

}  // namespace

TEST_CASE("a server that runs out of resources reports it, rests for a second, and goes on",
          "[A-009]") {
  World world;
  Calls calls;
  const Recorders recorders;
  std::vector<Peer> peers;
  const std::vector<int> errors{EMFILE, ENFILE, ENOBUFS, ENOMEM, EINVAL};
  for (const int error : errors) {
    auto server = serve(world, recorders);
    calls.fail(Call::accept, error, 1, listener_of(*server));
    peers.push_back(dial(address_of(*server)));
  }
  const ferry::TimePoint began = world.loop.time();
  world.run_until([&] { return world.reports.size() == errors.size(); });
  calls.reset();
  for (int i = 0; i < 5; ++i) world.turn();
  if (world.loop.time() < began + 1s) {  // it neither tries again nor spins
    CHECK(calls.count(Call::accept) == 0);
    CHECK(world.loop.poll_events(0s).size() == 0);
  }
  const auto reports = world.take_reports();
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const auto code = static_cast<std::errc>(errors[i]);
    INFO(std::make_error_code(code).message());
    int matching = 0;
    for (const Report& report : reports) {
      if (report.exception != code) continue;
      ++matching;
      CHECK_THAT(report.message, Contains(errors[i] == EINVAL ? "accept failed" : "resources"));
    }
    CHECK(matching == 1);
  }
  world.run_until([&] { return recorders.made() == errors.size(); });
  CHECK(world.loop.time() - began >= 1s);
  world.loop.close();
}

TEST_CASE("a server closed during its rest stays closed, whoever has its number by then",
          "[T-100]") {
  World world;
  Calls calls;
  const Recorders recorders;
  auto in_handler = serve(world, recorders), later = serve(world, recorders);
  const int first = listener_of(*in_handler), second = listener_of(*later);
  std::vector<Peer> peers;
  for (const auto& server : {in_handler, later}) {
    calls.fail(Call::accept, EMFILE, 1, listener_of(*server));
    peers.push_back(dial(address_of(*server)));
  }
  int told = 0, strays = 0;
  world.loop.set_exception_handler([&](ferry::Loop&, const ferry::ExceptionContext& context) {
    ++told;
    if (context.socket.fileno() == first) in_handler->close();
  });
  world.run_until([&] { return told == 2; });
  world.loop.call_soon([&] { later->close(); });
  world.turn();
  CHECK_FALSE(is_open(first));
  CHECK_FALSE(is_open(second));
  auto [a, b] = ferry::socketpair();  // the lowest numbers that are free
  if (can_reuse_numbers()) {
    CHECK((a.fileno() == first || b.fileno() == first));
    CHECK((a.fileno() == second || b.fileno() == second));
  }
  for (const auto* socket : {&a, &b}) {
    world.loop.add_reader(socket->fileno(), [&] { ++strays; });
  }
  calls.reset();
  bool past_the_rest = false;
  world.loop.call_later(1100ms, [&] { past_the_rest = true; });
  world.run_until([&] { return past_the_rest; });
  CHECK(calls.count(Call::accept) == 0);
  CHECK(strays == 0);
  CHECK(told == 2);
  for (const auto* socket : {&a, &b}) world.loop.remove_reader(socket->fileno());
}

TEST_CASE("a listener that cannot be watched again after its rest rests once more", "[A-009]") {
  World world;
  if (world.loop.backend() == "poll" || world.loop.backend() == "iocp") {
    return skip("here watching again is no call that fails for want of memory");
  }
  Calls calls;
  const Recorders recorders;
  auto server = serve(world, recorders);
  const int listener = listener_of(*server);
  calls.fail(Call::accept, EMFILE, 1, listener);
  const Peer peer = dial(address_of(*server));
  world.run_until([&] { return !world.take_reports().empty(); });
  calls.fail(watching_call(world.loop.backend()), ENOMEM, 1, listener);
  world.run_until([&] { return !world.reports.empty(); });
  CHECK(world.take_reports().at(0).exception == std::errc::not_enough_memory);
  world.run_until([&] { return recorders.made() == 1; });
  world.loop.close();
}

TEST_CASE("a loop can be closed during a server's rest", "[T-100]") {
  World world;
  Calls calls;
  auto server = serve(world, {});
  calls.fail(Call::accept, EMFILE);
  const Peer peer = dial(address_of(*server));
  world.run_until([&] { return !world.take_reports().empty(); });
  world.loop.close();
  CHECK(server->sockets().empty());
}

TEST_CASE("a passing error of accept does not end the batch", "[T-101]") {
  World world;
  const int error = GENERATE(ECONNABORTED, EINTR, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH,
                             ENETUNREACH, EHOSTDOWN);
  const int skip = GENERATE(0, 1);  // the first connection, or one in the middle
  const Recorders recorders;
  auto server = serve(world, recorders);
  std::vector<Peer> peers;
  for (int i = 0; i < 2; ++i) peers.push_back(dial(address_of(*server)));
  Calls calls;
  calls.fail(Call::accept, error, 2, -1, skip);
  auto events = world.loop.poll_events(30s);
  REQUIRE(events.size() == 1);  // one wake-up
  world.loop.process_events(std::move(events));
  world.loop.process_ready();
  CHECK(recorders.size() == 2);
  world.settle();
  CHECK(recorders.made() == 2);
  peers.push_back(dial(address_of(*server)));  // the listener is fine
  world.run_until([&] { return recorders.made() == 3; });
  world.loop.close();
}

TEST_CASE("connections whose peers are gone by the time they are accepted disturb no other",
          "[T-102][T-057]") {
  World world;
  const Recorders recorders;
  auto server = serve(world, recorders);
  std::vector<Peer> peers;
  for (int i = 0; i < 4; ++i) peers.push_back(dial(address_of(*server)));
  peers[0].reset();
  peers[1].send("served");
  peers[2].send("and gone");
  peers[2].close();
  peers[3].send("x");
  peers[3].reset();
  world.run_until([&] {
    int served = 0;
    for (const auto& recorder : *recorders.list) served += recorder->received == "served" ? 1 : 0;
    return served == 1 && recorders.lost() + 1 == recorders.size();
  });
  world.settle();
  std::vector<std::string> stories;
  for (const auto& recorder : *recorders.list) stories.push_back(recorder->story());
  CHECK(recorders.size() >= 2);  // a system may hide those that were reset
  int complete = 0;
  for (const std::string& story : stories) {
    INFO(story);
    const bool was_reset = story.find(" lost:") != story.npos;
    complete += was_reset ? 0 : 1;
    if (!was_reset) CHECK((story == "made data:6" || story == "made data:8 eof lost"));
  }
  CHECK(complete == 2);
  const Peer next = dial(address_of(*server));
  world.run_until([&] { return recorders.made() == stories.size() + 1; });
  world.loop.close();
}

TEST_CASE("a burst of connections is accepted in portions, and busy ones keep moving",
          "[T-104][A-009]") {
  World world;
  constexpr std::size_t burst = 300, portion = 10;  // both ends are ours: 600 descriptors
  const Recorders recorders;
  ferry::Socket listener = listening_socket({"127.0.0.1", 0}, burst);
  std::vector<Peer> peers;
  for (std::size_t i = 0; i < burst; ++i) peers.push_back(dial(listener.view().getsockname()));
  Stream busy = open_stream(world);
  ferry::ServerOptions options;
  options.backlog = portion;
  auto server = world.run(world.loop.create_server(recorders, std::move(listener), options));
  Calls calls;
  const std::size_t before = recorders.size();
  std::size_t turns = 0;
  for (; turns < burst && recorders.size() < burst; ++turns) {
    calls.reset();
    busy.peer.send("x");
    world.turn();
    CHECK(calls.count(Call::accept) <= static_cast<long>(portion));
    CHECK(busy.protocol->received.size() == turns + 1);
  }
  CHECK(recorders.size() == burst);
  CHECK(turns >= (burst - before) / portion);
  world.settle();
  CHECK(recorders.made() == burst);
  world.loop.close();
}

TEST_CASE("a factory that fails for one connection is reported, and the next one is served",
          "[T-012]") {
  World world;
  const Recorders recorders;
  const int way = GENERATE(0, 1, 2);
  int calls = 0;
  const auto factory = [&]() -> std::shared_ptr<Recorder> {
    if (++calls != 2) return recorders();
    if (way == 0) throw std::runtime_error{"no protocol today"};
    if (way == 1) throw 42;
    return nullptr;
  };
  auto server = world.run(world.loop.create_server(factory, "127.0.0.1", 0));
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.push_back(dial(address_of(*server)));
  world.run_until([&] { return recorders.made() == 2; });
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK_THAT(reports[0].message, Contains("accepted connection"));
  CHECK(reports[0].exception);
  if (way == 0) CHECK(reports[0].exception.what() == "no protocol today");
  peers[1].receive();
  CHECK(peers[1].ended());  // its socket was closed, the others' not
  peers[0].receive();
  CHECK_FALSE(peers[0].ended());
  CHECK(server->is_serving());
  world.loop.close();
}
