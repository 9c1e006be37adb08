// Child processes: subprocess_exec(), SubprocessTransport, SubprocessProtocol.
#include "support/calls.hpp"
#include "support/children.hpp"
#include "support/sockets.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>

using namespace test;

namespace {

// "abc…z" again and again, as the tool prints it.
std::string alphabet(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

}  // namespace

TEST_CASE("a child is fed, read and told of, in order", "[S-020][S-046][S-048][S-058][S-059]"
          "[S-064][S-065][S-066][A-029]") {
  World world;
  const Started child = start_tool(world, {"cat"});
  CHECK(child.protocol->made);
  CHECK(child.transport->get_pid() > 0);
  CHECK(child.transport->get_pid() != process_id());
  CHECK_FALSE(child.transport->get_returncode());
  const auto view = child.transport->get_extra_info(ferry::subprocess);
  CHECK(view.pid == child.transport->get_pid());
  CHECK_FALSE(view.returncode);
  child.transport->stdin_pipe()->write("to the child");
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
  CHECK(child.protocol->data[1] == "to the child");
  CHECK(child.protocol->data[2].empty());
  CHECK(child.protocol->code == 0);
  CHECK(child.protocol->events.front() == "made");
  CHECK(child.protocol->events.back() == "lost");
  for (const char* event : {"pipe 0", "pipe 1", "pipe 2", "exited"}) {
    CHECK(child.protocol->has(event));
  }
  CHECK(child.transport->get_extra_info(ferry::subprocess).returncode == 0);
  CHECK(child.transport->get_extra_info(ferry::subprocess).handle == ferry::invalid_handle);
  CHECK(child.transport->is_closing());
}

TEST_CASE("a child's pipes are typed from the parent's side", "[C-03][S-004][S-047]") {
  World world;
  const Started child = start_tool(world, {"wait"});
  auto& transport = *child.transport;
  CHECK(dynamic_cast<ferry::WriteTransport*>(transport.get_pipe_transport(0).get()) != nullptr);
  CHECK(transport.stdin_pipe()->can_write_eof());
  CHECK(transport.stdout_pipe()->is_reading());
  CHECK(transport.stderr_pipe()->is_reading());
  CHECK(transport.get_pipe_transport(3) == nullptr);
  CHECK(transport.get_pipe_transport(-1) == nullptr);
  CHECK(transport.stdin_pipe()->get_protocol() == nullptr);
  CHECK_THROWS_AS(transport.stdin_pipe()->set_protocol(std::make_shared<Recorder>()),
                  ferry::MisuseError);
  CHECK_THROWS_AS(dynamic_cast<ferry::WriteTransport&>(*transport.stdout_pipe()).write("x"),
                  ferry::NotSupported);
  transport.stdin_pipe()->write_eof();
  run_to_end(world, child);
}

TEST_CASE("stderr can go to stdout, and then comes as 1", "[S-047][A-029]") {
  World world;
  const Started child = start_tool(world, {"both"}, {.err = ferry::Stdio::to_stdout()});
  CHECK(child.transport->stderr_pipe() == nullptr);
  run_to_end(world, child);
  CHECK(child.protocol->data[1].find("out") != std::string::npos);
  CHECK(child.protocol->data[1].find("err") != std::string::npos);
  CHECK_FALSE(child.protocol->has("pipe 2"));
}

TEST_CASE("a stream can be null, a handle or inherited, and is then no pipe", "[A-029]") {
  World world;
  SECTION("null") {
    const auto null = ferry::Stdio::null();
    const Started child = start_tool(world, {"cat"}, {.in = null, .out = null, .err = null});
    for (const int fd : {0, 1, 2}) CHECK(child.transport->get_pipe_transport(fd) == nullptr);
    run_to_end(world, child);
    CHECK(child.protocol->events == std::vector<std::string>{"made", "exited", "lost"});
    CHECK(child.protocol->code == 0);
  }
  SECTION("null, and stderr goes there too") {
    const Started child = start_tool(
        world, {"both"}, {.out = ferry::Stdio::null(), .err = ferry::Stdio::to_stdout()});
    run_to_end(world, child);
    CHECK(child.protocol->data.empty());
  }
  SECTION("inherited") {
    const Started child = start_tool(world, {"exit", "4"},
                                     {.in = ferry::Stdio::inherit(),
                                      .out = ferry::Stdio::inherit(),
                                      .err = ferry::Stdio::inherit()});
    run_to_end(world, child);
    CHECK(child.protocol->code == 4);
  }
}

TEST_CASE("an exit code is told as it is", "[S-048][S-066]") {
  World world;
  const int code = GENERATE(0, 1, 7, 255);
  const Started child = start_tool(world, {"exit", std::to_string(code)});
  run_to_end(world, child);
  CHECK(child.protocol->code == code);
  CHECK(child.transport->get_returncode() == code);
}

TEST_CASE("connection_made() is first, even for a child that has ended by then", "[T-163]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  protocol->on_made = [&] {
    // Whatever the child did meanwhile, nothing of it was told.
    CHECK(protocol->events == std::vector<std::string>{"made"});
    CHECK_FALSE(protocol->transport->get_returncode());
  };
  const Started child = start_tool(world, {"print", "10"}, {}, protocol);
  run_to_end(world, child);
  CHECK(protocol->data[1] == alphabet(10));
}

