#include "support/fake_channel.hpp"
#include "support/traffic.hpp"

#include <cerrno>
#include <list>
#include <random>
#include <set>

using namespace test;
using ferry::BytesView;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

std::string joined(const std::vector<std::string>& chunks) {
  std::string all;
  for (const std::string& chunk : chunks) all += chunk;
  return all;
}

// Pieces of every size, empty ones among them, more than one system call takes.
std::vector<std::string> many_pieces(std::size_t count) {
  std::mt19937 random{7};
  std::vector<std::string> pieces;
  for (std::size_t i = 0; i < count; ++i) {
    const bool empty = i % 7 == 3;
    pieces.push_back(empty ? "" : pattern(1 + random() % 900, static_cast<unsigned>(i)));
  }
  return pieces;
}

}  // namespace

TEST_CASE("writelines() takes any range of what bytes are made from", "[S-039]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  ferry::Transport& transport = *stream.transport;
  transport.writelines(std::vector<std::string>{"a", "b"});
  transport.writelines(std::list<std::string_view>{"c", "", "d"});
  transport.writelines(std::set<std::string>{"e", "f"});
  const char* const texts[] = {"g", "h"};
  transport.writelines(texts);
  const std::vector<std::byte> bytes{std::byte{'i'}};
  const BytesView views[] = {bytes, "j"};
  transport.writelines(views);
  transport.writelines(std::span<const BytesView>{views});
  CHECK(stream.peer.receive() == "abcdefghijij");
}

TEST_CASE("writelines() makes one system call of many pieces", "[S-039][A-056]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  Calls calls;
  const auto lines = GENERATE(std::vector<std::string>{"one", "two", "three"},
                              std::vector<std::string>{"head", pattern(30'000), "tail"},
                              std::vector<std::string>(60, pattern(700)));
  SECTION("outside the loop: at once") {
    stream.transport->writelines(lines);
    CHECK(sends(calls) == 1);
  }
  SECTION("in a callback: when it returns, or at once") {
    inside(world, [&] { stream.transport->writelines(lines); });
    CHECK(sends(calls) == 1);
  }
  CHECK((stream.peer.receive() == joined(lines)));
}

TEST_CASE("large pieces are sent from the caller's memory", "[A-056]") {
  FakeStream stream;
  const std::vector<std::string> lines{"head", pattern(100'000), "", pattern(50'000, 2)};
  const auto write = [&] { stream.transport->writelines(lines); };
  GENERATE(false, true) ? stream.inside(write) : write();
  CHECK(stream.wire->from.size() >= 3);
  for (const void* place : stream.wire->from) {
    const bool of_caller = place == lines[0].data() || place == lines[1].data() ||
                           place == lines[2].data() || place == lines[3].data();
    CHECK(of_caller);
  }
  CHECK((stream.wire->taken == joined(lines)));
}

TEST_CASE("writelines() of 4 MiB to a peer that does not read pauses writing", "[T-029][C-13]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  std::vector<std::string> lines;
  for (unsigned i = 0; i < 64; ++i) lines.push_back(pattern(256 * 1024, i));
  const auto write = [&] {
    stream.transport->writelines(std::span{lines}.first(16));
    if (stream.transport->get_write_buffer_size() == 0) {  // the system took all of 4 MiB
      stream.transport->writelines(std::span{lines}.subspan(16));
    } else {
      lines.resize(16);
    }
    CHECK(stream.protocol->pauses == 1);
  };
  GENERATE(false, true) ? inside(world, write) : write();
  const std::string all = joined(lines);
  CHECK((read_size(world, stream.peer, all.size()) == all));
  world.run_until([&] { return stream.protocol->resumes == 1; });
  CHECK(stream.protocol->story() == "made pause resume");
}

TEST_CASE("the rest of a writelines() that was taken in part arrives", "[T-030][A-056]") {
  World world;
  Stream stream = open_small_stream(world);
  const std::vector<std::string> lines{"head", pattern(3'000), "", pattern(40'000, 2), "tail"};
  const auto write = [&] { stream.transport->writelines(lines); };
  GENERATE(false, true) ? inside(world, write) : write();
  CHECK(stream.transport->get_write_buffer_size() > 0);
  CHECK((read_size(world, stream.peer, joined(lines).size()) == joined(lines)));
  CHECK(stream.transport->get_write_buffer_size() == 0);
}

TEST_CASE("5000 pieces, some of them empty, give the exact bytes", "[T-032][S-039][A-056]") {
  World world;
  Stream stream = GENERATE(false, true) ? open_small_stream(world) : open_stream(world);
  const std::vector<std::string> pieces = many_pieces(5000);
  const std::string all = joined(pieces);
  std::size_t before = 0;
  SECTION("to an idle system") {}
  SECTION("to a full one") {
    before = fill(stream, 1);
  }
  stream.transport->writelines(pieces);
  stream.transport->write("end");
  const std::string got = read_size(world, stream.peer, before + all.size() + 3);
  CHECK((got == pattern(before) + all + "end"));
}

TEST_CASE("a send may end inside any piece", "[T-032][T-030][A-056]") {
  const std::vector<std::string> pieces = many_pieces(1500);
  std::size_t until_1025 = 0;
  for (std::size_t i = 0; i < 1025; ++i) until_1025 += pieces[i].size();
  const bool in_loop = GENERATE(false, true);
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, pieces[0].size(),
                                 pieces[0].size() + 1, until_1025 - 1, until_1025,
                                 until_1025 + pieces[1025].size() / 2}) {
    INFO("room for " << room);
    FakeStream stream;
    stream.wire->room = room;
    const auto write = [&] { stream.transport->writelines(pieces); };
    in_loop ? stream.inside(write) : stream.call(write);
    CHECK((stream.wire->taken == joined(pieces).substr(0, room)));
    CHECK(stream.size() == joined(pieces).size() - room);
    CHECK(stream.protocol->pauses == 1);
    stream.wire->at_most = 977;
    stream.give();
    CHECK((stream.wire->taken == joined(pieces)));
    CHECK(stream.protocol->story() == "made pause resume");
  }
}

