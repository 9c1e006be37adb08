// How connections end: close(), abort(), failures, from anywhere.
#include "support/calls.hpp"
#include "support/lender.hpp"
#include "support/world.hpp"


#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace test;

namespace {

constexpr std::size_t block = 65536;  // what block_writing() writes at a time

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }
Way any_way() { return GENERATE(Way::close, Way::abort); }

// Whether `text` begins with whole blocks of block_writing()'s, and what comes after them.
bool blocks_then(const std::string& text, const std::string& rest) {
  if (text.size() < rest.size() || (text.size() - rest.size()) % block != 0) return false;
  const std::string one = pattern(block);
  for (std::size_t at = 0; at + rest.size() < text.size(); at += block) {
    if (text.compare(at, block, one) != 0) return false;
  }
  return text.ends_with(rest);
}

// Reads what the peer gets until the connection is lost, and the rest after it.
std::string drain_until_lost(World& world, Stream& stream) {
  std::string all;
  world.run_until([&] {
    all += stream.peer.receive();
    return stream.protocol->lost;
  }, "the flush");
  return all + stream.peer.receive();
}

// Runs `call` as a call of the user's: no callback may run inside it.
template <class Call>
void calling(Stream& stream, Call call) {
  stream.protocol->in_call = true;
  call();
  stream.protocol->in_call = false;
}

void run_inside_data(World& world, Stream& stream, const std::function<void()>& call) {
  bool done = false;
  stream.protocol->on_data = [&] {
    if (!std::exchange(done, true)) calling(stream, call);
  };
  stream.peer.send("x");
  world.run_until([&] { return done; });
}

std::size_t count_warnings(const std::vector<std::string>& logs) {
  std::size_t count = 0;
  for (const std::string& line : logs) count += line.find("lost") != line.npos ? 1u : 0u;
  return count;
}

}  // namespace

TEST_CASE("any two of close() and abort() lose a connection once, in a later turn",
          "[T-001][S-009][S-025][S-026][A-001][C-12]") {
  const Carrier carrier = any_carrier();
  const Way first = any_way(), second = any_way();
  const bool full = GENERATE(false, true), inside = GENERATE(false, true);
  const bool aborted = first == Way::abort || second == Way::abort;
  World world;
  Stream stream = open_stream(world, carrier);
  CHECK_FALSE(stream.transport->is_closing());
  if (full) block_writing(stream);
  const auto end_twice = [&] {
    end(*stream.transport, first);
    CHECK(stream.transport->is_closing());
    end(*stream.transport, second);
    CHECK(stream.transport->is_closing());
    CHECK((stream.transport->get_write_buffer_size() > 0) == (full && !aborted));
  };
  if (inside) {
    run_inside_data(world, stream, end_twice);
  } else {
    calling(stream, end_twice);
  }
  CHECK_FALSE(stream.protocol->lost);
  world.settle();
  CHECK(stream.protocol->lost == (aborted || !full));
  const std::string got = drain_until_lost(world, stream);
  CHECK(stream.protocol->story() == (inside ? "made data:1 lost" : "made lost"));
  CHECK((stream.peer.ended() || stream.peer.error() == ECONNRESET));
  if (full && !aborted) CHECK(blocks_then(got, ""));
  world.settle();
  CHECK(stream.transport->is_closing());
}

TEST_CASE("close() sends all that is buffered, and ends when all is out",
          "[S-007][S-009][T-019][A-001]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream, 100000);
  stream.transport->write("the last");
  calling(stream, [&] {
    stream.transport->close();
    stream.transport->write("after");
    stream.transport->writelines(std::vector<std::string>{"af", "ter"});
  });
  CHECK(stream.transport->is_closing());
  world.settle();
  CHECK_FALSE(stream.protocol->lost);
  CHECK(stream.transport->get_write_buffer_size() > 100000);
  CHECK(blocks_then(drain_until_lost(world, stream), "the last"));
  CHECK_FALSE(stream.protocol->reason);
  CHECK(stream.peer.ended());
}

