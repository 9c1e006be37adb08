// connect_read_pipe() and connect_write_pipe(), over pipes of make_pipe().
#include "support/calls.hpp"
#include "support/pipes.hpp"
#include "support/sockets.hpp"

using namespace test;
using ferry::make_pipe;

namespace {

void take_lost_report(World& world) {
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
}

}  // namespace

TEST_CASE("bytes go through a pipe, and its end is the reader's end", "[A-028]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  auto writing = write_end(world, std::move(ends.write));
  writing.transport->write("hello");
  writing.transport->write(" pipe");
  writing.transport->close();
  world.run_until([&] { return reading.protocol->lost && writing.protocol->lost; });
  CHECK(reading.protocol->story() == "made data:10 eof lost");
  CHECK(reading.protocol->received == "hello pipe");
  CHECK(writing.protocol->story() == "made lost");
}

TEST_CASE("each end of a pipe has one direction, and is seen as a pipe", "[S-004][S-019][S-027]") {
  World world;
  auto ends = make_pipe();
  const ferry::NativeHandle number = ends.read.fileno();
  auto reading = read_end(world, std::move(ends.read));
  auto writing = write_end(world, std::move(ends.write));
  CHECK(reading.transport->get_extra_info(ferry::pipe).fileno() == number);
  CHECK_FALSE(reading.transport->get_extra_info("socket").has_value());
  CHECK_FALSE(reading.transport->get_extra_info("peername").has_value());
  CHECK(writing.transport->can_write_eof());
  CHECK(reading.transport->is_reading());

  ferry::Transport& both = *reading.protocol->transport;
  CHECK_FALSE(both.can_write_eof());
  CHECK_THROWS_AS(both.write("x"), ferry::NotSupported);
  CHECK_THROWS_AS(both.write_eof(), ferry::NotSupported);
  ferry::Transport& other = *writing.protocol->transport;
  CHECK_FALSE(other.is_reading());
  other.pause_reading();
  other.resume_reading();
  CHECK_FALSE(other.is_reading());

  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost && writing.protocol->lost; });
  CHECK_FALSE(reading.transport->get_extra_info(ferry::pipe));  // known, but empty
  CHECK(reading.transport->get_extra_info("pipe").has_value());
}

TEST_CASE("a write pipe notices that its reader went, also when idle", "[A-028][T-152]") {
  World world;
  auto ends = make_pipe();
  auto writing = write_end(world, std::move(ends.write));
  world.settle();
  SECTION("with nothing to write") {
    ends.read.close();
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->story() == "made lost");
  }
  SECTION("with data queued") {
    block_writing(writing);
    ends.read.close();
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->reason == std::errc::broken_pipe);
    CHECK(writing.transport->get_write_buffer_size() == 0);
  }
  SECTION("with data queued, and closed since") {
    block_writing(writing);
    writing.transport->close();
    ends.read.close();
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->reason == std::errc::broken_pipe);
  }
}

TEST_CASE("a write pipe whose reader went before it was connected is lost", "[T-152]") {
  World world;
  auto ends = make_pipe();
  ends.read.close();
  auto writing = write_end(world, std::move(ends.write));
  world.run_until([&] { return writing.protocol->lost; });
  CHECK(writing.protocol->story() == "made lost");
}

TEST_CASE("a write that finds no reader is a broken pipe and no SIGPIPE", "[T-152]") {
  World world;
  auto ends = make_pipe();
  auto writing = write_end(world, std::move(ends.write));
  world.settle();
  ends.read.close();
  writing.transport->write("nobody hears");
  world.run_until([&] { return writing.protocol->lost; });
  CHECK(writing.protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("data and the writer's end at once: all of the data, then the end", "[T-154]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  const bool paused = GENERATE(false, true);
  if (paused) reading.transport->pause_reading();
  auto writing = write_end(world, std::move(ends.write));
  writing.transport->write("the last words");
  writing.transport->close();
  world.run_until([&] { return writing.protocol->lost; });
  if (paused) {
    world.settle();
    Calls calls;
    // A timer's turn and no others: what waits in a paused pipe wakes nobody.
    bool late = false;
    world.loop.call_later(ferry::Seconds{0.02}, [&] { late = true; });
    int turns = 0;
    while (!late && turns < 1000) {
      auto events = world.loop.poll_events();
      world.loop.process_events(std::move(events));
      world.loop.process_ready();
      ++turns;
    }
    CHECK(turns < 20);
    CHECK(reading.protocol->story() == "made");
    reading.transport->resume_reading();
  }
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->story() == "made data:14 eof lost");
}

TEST_CASE("a read pipe honours a true answer of eof_received()", "[C-16]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  reading.protocol->keep_open = true;
  ends.write.close();
  world.run_until([&] { return reading.protocol->eof; });
  world.settle();
  CHECK(reading.protocol->story() == "made eof");
  CHECK_FALSE(reading.transport->is_reading());
  CHECK_FALSE(reading.transport->is_closing());
  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->story() == "made eof lost");
}

