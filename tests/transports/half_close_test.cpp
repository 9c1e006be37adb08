#include "support/lender.hpp"
#include "support/traffic.hpp"

#include <cerrno>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// A stream whose protocol keeps it when the peer ends, and whose peer has ended.
Stream open_half(World& world, Carrier carrier) {
  auto protocol = std::make_shared<Recorder>();
  protocol->keep_open = true;
  Stream stream = open_stream(world, carrier, std::move(protocol));
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->eof; });
  return stream;
}

}  // namespace

TEST_CASE("the peer's end with 10 MiB still to send: all of it is sent before the end",
          "[T-046][S-070]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::string all = pattern(10 << 20);
  const std::string last = "|written inside eof_received()|";
  stream.protocol->on_eof = [&] { stream.transport->write(last); };
  SECTION("written before it") { stream.transport->write(all); }
  SECTION("written inside data_received(), just before it") {
    stream.protocol->on_data = [&] { stream.transport->write(all); };
    stream.peer.send("a question");
  }
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->eof; });
  world.settle();
  CHECK(stream.transport->is_closing());
  CHECK_FALSE(stream.protocol->lost);
  CHECK((read_to_end(world, stream.peer) == all + last));
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
  CHECK(stream.protocol->resumes == stream.protocol->pauses);
}

TEST_CASE("a connection kept after the peer's end can be written to until it is closed",
          "[T-047][S-071][C-16]") {
  World world;
  Stream stream = open_half(world, any_carrier());
  CHECK_FALSE(stream.transport->is_reading());
  CHECK_FALSE(stream.transport->is_closing());
  const std::string all = pattern(6 << 20);
  stream.transport->write(all);
  CHECK((read_size(world, stream.peer, all.size()) == all));
  world.settle();
  CHECK_FALSE(stream.protocol->lost);
  stream.transport->close();
  world.settle();
  CHECK(stream.peer.receive().empty());
  CHECK(stream.peer.ended());
  CHECK(stream.protocol->story() == "made eof pause resume lost");
}

TEST_CASE("a connection kept after the peer's end is lost when a write fails", "[T-047][T-056]") {
  World world;
  Stream stream = open_half(world, any_carrier());
  GENERATE(false, true) ? stream.peer.reset() : stream.peer.close();
  world.settle();  // nobody reads: it does not tell, nor does the loop spin
  CHECK(world.loop.poll_events(0s).size() == 0);
  CHECK_FALSE(stream.transport->is_closing());
  world.run_until([&] {
    stream.transport->write("x");
    return stream.protocol->lost;
  });
  const ferry::Error& reason = stream.protocol->reason;
  CHECK((reason == std::errc::broken_pipe || reason == std::errc::connection_reset));
  CHECK(stream.protocol->events.size() == 3);
}

TEST_CASE("a peer that has ended never makes us end our side", "[T-056]") {
  World world;
  const Carrier carrier = any_carrier();
  SECTION("while writing is blocked") {
    auto protocol = std::make_shared<Recorder>();
    protocol->keep_open = true;
    Stream stream = open_stream(world, carrier, protocol);
    const std::size_t written = fill(stream, 100'000);
    stream.peer.shut_write();
    world.run_until([&] { return protocol->eof; });
    world.settle();
    CHECK_FALSE(stream.transport->is_closing());
    CHECK((read_size(world, stream.peer, written) == pattern(written)));
    stream.transport->write("more");
    CHECK(read_size(world, stream.peer, 4) == "more");
    stream.transport->abort();
  }
  SECTION("while reading is paused") {
    Stream stream = open_stream(world, carrier);
    stream.transport->pause_reading();
    stream.peer.shut_write();
    const std::size_t written = fill(stream, 100'000);
    CHECK((read_size(world, stream.peer, written) == pattern(written)));
    CHECK_FALSE(stream.transport->is_closing());
    CHECK_FALSE(stream.protocol->eof);
    stream.transport->resume_reading();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made pause resume eof lost");
  }
  SECTION("both sides closed is a hang-up, and still ours to close") {
    Stream stream = open_half(world, carrier);
    stream.transport->write("last words");
    stream.transport->write_eof();
    world.settle();
    CHECK(world.loop.poll_events(0s).size() == 0);
    CHECK(stream.peer.receive() == "last words");
    CHECK(stream.peer.ended());
    CHECK_FALSE(stream.protocol->lost);
    stream.transport->close();
    world.settle();
    CHECK(stream.protocol->story() == "made eof lost");
  }
}

TEST_CASE("a peer that writes more than one read takes and hangs up: all, the end, lost(none)",
          "[T-054]") {
  World world;
  const Carrier carrier = any_carrier();
  // One read takes 64 KiB; a turn's share is 256 KiB.
  const std::size_t size = GENERATE(65'535u, 65'536u, 65'537u, 140'000u);
  SECTION("from the loop's memory") {
    Stream stream = open_stream(world, carrier);
    const std::string all = pattern(size);
    const std::size_t sent = stream.peer.send(all);
    CHECK(sent == size);
    stream.peer.close();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK((stream.protocol->received == all.substr(0, sent)));
    CHECK(stream.protocol->story() == "made data:" + std::to_string(sent) + " eof lost");
  }
  SECTION("from a buffer of 50 bytes, while nothing is polled") {
    const auto lender = std::make_shared<Lender>(50);
    Pair pair = connected_pair(carrier);
    const std::string all = pattern(50 + size % 3);
    pair.peer.send(all);
    pair.peer.close();  // before the connection is made
    auto task = world.loop.create_connection([&] { return lender; }, std::move(pair.ours));
    const auto made = world.run(std::move(task));
    world.run_until([&] { return lender->lost; });
    CHECK(lender->received == all);
    CHECK(lender->eof);
    CHECK_FALSE(lender->reason);
  }
}