TEST_CASE("after close() no more is received, whatever came or comes while the buffer is flushed",
          "[S-008][A-003]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream);
  stream.peer.send("not yet delivered");
  stream.transport->close();
  CHECK_FALSE(stream.transport->is_reading());
  world.settle();
  stream.peer.send("much too late");
  stream.peer.shut_write();
  world.settle();
  CHECK(world.loop.poll_events(0s).size() == 0);
  CHECK_FALSE(stream.protocol->lost);
  drain_until_lost(world, stream);
  CHECK(stream.protocol->story() == "made lost");
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("what one callback writes before close() arrives, and nothing after it",
          "[T-019][S-007][T-018]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  run_inside_data(world, stream, [&] {
    stream.transport->write("one ");
    stream.transport->writelines(std::vector<std::string>{"two ", "three"});
    stream.transport->close();
    stream.transport->write(" four");
    stream.transport->writelines(std::vector<std::string>{" five"});
  });
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.peer.receive() == "one two three");
  CHECK(stream.peer.ended());
  CHECK(stream.peer.error() == 0);
  CHECK(stream.protocol->story() == "made data:1 lost");
}

TEST_CASE("abort() drops the buffer at once, also of a close() that waits",
          "[S-025][S-026][T-001][T-043]") {
  const Carrier carrier = any_carrier();
  const bool after_close = GENERATE(false, true);
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream);
  stream.transport->write(std::string(3 * block, '\xff'));  // a byte that no pattern has
  const std::size_t lost_bytes = stream.transport->get_write_buffer_size();
  CHECK(lost_bytes > 3 * block);
  if (after_close) {
    stream.transport->close();
    world.settle();
    CHECK_FALSE(stream.protocol->lost);
  }
  stream.peer.send("too late");
  stream.protocol->in_call = true;  // but for the pause, which is over
  stream.transport->abort();
  stream.protocol->in_call = false;
  CHECK(stream.transport->get_write_buffer_size() == 0);
  CHECK_FALSE(stream.protocol->lost);
  world.turn();
  CHECK(stream.protocol->lost);
  CHECK_FALSE(stream.protocol->reason);
  CHECK(stream.protocol->received.empty());
  CHECK(stream.peer.receive().find('\xff') == std::string::npos);
}

TEST_CASE("a paused writer is resumed by the flush of close(), and never by abort()", "[C-10]") {
  const Carrier carrier = any_carrier();
  const Way way = any_way();
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream, 200000);
  REQUIRE(stream.protocol->pauses == 1);
  calling(stream, [&] { end(*stream.transport, way); });
  const std::string got = drain_until_lost(world, stream);
  const bool flushed = way == Way::close;
  CHECK(stream.protocol->story() == (flushed ? "made pause resume lost" : "made pause lost"));
  if (flushed) CHECK(blocks_then(got, ""));
}

TEST_CASE("close() or abort() inside connection_made() still makes the connection",
          "[T-003][S-062][A-001]") {
  const Carrier carrier = any_carrier();
  const Way way = any_way();
  World world;
  auto protocol = std::make_shared<Recorder>();
  protocol->on_made = [&] {
    protocol->transport->write("hello");
    end(*protocol->transport, way);
    CHECK(protocol->transport->is_closing());
  };
  Pair pair = connected_pair(carrier);
  pair.peer.send("there already");
  StreamOf<Recorder> stream = open_as(world, std::move(pair), protocol);
  REQUIRE(stream.transport);
  CHECK(stream.transport->is_closing());
  world.run_until([&] { return protocol->lost; });
  world.settle();
  CHECK(protocol->story() == "made lost");
  CHECK_FALSE(protocol->reason);
  CHECK(stream.peer.receive() == "hello");
}

TEST_CASE("close() or abort() inside connection_made() of a server's side", "[T-003][S-062]") {
  const Way way = any_way();
  World world;
  auto theirs = std::make_shared<Recorder>(), ours = std::make_shared<Recorder>();
  theirs->on_made = [&] { end(*theirs->transport, way); };
  auto listen = world.loop.create_server([&] { return theirs; }, "127.0.0.1", 0);
  const auto server = world.run(std::move(listen));
  const int port = server->sockets().at(0).getsockname().port();
  ours->on_made = [&] { ours->transport->write("too late"); };
  auto connect = world.loop.create_connection([&] { return ours; }, "127.0.0.1", port);
  const auto made = world.run(std::move(connect));
  world.run_until([&] { return theirs->lost && ours->lost; });
  CHECK(theirs->story() == "made lost");
  CHECK(theirs->received.empty());
  server->close();
  world.run(server->wait_closed());
}