TEST_CASE("terminate() and kill() end a child, and its pipes tell so themselves",
          "[C-05][S-049][S-051]") {
  World world;
  const Started child = start_tool(world, {"sleepforever"});
  world.run_until([&] { return !child.protocol->data[1].empty(); });
  const bool kills = GENERATE(false, true);
  CHECK((kills ? child.transport->kill() : child.transport->terminate()));
  CHECK_FALSE(child.transport->is_closing());
  CHECK_FALSE(child.transport->stdin_pipe()->is_closing());
  run_to_end(world, child);
  CHECK(*child.protocol->code != 0);
}

TEST_CASE("a child that was reaped is signalled no more", "[C-06]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  bool inside = true;
  protocol->on_exited = [&] { inside = protocol->transport->kill(); };
  const Started child = start_tool(world, {"exit", "0"}, {}, protocol);
  run_to_end(world, child);
  CHECK_FALSE(inside);
  CHECK_FALSE(child.transport->terminate());
  CHECK_FALSE(child.transport->kill());
  CHECK_FALSE(child.transport->send_signal(SIGTERM));
}

TEST_CASE("what is no signal is refused", "[S-050]") {
  World world;
  const Started child = start_tool(world, {"wait"});
  CHECK_THROWS_AS(child.transport->send_signal(12345), std::invalid_argument);
  CHECK_THROWS_AS(child.transport->send_signal(-1), std::invalid_argument);
  CHECK(child.transport->send_signal(SIGTERM));
  run_to_end(world, child);
}

TEST_CASE("close() asks a running child to stop and closes its pipes", "[C-04][S-052][T-173]") {
  World world;
  const Started child = start_tool(world, {"sleepforever"});
  world.run_until([&] { return !child.protocol->data[1].empty(); });
  child.transport->close();
  CHECK(child.transport->is_closing());
  CHECK(child.transport->stdin_pipe()->is_closing());
  CHECK(child.transport->stdout_pipe()->is_closing());
  child.transport->close();
  run_to_end(world, child);
  CHECK(*child.protocol->code != 0);
  CHECK(child.protocol->events.back() == "lost");
}

TEST_CASE("close() of a child that has ended keeps its code", "[S-052]") {
  World world;
  const Started child = start_tool(world, {"exit", "3"});
  world.run_until([&] { return child.protocol->exited; });
  child.transport->close();
  run_to_end(world, child);
  CHECK(child.protocol->code == 3);
}

TEST_CASE("a child may be closed inside any of its callbacks", "[S-052][T-173]") {
  World world;
  const int where = GENERATE(0, 1, 2, 3);
  auto protocol = std::make_shared<ChildRecorder>();
  const auto close = [&] { protocol->transport->close(); };
  if (where == 0) protocol->on_made = close;
  if (where == 1) protocol->on_data = [&](int) { close(); };
  if (where == 2) protocol->on_exited = close;
  if (where == 3) protocol->on_pipe_lost = [&](int) { close(); };
  const Started child = start_tool(world, {"both"}, {}, protocol);
  run_to_end(world, child);
  CHECK(protocol->events.back() == "lost");
}

TEST_CASE("a dropped transport neither ends its child nor leaves it", "[T-173]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  std::shared_ptr<ferry::WriteTransport> input;
  {
    const Started child = start_tool(world, {"cat"}, {}, protocol);
    input = child.transport->stdin_pipe();
  }
  world.settle();
  CHECK_FALSE(protocol->exited);
  input->write("still there");
  input->close();
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->data[1] == "still there");
  CHECK(protocol->code == 0);
}

