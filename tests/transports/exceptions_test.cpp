// What callbacks and factories throw: it never leaves the loop, and each has its consequence.
#include "support/calls.hpp"
#include "support/lender.hpp"
#include "support/sockets.hpp"
#include "support/world.hpp"


#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

struct Oops : std::runtime_error {
  explicit Oops(const std::string& text) : std::runtime_error{text} {}
};
[[noreturn]] void oops() { throw Oops{"oops"}; }

// Whether `error` is the very Oops that was thrown, and not merely its words.
bool is_oops(const ferry::Error& error) {
  try {
    error.raise();
  } catch (const Oops& thrown) {
    return std::string_view{thrown.what()} == "oops" && error.what() == "oops";
  } catch (...) {
  }
  return false;
}

// One report, of an Oops of `callback`'s, that names the transport.
void expect_report(World& world, const std::string& callback) {
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].message.find(callback + "()") != std::string::npos);
  CHECK(is_oops(reports[0].exception));
  CHECK(reports[0].has_transport);
}

std::function<void()>& hook_of(Recorder& protocol, const std::string& callback) {
  if (callback == "connection_made") return protocol.on_made;
  if (callback == "data_received") return protocol.on_data;
  if (callback == "eof_received") return protocol.on_eof;
  if (callback == "pause_writing") return protocol.on_pause;
  if (callback == "resume_writing") return protocol.on_resume;
  REQUIRE(callback == "connection_lost");
  return protocol.on_lost;
}

// A life in which every callback has its turn, as far as it gets.
void live_through(World& world, StreamOf<Recorder>& stream) {
  stream.peer.send("data");
  world.settle();
  CHECK_NOTHROW(stream.transport->write(pattern(1 << 20)));
  world.settle();
  for (int i = 0; i < 1000 && stream.transport->get_write_buffer_size() > 0; ++i) {
    stream.peer.receive();
    world.settle();
  }
  stream.peer.send("more");
  stream.peer.shut_write();
  world.settle();
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  world.settle();
}

}  // namespace

TEST_CASE("what connection_made(), pause_writing(), resume_writing() or connection_lost() throw is "
          "reported, and the connection goes on",
          "[C-15][T-008][T-009][T-010]") {
  const Carrier carrier = any_carrier();
  const auto callback = GENERATE(as<std::string>{}, "connection_made", "pause_writing",
                                 "resume_writing", "connection_lost");
  World world;
  auto protocol = std::make_shared<Recorder>();
  protocol->keep_open = true;
  hook_of(*protocol, callback) = oops;
  Pair pair = connected_pair(carrier);
  pair.ours.view().setsockopt(SOL_SOCKET, SO_SNDBUF, 65536);
  auto stream = open_as(world, std::move(pair), protocol);  // which succeeds
  CHECK_FALSE(stream.transport->is_closing());
  live_through(world, stream);
  CHECK(protocol->story() == "made data:4 pause resume data:4 eof lost");
  CHECK_FALSE(protocol->reason);
  CHECK(stream.transport->get_protocol() == nullptr);
  expect_report(world, callback);
}

TEST_CASE("what data_received() throws is reported once and ends the connection with it",
          "[C-15][T-007][A-001]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  stream.protocol->on_data = [&] {
    stream.peer.send("never to be delivered");
    oops();
  };
  stream.peer.send("data");
  world.run_until([&] { return stream.protocol->lost; });
  world.settle();
  CHECK(stream.protocol->story() == "made data:4 lost:oops");
  CHECK(is_oops(stream.protocol->reason));
  CHECK(stream.transport->is_closing());
  expect_report(world, "data_received");
  stream.peer.receive();
  CHECK((stream.peer.ended() || stream.peer.error() == ECONNRESET));
}

TEST_CASE("what eof_received() throws is reported once and ends the connection with it",
          "[C-15][T-009]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  stream.protocol->on_eof = oops;
  stream.protocol->keep_open = true;
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made eof lost:oops");
  CHECK(is_oops(stream.protocol->reason));
  expect_report(world, "eof_received");
}