TEST_CASE("after close() or abort() inside data_received() no more data comes",
          "[T-004][S-008][S-025]") {
  const Carrier carrier = any_carrier();
  const Way way = any_way();
  World world;
  SECTION("to a protocol that takes what comes") {
    Stream stream = open_stream(world, carrier);
    stream.protocol->on_data = [&] { end(*stream.transport, way); };
    const std::string all = pattern(1 << 20);
    CHECK(stream.peer.send(all) > block);
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->received.size() <= block);
    CHECK(stream.protocol->events.size() == 3);
    CHECK_FALSE(stream.protocol->reason);
  }
  SECTION("to one that takes ten bytes at a time") {
    auto stream = open_as(world, carrier, std::make_shared<Lender>(10));
    stream.protocol->on_updated = [&] { end(*stream.transport, way); };
    stream.peer.send(pattern(100));
    stream.peer.shut_write();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made data:10 lost");
    CHECK(stream.protocol->gets == 1);
  }
}

TEST_CASE("an event that is both halves does nothing more after the first has ended it all",
          "[T-005][T-202]") {
  const Carrier carrier = any_carrier();
  const bool throws = GENERATE(false, true);
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream);
  Calls calls;
  stream.protocol->on_data = [&] {
    calls.reset();
    if (throws) throw std::runtime_error{"enough"};
    stream.transport->abort();
  };
  stream.peer.receive();  // so that it can be written,
  stream.peer.send("x");  // and read
  world.run_until([&] { return !stream.protocol->received.empty(); });
  world.settle();
  CHECK(calls.count(Call::recv) + calls.count(Call::send) + calls.count(Call::sendmsg) == 0);
  CHECK(calls.count(Call::close) == 1);
  CHECK(stream.protocol->story() == (throws ? "made data:1 lost:enough" : "made data:1 lost"));
  CHECK(world.take_reports().size() == (throws ? 1u : 0u));
}

TEST_CASE("resume_writing() that aborts ends the reading of the same event, too", "[T-005][C-12]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  block_writing(stream, 200000);
  Calls calls;
  stream.protocol->on_resume = [&] {
    calls.reset();
    stream.peer.send("more");
    stream.transport->abort();
  };
  world.run_until([&] {
    stream.peer.receive();
    return stream.protocol->lost;
  });
  CHECK(calls.count(Call::recv) + calls.count(Call::send) + calls.count(Call::sendmsg) == 0);
  CHECK(stream.protocol->story() == "made pause resume lost");
}

TEST_CASE("a connection ended by another one's callback loses its event in the same batch",
          "[T-006][T-202]") {
  const Carrier carrier = any_carrier();
  const Way way = any_way();
  World world;
  std::array<Stream, 2> streams{open_stream(world, carrier), open_stream(world, carrier)};
  std::vector<ferry::Socket> sockets;
  int reused = 0, strays = 0;
  for (const std::size_t i : {0u, 1u}) {
    streams[i].protocol->on_data = [&, i] {
      const auto number = streams[1 - i].transport->get_extra_info(ferry::socket).fileno();
      end(*streams[1 - i].transport, way);
      for (int pairs = 0; pairs < 10 && reused == 0; ++pairs) {  // the number is free again
        auto [one, two] = ferry::socketpair();
        reused = one.fileno() == number || two.fileno() == number ? static_cast<int>(number) : 0;
        sockets.push_back(std::move(one));
        sockets.push_back(std::move(two));
      }
      if (reused != 0) world.loop.add_reader(reused, [&] { ++strays; });
    };
    streams[i].peer.send("x");
  }
  world.turn();
  const auto& [a, b] = streams;
  REQUIRE(a.protocol->received.size() + b.protocol->received.size() == 1);
  Recorder& ended = a.protocol->received.empty() ? *a.protocol : *b.protocol;
  Recorder& other = a.protocol->received.empty() ? *b.protocol : *a.protocol;
  world.settle();
  CHECK(ended.story() == "made lost");
  CHECK_FALSE(ended.reason);
  CHECK(other.story() == "made data:1");
  CHECK(strays == 0);
  CHECK((reused != 0 || !can_reuse_numbers()));
  if (reused != 0) CHECK(world.loop.remove_reader(reused));
  other.transport->close();
}