TEST_CASE("a start that is cancelled leaves nothing", "[T-173]") {
  World world;
  const std::size_t before = open_descriptors();
  auto protocol = std::make_shared<ChildRecorder>();
  const std::vector<std::string> argv{child_tool, "sleepforever"};
  Calls calls;
  auto task = world.loop.subprocess_exec([&] { return protocol; }, argv);
  SECTION("before it began") {
    task = {};
    CHECK(calls.count(Call::spawn) == 0);
    return;
  }
  SECTION("while the program is started") {
    auto future = world.loop.create_task(std::move(task));
    world.turn();
    future.cancel();
    world.run_until([&] { return future.done(); });
    CHECK(future.cancelled());
  }
  SECTION("by the end of the loop") {
    ferry::Loop loop{backend()};
    static_cast<void>(loop.create_task(
        loop.subprocess_exec([&] { return std::make_shared<ChildRecorder>(); }, argv)));
    loop.process_events(loop.poll_events(ferry::Seconds{0}));
    loop.process_ready();
  }
  world.run_until([&] { return calls.count(Call::spawn) == 1; }, "the start");
  await_rest(world, before);
  CHECK_FALSE(protocol->made);
}

TEST_CASE("a loop that is closed ends its children and calls nobody", "[T-024][T-173]") {
  auto protocol = std::make_shared<ChildRecorder>();
  std::shared_ptr<ferry::SubprocessTransport> kept;
  const std::size_t before = open_descriptors();
  {
    ferry::Loop loop{backend()};
    const std::vector<std::string> argv{child_tool, "sleepforever"};
    auto made = loop.run_until_complete(loop.subprocess_exec([&] { return protocol; }, argv));
    kept = made.transport;
  }
  CHECK(open_descriptors() == before);
  CHECK(protocol->events == std::vector<std::string>{"made"});
  CHECK_FALSE(kept->kill());
  kept->close();
  CHECK(kept->is_closing());
  CHECK(kept->get_pid() > 0);
  await_no_children();
}

