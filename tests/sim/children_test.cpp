// Children of a simulated world: programs of the test's, in virtual time.
#include "sim/child_lives.hpp"
#include "support/catch.hpp"
#include "support/child_recorder.hpp"

#include <ferry/ferry.hpp>
#include <ferry/sim.hpp>

#include <csignal>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using Catch::Matchers::Contains;
using ferry::Seconds;
using ferry::SimProgram;
using ferry::SimWorld;
using ferry::Stdio;
using test::ChildRecorder;

namespace {

constexpr int signal_term = 15, signal_kill = 9, signal_pipe = 13;

struct Started {
  std::shared_ptr<ChildRecorder> protocol;
  std::shared_ptr<ferry::SubprocessTransport> transport;
};
Started start(SimWorld& world, const SimProgram& program,
              const ferry::SubprocessOptions& options = {}) {
  world.set_program("program", program);
  auto made = world.loop().run_until_complete(
      world.loop().subprocess_exec(ferry::make<ChildRecorder>, {"program"}, options));
  return {std::move(made.protocol), std::move(made.transport)};
}
void run_to_end(SimWorld& world, const Started& child) {
  child.protocol->on_lost = [&] { world.loop().stop(); };
  if (!child.protocol->lost) world.loop().run_forever();
  CHECK(child.protocol->lost);
  CHECK(world.running_children() == 0);
}
double seconds(SimWorld& world) { return world.elapsed().count(); }

}  // namespace

TEST_CASE("a program writes, waits and exits in virtual time", "[S-046][S-064][S-066]") {
  SimWorld world{GENERATE(1u, 3u)};  // by level, by edge
  const Started child = start(world, SimProgram{}.write(1, "out").write(2, "err").sleep(
                                         Seconds{3600}).write(1, "late").exit(3));
  CHECK(world.running_children() == 1);
  run_to_end(world, child);
  CHECK(child.protocol->data[1] == "outlate");
  CHECK(child.protocol->data[2] == "err");
  CHECK(child.protocol->code == 3);
  CHECK(seconds(world) == Approx(3600).margin(0.1));
  CHECK_THAT(world.trace(), Contains("is program") && Contains("exits with 3"));
}

