// Protocols that lend their own memory.
#include "support/calls.hpp"
#include "support/lender.hpp"
#include "support/world.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>
#include <string>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// Lends a piece of a ring, another one each time, and nothing twice.
class Ring : public ferry::BufferedProtocol {
 public:
  std::array<std::byte, 64> memory{};
  std::size_t at = 0, step = 1;
  std::string received;
  bool lost = false;

  std::span<std::byte> get_buffer(std::size_t) override {
    step = step % 7 + 1;
    return std::span{memory}.subspan(at, std::min(step, memory.size() - at));
  }
  void buffer_updated(std::size_t count) override {
    CHECK((count >= 1 && count <= step));
    received.append(reinterpret_cast<const char*>(memory.data() + at), count);
    at = (at + count) % memory.size();
  }
  void connection_lost(const ferry::Error&) override { lost = true; }
};

}  // namespace

TEST_CASE("a BufferedProtocol is asked for memory before each read, that of the end included",
          "[A-005][S-067]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Lender>(1000));
  Calls calls;
  for (const std::string piece : {"one", "two", "three"}) {
    stream.peer.send(piece);
    world.settle();
    CHECK(stream.protocol->received.ends_with(piece));
  }
  CHECK(stream.protocol->events.size() == 2);
  stream.peer.send(pattern(2500));
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->received == "onetwothree" + pattern(2500));
  CHECK(stream.protocol->story() == "made data:2511 eof lost");
  CHECK(stream.protocol->gets == calls.count(Call::recv));
  CHECK(stream.protocol->gets >= 3 + 3 + 1);
}

TEST_CASE("a BufferedProtocol may lend other memory each time, a byte or more",
          "[A-005][S-068]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Ring>());
  const std::string data = pattern(20000);
  std::size_t sent = 0;
  world.run_until([&] {
    sent += stream.peer.send(ferry::BytesView{data}.subview(sent));
    return stream.protocol->received.size() == data.size();
  });
  CHECK(stream.protocol->received == data);
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
}

TEST_CASE("an empty buffer is an error that ends the connection, and no end of input",
          "[T-014][A-005][C-15]") {
  const Carrier carrier = any_carrier();
  const bool data = GENERATE(false, true), later = GENERATE(false, true);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Lender>(later ? 4 : 0));
  Calls calls;
  stream.protocol->on_updated = [&] {
    stream.protocol->memory.clear();
    calls.reset();
  };
  if (data || later) stream.peer.send(later ? "0123456789" : "data");
  if (!data) stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->eof);
  CHECK(calls.count(Call::recv) == 0);
  CHECK(stream.protocol->received == (later ? "0123" : ""));
  CHECK(stream.protocol->gets == (later ? 2 : 1));
  REQUIRE(stream.protocol->reason);
  CHECK_THROWS_AS(stream.protocol->reason.raise(), std::runtime_error);
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].has_transport);
  CHECK(reports[0].exception.what() == stream.protocol->reason.what());
  CHECK(std::string{reports[0].exception.what()}.find("empty buffer") != std::string::npos);
}

TEST_CASE("what is called inside get_buffer() counts at once: nothing is read after it",
          "[A-005][S-008][S-022][S-025][C-12]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Lender>());
  Calls calls;
  bool paused = false;
  stream.peer.send("data");
  stream.peer.shut_write();
  SECTION("close()") {
    stream.protocol->on_get = [&] { stream.transport->close(); };
    world.settle();
    CHECK(stream.protocol->story() == "made lost");
  }
  SECTION("abort()") {
    stream.protocol->on_get = [&] { stream.transport->abort(); };
    world.settle();
    CHECK(stream.protocol->story() == "made lost");
  }
  SECTION("pause_reading()") {
    stream.protocol->on_get = [&] { stream.transport->pause_reading(); };
    paused = true;
    world.settle();
    CHECK(stream.protocol->story() == "made");
    CHECK(stream.protocol->gets == 1);
  }
  CHECK_FALSE(stream.protocol->reason);
  CHECK(calls.count(Call::recv) == 0);
  stream.protocol->on_get = nullptr;
  stream.transport->resume_reading();
  world.settle();
  CHECK(stream.protocol->story() == (paused ? "made data:4 eof lost" : "made lost"));
}

TEST_CASE("close(), abort() and pause_reading() inside buffer_updated() hold back the rest",
          "[A-005][T-004][S-022]") {
  const Carrier carrier = any_carrier();
  const auto what = GENERATE(as<std::string>{}, "close", "abort", "pause");
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Lender>(3));
  stream.protocol->on_updated = [&] {
    if (what == "pause") return stream.transport->pause_reading();
    end(*stream.transport, what == "close" ? Way::close : Way::abort);
  };
  stream.peer.send("0123456789");
  stream.peer.shut_write();
  world.settle();
  CHECK(stream.protocol->received == "012");
  CHECK(stream.protocol->story() == (what == "pause" ? "made data:3" : "made data:3 lost"));
  CHECK(stream.protocol->gets == 1);
  stream.protocol->on_updated = nullptr;
  stream.transport->resume_reading();
  world.settle();
  const bool paused = what == "pause";
  CHECK(stream.protocol->story() == (paused ? "made data:10 eof lost" : "made data:3 lost"));
}

TEST_CASE("a BufferedProtocol with no callback of its own is lost at the first byte",
          "[S-055][T-014][A-005]") {
  World world;
  auto stream = open_as(world, Carrier::tcp, std::make_shared<ferry::BufferedProtocol>());
  world.settle();
  CHECK_FALSE(stream.transport->is_closing());
  stream.peer.send("x");
  world.run_until([&] { return stream.transport->is_closing(); });
  world.settle();
  CHECK(world.take_reports().size() == 1);
  CHECK((stream.peer.receive().empty() && (stream.peer.ended() || stream.peer.error() != 0)));
}