TEST_CASE("write_eof() of a pipe flushes and is its end", "[S-027][T-033]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  reading.transport->pause_reading();
  auto writing = write_end(world, std::move(ends.write));
  block_writing(writing, 300'000);
  writing.transport->write_eof();
  CHECK(writing.transport->is_closing());
  CHECK_THROWS_AS(writing.transport->write("more"), ferry::MisuseError);
  CHECK_THROWS_AS(writing.transport->write(""), ferry::MisuseError);
  writing.transport->write_eof();  // changes nothing
  world.settle();
  CHECK_FALSE(writing.protocol->lost);
  reading.transport->resume_reading();
  world.run_until([&] { return reading.protocol->lost && writing.protocol->lost; });
  CHECK_FALSE(writing.protocol->reason);
  CHECK(reading.protocol->received.size() >= 300'000);
}

TEST_CASE("an empty write to a pipe makes no system call", "[T-033]") {
  World world;
  auto ends = make_pipe();
  auto writing = write_end(world, std::move(ends.write));
  world.settle();
  Calls calls;
  writing.transport->write("");
  writing.transport->writelines(std::vector<ferry::BytesView>{"", ""});
  CHECK(calls.count(Call::write) == 0);
  CHECK(writing.transport->get_write_buffer_size() == 0);
  writing.transport->close();
  world.run_until([&] { return writing.protocol->lost; });
}

TEST_CASE("much goes through a pipe unharmed, with pauses and marks", "[A-028]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  auto writing = write_end(world, std::move(ends.write));
  const std::size_t total = (sanitized || is_slow() ? 8u : 64u) * 1024 * 1024;
  const std::string sent = pattern(total);
  std::size_t written = 0;
  bool paused = false;
  const auto pump = [&] {
    while (written < total && !paused) {
      const std::size_t size = std::min<std::size_t>(total - written, 1 + written % 70'001);
      writing.transport->write(ferry::BytesView{sent.data() + written, size});
      written += size;
    }
    if (written == total) writing.transport->close();
  };
  writing.protocol->on_pause = [&] { paused = true; };
  writing.protocol->on_resume = [&] {
    paused = false;
    world.loop.call_soon(pump);
  };
  int chunks = 0;
  reading.protocol->on_data = [&] {
    if (++chunks % 50 != 0) return;
    reading.transport->pause_reading();
    world.loop.call_soon([&] { reading.transport->resume_reading(); });
  };
  pump();
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->received.size() == total);
  CHECK((reading.protocol->received == sent));
  CHECK(writing.protocol->pauses > 0);
  CHECK(writing.protocol->pauses == writing.protocol->resumes);
}

TEST_CASE("what a pipe's callback throws ends the pipe, or is reported", "[C-15][T-007]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  auto writing = write_end(world, std::move(ends.write));
  SECTION("data_received") {
    reading.protocol->on_data = [] { throw std::runtime_error{"too much"}; };
    writing.transport->write("abc");
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->reason.what() == "too much");
    take_lost_report(world);
  }
  SECTION("eof_received") {
    reading.protocol->on_eof = [] { throw std::runtime_error{"no end"}; };
    writing.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->reason.what() == "no end");
    take_lost_report(world);
  }
  SECTION("connection_lost") {
    writing.protocol->on_lost = [] { throw std::runtime_error{"not lost"}; };
    writing.transport->close();
    world.run_until([&] { return writing.protocol->lost && reading.protocol->lost; });
    take_lost_report(world);
  }
}

TEST_CASE("a factory that throws closes the pipe", "[T-012]") {
  World world;
  auto ends = make_pipe();
  const auto factory = []() -> std::shared_ptr<Recorder> { throw std::runtime_error{"no"}; };
  const auto error =
      error_of(world, world.loop.connect_read_pipe(factory, std::move(ends.read)));
  CHECK(error.what() == "no");
  CHECK_FALSE(ends.read);
}