TEST_CASE("a child's output is complete, whenever it ends", "[C-19][T-161]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  SECTION("its end is told before the end of its output") {
    protocol->on_made = [&] { protocol->transport->stdout_pipe()->pause_reading(); };
    protocol->on_exited = [&] {
      CHECK_FALSE(protocol->pipe_lost[1]);
      protocol->transport->stdout_pipe()->resume_reading();
    };
    const Started child = start_tool(world, {"print", "4000"}, {}, protocol);
    run_to_end(world, child);
    CHECK(protocol->data[1] == alphabet(4000));
  }
  SECTION("much output, read as it comes") {
    const Started child = start_tool(world, {"print", "300000"}, {}, protocol);
    run_to_end(world, child);
    CHECK(protocol->data[1] == alphabet(300'000));
  }
  SECTION("its end is told after the end of its output") {
    const Started child = start_tool(world, {"close-stdin"}, {}, protocol);
    child.transport->stdout_pipe()->close();
    child.transport->stderr_pipe()->close();
    world.run_until([&] { return protocol->pipe_lost[1] && protocol->pipe_lost[2]; });
    CHECK_FALSE(protocol->exited);
    CHECK(child.transport->kill());
    run_to_end(world, child);
    CHECK(protocol->exited);
  }
}

TEST_CASE("a grandchild that holds the output puts off connection_lost(), not the exit",
          "[C-19]") {
  World world;
  const Started child = start_tool(world, {"spawn-holder"});
  world.run_until([&] { return child.protocol->exited; });
  world.settle();
  CHECK_FALSE(child.protocol->lost);
  CHECK(child.protocol->code == 0);
  child.transport->stdin_pipe()->close();  // which the grandchild waits for
  run_to_end(world, child);
}

TEST_CASE("a child that closes its stdin breaks that pipe, and nothing else", "[T-167]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  protocol->on_made = [&] {
    protocol->transport->stdin_pipe()->write(std::string(300'000, 'x'));
  };
  const Started child = start_tool(world, {"close-stdin"}, {}, protocol);
  auto input = child.transport->stdin_pipe();
  world.run_until([&] { return child.protocol->pipe_lost[0]; }, "the broken pipe");
  CHECK(child.protocol->pipe_error[0] == std::errc::broken_pipe);
  input->write("dropped");
  CHECK_FALSE(child.protocol->exited);
  world.run_until([&] { return !child.protocol->data[1].empty(); });
  child.transport->kill();
  run_to_end(world, child);
}

TEST_CASE("writing to a child is paused and resumed by its stdin", "[S-077]") {
  World world;
  const Started child = start_tool(world, {"cat"});
  child.transport->stdout_pipe()->pause_reading();
  child.transport->stdin_pipe()->write(std::string(4'000'000, 'x'));
  CHECK(child.protocol->has("pause"));
  CHECK_FALSE(child.protocol->has("resume"));
  child.transport->stdout_pipe()->resume_reading();
  world.run_until([&] { return child.protocol->has("resume"); });
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
  CHECK(child.protocol->data[1].size() == 4'000'000);
}

TEST_CASE("what a child's callbacks throw is reported, and the child goes on", "[C-15]") {
  World world;
  auto protocol = std::make_shared<ChildRecorder>();
  const auto bad = [] { throw std::runtime_error{"no"}; };
  protocol->on_made = protocol->on_exited = protocol->on_lost = bad;
  protocol->on_data = protocol->on_pipe_lost = [&](int) { bad(); };
  const Started child = start_tool(world, {"both"}, {}, protocol);
  run_to_end(world, child);
  CHECK(protocol->code == 0);
  const auto reports = world.take_reports();
  CHECK(reports.size() >= 8);
  for (const Report& report : reports) CHECK(report.exception.what() == "no");
}

TEST_CASE("a program that cannot be started throws at the await and leaves nothing", "[A-029]"
          "[T-164]") {
  World world;
  const int times = sanitized || is_slow() ? 50 : 1000;
  const auto factory = [] { return std::make_shared<ChildRecorder>(); };
  const std::string name = std::filesystem::temp_directory_path().string() + "/no-such-program";
  for (int i = 0; i < times; ++i) {
    const auto error = error_of(world, world.loop.subprocess_exec(factory, {name}));
    REQUIRE(error == std::errc::no_such_file_or_directory);
    REQUIRE(std::string{error.what()} == "exec " + name + ": no such file or directory");
  }
  const auto by_path =
      error_of(world, world.loop.subprocess_exec(factory, {"no-such-program-at-all"}));
  CHECK(by_path.what() == "exec no-such-program-at-all: no such file or directory");
}

TEST_CASE("a directory that is not there is told apart from the program", "[T-164]") {
  World world;
  const auto factory = [] { return std::make_shared<ChildRecorder>(); };
  const auto error = error_of(
      world, world.loop.subprocess_exec(factory, {child_tool, "cwd"}, {.cwd = "no/such/place"}));
  CHECK(error.what() == "start " + std::string{child_tool} +
                            ": chdir no/such/place: no such file or directory");
}

TEST_CASE("what a start is asked for is checked at the call", "[T-174]") {
  World world;
  const auto factory = [] { return std::make_shared<ChildRecorder>(); };
  const auto start = [&](const std::vector<std::string>& argv,
                         ferry::SubprocessOptions options = {}) {
    static_cast<void>(world.loop.subprocess_exec(factory, argv, options));
  };
  const std::string nul{"a\0b", 3};
  CHECK_THROWS_AS(start({}), std::invalid_argument);
  CHECK_THROWS_AS(start({""}), std::invalid_argument);
  CHECK_THROWS_AS(start({nul}), std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool, nul}), std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool}, {.cwd = nul}), std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool}, {.out = ferry::Stdio::to_stdout()}), std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool}, {.in = ferry::Stdio::handle(ferry::invalid_handle)}),
                  std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool}, {.kill_after = ferry::Seconds{0}}), std::invalid_argument);
  CHECK_THROWS_AS(start({child_tool}, {.process_group = -5}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.subprocess_shell(factory, ""), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.subprocess_shell(factory, nul), std::invalid_argument);
  ferry::Environment environment;
  CHECK_THROWS_AS(environment.set("", "x"), std::invalid_argument);
  CHECK_THROWS_AS(environment.set("A=B", "x"), std::invalid_argument);
  CHECK_THROWS_AS(environment.set("A", nul), std::invalid_argument);
}

TEST_CASE("arguments arrive as they were given", "[A-029]") {
  World world;
  const std::vector<std::string> arguments{
      "args", "",  "plain", "two words", "quote\"inside", "back\\slash", "ends in \\",
      "\\\"", "%PATH%", "$HOME", "a\tb", "*", "\xc3\xa4\xe2\x82\xac", "'single'"};
  std::string expected;
  for (std::size_t i = 1; i < arguments.size(); ++i) expected += "[" + arguments[i] + "]\n";
  CHECK(output_of(world, arguments) == expected);
}