TEST_CASE("writelines() does what a write() of each does", "[C-13][S-039][A-056]") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    std::mt19937 random{seed};
    const auto up_to = [&](std::size_t most) { return random() % (most + 1); };
    FakeStream lines, each;
    const auto both = [&](const std::function<void(FakeStream&)>& act) {
      act(lines);
      act(each);
    };
    const auto room = up_to(20'000);
    const auto high = static_cast<std::int64_t>(up_to(8000));
    both([&](FakeStream& stream) {
      stream.wire->room = room;
      stream.limits({.high = high});
    });
    for (int i = 0; i < 60; ++i) {
      std::vector<std::string> pieces;
      for (std::size_t n = up_to(6); n > 0; --n) {
        pieces.push_back(pattern(up_to(up_to(5) == 0 ? 12'000 : 900), seed));
      }
      const bool in_loop = up_to(1) == 0;
      const auto run = [&](FakeStream& stream, const std::function<void()>& write) {
        in_loop ? stream.inside([&] { stream.call(write); }) : stream.call(write);
      };
      run(lines, [&] { lines.transport->writelines(pieces); });
      run(each, [&] {
        for (const std::string& piece : pieces) each.transport->write(piece);
      });
      if (up_to(2) == 0) {
        const std::size_t count = up_to(9000);
        both([&](FakeStream& stream) { stream.give(count); });
      }
      if (i == 50 && seed % 4 == 0) {
        both([](FakeStream& stream) { stream.transport->close(); });
      }
      CHECK(lines.size() == each.size());
      CHECK((lines.wire->taken == each.wire->taken));
      REQUIRE(lines.protocol->story() == each.protocol->story());
    }
    both([](FakeStream& stream) { stream.give(); });
    CHECK((lines.wire->taken == each.wire->taken));
  }
}

TEST_CASE("writelines() keeps the rule on connections that end or are lost", "[C-13][A-056]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const std::vector<std::string> lines{"a", "b"};
  SECTION("after write_eof() it is an error") {
    stream.transport->write_eof();
    CHECK_THROWS_AS(stream.transport->writelines(lines), ferry::MisuseError);
    stream.transport->close();
  }
  SECTION("after close(), while the rest is sent, it is dropped") {
    const std::size_t written = fill(stream);
    stream.transport->close();
    stream.transport->writelines(lines);
    CHECK((read_to_end(world, stream.peer) == pattern(written)));
  }
  SECTION("after abort() and after the end it is dropped") {
    stream.transport->abort();
    stream.transport->writelines(lines);
    world.settle();
    stream.transport->writelines(lines);
    CHECK(read_to_end(world, stream.peer).empty());
  }
  SECTION("when a try of it fails, the rest is dropped and the end comes later") {
    Calls calls;
    fail_sends(calls, EPIPE);
    stream.protocol->in_call = true;
    stream.transport->writelines(std::vector<std::string>(200, pattern(5000)));
    stream.protocol->in_call = false;
    CHECK(stream.transport->get_write_buffer_size() == 0);
    CHECK(sends(calls) == 1);
    world.settle();
    CHECK(stream.protocol->reason == std::errc::broken_pipe);
    CHECK(stream.protocol->pauses == 0);
    CHECK(read_to_end(world, stream.peer).empty());
  }
  world.run_until([&] { return stream.protocol->lost; });
}
