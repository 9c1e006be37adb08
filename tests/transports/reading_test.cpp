// How data and its end come in: whole, in order, held back on demand, and in fair portions.
#include "support/calls.hpp"
#include "support/lender.hpp"
#include "support/world.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// Sends before every read, so that what there is to read never ends. Stops by itself at `most`.
class Flood final : public ferry::internal::calls::Hook {
 public:
  explicit Flood(Peer& peer) : peer_{peer} { ferry::internal::calls::set_hook(this); }
  ~Flood() override { ferry::internal::calls::set_hook(nullptr); }
  std::size_t sent = 0;
  std::size_t largest_read = 0;

 private:
  static constexpr std::size_t most = 16 << 20;
  int before(Call call, ferry::NativeHandle, std::size_t& size) override {
    if (call != Call::recv) return 0;
    largest_read = std::max(largest_read, size);
    while (sent < most) {
      const std::size_t gone = peer_.send(chunk_);
      if (gone == 0) break;
      sent += gone;
    }
    return 0;
  }
  Peer& peer_;
  std::string chunk_ = pattern(65536);
};

// Turns the loop until the end of a flooded connection's life; the most that came in one turn.
template <class P>
std::size_t most_in_a_turn(World& world, StreamOf<P>& stream, int turns) {
  std::size_t most = 0;
  for (int i = 0; i < turns; ++i) {
    const std::size_t before = stream.protocol->received.size();
    world.turn();
    most = std::max(most, stream.protocol->received.size() - before);
  }
  return most;
}

// Sends `data` in pieces of random size, in turns with the loop, to whoever reads it.
template <class P>
void send_in_pieces(World& world, StreamOf<P>& stream, const std::string& data,
                    std::mt19937& random) {
  std::size_t at = 0;
  std::uniform_int_distribution<std::size_t> piece{1, 9000};
  while (at < data.size()) {
    at += stream.peer.send(ferry::BytesView{data}.subview(at, piece(random)));
    if (random() % 3 == 0) world.turn();
  }
  stream.peer.shut_write();
  world.run_until([&] {
    stream.transport->resume_reading();
    return stream.protocol->lost;
  });
}

}  // namespace

TEST_CASE("a stream's bytes and their order are the same however it is cut",
          "[S-068][S-067][S-022][S-023]") {
  const Carrier carrier = any_carrier();
  const std::size_t limit = GENERATE(0u, 1u, 7u, 1000u);
  for (unsigned seed = 1; seed <= 4; ++seed) {
    INFO("seed " << seed << ", at most " << limit << " bytes a call");
    std::mt19937 random{seed};
    const std::size_t calls_at_most = is_slow() ? 2000 : 15000;
    const std::string data = pattern(
        limit == 0 ? 100000 : std::min<std::size_t>(100000, limit * calls_at_most), seed);
    World world;
    Calls calls;
    calls.limit(Call::recv, limit);
    auto plain = open_as(world, carrier, std::make_shared<Recorder>());
    plain.protocol->on_data = [&] {
      if (random() % 4 == 0) plain.transport->pause_reading();
    };
    send_in_pieces(world, plain, data, random);
    CHECK(plain.protocol->received == data);
    CHECK(plain.protocol->story() == "made data:" + std::to_string(data.size()) + " eof lost");
    auto lender = open_as(world, carrier, std::make_shared<Lender>(1 + random() % 3000));
    lender.protocol->on_updated = [&] {
      if (random() % 4 == 0) lender.transport->pause_reading();
      lender.protocol->memory.resize(1 + random() % 3000);
    };
    send_in_pieces(world, lender, data, random);
    CHECK(lender.protocol->received == data);
    CHECK(lender.protocol->story() == plain.protocol->story());
  }
}

