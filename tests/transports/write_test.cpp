#include "support/fake_channel.hpp"
#include "support/traffic.hpp"

#include <cerrno>
#include <cstring>
#include <thread>

using namespace test;
using ferry::BytesView;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

}  // namespace

TEST_CASE("write() sends at once what goes, and buffers the rest without blocking", "[S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  stream.transport->write("at once");
  CHECK(stream.transport->get_write_buffer_size() == 0);
  CHECK(stream.peer.receive() == "at once");
  const std::string much = pattern(16 << 20);
  stream.transport->write(much);  // nobody reads: it would block
  CHECK(stream.transport->get_write_buffer_size() > 0);
  CHECK((read_size(world, stream.peer, much.size()) == much));
  CHECK(stream.transport->get_write_buffer_size() == 0);
}

TEST_CASE("the caller's memory is its own again when write() has returned", "[S-038][T-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  std::string expected, expected_end;
  const auto write_and_spoil = [&](std::string& sent, std::size_t size, unsigned seed) {
    auto bytes = std::make_unique<std::string>(pattern(size, seed));
    sent += *bytes;
    stream.transport->write(*bytes);
    std::memset(bytes->data(), 0, size);
  };
  SECTION("gathered in a callback") {
    inside(world, [&] {
      write_and_spoil(expected, 100, 1);
      write_and_spoil(expected, 20'000, 2);
      write_and_spoil(expected, 7, 3);
    });
  }
  SECTION("taken in part") { write_and_spoil(expected, 16 << 20, 1); }
  SECTION("behind a full buffer") {
    expected = pattern(fill(stream));
    write_and_spoil(expected, 1, 4);
    write_and_spoil(expected, 100'000, 5);
    inside(world, [&] { write_and_spoil(expected, 1000, 6); });
  }
  SECTION("of writelines()") {
    std::vector<std::string> chunks{pattern(10, 7), pattern(8 << 20, 8), pattern(30'000, 9)};
    for (const std::string& chunk : chunks) expected += chunk;
    stream.transport->writelines(chunks);
    for (std::string& chunk : chunks) chunk.assign(chunk.size(), 'x');
  }
  CHECK((read_size(world, stream.peer, expected.size()) == expected));
}

TEST_CASE("close() right after a large write: all of it arrives", "[S-089][S-007][S-009]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::string much = pattern(8 << 20);
  const auto write_and_close = [&] {
    stream.protocol->in_call = true;
    stream.transport->write(much);
    stream.protocol->in_call = false;
    stream.transport->close();
  };
  GENERATE(false, true) ? inside(world, write_and_close) : write_and_close();
  CHECK((read_to_end(world, stream.peer) == much));
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

// --- Gathering ---

TEST_CASE("outside a running loop each write() is tried at once", "[S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  for (const int i : {1, 2, 3}) {
    stream.transport->write("ab");
    CHECK(sends(calls) == i);
    CHECK(stream.peer.receive() == "ab");
  }
}

TEST_CASE("the writes of one callback leave together when it returns", "[S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier()), other = open_stream(world);
  Calls calls;
  bool ran = false;
  const auto write_some = [&](bool twice = true) {
    stream.transport->write("one ");
    stream.transport->write("two ");
    if (twice) other.transport->write("other");
    stream.transport->writelines(std::vector<std::string>{"three ", "", "four"});
    CHECK(sends(calls) == 0);
    ran = true;
  };
  bool both = true;
  SECTION("call_soon") {
    world.loop.call_soon([&] { write_some(); });
  }
  SECTION("call_later") {
    world.loop.call_later(0s, [&] { write_some(); });
  }
  SECTION("a callback of another thread's") {
    std::thread{[&] { world.loop.call_soon_threadsafe([&] { write_some(); }); }}.join();
  }
  SECTION("a coroutine") {
    const auto coroutine = [](std::function<void()> call) -> ferry::Task<void> {
      call();
      co_return;
    };
    world.loop.create_task(coroutine([&] { write_some(); }));
  }
  SECTION("a callback that throws afterwards") {
    world.loop.call_soon([&] {
      write_some();
      throw std::runtime_error{"on purpose"};
    });
  }
  SECTION("data_received") {
    stream.protocol->on_data = [&] { write_some(); };
    stream.peer.send("x");
  }
  SECTION("eof_received") {
    stream.protocol->keep_open = true;
    stream.protocol->on_eof = [&] { write_some(); };
    stream.peer.shut_write();
  }
  SECTION("connection_lost of another") {
    both = false;
    other.protocol->on_lost = [&] { write_some(false); };
    other.transport->abort();
  }
  world.run_until([&] { return ran; });
  CHECK(stream.peer.receive() == "one two three four");
  CHECK(other.peer.receive() == (both ? "other" : ""));
  CHECK(sends(calls) == (both ? 2 : 1));
  world.take_reports();
}

TEST_CASE("the writes of connection_made leave together", "[S-038]") {
  World world;
  const auto protocol = std::make_shared<Recorder>();
  protocol->on_made = [&] {
    protocol->transport->write("hel");
    protocol->transport->write("lo");
  };
  Calls calls;
  Stream stream = open_stream(world, any_carrier(), protocol);
  CHECK(sends(calls) == 1);
  CHECK(stream.peer.receive() == "hello");
}

TEST_CASE("each callback of a turn has its own gathering, in order", "[S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  for (const char* word : {"a", "b", "c"}) {
    world.loop.call_soon([&, word] {
      stream.transport->write(word);
      stream.transport->write(word);
    });
  }
  world.turn();
  CHECK(sends(calls) == 3);
  CHECK(stream.peer.receive() == "aabbcc");
}

TEST_CASE("a large write is not gathered, and does not overtake what is", "[S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::string large = pattern(40'000);
  Calls calls;
  SECTION("alone it goes at once") {
    inside(world, [&] {
      stream.transport->write(large);
      CHECK(sends(calls) == 1);
      CHECK((stream.peer.receive() == large));
    });
  }
  SECTION("behind a small one") {
    inside(world, [&] {
      stream.transport->write("small");
      stream.transport->write(large);
      stream.transport->write("small");
    });
    CHECK((stream.peer.receive() == "small" + large + "small"));
  }
  SECTION("a gathering over the high mark goes at once, and pauses only if it must") {
    inside(world, [&] {
      for (int i = 0; i < 20; ++i) stream.transport->write(pattern(7000));
      CHECK(sends(calls) > 0);
    });
    CHECK(stream.peer.receive().size() == 140'000);
    CHECK(stream.protocol->pauses == 0);
  }
}

TEST_CASE("what was gathered has its one try before the state is looked at",
          "[S-007][S-028][S-040][T-048][T-019]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  const auto write_and = [&](const std::function<void()>& act) {
    inside(world, [&] {
      stream.transport->write("bytes");
      CHECK(sends(calls) == 0);
      act();
      CHECK(sends(calls) == 1);
    });
  };
  SECTION("get_write_buffer_size()") {
    write_and([&] { CHECK(stream.transport->get_write_buffer_size() == 0); });
    stream.transport->close();
  }
  SECTION("close()") {
    write_and([&] { stream.transport->close(); });
  }
  SECTION("abort()") {
    write_and([&] { stream.transport->abort(); });
  }
  SECTION("write_eof()") {
    write_and([&] { stream.transport->write_eof(); });
    CHECK(calls.count(Call::shutdown) == 1);
    stream.transport->close();
  }
  CHECK(sends(calls) == 1);
  CHECK(read_to_end(world, stream.peer) == "bytes");
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

// --- Writes of nothing ---

TEST_CASE("an empty write makes no system call and arms nothing", "[T-033]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::vector<std::string> none, empties{"", ""};
  const auto write_nothing = [&] {
    stream.transport->write("");
    stream.transport->write(BytesView{});
    stream.transport->writelines(none);
    stream.transport->writelines(empties);
  };
  Calls calls;
  SECTION("idle") {
    write_nothing();
    inside(world, write_nothing);
    world.settle();
    CHECK(sends(calls) == 0);
    CHECK(calls.count(watching_call(world.loop.backend())) == 0);
  }
  SECTION("paused") {
    const std::size_t written = fill(stream, 70'000);
    const std::size_t size = stream.transport->get_write_buffer_size();
    const long before = sends(calls);
    write_nothing();
    inside(world, write_nothing);
    CHECK(sends(calls) == before);
    CHECK(stream.transport->get_write_buffer_size() == size);
    CHECK(read_size(world, stream.peer, written).size() == written);
  }
  SECTION("just before close()") {
    inside(world, [&] {
      write_nothing();
      stream.transport->close();
    });
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(sends(calls) == 0);
  }
  SECTION("after write_eof() it is an error like any other") {
    stream.transport->write_eof();
    CHECK_THROWS_AS(stream.transport->write(""), ferry::MisuseError);
    CHECK_THROWS_AS(stream.transport->writelines(none), ferry::MisuseError);
    CHECK_THROWS_AS(stream.transport->writelines(empties), ferry::MisuseError);
    CHECK(sends(calls) == 0);
  }
  SECTION("after the end") {
    stream.transport->abort();
    write_nothing();
    world.settle();
    write_nothing();
    CHECK(sends(calls) == 0);
  }
}

TEST_CASE("an empty write does not spend the try of a full channel", "[T-033]") {
  FakeStream stream;
  stream.wire->room = 0;
  stream.write("x");
  const int tries = stream.wire->tries;
  stream.write("");
  stream.call([&] { stream.transport->writelines(std::vector<std::string>{"", ""}); });
  CHECK(stream.wire->tries == tries);
  stream.give();
  CHECK(stream.wire->taken == "x");
}

// --- Much and often ---

TEST_CASE("100,000 writes of one byte to a blocked socket leave in gathered sends", "[T-039]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::size_t blocked = fill(stream);
  const std::string all = pattern(blocked + 100'000);
  Calls calls;
  for (std::size_t i = blocked; i < all.size(); ++i) {
    stream.transport->write(BytesView{all}.subview(i, 1));
  }
  CHECK(sends(calls) == 0);  // it is known to be blocked
  CHECK((read_size(world, stream.peer, all.size()) == all));
  CHECK(sends(calls) < 100);
}

TEST_CASE("64 MiB, taken 2 KiB at a time, arrive", "[T-040]") {
  FakeStream stream;
  const std::string all = pattern(std::size_t{64} << 20);
  stream.wire->taken.reserve(all.size());
  stream.wire->room = 0;
  stream.write(all);
  stream.wire->at_most = 2048;
  stream.give();
  CHECK((stream.wire->taken == all));
  CHECK(stream.size() == 0);
}

TEST_CASE("short counts of the system's lose nothing", "[T-040]") {
  World world;
  Stream stream = open_stream(world, Carrier::unix_pair);
  Calls calls;
  calls.limit(Call::send, 2048);
  calls.limit(Call::sendmsg, 1023);
  const std::string all = pattern(1 << 20);
  stream.transport->write(all);
  CHECK((read_size(world, stream.peer, all.size()) == all));
  CHECK(sends(calls) >= 512);
}

TEST_CASE("a peer that takes everything does not hold up the loop", "[T-040]") {
  World world;
  Stream stream = open_stream(world);
  for (std::size_t left = fill(stream); left < (std::size_t{24} << 20); left += 8192) {
    stream.transport->write(pattern(8192));
  }
  Calls calls;
  calls.on_call = [&](Call call, int) {  // never slower than we are
    if (call == Call::sendmsg || call == Call::send) stream.peer.receive();
    return 0;
  };
  std::size_t before = stream.transport->get_write_buffer_size(), most = 0;
  world.run_until([&] {
    stream.peer.receive();
    const std::size_t now = stream.transport->get_write_buffer_size();
    most = std::max(most, before - now);
    before = now;
    return now == 0;
  });
  INFO(most);
  // A turn's share is 1 MiB, and the call that reaches it may send as much again.
  CHECK(most <= (std::size_t{2} << 20));
}

// --- Failures ---

TEST_CASE("a first try that fails throws nothing and ends the connection later", "[T-041]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const int error = GENERATE(EPIPE, ECONNRESET, ETIMEDOUT);
  Calls calls;
  fail_sends(calls, error);
  const auto write = [&] {
    stream.protocol->in_call = true;
    stream.transport->write(pattern(20'000));
    CHECK(stream.transport->is_closing());
    stream.transport->write("dropped");
    stream.transport->writelines(std::vector<std::string>{"dropped", "too"});
    CHECK(stream.transport->get_write_buffer_size() == 0);
    stream.protocol->in_call = false;
  };
  GENERATE(false, true) ? inside(world, write) : write();
  CHECK(sends(calls) == 1);
  world.settle();  // the peer sends nothing
  CHECK(stream.protocol->lost);
  CHECK(stream.protocol->reason == static_cast<std::errc>(error));
  CHECK(stream.protocol->events.size() == 2);
  stream.transport->write("dropped");
  CHECK(stream.peer.receive().empty());
  CHECK(stream.peer.ended());
}

TEST_CASE("what was gathered fails when the callback has returned", "[T-041]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  fail_sends(calls, EPIPE);
  inside(world, [&] {
    stream.transport->write("gathered");
    CHECK_FALSE(stream.transport->is_closing());
  });
  CHECK(stream.transport->is_closing());
  CHECK_FALSE(stream.protocol->lost);
  world.turn();
  CHECK(stream.protocol->lost);
  CHECK(stream.protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("a later try that fails ends the connection", "[T-041]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  fill(stream, 70'000);
  Calls calls;
  fail_sends(calls, ECONNRESET);
  read_until(world, stream.peer, [&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->story().starts_with("made pause lost:"));
}

TEST_CASE("an interrupted send is made again at once", "[T-044]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  fail_sends(calls, EINTR, 3);
  stream.transport->write("first");
  CHECK(sends(calls) == 4);
  CHECK(stream.peer.receive() == "first");
  const std::size_t written = fill(stream);
  fail_sends(calls, EINTR, 3);
  CHECK((read_size(world, stream.peer, written) == pattern(written)));
}

TEST_CASE("EPROTOTYPE is tried once more before it counts", "[T-044]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  calls.fail(Call::send, EPROTOTYPE, 1);
  stream.transport->write("first");
  CHECK(stream.peer.receive() == "first");
  CHECK(sends(calls) == 2);
  calls.fail(Call::send, EPROTOTYPE, 2);
  stream.transport->write("second");
  CHECK(sends(calls) == 4);
  world.settle();
  CHECK(stream.protocol->reason == std::errc::wrong_protocol_type);
}

TEST_CASE("a send without buffers is tried again after a rest, without spinning", "[T-044]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  const auto check_rest = [&](const std::string& expected) {
    calls.reset();
    const auto began = world.loop.time();
    for (int i = 0; i < 200; ++i) world.turn();
    const auto rests = (world.loop.time() - began) / 10ms;
    CHECK(sends(calls) <= rests + 4);  // a spinning one makes all ten in as many turns
    CHECK_FALSE(stream.transport->is_closing());
    CHECK((read_size(world, stream.peer, expected.size()) == expected));
    CHECK(stream.transport->get_write_buffer_size() == 0);
  };
  SECTION("at the first try") {
    fail_sends(calls, ENOBUFS, 10);
    stream.transport->write("first");
    stream.transport->write("second");
    check_rest("firstsecond");
  }
  SECTION("at the try of what was gathered") {
    fail_sends(calls, ENOBUFS, 10);
    inside(world, [&] { stream.transport->write("gathered"); });
    check_rest("gathered");
  }
  SECTION("at a later one") {
    const std::size_t written = fill(stream);
    const std::size_t first = stream.peer.receive().size();
    fail_sends(calls, ENOBUFS, 10);
    check_rest(pattern(written).substr(first));
  }
  stream.transport->close();
  world.settle();
  CHECK(stream.protocol->story() == "made lost");
}
