#include "support/fake_channel.hpp"
#include "support/traffic.hpp"

#include <random>

using namespace test;
using ferry::BytesView;
using ferry::WriteBufferLimits;
using ferry::WriteBufferMarks;

namespace {

// Over a system that takes nothing of what is written, until give().
struct Blocked : FakeStream {
  explicit Blocked(WriteBufferMarks marks = {}) {
    wire->room = 0;
    limits(marks);
  }
  bool paused() const { return protocol->pauses > protocol->resumes; }
};

// Sees to it that the protocol's callbacks do not outlive what they use.
void end(FakeStream& stream) {
  stream.transport->abort();
  stream.settle();
  CHECK(stream.protocol->lost);
}

class BufferedRecorder : public ferry::BufferedProtocol {
 public:
  std::string story;
  void pause_writing() override { story += " pause"; }
  void resume_writing() override { story += " resume"; }
  void connection_lost(const ferry::Error&) override { story += " lost"; }
};

}  // namespace

TEST_CASE("a transport starts with the default marks and tells them as low, high",
          "[S-029][S-033][C-20][T-025]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  ferry::Transport& transport = *stream.transport;
  const auto [low, high] = transport.get_write_buffer_limits();
  CHECK(low == 16 * 1024);
  CHECK(high == 64 * 1024);
  transport.set_write_buffer_limits({.high = 100});
  CHECK(transport.get_write_buffer_limits() == WriteBufferLimits{25, 100});
  transport.set_write_buffer_limits({.low = 7});
  CHECK(transport.get_write_buffer_limits() == WriteBufferLimits{7, 28});
  transport.set_write_buffer_limits({.high = 0});
  CHECK(transport.get_write_buffer_limits() == WriteBufferLimits{0, 0});
  transport.set_write_buffer_limits();
  CHECK(transport.get_write_buffer_limits() == WriteBufferLimits{low, high});
}

TEST_CASE("refused marks change nothing, in the marks and in the flow",
          "[S-031][S-032][C-02][T-025]") {
  Blocked stream{{.high = 10, .low = 4}};
  stream.write(pattern(8));
  const auto refuse = [&](WriteBufferMarks marks) {
    CHECK_THROWS_AS(stream.transport->set_write_buffer_limits(marks), std::invalid_argument);
    CHECK(stream.transport->get_write_buffer_limits() == WriteBufferLimits{4, 10});
  };
  refuse({.high = 0, .low = 5});
  refuse({.high = 3, .low = 4});
  refuse({.high = -1});
  refuse({.low = -1});
  refuse({.high = 5, .low = -1});
  CHECK(stream.protocol->story() == "made");
  stream.write(pattern(3));  // 11
  CHECK(stream.protocol->story() == "made pause");
}

TEST_CASE("exactly high does not pause, exactly low resumes",
          "[S-078][S-079][S-081][C-01][T-027]") {
  for (const auto& [high, low] : {std::pair{100, 40}, std::pair{50, 50}, std::pair{1, 0}}) {
    INFO("high " << high << ", low " << low);
    Blocked stream{{.high = high, .low = low}};
    stream.write(pattern(static_cast<std::size_t>(high) - 1));
    CHECK_FALSE(stream.paused());
    stream.write("x");
    CHECK(stream.size() == static_cast<std::size_t>(high));
    CHECK_FALSE(stream.paused());
    stream.write("x");  // inside this call
    CHECK(stream.paused());

    stream.give(static_cast<std::size_t>(high - low));
    CHECK(stream.size() == static_cast<std::size_t>(low) + 1);
    CHECK(stream.paused());
    stream.give(1);
    CHECK(stream.size() == static_cast<std::size_t>(low));
    CHECK_FALSE(stream.paused());
    CHECK(stream.protocol->story() == "made pause resume");
  }
}

TEST_CASE("pause and resume alternate, however much is written", "[S-080][T-027]") {
  Blocked stream{{.high = 10, .low = 2}};
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 5; ++i) stream.write(pattern(30));
    CHECK(stream.protocol->pauses == round);
    CHECK(stream.protocol->resumes == round - 1);
    stream.give(148);
    CHECK(stream.protocol->resumes == round);
    stream.give(2);
    CHECK(stream.protocol->resumes == round);
  }
  CHECK(stream.protocol->story() == "made pause resume pause resume pause resume");
}