TEST_CASE("writes to a connection that is over are dropped, with a warning from the fifth on",
          "[T-018][A-007]") {
  const Carrier carrier = any_carrier();
  const bool lines = GENERATE(false, true);
  World world;
  Stream stream = open_stream(world, carrier);
  const auto write = [&] {
    CHECK_NOTHROW(lines ? stream.transport->writelines(std::vector<std::string>{"late"})
                        : stream.transport->write("late"));
    CHECK_NOTHROW(stream.transport->write(""));  // does nothing: it does not even count
  };
  const auto how = GENERATE(as<std::string>{}, "close", "abort", "lost", "flushing");
  if (how == "flushing") block_writing(stream);
  how == "abort" ? stream.transport->abort() : stream.transport->close();
  if (how == "lost") world.run_until([&] { return stream.protocol->lost; });
  for (int i = 0; i < 4; ++i) write();
  CHECK(count_warnings(world.take_logs()) == 0);
  for (int i = 0; i < 3; ++i) write();
  CHECK(count_warnings(world.take_logs()) == 3);
  const std::string got = drain_until_lost(world, stream);
  CHECK(blocks_then(got, ""));
  CHECK(stream.protocol->story() == "made lost");
}

TEST_CASE("is_closing() is true from a fatal error on", "[A-001][T-041]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  Calls calls;
  SECTION("a write that fails") {
    calls.fail(Call::send, EPIPE);
    calling(stream, [&] { stream.transport->write("x"); });
    CHECK(stream.transport->is_closing());
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->reason == std::errc::broken_pipe);
  }
  SECTION("a read that fails") {
    calls.fail(Call::recv, ECONNRESET);
    stream.protocol->on_lost = [&] { CHECK(stream.transport->is_closing()); };
    stream.peer.send("x");
    world.run_until([&] { return stream.transport->is_closing(); });
    CHECK_FALSE(stream.protocol->lost);
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->reason == std::errc::connection_reset);
  }
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("the first cause of an end is its reason", "[T-020][S-061]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  Calls calls;
  SECTION("abort(), though what was gathered cannot be sent") {
    run_inside_data(world, stream, [&] {
      stream.transport->write("gathered");
      calls.fail(Call::send, EPIPE);
      calls.fail(Call::sendmsg, EPIPE);
      stream.transport->abort();
    });
  }
  SECTION("abort(), though the next send of a full buffer would fail") {
    block_writing(stream);
    calls.fail(Call::send, EPIPE, 100);
    calls.fail(Call::sendmsg, EPIPE, 100);
    stream.transport->abort();
  }
  SECTION("abort(), though the peer resets before we are told") {
    block_writing(stream);
    stream.transport->abort();
    stream.peer.reset();
  }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("a failure is not forgotten for an abort() that comes after it", "[T-020][T-041]") {
  const Way way = any_way();
  World world;
  Stream stream = open_stream(world);
  Calls calls;
  calls.fail(Call::send, ECONNRESET);
  stream.transport->write("x");
  calling(stream, [&] { end(*stream.transport, way); });
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->events.size() == 2);
}

TEST_CASE("a callback may end a connection and drop its last handle in one go", "[T-022][C-12]") {
  const Carrier carrier = any_carrier();
  const Way way = any_way();
  const auto where = GENERATE(as<std::string>{}, "data", "eof", "resume");
  World world;
  auto protocol = std::make_shared<Recorder>();
  auto stream = open_as(world, carrier, protocol);
  (where == "data" ? protocol->on_data : where == "eof" ? protocol->on_eof : protocol->on_resume) =
      [&] {
        const auto last = std::exchange(stream.transport, nullptr);
        last->write("bye");
        end(*last, way);
      };
  std::string got;
  if (where == "resume") stream.transport->write(pattern(8 << 20));
  if (where != "resume") stream.peer.send("x");
  if (where == "eof") stream.peer.shut_write();
  world.run_until([&] {
    got += stream.peer.receive();
    return protocol->lost;
  });
  got += stream.peer.receive();
  CHECK(stream.transport == nullptr);
  CHECK(protocol->events.back() == "lost");
  if (where != "resume") CHECK(got == "bye");
}

TEST_CASE("connection_lost() may open the next connection", "[S-062][C-12]") {
  const Carrier carrier = any_carrier();
  World world;
  Stream stream = open_stream(world, carrier);
  auto second = std::make_shared<Recorder>();
  Pair pair = connected_pair(carrier);
  ferry::Future<ferry::Connection<Recorder>> opened;
  stream.protocol->on_lost = [&] {
    auto task = world.loop.create_connection([&] { return second; }, std::move(pair.ours));
    opened = world.loop.create_task(std::move(task));
  };
  stream.transport->abort();
  world.run_until([&] { return opened && opened.done(); });
  opened.result().transport->write("again");
  opened.result().transport->close();
  world.run_until([&] { return second->lost; });
  CHECK(pair.peer.receive() == "again");
  CHECK(second->story() == "made lost");
}

