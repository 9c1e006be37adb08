#include "support/fake_channel.hpp"
#include "support/traffic.hpp"

#include <cerrno>

using namespace test;
using ferry::BytesView;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// A connection with a ferry transport on both ends.
struct Both {
  Stream near, far;
};
Both open_both(World& world, Carrier carrier) {
  Both both{open_stream(world, carrier), {}};
  both.far.protocol = std::make_shared<Recorder>();
  auto task = world.loop.create_connection([&] { return both.far.protocol; },
                                           std::move(both.near.peer.socket()));
  both.far.transport = world.run(std::move(task)).transport;
  return both;
}

}  // namespace

TEST_CASE("streams over TCP and Unix sockets can be closed by half", "[S-027]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  CHECK(stream.transport->can_write_eof());
  stream.transport->write_eof();
  CHECK(stream.transport->can_write_eof());
  stream.transport->abort();
  world.settle();
  CHECK(stream.transport->can_write_eof());
}

TEST_CASE("write_eof() ends the writing side, and data may still come", "[S-040]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  stream.transport->write("last words");
  stream.transport->write_eof();
  CHECK(stream.peer.receive() == "last words");
  CHECK(stream.peer.ended());
  CHECK_FALSE(stream.transport->is_closing());
  stream.transport->write_eof();
  stream.transport->write_eof();
  CHECK(calls.count(Call::shutdown) == 1);
  stream.peer.send("an answer");
  world.run_until([&] { return stream.protocol->received == "an answer"; });
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made data:9 eof lost");
}

TEST_CASE("write_eof() sends the end after the last byte", "[S-040][T-048]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  const std::size_t written = fill(stream, 100'000);
  stream.transport->write_eof();
  stream.transport->write_eof();
  CHECK(calls.count(Call::shutdown) == 0);
  CHECK((read_to_end(world, stream.peer) == pattern(written)));
  world.settle();
  CHECK(calls.count(Call::shutdown) == 1);
  CHECK(stream.protocol->story() == "made pause resume");
  CHECK_FALSE(stream.transport->is_closing());
  stream.transport->close();
  world.settle();
  CHECK(stream.protocol->story() == "made pause resume lost");
}

TEST_CASE("close() after write_eof() still flushes", "[T-048]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::size_t written = fill(stream, 100'000);
  stream.transport->write_eof();
  stream.transport->close();
  stream.transport->write_eof();
  world.settle();
  CHECK_FALSE(stream.protocol->lost);
  CHECK((read_to_end(world, stream.peer) == pattern(written)));
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made pause resume lost");
}

