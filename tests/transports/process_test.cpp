// Process: a child for coroutines.
#include "support/children.hpp"
#include "support/sockets.hpp"

#include <csignal>

using namespace test;

namespace {

ferry::Process start(World& world, const std::vector<std::string>& arguments,
                     ferry::SubprocessOptions options = {}) {
  std::vector<std::string> argv{child_tool};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return world.run(world.loop.create_subprocess_exec(argv, options));
}
// Whoever holds no reference any more still gets the loop to tell the child's end.
void settle_children(World& world) {
  const auto done = [&world] {
    return !has_children() && world.loop.describe().find("process ") == std::string::npos;
  };
  world.run_until(done, "the last child");
  world.settle();
}

}  // namespace

TEST_CASE("communicate() feeds, reads both outputs and waits", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  CHECK(process.pid() > 0);
  CHECK_FALSE(process.returncode());
  const auto output = world.run(process.communicate("what goes in"));
  CHECK(output.out == "what goes in");
  CHECK(output.err.empty());
  CHECK(output.returncode == 0);
  CHECK(process.returncode() == 0);
  const auto both = world.run(start(world, {"both"}).communicate());
  CHECK(both.out.find("out") == 0);
  CHECK(both.err.find("err") == 0);
}

TEST_CASE("much in and much out through communicate() does not deadlock", "[A-046][T-177]") {
  World world;
  const std::size_t size = sanitized || is_slow() ? 2'000'000 : 20'000'000;
  const std::string input = pattern(size);
  const auto output = world.run(start(world, {"cat"}).communicate(input));
  CHECK(output.out.size() == size);
  CHECK((output.out == input));
}

