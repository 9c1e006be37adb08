#include "support/traffic.hpp"

#include <limits>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// A stream with data for a peer that does not read.
Stream open_stuck(World& world, std::size_t* written = nullptr) {
  Stream stream = open_stream(world, any_carrier());
  const std::size_t count = fill(stream, 1'000'000);
  if (written != nullptr) *written = count;
  return stream;
}

// Longer than any time-out here that must not come: it would show as a second end, or as a use of a
// transport that is gone.
void let_time_pass(World& world) { world.run(world.loop.sleep(40ms)); }

}  // namespace

TEST_CASE("close() waits for a peer that never reads, and abort() ends it", "[T-043]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->close();
  world.settle();
  let_time_pass(world);
  CHECK(stream.transport->is_closing());
  CHECK_FALSE(stream.protocol->lost);
  CHECK(stream.transport->get_write_buffer_size() > 0);
  stream.protocol->in_call = true;
  stream.transport->abort();
  stream.protocol->in_call = false;
  CHECK(stream.transport->get_write_buffer_size() == 0);
  world.settle();
  CHECK(stream.protocol->story() == "made pause lost");
}

TEST_CASE("a flush that takes longer than its bound is lost(timed out), and not resumed",
          "[T-043][T-045]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(20ms);
  let_time_pass(world);  // it counts from close() on
  CHECK_FALSE(stream.transport->is_closing());
  const auto began = world.loop.time();
  SECTION("after close()") { stream.transport->close(); }
  SECTION("after close() that write_eof() came before") {
    stream.transport->write_eof();
    stream.transport->close();
  }
  SECTION("after the peer's end") { stream.peer.shut_write(); }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(world.loop.time() - began >= 20ms);
  CHECK(stream.protocol->reason == std::errc::timed_out);
  CHECK(stream.protocol->pauses == 1);
  CHECK(stream.protocol->resumes == 0);
  CHECK(stream.transport->get_write_buffer_size() == 0);
}

TEST_CASE("closing again and again does not put the bound off", "[T-043]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(5ms);
  world.run_until([&] {
    stream.transport->close();
    world.loop.call_soon([] {});  // the loop does not sleep
    return stream.protocol->lost;
  });
  CHECK(stream.protocol->reason == std::errc::timed_out);
}

TEST_CASE("the bound may be set, changed and lifted while it flushes", "[T-043]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(30ms);
  stream.transport->close();
  SECTION("lifted") {
    stream.transport->set_flush_timeout(std::nullopt);
    let_time_pass(world);
    CHECK_FALSE(stream.protocol->lost);
    stream.transport->set_flush_timeout(1ms);
  }
  SECTION("longer") {
    stream.transport->set_flush_timeout(24h);
    let_time_pass(world);
    CHECK_FALSE(stream.protocol->lost);
    stream.transport->set_flush_timeout(1ms);
  }
  SECTION("shorter") { stream.transport->set_flush_timeout(1ms); }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::timed_out);
}

TEST_CASE("a flush that is done in time ends as ever, and its timer is gone", "[T-043]") {
  World world;
  std::size_t written = 0;
  Stream stream = open_stuck(world, &written);
  stream.transport->set_flush_timeout(30ms);
  const std::weak_ptr<ferry::Transport> watch = stream.transport;
  SECTION("closed once") { stream.transport->close(); }
  SECTION("closed twice") {
    stream.transport->close();
    stream.transport->close();
  }
  SECTION("closed inside eof_received(), which answers false") {
    stream.protocol->on_eof = [&] { stream.transport->close(); };
    stream.peer.shut_write();
    world.run_until([&] { return stream.protocol->eof; });
  }
  SECTION("aborted after all") {
    stream.transport->close();
    stream.transport->abort();
  }
  stream.transport.reset();
  const std::string got = read_to_end(world, stream.peer);
  world.run_until([&] { return stream.protocol->lost; });
  // A slow machine may have needed all of the time: then there is no more to see here.
  const bool in_time = stream.protocol->reason != std::errc::timed_out;
  if (in_time) CHECK_FALSE(stream.protocol->reason);
  world.settle();
  CHECK(watch.expired());
  let_time_pass(world);
  CHECK(got.size() <= written);
}

TEST_CASE("a transport with nothing to flush has nothing to wait for", "[T-043]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  stream.transport->set_flush_timeout(1ms);
  stream.transport->write("taken at once");
  stream.transport->close();
  world.settle();
  CHECK(stream.protocol->story() == "made lost");
  stream.transport->set_flush_timeout(1ms);
  stream.transport.reset();
  let_time_pass(world);
}

TEST_CASE("a bound that is no time is refused and changes nothing", "[T-043][C-22]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(2ms);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double wrong : {0.0, -1.0, nan}) {
    CHECK_THROWS_AS(stream.transport->set_flush_timeout(ferry::Seconds{wrong}),
                    std::invalid_argument);
  }
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::timed_out);
}

TEST_CASE("an infinite bound is none", "[T-043]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(
      ferry::Seconds{std::numeric_limits<double>::infinity()});
  stream.transport->close();
  world.settle();
  CHECK_FALSE(stream.protocol->lost);
  stream.transport->abort();
  world.settle();
  CHECK(stream.protocol->story() == "made pause lost");
}

TEST_CASE("a loop that is closed while it flushes leaves nothing behind", "[T-043][T-024]") {
  World world;
  Stream stream = open_stuck(world);
  stream.transport->set_flush_timeout(1ms);
  stream.transport->close();
  world.loop.close();
  stream.transport->set_flush_timeout(1ms);
  stream.transport->abort();
  CHECK(stream.protocol->story() == "made pause");
}