TEST_CASE("write_eof() after close(), abort() or the end does nothing", "[T-048]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  std::size_t written = 0;
  SECTION("close() of an empty transport") { stream.transport->close(); }
  SECTION("abort()") { stream.transport->abort(); }
  SECTION("close() of a full one") {
    written = fill(stream);
    stream.transport->close();
  }
  Calls calls;
  stream.transport->write_eof();
  CHECK((read_to_end(world, stream.peer) == pattern(written)));
  world.run_until([&] { return stream.protocol->lost; });
  stream.transport->write_eof();
  CHECK(calls.count(Call::shutdown) == 0);
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("when both sides end, each hears of it once and is lost once", "[T-048]") {
  World world;
  Both both = open_both(world, any_carrier());
  const std::string much =
      pattern(GENERATE(std::size_t{0}, std::size_t{100}, std::size_t{4} << 20));
  for (Stream* side : {&both.near, &both.far}) {
    side->transport->write(much);
    side->transport->write_eof();
  }
  world.run_until([&] { return both.near.protocol->lost && both.far.protocol->lost; });
  for (Stream* side : {&both.near, &both.far}) {
    CHECK((side->protocol->received == much));
    CHECK(side->protocol->eof);
    CHECK_FALSE(side->protocol->reason);
  }
}

TEST_CASE("write_eof() inside a callback ends the writing side once", "[T-048]") {
  FakeStream stream;
  stream.limits({.high = 0});
  stream.wire->room = 0;
  SECTION("inside pause_writing") {
    stream.protocol->on_pause = [&] { stream.transport->write_eof(); };
  }
  SECTION("inside resume_writing, when all is out") {
    stream.protocol->on_resume = [&] { stream.transport->write_eof(); };
  }
  stream.write("bytes");
  CHECK(stream.wire->shuts == 0);
  stream.give();
  CHECK(stream.wire->taken == "bytes");
  CHECK(stream.wire->shuts == 1);
  CHECK(stream.protocol->story() == "made pause resume");
  stream.protocol->on_pause = stream.protocol->on_resume = nullptr;
  stream.transport->close();
  stream.settle();
  CHECK(stream.wire->shuts == 1);
  CHECK(stream.protocol->story() == "made pause resume lost");
}

TEST_CASE("write() after write_eof() is an error and does no harm", "[T-049][S-040]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const bool full = GENERATE(false, true);
  const std::size_t written = full ? fill(stream) : 0;
  stream.transport->write_eof();
  const auto refused = [&] {
    CHECK_THROWS_AS(stream.transport->write("x"), ferry::MisuseError);
    CHECK_THROWS_AS(stream.transport->writelines(std::vector<std::string>{"x"}),
                    ferry::MisuseError);
  };
  refused();
  stream.peer.send("still heard");
  world.run_until([&] { return stream.protocol->received == "still heard"; });
  refused();
  if (full) {
    stream.transport->close();  // it flushes
    refused();
  }
  CHECK((read_to_end(world, stream.peer) == pattern(written)));
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
  stream.transport->write("a lost transport never throws");
}

TEST_CASE("write() after write_eof() is an error until connection_lost(), whatever ends it",
          "[T-049][C-22]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const bool aborted = GENERATE(false, true);
  stream.protocol->on_lost = [&] { stream.transport->write("a lost transport never throws"); };
  stream.transport->write_eof();
  inside(world, [&] {
    aborted ? stream.transport->abort() : stream.transport->close();
    CHECK_THROWS_AS(stream.transport->write("x"), ferry::MisuseError);
    CHECK_THROWS_AS(stream.transport->writelines(std::vector<std::string>{"x"}),
                    ferry::MisuseError);
  });
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
  CHECK(read_to_end(world, stream.peer).empty());
}

TEST_CASE("write_eof() on a connection that the peer has reset: lost(reset)", "[T-050]") {
  World world;
  Stream stream = open_stream(world);
  stream.peer.reset();
  const auto write_eof = [&] {
    stream.protocol->in_call = true;
    stream.transport->write_eof();
    stream.protocol->in_call = false;
  };
  GENERATE(false, true) ? inside(world, write_eof) : write_eof();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("a shutdown that fails does not leave write_eof()", "[T-050]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  calls.fail(Call::shutdown, ENOTCONN);
  stream.transport->write_eof();
  stream.peer.send("heard");
  world.run_until([&] { return stream.protocol->received == "heard"; });
  stream.transport->close();
  world.settle();
  CHECK(stream.protocol->story() == "made data:5 lost");
}

TEST_CASE("write_eof() without half close throws NotSupported and changes nothing",
          "[S-041][S-027]") {
  FakeStream stream{std::make_shared<Recorder>(), false};
  CHECK_FALSE(stream.transport->can_write_eof());
  CHECK_THROWS_AS(stream.transport->write_eof(), ferry::NotSupported);
  CHECK(stream.wire->shuts == 0);
  CHECK_FALSE(stream.transport->is_closing());
  stream.write("still writable");
  stream.call([&] { stream.transport->close(); });
  stream.settle();
  CHECK(stream.wire->taken == "still writable");
  CHECK(stream.wire->shuts == 0);
  CHECK(stream.protocol->story() == "made lost");
}