TEST_CASE("arguments are words in braces, or a range of them", "[A-029]") {
  const auto joined = [](const ferry::Arguments& arguments) {
    std::string all;
    for (std::size_t i = 0; i < arguments.size(); ++i) all.append(arguments[i]) += '|';
    return all;
  };
  const std::string text{"text"};
  const char* words[] = {"program", "first", "second"};
  CHECK(joined("alone") == "alone|");
  CHECK(joined({"literal", text, std::string_view{text}, words[1]}) == "literal|text|text|first|");
  CHECK(joined(std::vector<std::string>{"a", "b"}) == "a|b|");
  CHECK(joined(words) == "program|first|second|");
  CHECK(joined(std::span{words + 1, words + 3}) == "first|second|");
  CHECK(joined(std::vector<std::string_view>{}).empty());
  words[1] = nullptr;
  CHECK_THROWS_AS(joined(words), std::invalid_argument);
  CHECK_THROWS_AS(joined({"program", words[1]}), std::invalid_argument);
}

TEST_CASE("a child has the environment that it is given", "[T-174]") {
  World world;
  set_environment("FERRY_TEST_VARIABLE", "ours");
  CHECK(output_of(world, {"env", "FERRY_TEST_VARIABLE"}) == "ours");
  auto environment = ferry::Environment::current();
  CHECK(environment.get("FERRY_TEST_VARIABLE") == "ours");
  environment.set("FERRY_TEST_VARIABLE", "the child's = \xc3\xa4");
  CHECK(output_of(world, {"env", "FERRY_TEST_VARIABLE"}, {.env = &environment}) ==
        "the child's = \xc3\xa4");
  environment.unset("FERRY_TEST_VARIABLE");
  CHECK_FALSE(environment.get("FERRY_TEST_VARIABLE"));
  const Started child = start_tool(world, {"env", "FERRY_TEST_VARIABLE"}, {.env = &environment});
  run_to_end(world, child);
  CHECK(child.protocol->code == 1);
  set_environment("FERRY_TEST_VARIABLE", nullptr);
}

TEST_CASE("a child starts in the directory that it is given", "[T-174]") {
  World world;
  const Directory directory;
  const std::string path = std::filesystem::path{directory / ""}.parent_path().string();
  const std::string said = output_of(world, {"cwd"}, {.cwd = path});
  CHECK(std::filesystem::equivalent(said, path));
  CHECK_FALSE(std::filesystem::equivalent(std::filesystem::current_path(), path));
}

TEST_CASE("a child has the handles that it is passed, and no others of ours", "[T-165][T-174]") {
  World world;
  auto ends = ferry::make_pipe();
  const std::string number = std::to_string(ends.read.fileno());
  CHECK(output_of(world, {"handle", number}) == "closed");
  const std::vector<ferry::NativeHandle> passed{ends.read.fileno(), ends.read.fileno()};
  CHECK(output_of(world, {"handle", number}, {.pass_handles = passed}) == "open");
  // Nor is ours inherited by others afterwards.
  CHECK_FALSE(is_inherited(ends.read.fileno()));
}

TEST_CASE("the end of one child's stdin reaches it although another one runs", "[T-165]") {
  World world;
  const Started first = start_tool(world, {"wait"});
  const Started second = start_tool(world, {"wait"});
  first.transport->stdin_pipe()->close();
  run_to_end(world, first);
  CHECK_FALSE(second.protocol->exited);
  second.transport->stdin_pipe()->close();
  run_to_end(world, second);
}

TEST_CASE("many children at once are reported once each", "[T-171]") {
  World world;
  const std::size_t count = sanitized || is_slow() ? 40 : 500;
  std::vector<std::shared_ptr<ChildRecorder>> protocols(count);
  for (auto& protocol : protocols) protocol = std::make_shared<ChildRecorder>();
  run_many(world, protocols, {child_tool, "wait"});
  for (const auto& protocol : protocols) CHECK(protocol->code == 0);
}

TEST_CASE("a child's protocol is checked, and can be replaced", "[C-19]") {
  World world;
  const Started child = start_tool(world, {"wait"});
  CHECK_THROWS_AS(child.transport->set_protocol(std::make_shared<Recorder>()),
                  std::invalid_argument);
  CHECK_THROWS_AS(child.transport->set_protocol(nullptr), std::invalid_argument);
  CHECK(child.transport->get_protocol() == child.protocol);
  auto next = std::make_shared<ChildRecorder>();
  next->made = true;
  next->transport = child.transport.get();
  child.transport->set_protocol(next);
  child.transport->stdin_pipe()->close();
  world.run_until([&] { return next->lost; });
  CHECK_FALSE(child.protocol->exited);
}