TEST_CASE("a child gets every byte of its input, and we of its output", "[S-064][A-046]") {
  const auto lived = [](SimWorld& world) {
    world.set_network({.buffer = 100, .short_read = 0.3, .short_write = 0.3, .would_block = 0.2,
                       .spurious_event = 0.05});
    world.set_program("cat", SimProgram{}.copy());
    const std::string input(20'000, static_cast<char>('a' + world.random(26)));
    const auto all = [](SimWorld& in, const std::string& text) -> ferry::Task<std::string> {
      ferry::Process process = co_await in.loop().create_subprocess_exec({"cat"});
      ferry::Process::Output output = co_await process.communicate(text);
      if (output.returncode != 0) throw std::runtime_error{"it has failed"};
      co_return output.out;
    };
    if (world.loop().run_until_complete(all(world, input)) != input) {
      throw std::runtime_error{"bytes were lost"};
    }
  };
  CHECK(ferry::for_each_seed({.count = 50}, lived) == 50);
}

TEST_CASE("a program that is not there or cannot be run names itself", "[T-164]") {
  SimWorld world{1};
  world.set_program("locked", SimProgram{}.cannot_start(std::errc::permission_denied));
  const auto exec = [&](const std::string& name) {
    world.loop().run_until_complete(
        world.loop().subprocess_exec(ferry::make<ChildRecorder>, {name}));
  };
  CHECK_THROWS_WITH(exec("nope"), Contains("exec nope: no such file or directory"));
  CHECK_THROWS_WITH(exec("locked"), Contains("exec locked: permission denied"));
  world.set_program("handles", SimProgram{});
  const ferry::NativeHandle passed[] = {3};
  for (const ferry::SubprocessOptions& options :
       {ferry::SubprocessOptions{.out = Stdio::handle(1)},
        ferry::SubprocessOptions{.pass_handles = passed}}) {
    CHECK_THROWS_AS(world.loop().run_until_complete(world.loop().subprocess_exec(
                        ferry::make<ChildRecorder>, {"handles"}, options)),
                    ferry::NotSupported);
  }
  CHECK(world.running_children() == 0);
}

TEST_CASE("a shell starts, whatever its command") {
  SimWorld world{GENERATE(1u, 3u)};
  const auto shell = [&](const char* command) {
    auto made = world.loop().run_until_complete(
        world.loop().subprocess_shell(ferry::make<ChildRecorder>, command));
    run_to_end(world, {made.protocol, made.transport});
    return std::move(made.protocol);
  };
  const auto unknown = shell("nope --now");
  CHECK(unknown->code == 127);
  CHECK(unknown->data[2] == "sh: nope --now: not found\n");
  world.set_program("make all | tee log", SimProgram{}.write(1, "all").exit(2));
  const auto known = shell("make all | tee log");
  CHECK(known->code == 2);
  CHECK(known->data[1] == "all");
  world.set_program("broken", SimProgram{}.cannot_start(std::errc::not_enough_memory));
  CHECK_THROWS_WITH(shell("broken"), Contains("exec /bin/sh: "));
}

TEST_CASE("a start may take its time, and be given up", "[T-173][T-176]") {
  SimWorld world{GENERATE(1u, 3u)};
  world.set_program("slow", SimProgram{}.starts_after(Seconds{30}).wait());
  auto task = world.loop().create_task(
      world.loop().subprocess_exec(ferry::make<ChildRecorder>, {"slow"}));
  world.loop().run_until_complete(world.loop().sleep(Seconds{29}));
  CHECK(world.running_children() == 0);
  CHECK_FALSE(task.done());
  const bool given_up = GENERATE(false, true);
  if (given_up) task.cancel();
  world.loop().run_until_complete(world.loop().sleep(Seconds{2}));
  CHECK(task.done());
  CHECK(world.running_children() == (given_up ? 0 : 1));
  if (given_up) CHECK_THROWS_AS(task.take_result(), ferry::CancelledError);
}

TEST_CASE("signals end a program, or make it do something else", "[S-051][C-04][C-06]") {
  SimWorld world{GENERATE(1u, 3u)};
  const auto ends_by = [&](const SimProgram& program, auto act, ferry::SubprocessOptions options) {
    const Started child = start(world, program, options);
    auto timer = world.loop().call_later(Seconds{1}, [&] { act(*child.transport); });
    run_to_end(world, child);
    timer.cancel();
    return std::pair{*child.protocol->code, child.protocol->data[1]};
  };
  const auto terminate = [](ferry::SubprocessTransport& child) { CHECK(child.terminate()); };
  const auto close = [](ferry::SubprocessTransport& child) { child.close(); };
  using Ended = std::pair<int, std::string>;
  CHECK(ends_by(SimProgram{}.wait(), terminate, {}) == Ended{-signal_term, ""});
  CHECK(ends_by(SimProgram{}.sleep(Seconds{9}).exit(4), terminate, {}) == Ended{-signal_term, ""});
  CHECK(ends_by(SimProgram{}.die(6), terminate, {}).first == -6);
  const auto polite = SimProgram{}.on_signal(signal_term, SimProgram{}.write(1, "bye").exit(0));
  CHECK(ends_by(SimProgram{polite}.write(1, "and ").wait(), terminate, {}) == Ended{0, "and bye"});

  const double before = seconds(world);
  CHECK(ends_by(SimProgram{}.ignore(signal_term).wait(), close, {.kill_after = Seconds{5}}).first ==
        -signal_kill);
  CHECK(seconds(world) - before == Approx(6).margin(0.1));

  const Started child = start(world, SimProgram{}.wait());
  CHECK(child.transport->send_signal(0));
  CHECK_THROWS_AS(child.transport->send_signal(65), std::invalid_argument);
  child.transport->kill();
  run_to_end(world, child);
  CHECK_FALSE(child.transport->kill());
}

TEST_CASE("a program that is stopped goes on when it is told to", "[T-164]") {
  SimWorld world{1};
#ifdef SIGSTOP
  const int stop = SIGSTOP, go_on = SIGCONT;
#else
  const int stop = 19, go_on = 18;
#endif
  const Started child = start(world, SimProgram{}.sleep(Seconds{2}).exit(7));
  world.loop().call_later(Seconds{1}, [&] { CHECK(child.transport->send_signal(stop)); });
  world.loop().call_later(Seconds{60}, [&] {
    CHECK_FALSE(child.protocol->exited);
    child.transport->send_signal(go_on);
  });
  run_to_end(world, child);
  CHECK(child.protocol->code == 7);
  CHECK(seconds(world) == Approx(60).margin(0.1));

  const Started asked = start(world, SimProgram{}.wait());  // it hears of that when it goes on
  asked.transport->send_signal(stop);
  CHECK(asked.transport->terminate());
  world.loop().run_until_complete(world.loop().sleep(Seconds{60}));
  CHECK_FALSE(asked.protocol->exited);
  asked.transport->send_signal(go_on);
  run_to_end(world, asked);
  CHECK(asked.protocol->code == -signal_term);

  const Started killed = start(world, SimProgram{}.wait());
  killed.transport->send_signal(stop);
  killed.transport->kill();
  run_to_end(world, killed);
  CHECK(killed.protocol->code == -signal_kill);
}

TEST_CASE("who outlives a child keeps its streams open", "[C-19][T-161]") {
  SimWorld world{1};
  const Started child = start(world, SimProgram{}.outlived(Seconds{10}).exit(0));
  run_to_end(world, child);
  const auto& events = child.protocol->events;
  REQUIRE(events.size() == 6);
  CHECK(events[0] == "made");
  CHECK(events[1] == "exited");
  CHECK(events[5] == "lost");
  CHECK(seconds(world) == Approx(10).margin(0.1));
}

TEST_CASE("a program whose output nobody reads any more gets a SIGPIPE") {
  SimWorld world{1};
  const auto ends_with = [&](const SimProgram& program) {
    const Started child = start(world, program, {.in = Stdio::null(), .err = Stdio::null()});
    dynamic_cast<ferry::ReadTransport&>(*child.transport->get_pipe_transport(1)).close();
    run_to_end(world, child);
    return *child.protocol->code;
  };
  const auto writes = SimProgram{}.sleep(Seconds{1}).write(1, "unheard").exit(5);
  CHECK(ends_with(writes) == -signal_pipe);
  CHECK(ends_with(SimProgram{}.ignore(signal_pipe).sleep(Seconds{1}).write(1, "x").exit(5)) == 5);
}

TEST_CASE("a program's streams can be one, or nothing, or closed early") {
  SimWorld world{1};
  const auto both = SimProgram{}.read_all().write(1, "a").write(2, "b").write(1, "c");
  const Started joined = start(world, both, {.in = Stdio::null(), .err = Stdio::to_stdout()});
  run_to_end(world, joined);
  CHECK(joined.protocol->data[1] == "abc");
  CHECK(joined.transport->get_pipe_transport(2) == nullptr);

  const auto part = SimProgram{}.read(3).close(0).write(1, "enough").close(1).wait();
  const Started child = start(world, part);
  auto& input = dynamic_cast<ferry::WriteTransport&>(*child.transport->get_pipe_transport(0));
  input.write("abcdef");
  child.protocol->on_pipe_lost = [&](int) {
    if (child.protocol->pipe_lost[0] && child.protocol->pipe_lost[1]) child.transport->kill();
  };
  run_to_end(world, child);
  CHECK(child.protocol->data[1] == "enough");
  CHECK(child.protocol->code == -signal_kill);
}

TEST_CASE("a function is asked which program it is") {
  SimWorld world{1};
  std::optional<ferry::SimStart> seen;
  const auto asked = [&](const ferry::SimStart& start) {
    seen = start;
    return SimProgram{}.exit(static_cast<int>(start.arguments.size()));
  };
  world.set_program("tool", asked);
  ferry::Environment environment;
  environment.set("NAME", "value");
  auto made = world.loop().run_until_complete(world.loop().subprocess_exec(
      ferry::make<ChildRecorder>, {"tool", "-x", "two words"},
      {.env = &environment, .cwd = "/somewhere"}));
  run_to_end(world, {made.protocol, made.transport});
  CHECK(made.protocol->code == 3);
  REQUIRE(seen);
  CHECK(seen->arguments == std::vector<std::string>{"tool", "-x", "two words"});
  CHECK(seen->environment == std::vector<std::string>{"NAME=value"});
  CHECK(seen->directory == "/somewhere");

  const auto only_once = [&world, text = std::string(100, 'x')](const ferry::SimStart& start) {
    world.set_program(start.name, SimProgram{}.cannot_start(std::errc::text_file_busy));
    return SimProgram{}.write(1, text);
  };
  world.set_program("a command", only_once);
  auto shell = world.loop().run_until_complete(
      world.loop().subprocess_shell(ferry::make<ChildRecorder>, "a command"));
  run_to_end(world, {shell.protocol, shell.transport});
  CHECK(shell.protocol->data[1] == std::string(100, 'x'));
  world.set_program("tool", [](const ferry::SimStart&) -> SimProgram {
    throw std::runtime_error{"no such test"};
  });
  CHECK_THROWS_WITH(world.loop().run_until_complete(
                        world.loop().subprocess_exec(ferry::make<ChildRecorder>, {"tool"})),
                    Contains("no such test"));
}

TEST_CASE("a loop that ends asks its children to end, and one that waits for ever is told",
          "[T-173]") {
  std::string trace;
  {
    SimWorld world{1};
    const Started child = start(world, SimProgram{}.wait());
    child.protocol->on_lost = [&] { world.loop().stop(); };
    try {
      world.loop().run_forever();
      FAIL("it came back");
    } catch (const ferry::SimStalled& stalled) {
      CHECK_THAT(stalled.what(), Contains("program running"));
    }
    world.loop().close();
    CHECK(world.running_children() == 0);
    trace = world.trace();
  }
  CHECK_THAT(trace, Contains("gets signal 15"));
  SimWorld again{2};  // it goes with a child that runs, that sleeps, that is about to start
  start(again, SimProgram{}.copy());
  start(again, SimProgram{}.sleep(Seconds{5}));
  again.set_program("slow", SimProgram{}.starts_after(Seconds{5}));
  const auto begun = again.loop().create_task(
      again.loop().subprocess_exec(ferry::make<ChildRecorder>, {"slow"}));
  again.loop().run_until_complete(again.loop().sleep(Seconds{1}));
  CHECK(again.running_children() == 2);
}

TEST_CASE("what no program can do is refused") {
  SimProgram program;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(program.write(0, "x"), Contains("stream 0 is neither 1 nor 2"));
  CHECK_THROWS_WITH(program.copy(3), Contains("stream 3 is neither 1 nor 2"));
  CHECK_THROWS_WITH(program.close(-1), Contains("stream -1 is not one of 0, 1 and 2"));
  CHECK_THROWS_AS(program.sleep(Seconds{-1}), std::invalid_argument);
  CHECK_THROWS_AS(program.outlived(Seconds{nan}), std::invalid_argument);
  CHECK_THROWS_WITH(program.exit(256), Contains("exit code 256"));
  CHECK_THROWS_AS(program.exit(-1), std::invalid_argument);
  CHECK_THROWS_WITH(program.die(65), Contains("65 is no signal"));
  CHECK_THROWS_AS(program.on_signal(0, {}), std::invalid_argument);
  CHECK_THROWS_WITH(program.ignore(signal_kill), Contains("SIGKILL cannot be taken"));
  CHECK_THROWS_AS(program.sleep(Seconds{1e10}), std::invalid_argument);
  const SimProgram never = SimProgram{}.cannot_start(std::errc::permission_denied);
  CHECK_THROWS_AS(program.on_signal(signal_term, never), std::invalid_argument);
  SimWorld world{1};
  CHECK_THROWS_AS(world.set_program("", SimProgram{}), std::invalid_argument);
  CHECK_THROWS_AS(world.set_program("x", std::function<SimProgram(const ferry::SimStart&)>{}),
                  std::invalid_argument);
}

TEST_CASE("random lives of children keep the contract and every byte",
          "[C-04][C-06][C-19][T-161][T-163][T-167][T-177]") {
  sim_lives::ChildCounts all;
  const std::uint64_t seeds = ferry::for_each_seed({.count = 1000}, [&](SimWorld& world) {
    sim_lives::ChildLives lives{world};
    lives.run();
    all.children += lives.counts().children;
    all.complete += lives.counts().complete;
    all.events += lives.counts().events;
    all.bytes += lives.counts().bytes;
  });
  if (seeds >= 100) {  // a seed is worth little if hardly anything happens in it
    CHECK(all.children >= seeds * 3);
    CHECK(all.complete >= seeds);
    CHECK(all.events >= seeds * 20);
  }
  WARN(seeds << " seeds: " << all.children << " children, " << all.complete << " undisturbed, "
             << all.events << " events, " << all.bytes << " bytes");
}