TEST_CASE("what get_buffer() or buffer_updated() throw ends the connection with it",
          "[C-15][T-014]") {
  const Carrier carrier = any_carrier();
  const bool at_get = GENERATE(false, true);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Lender>(4));
  Calls calls;
  (at_get ? stream.protocol->on_get : stream.protocol->on_updated) = oops;
  stream.peer.send("0123456789");
  world.run_until([&] { return stream.protocol->lost; });
  world.settle();
  CHECK(stream.protocol->story() == (at_get ? "made lost:oops" : "made data:4 lost:oops"));
  CHECK(calls.count(Call::recv) == (at_get ? 0 : 1));
  CHECK(stream.protocol->gets == 1);
  CHECK(is_oops(stream.protocol->reason));
  expect_report(world, at_get ? "get_buffer" : "buffer_updated");
}

TEST_CASE("what a BufferedProtocol's other callbacks throw has the consequences of a Protocol's",
          "[C-15][T-008][T-009][T-010]") {
  World world;
  auto protocol = std::make_shared<Lender>();
  const auto callback =
      GENERATE(as<std::string>{}, "connection_made", "eof_received", "connection_lost");
  (callback == "connection_made" ? protocol->on_made
   : callback == "eof_received"  ? protocol->on_eof
                                 : protocol->on_lost) = oops;
  auto stream = open_as(world, Carrier::tcp, protocol);
  stream.peer.send("data");
  stream.peer.shut_write();
  world.run_until([&] { return protocol->lost; });
  const bool fatal = callback == "eof_received";
  CHECK(protocol->story() == (fatal ? "made data:4 eof lost:oops" : "made data:4 eof lost"));
  CHECK(is_oops(protocol->reason) == fatal);
  expect_report(world, callback);
}

TEST_CASE("whatever the type of what is thrown, it stays in the loop", "[C-15][T-007]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  stream.peer.send("x");
  SECTION("a number") {
    stream.protocol->on_data = [] { throw 42; };
    world.run_until([&] { return stream.protocol->lost; });
    CHECK_FALSE(stream.protocol->reason.what().empty());
    CHECK_THROWS_AS(stream.protocol->reason.raise(), int);
    CHECK(world.take_reports().size() == 1);
  }
  SECTION("an error of the system's, which the protocol is told and nobody else") {
    stream.protocol->on_data = [] {
      throw std::system_error{std::make_error_code(std::errc::no_space_on_device)};
    };
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->reason == std::errc::no_space_on_device);
    CHECK(world.take_reports().empty());
  }
  SECTION("a cancellation") {
    stream.protocol->on_data = [] { throw ferry::CancelledError{}; };
    world.run_until([&] { return stream.protocol->lost; });
    CHECK_THROWS_AS(stream.protocol->reason.raise(), ferry::CancelledError);
    CHECK(world.take_reports().size() == 1);
  }
  CHECK(stream.protocol->events.size() == 3);
}

TEST_CASE("what pause_writing() throws does not reach the callback that wrote", "[T-009][C-15]") {
  const Carrier carrier = any_carrier();
  World world;
  Pair pair = connected_pair(carrier);
  pair.ours.view().setsockopt(SOL_SOCKET, SO_SNDBUF, 65536);
  auto stream = open_as(world, std::move(pair), std::make_shared<Recorder>());
  stream.protocol->on_pause = oops;
  bool wrote = false;
  stream.protocol->on_data = [&] {
    stream.transport->write(pattern(1 << 20));
    wrote = true;
  };
  stream.peer.send("x");
  world.run_until([&] { return stream.protocol->pauses == 1; });
  CHECK(wrote);
  CHECK_FALSE(stream.transport->is_closing());
  expect_report(world, "pause_writing");
  std::string got;
  world.run_until([&] {
    got += stream.peer.receive();
    return got.size() == 1 << 20;
  });
  CHECK(got == pattern(1 << 20));
  stream.transport->close();
}