TEST_CASE("the view that data_received() is given holds until it returns", "[S-067]") {
  const Carrier carrier = any_carrier();
  World world;
  class Keeper : public ferry::Protocol {
   public:
    std::function<void()> meddle;
    std::string received;
    void data_received(ferry::BytesView data) override {
      CHECK_FALSE(data.empty());
      const std::string before = data.str();
      meddle();
      CHECK(data == before);
      received += before;
    }
  };
  auto stream = open_as(world, carrier, std::make_shared<Keeper>());
  Stream other = open_stream(world, carrier);
  stream.protocol->meddle = [&] {
    stream.transport->pause_reading();
    stream.transport->write(pattern(30000, 3));
    stream.transport->get_write_buffer_size();
    stream.transport->set_write_buffer_limits({.high = 0});
    stream.transport->resume_reading();
    stream.transport->set_protocol(stream.protocol);
    other.transport->write("to another one");
  };
  const std::string data = pattern(200000, 2);
  std::size_t sent = 0;
  world.run_until([&] {
    sent += stream.peer.send(ferry::BytesView{data}.subview(sent));
    stream.peer.receive();
    return stream.protocol->received.size() == data.size();
  });
  CHECK(stream.protocol->received == data);
  stream.protocol->meddle = [&] { stream.transport->abort(); };
  stream.peer.send("and the last");
  world.run_until([&] { return stream.transport->is_closing(); });
  CHECK(stream.protocol->received == data + "and the last");
  other.transport->close();
}

TEST_CASE("while reading is paused nothing comes, and then all of it in order",
          "[S-022][S-023][T-017][A-003]") {
  const Carrier carrier = any_carrier();
  const bool end = GENERATE(false, true), there_already = GENERATE(false, true);
  World world;
  Stream stream = open_stream(world, carrier);
  CHECK(stream.transport->is_reading());
  if (there_already) stream.peer.send("one ");
  stream.transport->pause_reading();
  CHECK_FALSE(stream.transport->is_reading());
  stream.peer.send("two ");
  stream.peer.send("three");
  if (end) stream.peer.shut_write();
  world.settle();
  CHECK(world.loop.poll_events(0s).size() == 0);  // it does not spin either
  CHECK(stream.protocol->story() == "made");
  CHECK_FALSE(stream.transport->is_closing());
  stream.protocol->in_call = true;
  stream.transport->resume_reading();
  stream.protocol->in_call = false;
  CHECK(stream.transport->is_reading());
  world.settle();
  const std::string all = there_already ? "one two three" : "two three";
  CHECK(stream.protocol->received == all);
  const std::string story = "made data:" + std::to_string(all.size());
  CHECK(stream.protocol->story() == (end ? story + " eof lost" : story));
  CHECK_FALSE(stream.protocol->reason);
  stream.transport->close();
}

TEST_CASE("pause_reading() inside data_received() holds back what the same event brought",
          "[T-017][S-022][S-023]") {
  const Carrier carrier = any_carrier();
  World world;
  SECTION("the end") {
    Stream stream = open_stream(world, carrier);
    stream.protocol->on_data = [&] { stream.transport->pause_reading(); };
    stream.peer.send("first");
    stream.peer.shut_write();
    world.settle();
    CHECK(stream.protocol->story() == "made data:5");
    stream.transport->resume_reading();
    world.settle();
    CHECK(stream.protocol->story() == "made data:5 eof lost");
  }
  SECTION("more data and the end") {
    auto stream = open_as(world, carrier, std::make_shared<Lender>(4));
    stream.protocol->on_updated = [&] { stream.transport->pause_reading(); };
    stream.peer.send("0123456789");
    stream.peer.shut_write();
    for (const std::string got : {"0123", "01234567", "0123456789"}) {
      world.settle();
      CHECK(stream.protocol->received == got);
      CHECK_FALSE(stream.protocol->eof);
      stream.transport->resume_reading();
    }
    world.settle();
    CHECK(stream.protocol->story() == "made data:10 eof lost");
  }
}

