// Pipes of a simulated world.
#include "support/catch.hpp"

#include <ferry/ferry.hpp>
#include <ferry/sim.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using Catch::Matchers::Contains;
using ferry::SimWorld;

namespace {

class End : public ferry::Protocol {
 public:
  void data_received(ferry::BytesView data) override { received += data.text(); }
  bool eof_received() override {
    eof = true;
    return false;
  }
  void pause_writing() override { ++pauses; }
  void connection_lost(const ferry::Error& error) override {
    lost = true;
    reason = error;
  }
  std::string received;
  ferry::Error reason;
  bool eof = false, lost = false;
  int pauses = 0;
};

auto reading(SimWorld& world, ferry::Pipe&& end) {
  return world.loop().run_until_complete(
      world.loop().connect_read_pipe(ferry::make<End>, std::move(end)));
}
auto writing(SimWorld& world, ferry::Pipe&& end) {
  return world.loop().run_until_complete(
      world.loop().connect_write_pipe(ferry::make<End>, std::move(end)));
}
void run_for(SimWorld& world, double seconds) {
  world.loop().call_later(ferry::Seconds{seconds}, [&] { world.loop().stop(); });
  world.loop().run_forever();
}

}  // namespace

TEST_CASE("a pipe of a world carries every byte and its end", "[T-154]") {
  const auto lived = [](SimWorld& world) {
    world.set_network({.buffer = 50, .short_read = 0.3, .short_write = 0.3, .would_block = 0.2,
                       .spurious_event = 0.1, .reset = 1});  // a network is what it does not have
    ferry::PipePair ends = world.make_pipe();
    const auto reader = reading(world, std::move(ends.read));
    const auto writer = writing(world, std::move(ends.write));
    std::string text;
    for (int i = 0; i < 300; ++i) text += std::to_string(i) + ",";
    writer.transport->set_write_buffer_limits({.high = 100});
    writer.transport->write(text);
    writer.transport->write_eof();
    run_for(world, 10);
    const End& read = *reader.protocol;
    const End& wrote = *writer.protocol;
    if (read.received != text) throw std::runtime_error{"bytes were lost"};
    if (!read.eof || !read.lost || read.reason) throw std::runtime_error{"no end"};
    if (!wrote.lost || wrote.reason || wrote.pauses != 1) throw std::runtime_error{"no pause"};
  };
  CHECK(ferry::for_each_seed({.count = 50}, lived) == 50);
}

TEST_CASE("who writes into a pipe of a world hears that its reader has gone", "[T-152]") {
  const std::uint64_t seed = GENERATE(1u, 2u, 3u, 4u);  // by level and by edge
  const bool waits = GENERATE(false, true);             // something to be written
  SimWorld world{seed};
  ferry::PipePair ends = world.make_pipe();
  const auto writer = writing(world, std::move(ends.write));
  if (waits) writer.transport->write(std::string(1'000'000, 'x'));
  CHECK((writer.transport->get_write_buffer_size() > 0) == waits);
  run_for(world, 1);
  CHECK_FALSE(writer.protocol->lost);
  ends.read.close();
  run_for(world, 10);
  CHECK(writer.protocol->lost);
  CHECK((writer.protocol->reason == std::errc::broken_pipe) == waits);
}

TEST_CASE("what a gathered write leaves goes when there is room, also if it filled the pipe") {
  const std::uint64_t seed = GENERATE(1u, 2u, 3u, 4u);
  SimWorld world{seed};
  world.set_network({.buffer = 4096});
  ferry::PipePair ends = world.make_pipe();
  const auto reader = reading(world, std::move(ends.read));
  const auto writer = writing(world, std::move(ends.write));
  const std::string full(4096, 'x');
  writer.transport->writelines(std::vector<std::string>{full, full, "tail"});
  run_for(world, 1);
  CHECK(reader.protocol->received == full + full + "tail");
}

TEST_CASE("what is no end of a world's pipe is refused, and left as it was", "[T-157]") {
  SimWorld world{1};
  ferry::PipePair ends = world.make_pipe();
  CHECK_THROWS_WITH(writing(world, std::move(ends.read)), Contains("cannot be written"));
  CHECK_THROWS_WITH(reading(world, std::move(ends.write)), Contains("cannot be read"));
  const auto reader = reading(world, std::move(ends.read));
  ferry::Pipe twice{reader.transport->get_extra_info(ferry::pipe).fileno()};
  CHECK_THROWS_WITH(reading(world, std::move(twice)), Contains("is watched already"));
  twice.detach();
  writing(world, std::move(ends.write)).transport->write("still there");
  run_for(world, 1);
  CHECK(reader.protocol->received == "still there");

  auto sockets = world.socketpair();
  CHECK_THROWS_WITH(reading(world, ferry::Pipe{sockets.first.detach()}),
                    Contains("socket as a pipe"));
  CHECK_THROWS_WITH(reading(world, ferry::Pipe{-77}), Contains("handle -77"));
  {
    SimWorld other{2};
    CHECK_THROWS_WITH(reading(world, other.make_pipe().read), Contains("handle"));
  }
  ferry::PipePair fresh = world.make_pipe();
  const ferry::PipeOptions outlive{.outlive_writers = true};
  CHECK_THROWS_AS(world.loop().run_until_complete(world.loop().connect_read_pipe(
                      ferry::make<End>, std::move(fresh.read), outlive)),
                  ferry::NotSupported);
  CHECK_THROWS_AS(world.loop().create_pipe_connection(ferry::make<End>, R"(\\.\pipe\x)"),
                  ferry::NotSupported);
}