TEST_CASE("the first cause wins: an exception after close() or abort() is only reported",
          "[C-15][T-007][T-020]") {
  const Carrier carrier = any_carrier();
  const Way way = GENERATE(Way::close, Way::abort);
  const bool at_eof = GENERATE(false, true);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  (at_eof ? stream.protocol->on_eof : stream.protocol->on_data) = [&] {
    end(*stream.transport, way);
    oops();
  };
  stream.peer.send("x");
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == (at_eof ? "made data:1 eof lost" : "made data:1 lost"));
  expect_report(world, at_eof ? "eof_received" : "data_received");
}

TEST_CASE("an exception ends a connection though its buffer is full, and drops the buffer",
          "[C-15][T-007][S-025]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream);
  stream.protocol->on_data = oops;
  stream.peer.send("x");
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.transport->get_write_buffer_size() == 0);
  CHECK(is_oops(stream.protocol->reason));
  expect_report(world, "data_received");
}

TEST_CASE("a throwing connection_lost() releases the socket, the server's count and its waiters",
          "[T-010]") {
  World world;
  const Recorders theirs;
  auto listen = world.loop.create_server(theirs, "127.0.0.1", 0);
  const auto server = world.run(std::move(listen));
  Peer peer = dial(address_of(*server));
  world.run_until([&] { return theirs.made() == 1; });
  Recorder& protocol = theirs.at(0);
  const auto number = protocol.transport->get_extra_info(ferry::socket).fileno();
  protocol.on_lost = oops;
  server->close();
  const auto waiting = world.loop.create_task(server->wait_closed());
  world.settle();
  CHECK_FALSE(waiting.done());
  protocol.transport->close();
  world.run_until([&] { return waiting.done(); });
  CHECK(waiting.exception() == nullptr);
  CHECK_FALSE(is_open(number));
  peer.receive();
  CHECK(peer.ended());
  expect_report(world, "connection_lost");
}

TEST_CASE("when a factory throws or gives nothing, the caller gets the error and the socket is "
          "closed",
          "[T-012][S-062]") {
  const bool throws = GENERATE(false, true);
  World world;
  const auto factory = [&]() -> std::shared_ptr<ferry::Protocol> {
    if (throws) oops();
    return nullptr;
  };
  const auto check = [&](const ferry::Error& error) {
    REQUIRE(error);
    if (throws) CHECK(is_oops(error));
    if (!throws) CHECK_THROWS_AS(error.raise(), std::invalid_argument);
  };
  SECTION("with a socket") {
    Pair pair = connected_pair(any_carrier());
    const auto number = pair.ours.fileno();
    check(error_of(world, world.loop.create_connection(factory, std::move(pair.ours))));
    CHECK_FALSE(is_open(number));
    CHECK(pair.peer.receive().empty());
    CHECK(pair.peer.ended());
  }
  SECTION("by address") {
    const auto listener = listening_socket();
    check(error_of(world, world.loop.create_connection(factory, "127.0.0.1",
                                                       listener.view().getsockname().port())));
    Peer peer{accept_one(listener)};
    CHECK(peer.receive().empty());
    CHECK(peer.ended());
  }
  SECTION("by path") {
    if (!has_unix_sockets()) return skip("this system has no Unix sockets");
    const Directory directory;
    const auto listener = listening_socket(ferry::Address::unix_path(directory / "socket"));
    check(error_of(world, world.loop.create_unix_connection(factory, directory / "socket")));
    Peer peer{accept_one(listener)};
    CHECK(peer.receive().empty());
    CHECK(peer.ended());
  }
}

TEST_CASE("when a transport cannot be built, the caller gets the error and the protocol nothing",
          "[T-012][S-062]") {
  const Carrier carrier = any_carrier();
  World world;
  if (world.loop.backend() != "epoll") return skip(level_only);
  auto protocol = std::make_shared<Recorder>();
  Pair pair = connected_pair(carrier);
  const auto number = pair.ours.fileno();
  {
    Calls calls;
    calls.fail(Call::epoll_ctl, ENOSPC, 1, static_cast<int>(number));
    auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
    const ferry::Error error = error_of(world, std::move(task));
    CHECK(error == std::errc::no_space_on_device);
  }
  CHECK_FALSE(is_open(number));
  CHECK(protocol->events.empty());
  CHECK(protocol.use_count() == 1);
}