TEST_CASE("a callback of one connection pauses another whose event waits in the same batch",
          "[S-022][S-023][T-006]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream a = open_stream(world, carrier), b = open_stream(world, carrier);
  a.protocol->on_data = [&] { b.transport->pause_reading(); };
  b.protocol->on_data = [&] { a.transport->pause_reading(); };
  a.peer.send("x");
  b.peer.send("x");
  world.settle();
  CHECK(a.protocol->received.size() + b.protocol->received.size() == 1);
  a.protocol->on_data = b.protocol->on_data = nullptr;
  a.transport->resume_reading();
  b.transport->resume_reading();
  world.settle();
  CHECK(a.protocol->received.size() + b.protocol->received.size() == 2);
  a.transport->close();
  b.transport->close();
}

TEST_CASE("pause_reading() inside connection_made() holds", "[T-015][S-022]") {
  const Carrier carrier = any_carrier();
  const bool end = GENERATE(false, true), resumed = GENERATE(false, true);
  World world;
  auto protocol = std::make_shared<Recorder>();
  protocol->on_made = [&] {
    CHECK(protocol->transport->is_reading());
    protocol->transport->pause_reading();
    CHECK_FALSE(protocol->transport->is_reading());
    if (resumed) protocol->transport->resume_reading();
  };
  Pair pair = connected_pair(carrier);
  pair.peer.send("there already");
  if (end) pair.peer.shut_write();
  auto stream = open_as(world, std::move(pair), protocol);
  world.settle();
  const std::string whole = end ? "made data:13 eof lost" : "made data:13";
  CHECK(protocol->story() == (resumed ? whole : "made"));
  CHECK(stream.transport->is_reading() == (resumed && !end));
  stream.transport->resume_reading();
  world.settle();
  CHECK(protocol->story() == whole);
  stream.transport->close();
}

TEST_CASE("pause_reading() and resume_reading() may be called at any time, any number of times",
          "[T-016][A-003][A-004]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  ferry::Transport& transport = *stream.transport;
  const auto often = [&](bool pause) {
    for (int i = 0; i < 3; ++i) {
      CHECK_NOTHROW(pause ? transport.pause_reading() : transport.resume_reading());
    }
  };
  SECTION("while it is open") {
    often(false);
    CHECK(transport.is_reading());
    often(true);
    stream.peer.send("data");
    world.settle();
    CHECK(stream.protocol->received.empty());
    transport.resume_reading();  // one is enough
    CHECK(transport.is_reading());
    world.settle();
    CHECK(stream.protocol->received == "data");
  }
  SECTION("inside callbacks, to and fro") {
    stream.protocol->on_data = [&] {
      for (const bool pause : {true, false, true, false}) often(pause);
    };
    stream.peer.send("da");
    world.settle();
    stream.peer.send("ta");
    world.settle();
    CHECK(stream.protocol->received == "data");
  }
  SECTION("while it is closing and when it is lost") {
    block_writing(stream);
    stream.peer.send("too late");
    transport.close();
    for (int round = 0; round < 2; ++round) {
      for (const bool pause : {true, false}) {
        often(pause);
        CHECK_FALSE(transport.is_reading());
        world.settle();
      }
      world.run_until([&] {
        stream.peer.receive();
        return stream.protocol->lost;
      });
    }
    CHECK(stream.protocol->story() == "made lost");
  }
  SECTION("after the end of input") {
    stream.protocol->keep_open = true;
    stream.peer.shut_write();
    world.settle();
    for (const bool pause : {true, false}) {
      often(pause);
      CHECK_FALSE(transport.is_reading());
      world.settle();
    }
    CHECK(stream.protocol->story() == "made eof");
    CHECK(world.loop.poll_events(0s).size() == 0);
  }
  transport.close();
}

TEST_CASE("close() while reading is paused completes, whatever input waits",
          "[S-008][S-022][T-016]") {
  const Carrier carrier = any_carrier();
  const Way way = GENERATE(Way::close, Way::abort);
  World world;
  Stream stream = open_stream(world, carrier);
  stream.transport->pause_reading();
  stream.peer.send("never read");
  stream.peer.shut_write();
  world.settle();
  end(*stream.transport, way);
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made lost");
}