TEST_CASE("a high mark of zero pauses at one byte, a low one of zero resumes at none",
          "[S-035][S-036][T-026]") {
  Blocked zero{{.high = 0}};
  zero.write("x");
  CHECK(zero.protocol->story() == "made pause");
  zero.write("y");
  zero.give(1);
  CHECK(zero.protocol->story() == "made pause");
  zero.give(1);
  CHECK(zero.protocol->story() == "made pause resume");
  zero.give();
  zero.write("taken at once");
  CHECK(zero.protocol->story() == "made pause resume");

  Blocked low{{.high = 10, .low = 0}};
  low.write(pattern(11));
  low.give(10);
  CHECK(low.size() == 1);
  CHECK(low.protocol->story() == "made pause");
  low.give(1);
  CHECK(low.protocol->story() == "made pause resume");
}

TEST_CASE("marks of zero over a real socket pause and resume too", "[S-035][T-026]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  stream.transport->set_write_buffer_limits({.high = 0});
  stream.transport->write("x");  // the system has room
  CHECK(stream.protocol->story() == "made");
  const std::size_t written = fill(stream);
  CHECK(stream.protocol->story() == "made pause");
  const std::string got = read_until(world, stream.peer, [&] {
    const bool all_gone = stream.transport->get_write_buffer_size() == 0;
    CHECK((all_gone || stream.protocol->resumes == 0));
    return stream.protocol->resumes > 0;
  });
  CHECK(stream.transport->get_write_buffer_size() == 0);
  CHECK(stream.protocol->story() == "made pause resume");
  CHECK((got == "x" + pattern(written)));
}

TEST_CASE("new marks judge the buffer at once, in both directions", "[S-030][C-11]") {
  Blocked stream{{.high = 100, .low = 10}};
  stream.write(pattern(50));
  stream.limits({.high = 50, .low = 10});
  CHECK(stream.protocol->story() == "made");
  stream.limits({.high = 49, .low = 10});  // inside this call
  CHECK(stream.protocol->story() == "made pause");
  stream.limits({.high = 100, .low = 49});
  stream.settle();
  CHECK(stream.protocol->story() == "made pause");
  stream.limits({.high = 100, .low = 50});  // not inside this one
  CHECK(stream.protocol->story() == "made pause");
  stream.settle();
  CHECK(stream.protocol->story() == "made pause resume");
  stream.limits({.high = 0});
  stream.limits({.high = 1000});
  stream.limits({.high = 1001});
  stream.settle();
  CHECK(stream.protocol->story() == "made pause resume pause resume");
}

TEST_CASE("a resume that new marks scheduled is judged again when its turn comes", "[C-11]") {
  Blocked stream{{.high = 100, .low = 10}};
  stream.write(pattern(101));
  stream.limits({.low = 101});
  SECTION("the buffer has grown again") {
    stream.write("x");
    stream.settle();
    CHECK(stream.protocol->story() == "made pause");
    stream.give(1);
    CHECK(stream.protocol->story() == "made pause resume");
  }
  SECTION("the marks were lowered again") {
    stream.limits({.high = 100});
    stream.settle();
    CHECK(stream.protocol->story() == "made pause");
    stream.limits({.low = 101});  // a second one is scheduled as the first was
    stream.settle();
    CHECK(stream.protocol->story() == "made pause resume");
  }
  SECTION("the buffer has drained meanwhile, and resumed") {
    stream.inside([&] { stream.wire->give(101); });
    stream.settle();
    CHECK(stream.protocol->story() == "made pause resume");
  }
  SECTION("the connection is lost") {
    stream.call([&] { stream.transport->abort(); });
    stream.settle();
    CHECK(stream.protocol->story() == "made pause lost");
  }
  SECTION("the connection flushes") {
    stream.call([&] { stream.transport->close(); });
    stream.settle();
    CHECK(stream.protocol->story() == "made pause resume");
    stream.give();
    CHECK(stream.protocol->story() == "made pause resume lost");
  }
}