TEST_CASE("a connection whose handles were all dropped lives on", "[T-022]") {
  const Carrier carrier = any_carrier();
  World world;
  std::string received;
  bool lost = false;
  std::weak_ptr<ferry::Transport> transport;
  std::weak_ptr<Recorder> protocol;
  Peer peer;
  {
    Stream stream = open_stream(world, carrier);
    Recorder* const recorder = stream.protocol.get();
    recorder->on_data = [&received, recorder] { received = recorder->received; };
    recorder->on_lost = [&lost] { lost = true; };
    transport = stream.transport;
    protocol = stream.protocol;
    peer = std::move(stream.peer);
  }
  world.settle();
  CHECK_FALSE(peer.receive().size() + peer.ended());
  peer.send("still there?");
  world.run_until([&] { return received == "still there?"; });
  CHECK_FALSE(transport.expired());
  CHECK_FALSE(protocol.expired());
  peer.shut_write();
  world.run_until([&] { return lost; });
  world.settle();
  CHECK(transport.expired());
  CHECK(protocol.expired());
}

namespace {

using Action = std::function<void(ferry::Transport&)>;

const std::vector<std::pair<const char*, Action>>& actions() {
  static const std::vector<std::pair<const char*, Action>> all{
      {"close", [](auto& t) { t.close(); }},
      {"abort", [](auto& t) { t.abort(); }},
      {"abort_with_reset", [](auto& t) { t.abort_with_reset(); }},
      {"write", [](auto& t) { t.write("w"); }},
      {"write, close", [](auto& t) { t.write("w"), t.close(); }},
      {"write, abort", [](auto& t) { t.write("w"), t.abort(); }},
      {"close, write", [](auto& t) { t.close(), t.write("w"); }},
      {"close, abort", [](auto& t) { t.close(), t.abort(); }},
      {"abort, close, write", [](auto& t) { t.abort(), t.close(), t.write("w"); }},
      {"write_eof, close", [](auto& t) { t.write_eof(), t.close(); }},
      {"pause, close, resume", [](auto& t) {
         t.pause_reading(), t.close(), t.resume_reading();
       }},
      {"pause", [](auto& t) { t.pause_reading(); }},
      {"marks, close", [](auto& t) { t.set_write_buffer_limits({.high = 0}), t.close(); }},
  };
  return all;
}

// A life in which each callback has its turn, unless one of them ends it before.
void live_through(World& world, StreamOf<Recorder>& stream) {
  ferry::Transport& transport = *stream.transport;
  stream.peer.send("data");
  world.settle();
  for (int i = 0; i < 100 && stream.protocol->pauses == 0 && !transport.is_closing(); ++i) {
    transport.write(pattern(200000));
  }
  world.settle();
  for (int i = 0; i < 1000 && transport.get_write_buffer_size() > 0; ++i) {
    stream.peer.receive();
    world.settle();
  }
  stream.peer.shut_write();
  world.settle();
  transport.close();
  world.run_until([&] {
    stream.peer.receive();
    return stream.protocol->lost;
  });
  world.settle();
}

}  // namespace

TEST_CASE("whatever callback ends a connection, connection_lost() comes exactly once",
          "[C-12][S-062][S-063][S-073][S-074]") {
  const Carrier carrier = any_carrier();
  for (const auto& [name, action] : actions()) {
    for (const std::string where : {"made", "data", "pause", "resume", "eof", "lost"}) {
      INFO("in " << where << ": " << name);
      World world;
      auto protocol = std::make_shared<Recorder>();
      protocol->keep_open = true;
      int calls = 0;
      const auto act = [&] {
        ++calls;
        action(*protocol->transport);
      };
      auto& hook = where == "made"     ? protocol->on_made
                   : where == "data"   ? protocol->on_data
                   : where == "pause"  ? protocol->on_pause
                   : where == "resume" ? protocol->on_resume
                   : where == "eof"    ? protocol->on_eof
                                       : protocol->on_lost;
      hook = act;
      Pair pair = connected_pair(carrier);
      pair.ours.view().setsockopt(SOL_SOCKET, SO_SNDBUF, 65536);
      auto stream = open_as(world, std::move(pair), protocol);
      live_through(world, stream);
      CHECK(calls >= 1);
      CHECK(protocol->lost);
      CHECK(std::count_if(protocol->events.begin(), protocol->events.end(), [](auto& event) {
              return event.starts_with("lost");
            }) == 1);
      CHECK(protocol->events.back().starts_with("lost"));
      CHECK_FALSE(protocol->reason);
    }
  }
}