TEST_CASE("communicate() with a child that does not read its input is no error", "[A-046]") {
  World world;
  const auto output = world.run(start(world, {"exit", "6"}).communicate(std::string(500'000, 'x')));
  CHECK(output.returncode == 6);
}

TEST_CASE("wait() needs the exit only", "[A-046][C-19]") {
  World world;
  const auto process = start(world, {"spawn-holder"});
  CHECK(world.run(process.wait()) == 0);
  CHECK(world.run(process.wait()) == 0);  // again, and at once
  CHECK_FALSE(process.transport()->stdout_pipe()->is_closing());
  process.close_stdin();
  while (!world.run(process.read()).empty()) {
  }
}

TEST_CASE("a child is written to and read piece by piece", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  for (const std::string text : {"one", "two", "three"}) {
    world.run(process.write(text));
    std::string come;
    while (come.size() < text.size()) come += world.run(process.read());
    CHECK(come == text);
  }
  process.close_stdin();
  CHECK(world.run(process.read()).empty());
  CHECK(world.run(process.read(2)).empty());
  CHECK(world.run(process.wait()) == 0);
  CHECK_THROWS_AS(process.read(0), std::invalid_argument);
}

TEST_CASE("a child that nobody reads is paused, and waited for", "[T-177]") {
  World world;
  const auto process = start(world, {"print", "3000000"});
  auto waiting = world.loop.create_task(process.wait());
  world.run_until([&] { return !process.transport()->stdout_pipe()->is_reading(); });
  world.settle();
  CHECK_FALSE(waiting.done());
  SECTION("kill() ends that") {
    CHECK(process.kill());
    world.run_until([&] { return waiting.done(); });
    CHECK(waiting.result() != 0);
    while (!world.run(process.read()).empty()) {  // what had come is still there
    }
  }
  SECTION("so does reading") {
    std::size_t come = 0;
    for (std::string some = "x"; !some.empty();) {
      some = world.run(process.read());
      come += some.size();
    }
    CHECK(come == 3'000'000);
    world.run_until([&] { return waiting.done(); });
    CHECK(waiting.result() == 0);
  }
}

TEST_CASE("writing to a child that takes no more is an error at the await", "[A-046][T-167]") {
  World world;
  const auto process = start(world, {"exit", "0"});
  world.run(process.wait());
  world.run_until([&] { return process.transport()->stdin_pipe()->is_closing(); });
  world.settle();
  CHECK(error_of(world, process.write("too late")) == std::errc::broken_pipe);
}

TEST_CASE("a stream that is no pipe cannot be fed", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"}, {.in = ferry::Stdio::null()});
  CHECK_THROWS_AS(process.write("x"), ferry::MisuseError);
  CHECK_THROWS_AS(process.communicate("x"), ferry::MisuseError);
  CHECK(world.run(process.communicate()).returncode == 0);
}

TEST_CASE("a shell runs a command line", "[A-029][A-046]") {
  World world;
  auto output = world.run(
      world.run(world.loop.create_subprocess_shell("echo one two&& exit 3")).communicate());
  CHECK(output.out.find("one two") == 0);
  CHECK(output.returncode == 3);
}

TEST_CASE("a Process that is dropped leaves its child to the loop", "[T-173]") {
  World world;
  static_cast<void>(start(world, {"exit", "0"}));
  settle_children(world);
}

TEST_CASE("one reader, one writer and one waiter may wait at once", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  auto exit = world.loop.create_task(process.wait());
  auto data = world.loop.create_task(process.read());
  auto errors = world.loop.create_task(process.read(2));
  world.settle();
  world.run(process.write("for the reader"));
  world.run_until([&] { return data.done(); });
  CHECK(data.result() == "for the reader");
  CHECK_FALSE(exit.done());
  CHECK(process.terminate());
  world.run_until([&] { return exit.done() && errors.done(); });
  CHECK(errors.result().empty());
  CHECK(world.run(process.read()).empty());
}

TEST_CASE("a stream of a Process has one reader at a time", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  const auto refused = [&](auto call) { return thrown_by<ferry::MisuseError>(call); };
  auto reading = world.loop.create_task(process.read());
  CHECK(refused([&] { return process.read(); }) == "read: somebody reads the child's 1 already");
  CHECK(refused([&] { return process.communicate("lost"); }) ==
        "communicate: somebody reads the child's 1 already");
  world.run(process.write("for the first"));
  world.run_until([&] { return reading.done(); });
  CHECK(reading.result() == "for the first");
  { auto never_run = process.read(); }
  auto all = world.loop.create_task(process.communicate("all"));
  CHECK(refused([&] { return process.communicate(); }) ==
        "communicate: somebody reads the child's 1 already");
  CHECK(refused([&] { return process.read(2); }) == "read: somebody reads the child's 2 already");
  world.run_until([&] { return all.done(); });
  CHECK(all.result().out == "all");
}

TEST_CASE("what was written before stdin was closed is no error", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  auto writing = process.write("all of it");
  process.close_stdin();
  CHECK(thrown_by<ferry::MisuseError>([&] { return process.write("more"); }) ==
        "write: the child's stdin was closed");
  CHECK(world.run(process.communicate()).out == "all of it");
  world.run(std::move(writing));
}

TEST_CASE("a Process that is dropped reads on for its child", "[T-173][T-177]") {
  World world;
  auto process = start(world, {"print", "3000000"});
  world.run_until([&] { return !process.transport()->stdout_pipe()->is_reading(); });
  const auto transport = process.transport();
  process = {};
  world.run_until([&] { return transport->get_returncode().has_value(); });
  CHECK(transport->get_returncode() == 0);
  world.run_until([&] { return transport->get_protocol() == nullptr; });
}

TEST_CASE("who waits for a Process may give up", "[A-046]") {
  World world;
  const auto process = start(world, {"cat"});
  for (int i = 0; i < 100; ++i) {
    auto reading = world.loop.create_task(process.read());
    world.settle();
    reading.cancel();
    world.run_until([&] { return reading.done(); });
    auto all = world.loop.create_task(process.communicate());
    world.settle();
    all.cancel();
    world.run_until([&] { return all.done(); });
    if (i == 0) {
      // communicate() has closed stdin; the child ends, and what it said can still be read.
      CHECK(world.run(process.wait()) == 0);
    }
  }
  CHECK(world.run(process.read()).empty());
}

TEST_CASE("a cancelled communicate() takes its appetite with it", "[A-046][T-177]") {
  World world;
  const auto process = start(world, {"print", "100000000"}, {.in = ferry::Stdio::null()});
  auto all = world.loop.create_task(process.communicate());
  world.turn();
  all.cancel();
  world.run_until([&] { return all.done(); });
  world.run_until([&] { return !process.transport()->stdout_pipe()->is_reading(); });
  CHECK(process.kill());
  std::size_t kept = 0;
  for (std::string some = "x"; !some.empty();) {
    some = world.run(process.read());
    kept += some.size();
  }
  CHECK(kept < 8'000'000);
  world.run(process.wait());
}

TEST_CASE("a Process outlives what its loop had", "[T-024][A-046]") {
  ferry::Loop loop{backend()};
  const std::vector<std::string> argv{child_tool, "sleepforever"};
  auto process = loop.run_until_complete(loop.create_subprocess_exec(argv));
  process.kill();
  loop.close();
  const bool replaced = GENERATE(true, false);
  if (replaced) process = {};
  CHECK(static_cast<bool>(process) == !replaced);
  await_no_children();
}

TEST_CASE("a Process outlives its loop", "[T-024][A-046]") {
  World world;
  ferry::Process process;
  {
    ferry::Loop loop{backend()};
    const std::vector<std::string> argv{child_tool, "sleepforever"};
    process = loop.run_until_complete(loop.create_subprocess_exec(argv));
  }
  CHECK(process.pid() > 0);
  CHECK_FALSE(process.kill());
  const auto error = error_of(world, process.wait());
  CHECK(error.what() == "the loop of the process is closed");
  process.close();
  await_no_children();
}