TEST_CASE("a loop that is closed closes its pipes and calls nobody", "[T-024]") {
  const std::size_t before = open_descriptors();
  auto protocol = std::make_shared<Recorder>();
  std::shared_ptr<ferry::ReadTransport> kept;
  {
    ferry::Loop loop{backend()};
    auto ends = make_pipe();
    auto made = loop.run_until_complete(
        loop.connect_read_pipe([&] { return protocol; }, std::move(ends.read)));
    auto writer = loop.run_until_complete(
        loop.connect_write_pipe(ferry::make<Recorder>, std::move(ends.write)));
    writer.transport->write(std::string(1'000'000, 'x'));
    kept = made.transport;
    loop.close();
  }
  CHECK(protocol->story() == "made");
  CHECK(open_descriptors() == before);
  kept->pause_reading();
  kept->close();
  CHECK(kept->is_closing());
}

TEST_CASE("what cannot be a pipe is refused at the call and stays its owner's", "[A-028][T-157]") {
  World world;
  SECTION("a file, a directory") {
    const auto kind = GENERATE(Unwatchable::Kind::file, Unwatchable::Kind::directory);
    const Unwatchable thing{kind};
    ferry::Pipe end{thing.fileno()};
    const auto text = thrown_by<std::invalid_argument>(
        [&] { return world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(end)); });
    CHECK(text.find("connect_read_pipe: handle " + std::to_string(thing.fileno())) == 0);
    CHECK(end.fileno() == thing.fileno());
    static_cast<void>(end.detach());
    CHECK(is_open(thing.fileno()));
  }
  SECTION("an option that is for reading") {
    auto ends = make_pipe();
    CHECK_THROWS_AS(world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(ends.write),
                                                  {.outlive_writers = true}),
                    std::invalid_argument);
    CHECK(ends.write);
  }
  SECTION("an empty one") {
    ferry::Pipe end;
    CHECK_THROWS_AS(world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(end)),
                    std::invalid_argument);
  }
}

TEST_CASE("a handle that the loop has already is refused, and goes on", "[T-159]") {
  World world;
  auto ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  auto writing = write_end(world, std::move(ends.write));
  ferry::Pipe again{writing.transport->get_extra_info(ferry::pipe).fileno()};
  const auto text = thrown_by<std::invalid_argument>(
      [&] { return world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(again)); });
  CHECK(text.find("is watched already") != text.npos);
  static_cast<void>(again.detach());
  writing.transport->write("still here");
  writing.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->received == "still here");
}

TEST_CASE("a handle that a task is about to take is nobody else's", "[T-159]") {
  World world;
  auto ends = make_pipe();
  const ferry::NativeHandle number = ends.read.fileno();
  ferry::Pipe again{number};
  {
    auto first = world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(ends.read));
    const auto text = thrown_by<std::invalid_argument>(
        [&] { return world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(again)); });
    CHECK(text.find("is watched already") != text.npos);
    static_cast<void>(again.detach());
    CHECK_THROWS_AS(world.loop.add_reader(number, [] {}), ferry::MisuseError);
    auto reading = world.run(std::move(first));
    auto writing = write_end(world, std::move(ends.write));
    writing.transport->write("all of it");
    writing.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->received == "all of it");
  }
  // Nor is it when the task is dropped; then the number is anybody's.
  ends = make_pipe();
  { auto dropped = world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(ends.read)); }
  ends = make_pipe();
  auto reading = read_end(world, std::move(ends.read));
  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
}

TEST_CASE("a pipe is handed over, and closed exactly once", "[T-160]") {
  World world;
  auto ends = make_pipe();
  const ferry::NativeHandle read = ends.read.fileno(), write = ends.write.fileno();
  std::map<ferry::NativeHandle, int> closes;
  {
    Calls calls;
    calls.on_call = [&](Call call, ferry::NativeHandle handle) {
      if (call == Call::close) ++closes[handle];
      return 0;
    };
    auto reading = read_end(world, std::move(ends.read));
    auto writing = write_end(world, std::move(ends.write));
    CHECK_FALSE(ends.read);
    CHECK_FALSE(ends.write);
    ends.read.close();  // nothing of his
    writing.transport->close();
    writing.transport->abort();
    world.run_until([&] { return reading.protocol->lost && writing.protocol->lost; });
    reading.transport->close();
  }
  CHECK(closes[read] == 1);
  CHECK(closes[write] == 1);
}

TEST_CASE("a task that is dropped before it ran closes the pipe", "[T-160]") {
  World world;
  auto ends = make_pipe();
  {
    auto task = world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(ends.read));
  }
  auto writing = write_end(world, std::move(ends.write));
  world.run_until([&] { return writing.protocol->lost; });
}