TEST_CASE("asking for the size may send what was gathered, and calls nobody", "[S-028][C-11]") {
  FakeStream stream;
  stream.limits({.high = 100});
  stream.inside([&] {
    stream.write("gathered");
    CHECK(stream.wire->tries == 0);
    stream.wire->room = 3;
    CHECK(stream.size() == 5);
    CHECK(stream.wire->tries == 1);
    stream.wire->failure = std::make_error_code(std::errc::broken_pipe);
    CHECK(stream.size() == 5);
  });
  stream.settle();
  CHECK(stream.protocol->story() == "made");
  stream.give();
  CHECK(stream.protocol->reason == std::errc::broken_pipe);
  CHECK(stream.size() == 0);

  FakeStream failing;
  failing.wire->failure = std::make_error_code(std::errc::broken_pipe);
  failing.inside([&] {
    failing.write("gathered");
    CHECK(failing.size() == 0);
    CHECK(failing.transport->is_closing());
  });
  failing.settle();
  CHECK(failing.protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("the size is what was written and not taken, under any pieces", "[C-14][S-028][A-055]") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    const auto up_to = [&](std::size_t most) { return random() % (most + 1); };
    Blocked stream{{.high = static_cast<std::int64_t>(up_to(5000))}};
    std::string written;
    const auto step = [&] {
      const std::string data = pattern(up_to(up_to(9) == 0 ? 30'000 : 2000), seed);
      if (up_to(1) == 0) {
        stream.write(data);
      } else {
        const std::size_t cut = up_to(data.size());
        const BytesView all{data};
        stream.call([&] {
          stream.transport->writelines(std::vector{all.subview(0, cut), {}, all.subview(cut)});
        });
      }
      written += data;
      if (up_to(3) == 0) stream.limits({.high = static_cast<std::int64_t>(up_to(9000))});
      if (up_to(1) == 0) return;
      const std::size_t size = stream.size();  // may send
      CHECK(size == written.size() - stream.wire->taken.size());
    };
    for (int i = 0; i < 150; ++i) {
      stream.wire->at_most = 1 + up_to(700);
      if (up_to(2) > 0) {
        up_to(1) == 0 ? stream.inside([&] { step(); }) : step();
      } else {
        stream.give(up_to(6000));
      }
      const std::size_t size = stream.size();
      REQUIRE(size == written.size() - stream.wire->taken.size());
      stream.settle();
      const auto [low, high] = stream.transport->get_write_buffer_limits();
      CHECK((stream.paused() || size <= high));
      CHECK((!stream.paused() || size > low));
    }
    stream.transport->close();
    stream.give();
    CHECK(stream.protocol->lost);
    CHECK((stream.wire->taken == written));
  }
}

TEST_CASE("the size is what the system has not taken", "[S-028][C-14]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  const std::size_t written = fill(stream, 100'000);
  const std::size_t size = stream.transport->get_write_buffer_size();
  stream.transport->abort();
  const std::string got = read_to_end(world, stream.peer);
  CHECK(got.size() + size == written);
  CHECK((got == pattern(got.size())));
}

TEST_CASE("a write inside pause_writing is appended in order", "[T-034]") {
  const bool gathered = GENERATE(false, true);
  Blocked stream{{.high = 4, .low = 0}};
  int depth = 0;
  stream.protocol->on_pause = [&] {
    CHECK(++depth == 1);
    stream.transport->write("inner");
    stream.transport->writelines(std::vector<std::string>{"-", "more"});
    --depth;
  };
  const auto write = [&] {
    stream.write("outer");
    stream.write("-later");
  };
  gathered ? stream.inside(write) : write();
  CHECK(stream.protocol->pauses == 1);
  stream.give();
  CHECK(stream.wire->taken == "outerinner-more-later");
  CHECK(stream.protocol->story() == "made pause resume");
  end(stream);
}

TEST_CASE("the rest of a writelines goes before what pause_writing adds", "[T-034][C-13]") {
  Blocked stream{{.high = 4, .low = 0}};
  stream.protocol->on_pause = [&] { stream.transport->write("|inner|"); };
  stream.call([&] { stream.transport->writelines(std::vector<std::string>{"12345", "6", "7"}); });
  stream.write("later");
  stream.give();
  CHECK(stream.wire->taken == "1234567|inner|later");
  end(stream);
}

TEST_CASE("writes inside resume_writing keep the order and do not recurse", "[T-035]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  // So that the system does not take all of it in the first resume_writing().
  stream.transport->get_extra_info(ferry::socket).setsockopt(SOL_SOCKET, SO_SNDBUF, 65536);
  stream.peer.small_buffers(65536);
  constexpr int rounds = 60;
  const std::string all = pattern(std::size_t{rounds} * 100'000);
  std::size_t next = 0;
  const auto more = [&](std::size_t count) {
    const BytesView part = BytesView{all}.subview(next, count);
    next += part.size();
    return part;
  };
  int depth = 0;
  stream.protocol->on_resume = [&] {
    CHECK(++depth == 1);
    while (next < all.size() && stream.protocol->pauses == stream.protocol->resumes) {
      stream.transport->write(more(30'000));
      stream.transport->writelines(std::vector{more(40'000), more(1), more(29'999)});
    }
    if (next == all.size()) stream.transport->close();
    --depth;
  };
  while (stream.protocol->pauses == 0) stream.transport->write(more(100'000));
  const std::string got = read_until(world, stream.peer, [&] { return stream.protocol->lost; });
  CHECK((got == all));
  CHECK(stream.protocol->resumes > 1);
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("a resume_writing that refills above high is called again and again", "[T-035]") {
  Blocked stream{{.high = 10, .low = 5}};
  int depth = 0, deepest = 0;
  stream.protocol->on_resume = [&] {
    deepest = std::max(deepest, ++depth);
    if (stream.protocol->resumes < 50'000) stream.transport->write(pattern(11));
    --depth;
  };
  stream.write(pattern(11));
  stream.give();
  CHECK(deepest == 1);
  CHECK(stream.protocol->resumes == 50'000);
  CHECK(stream.protocol->pauses == 50'000);
  CHECK(stream.wire->taken.size() == 50'000 * 11);
  end(stream);
}

TEST_CASE("two connections that write to each other when they resume are both flushed",
          "[T-036]") {
  World world;
  Stream a = open_stream(world), b = open_stream(world);
  std::size_t in_a = fill(a, 70'000), in_b = fill(b, 70'000);
  REQUIRE(a.protocol->pauses == 1);
  REQUIRE(b.protocol->pauses == 1);
  const std::string parcel(100'000, 'p');
  int left = 10;
  a.protocol->on_resume = [&] {
    if (left-- <= 0) return;
    b.transport->write(parcel);
    in_b += parcel.size();
  };
  b.protocol->on_resume = [&] {
    if (left-- <= 0) return;
    a.transport->write(parcel);
    in_a += parcel.size();
  };
  std::size_t got_a = 0, got_b = 0;
  world.run_until([&] {
    got_a += a.peer.receive().size();
    got_b += b.peer.receive().size();
    return got_a == in_a && got_b == in_b;
  });
  CHECK(left < 10);
  for (Stream* stream : {&a, &b}) {
    CHECK(stream->transport->get_write_buffer_size() == 0);
    CHECK(stream->protocol->pauses == stream->protocol->resumes);
    stream->protocol->on_resume = nullptr;
  }
}

TEST_CASE("close() inside pause_writing flushes, resumes at low, and ends", "[T-037][C-10]") {
  Blocked stream{{.high = 10, .low = 5}};
  stream.protocol->on_pause = [&] { stream.transport->close(); };
  stream.write(pattern(20));
  CHECK(stream.transport->is_closing());
  stream.write("dropped");
  CHECK(stream.size() == 20);
  stream.settle();
  CHECK(stream.protocol->story() == "made pause");
  stream.give(14);
  CHECK(stream.protocol->story() == "made pause");
  stream.give(1);
  CHECK(stream.protocol->story() == "made pause resume");
  stream.give(5);
  CHECK(stream.protocol->story() == "made pause resume lost");
  CHECK((stream.wire->taken == pattern(20)));
}

TEST_CASE("abort() inside pause_writing ends without a resume", "[T-037][C-10]") {
  Blocked stream{{.high = 10, .low = 5}};
  stream.protocol->on_pause = [&] { stream.transport->abort(); };
  stream.write(pattern(20));
  CHECK(stream.protocol->story() == "made pause");
  CHECK(stream.size() == 0);
  stream.settle();
  CHECK(stream.protocol->story() == "made pause lost");
  CHECK(stream.wire->taken.empty());
}

TEST_CASE("lowering the marks pauses, and abort() inside that ends without a resume",
          "[T-037][C-10][S-030]") {
  World world;
  Stream stream = open_stream(world);
  stream.transport->set_write_buffer_limits({.high = std::int64_t{1} << 30});
  fill(stream);
  REQUIRE(stream.protocol->pauses == 0);
  // Nobody else holds the transport: what runs after connection_lost() must not look at it.
  ferry::Transport* const transport = stream.transport.get();
  stream.protocol->on_pause = [&] {
    stream.transport.reset();
    transport->abort();
  };
  transport->set_write_buffer_limits({.high = 0});
  world.settle();
  CHECK(stream.protocol->story() == "made pause lost");
}

TEST_CASE("close() or abort() inside resume_writing: lost once", "[A-055][C-12]") {
  const bool at_zero = GENERATE(true, false);
  const bool aborts = GENERATE(false, true);
  Blocked stream{{.high = 10, .low = at_zero ? 0 : 5}};
  stream.protocol->on_resume = [&] {
    aborts ? stream.transport->abort() : stream.transport->close();
    stream.transport->write("too late");
    stream.transport->close();
  };
  stream.write(pattern(20));
  stream.give(at_zero ? 20 : 15);
  const bool ends_here = at_zero || aborts;
  CHECK(stream.protocol->story() == (ends_here ? "made pause resume lost" : "made pause resume"));
  stream.give();
  CHECK(stream.protocol->story() == "made pause resume lost");
  CHECK_FALSE(stream.protocol->reason);
  CHECK(stream.wire->closed);
  CHECK((stream.wire->taken == pattern(at_zero || !aborts ? 20 : 15)));
}

TEST_CASE("close() inside resume_writing over a real socket: lost once", "[A-055]") {
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  stream.transport->set_write_buffer_limits({.high = 0});
  stream.protocol->on_resume = [&] { stream.transport->close(); };
  const std::size_t written = fill(stream);
  CHECK((read_to_end(world, stream.peer) == pattern(written)));
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made pause resume lost");
}

TEST_CASE("a connection lost while paused is not resumed", "[T-045][C-10]") {
  Blocked stream{{.high = 10, .low = 5}};
  stream.write(pattern(20));
  stream.wire->failure = std::make_error_code(std::errc::connection_reset);
  stream.give();
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->pauses == 1);
  CHECK(stream.protocol->resumes == 0);
  stream.limits({.high = 1000});  // harmless by now
  CHECK(stream.size() == 0);
  stream.settle();
  CHECK(stream.protocol->resumes == 0);
}

TEST_CASE("a peer that resets while writing is paused: lost(reset), not resumed", "[T-045]") {
  World world;
  Stream stream = open_stream(world);
  if (GENERATE(false, true)) stream.transport->pause_reading();  // the write side notices as well
  fill(stream, 70'000);
  REQUIRE(stream.protocol->pauses == 1);
  stream.peer.reset();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  CHECK(stream.protocol->resumes == 0);
}

TEST_CASE("a buffered protocol is paused and resumed as well", "[S-077]") {
  World world;
  const auto protocol = std::make_shared<BufferedRecorder>();
  Pair pair = connected_pair(Carrier::unix_pair);
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  const auto made = world.run(std::move(task));
  made.transport->set_write_buffer_limits({.high = 0});
  made.transport->write(pattern(4'000'000));
  CHECK(protocol->story == " pause");
  read_until(world, pair.peer, [&] { return protocol->story != " pause"; });
  CHECK(protocol->story == " pause resume");
  made.transport->abort();
  world.settle();
  CHECK(protocol->story == " pause resume lost");
}
