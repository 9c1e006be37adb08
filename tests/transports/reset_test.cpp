#include "support/sockets.hpp"
#include "support/traffic.hpp"

#include <cerrno>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// The peer reads all there is; how the connection ended for it: "end", "reset" or an errno.
std::string end_seen_by(World& world, Peer& peer, std::string* got = nullptr) {
  const std::string all = read_to_end(world, peer);
  if (got != nullptr) *got = all;
  if (peer.error() == 0) return "end";
  return peer.error() == ECONNRESET ? "reset" : std::to_string(peer.error());
}

}  // namespace

// --- What the peer sees of us ---

TEST_CASE("abort() drops our buffer and the peer sees a plain end", "[T-058][S-025]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const bool full = GENERATE(false, true);
  std::size_t written = 4, queued = 0;
  full ? void(written = fill(stream, 100'000)) : stream.transport->write(pattern(4));
  queued = stream.transport->get_write_buffer_size();
  CHECK((queued > 0) == full);
  stream.transport->abort();
  CHECK(stream.transport->get_write_buffer_size() == 0);
  std::string got;
  CHECK(end_seen_by(world, stream.peer, &got) == "end");
  CHECK((got == pattern(written - queued)));
  world.settle();
  CHECK(stream.protocol->lost);
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("input that nobody read forces a reset, by abort() and close() alike", "[T-058]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->pause_reading();
  CHECK(stream.peer.send("never read") == 10);
  GENERATE(false, true) ? stream.transport->abort() : stream.transport->close();
  CHECK(end_seen_by(world, stream.peer) == "reset");
  world.settle();
  CHECK(stream.protocol->story() == "made lost");
}

TEST_CASE("abort_with_reset() resets the peer where the network can", "[T-058]") {
  World world;
  const Carrier carrier = any_carrier();
  Stream stream = open_stream(world, carrier);
  const bool in_loop = GENERATE(false, true), full = GENERATE(false, true);
  if (full) fill(stream, 100'000);
  bool answer = false;
  const auto reset = [&] {
    stream.protocol->in_call = true;
    answer = stream.transport->abort_with_reset();
    stream.protocol->in_call = false;
    CHECK(stream.transport->is_closing());
    CHECK(stream.transport->get_write_buffer_size() == 0);
  };
  in_loop ? inside(world, reset) : reset();
  CHECK(answer);
  CHECK_FALSE(stream.transport->abort_with_reset());
  const bool can = carrier == Carrier::tcp || !has_unix_pairs();
  CHECK(end_seen_by(world, stream.peer) == (can ? "reset" : "end"));
  world.settle();
  CHECK(stream.protocol->story() == (full ? "made pause lost" : "made lost"));
  CHECK_FALSE(stream.transport->abort_with_reset());
}

TEST_CASE("abort_with_reset() is refused once an orderly end has begun", "[T-058]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const bool full = GENERATE(false, true);
  const std::size_t written = full ? fill(stream, 100'000) : 0;
  const auto refused = [&] {
    const std::size_t before = stream.transport->get_write_buffer_size();
    CHECK_FALSE(stream.transport->abort_with_reset());
    CHECK(stream.transport->get_write_buffer_size() == before);
  };
  SECTION("by write_eof()") {
    stream.transport->write_eof();
    refused();
    CHECK_FALSE(stream.transport->is_closing());
    stream.peer.send("still heard");
    world.run_until([&] { return stream.protocol->received == "still heard"; });
    refused();
    stream.transport->close();
  }
  SECTION("by close()") {
    stream.transport->close();
    refused();
  }
  std::string got;
  CHECK(end_seen_by(world, stream.peer, &got) == "end");
  CHECK((got == pattern(written)));
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("abort() after a refused reset is a plain abort()", "[T-058]") {
  World world;
  Stream stream = open_stream(world);
  fill(stream, 100'000);
  stream.transport->close();
  CHECK_FALSE(stream.transport->abort_with_reset());
  stream.transport->abort();
  CHECK(end_seen_by(world, stream.peer) == "end");
}

// --- What we see of the peer ---

TEST_CASE("a write to a peer that has reset: no exception, lost(reset) later", "[T-041]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->pause_reading();  // only writing can tell
  stream.peer.reset();
  const auto write = [&] {
    stream.protocol->in_call = true;
    for (int i = 0; i < 3; ++i) stream.transport->write(pattern(20'000));
    stream.protocol->in_call = false;
  };
  GENERATE(false, true) ? inside(world, write) : write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("a write to a Unix peer that has closed: no exception, lost(broken pipe) later",
          "[T-041]") {
  if (!has_unix_pairs()) return skip("this system has no Unix pairs");
  World world;
  Stream stream = open_stream(world, Carrier::unix_pair);
  stream.transport->pause_reading();
  stream.peer.close();
  stream.protocol->in_call = true;
  stream.transport->write("x");
  CHECK(stream.transport->is_closing());
  stream.transport->write("x");
  stream.protocol->in_call = false;
  world.settle();
  CHECK(stream.protocol->reason == std::errc::broken_pipe);
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("the rest of a flush that the peer resets is lost(reset)", "[T-043][T-045]") {
  World world;
  Stream stream = open_stream(world);
  fill(stream, 100'000);
  stream.transport->close();
  stream.peer.reset();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->resumes == 0);
}

TEST_CASE("a peer that goes before it is accepted disturbs nobody", "[T-057][T-102][T-208]") {
  World world;
  const Recorders made;
  auto serving = world.loop.create_server(made, "127.0.0.1", 0);
  const auto server = world.run(std::move(serving));
  const ferry::Address address = address_of(*server);
  Calls calls;
  std::size_t expected = 1;
  bool may_be_unheard = false;
  SECTION("it ends") {
    Peer gone = dial(address);
    gone.send("last words");
    gone.close();
  }
  SECTION("it resets") {
    Peer gone = dial(address);
    gone.send("never heard");
    gone.reset();
    may_be_unheard = backend_name() == "iocp";  // there accept() may fail for it (T-208)
  }
  SECTION("accept fails for it") {
    calls.fail(Call::accept, ECONNABORTED);
    expected = 0;
  }
  Peer next = dial(address);
  next.send("hello");
  world.run_until([&] {
    return made.size() > 0 && made.at(made.size() - 1).received == "hello";
  });
  if (may_be_unheard && made.made() == 1) expected = 0;
  CHECK(made.made() == expected + 1);
  if (expected == 1) {
    world.run_until([&] { return made.at(0).lost; });
    const std::string story = made.at(0).story();
    INFO(story);
    const bool reset = made.at(0).reason == std::errc::connection_reset;
    CHECK((story == "made data:10 eof lost" || reset));
  }
  next.close();
  world.run_until([&] { return made.lost() == made.made(); });
  server->close();
}