TEST_CASE("eof_received() that answers false closes, after what is pending was sent",
          "[S-069][S-070][S-073][S-061][A-001]") {
  const Carrier carrier = any_carrier();
  const std::size_t size = GENERATE(0u, 6u, 5u << 20);
  World world;
  Stream stream = open_stream(world, carrier);
  const std::string answer = pattern(size, 5);
  stream.protocol->on_eof = [&] {
    CHECK_FALSE(stream.transport->is_closing());
    stream.transport->write(answer);
  };
  stream.peer.send("question");
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->eof; });
  CHECK(stream.transport->is_closing());
  CHECK_FALSE(stream.protocol->lost);
  std::string got;
  world.run_until([&] {
    got += stream.peer.receive();
    return stream.peer.ended() && stream.protocol->lost;
  });
  CHECK(got == answer);
  CHECK_FALSE(stream.protocol->reason);
  CHECK(stream.protocol->story().starts_with("made data:8 eof"));
}

TEST_CASE("eof_received() that answers true leaves writing and closing to the protocol",
          "[S-069][S-071][S-073][C-16][A-003]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  stream.protocol->keep_open = true;
  stream.protocol->on_eof = [&] { CHECK_FALSE(stream.transport->is_reading()); };
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->eof; });
  world.settle();
  CHECK(stream.protocol->story() == "made eof");
  CHECK(world.loop.poll_events(0s).size() == 0);
  CHECK_FALSE(stream.transport->is_closing());
  CHECK_FALSE(stream.transport->is_reading());
  const std::string data = pattern(5 << 20, 9);
  stream.transport->write(data);
  std::string got;
  world.run_until([&] {
    got += stream.peer.receive();
    return got.size() == data.size();
  });
  CHECK(got == data);
  CHECK_FALSE(stream.protocol->lost);
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("close() or abort() inside eof_received() wins over its answer", "[S-070][S-071][C-12]") {
  const Carrier carrier = any_carrier();
  const Way way = GENERATE(Way::close, Way::abort);
  const bool keep_open = GENERATE(false, true);
  World world;
  Stream stream = open_stream(world, carrier);
  stream.protocol->keep_open = keep_open;
  stream.protocol->on_eof = [&] { end(*stream.transport, way); };
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  world.settle();
  CHECK(stream.protocol->story() == "made eof lost");
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("a reset by the peer is an error, and no end of input", "[S-061]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  SECTION("a peer that closes with unread data") {
    stream.transport->write("unread");
    stream.peer.close();
  }
  SECTION("a peer that resets") {
    if (carrier == Carrier::unix_pair) stream.transport->write("unread");
    stream.peer.reset();
  }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK_FALSE(stream.protocol->eof);
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("a connection that is flooded gets 256 KiB a turn, and the others their share",
          "[A-008]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream modest = open_stream(world, carrier);
  const auto check = [&](auto& stream) {
    Flood flood{stream.peer};
    stream.peer.send("x");
    modest.peer.send("y");
    int calls = 0;
    world.loop.call_soon([&] { ++calls; });
    CHECK(most_in_a_turn(world, stream, 1) <= 256 * 1024);
    CHECK(modest.protocol->received == "y");
    CHECK(calls == 1);
    CHECK(most_in_a_turn(world, stream, 20) <= 256 * 1024);
    CHECK(flood.largest_read <= 256 * 1024);
    CHECK(stream.protocol->received.size() >= 20 * 1024);
  };
  SECTION("to a protocol that takes what comes") {
    auto stream = open_as(world, carrier, std::make_shared<Recorder>());
    check(stream);
    stream.transport->abort();
  }
  SECTION("to one that lends a megabyte") {
    auto stream = open_as(world, carrier, std::make_shared<Lender>(1 << 20));
    check(stream);
    stream.transport->abort();
  }
  modest.transport->close();
}
