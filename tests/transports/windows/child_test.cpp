// What children are on Windows alone: one line for all arguments, handles that are inherited or
// not, programs that are found by their name, and no signals.
#include "support/calls.hpp"
#include "support/children.hpp"
#include "support/sockets.hpp"

#include "platform/windows/child_words.hpp"
#include "platform/windows/text.hpp"

#include <shellapi.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

using namespace test;
using Catch::Matchers::Contains;
using namespace ferry::internal;

namespace {

using Words = std::vector<std::string>;

Words taken_apart(const std::string& line) {
  int count = 0;
  wchar_t** const list = ::CommandLineToArgvW(to_wide(line).c_str(), &count);
  Words words;
  for (int i = 0; i < count; ++i) words.push_back(from_wide(list[i]));
  ::LocalFree(list);
  return words;
}
std::string in_brackets(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += "[" + word + "]\n";
  return text;
}
DWORD open_handles() {
  DWORD count = 0;
  ::GetProcessHandleCount(::GetCurrentProcess(), &count);
  return count;
}
std::string folder_of_tool() {
  const std::string path = child_tool;
  return path.substr(0, path.find_last_of("\\/"));
}
std::string to_backslashes(std::string path) {
  for (char& c : path) c = c == '/' ? '\\' : c;
  return path;
}
const auto nobody = [] { return std::make_shared<ChildRecorder>(); };

const Words nasty{"",
                  " ",
                  "\"",
                  "\"\"",
                  "a b",
                  "a\"b",
                  "a\\b",
                  "a\\\"b",
                  "a\\\\\"b c",
                  "\\",
                  "\\\\",
                  "ends \\",
                  "ends \\\\",
                  "a\tb",
                  "a\nb",
                  "\"quoted\"",
                  "\"quoted and more\\\"",
                  "%PATH%",
                  "^&|<>()!",
                  "'single'",
                  "*",
                  "b\xc3\xbc" "cher \xf0\x9f\x9b\xb6"};

}  // namespace

TEST_CASE("an argument is quoted only if it must be, by Windows' rules", "[A-029]") {
  CHECK(quoted("plain") == "plain");
  CHECK(quoted("C:\\folder\\") == "C:\\folder\\");
  CHECK(quoted("") == "\"\"");
  CHECK(quoted("a b") == "\"a b\"");
  CHECK(quoted("a\"b") == "\"a\\\"b\"");
  CHECK(quoted("a\\\"b") == "\"a\\\\\\\"b\"");
  CHECK(quoted("a b\\") == "\"a b\\\\\"");
  CHECK(quoted("a\\b c") == "\"a\\b c\"");
  CHECK(quoted("a\nb") == "\"a\nb\"");
  CHECK(command_line_of(Words{"C:\\my program", "x", "y z"}) == "\"C:\\my program\" x \"y z\"");
}

TEST_CASE("what is quoted is taken apart to what it was", "[A-029]") {
  Words words{"C:\\a program\\"};
  words.insert(words.end(), nasty.begin(), nasty.end());
  CHECK(taken_apart(command_line_of(words)) == words);
  std::mt19937 random{1};
  const std::string letters = "\\\\\\\"\" \ta'";
  for (int round = 0; round < 300; ++round) {
    words.resize(1);
    for (unsigned i = 0; i < 1 + random() % 6; ++i) {
      std::string word;
      for (auto size = random() % 9; size > 0; --size) word += letters[random() % letters.size()];
      words.push_back(word);
    }
    INFO(command_line_of(words));
    REQUIRE(taken_apart(command_line_of(words)) == words);
  }
}

TEST_CASE("nasty arguments arrive, whoever takes the line apart", "[A-029]") {
  World world;
  Words words{"args"};
  words.insert(words.end(), nasty.begin(), nasty.end());
  CHECK(output_of(world, words) == in_brackets(nasty));
  words.front() = "main-args";  // by the C library
  words.pop_back();             // which knows no Unicode
  words.pop_back();             // and expands this one, for programs that were built so
  CHECK(output_of(world, words) == in_brackets({nasty.begin(), nasty.end() - 2}));
}

TEST_CASE("batch files are refused, because nothing quotes their arguments safely", "[A-029]") {
  World world;
  const std::string name =
      GENERATE(as<std::string>{}, "run.bat", "run.cmd", "RUN.BAT", "C:\\folder\\run.Cmd",
               "run.bat ", "run.bat.", "run.cmd . .", "./run.bat", "run.bat\\.", "folder/run.cmd/.",
               "run.bat\\other\\..");
  const auto why = thrown_by<std::invalid_argument>(
      [&] { return world.loop.subprocess_exec(nobody, {name, "argument"}); });
  CHECK_THAT(why, Contains("is a batch file"));
  CHECK_THAT(why, Contains("subprocess_shell()"));
  const auto other = thrown_by<std::invalid_argument>([&] {
    return world.loop.subprocess_exec(nobody, {"harmless"}, {.executable = name});
  });
  CHECK_THAT(other, Contains("is a batch file"));
  CHECK_FALSE(is_batch_file("run.bat.exe"));
  CHECK_FALSE(is_batch_file("C:\\run.bat\\tool"));
  CHECK_FALSE(is_batch_file("bat"));
}

TEST_CASE("what Windows cannot give a child is refused at the call", "[T-174]") {
  World world;
  const auto refused = [&](const ferry::SubprocessOptions& options) {
    CHECK_THROWS_AS(world.loop.subprocess_exec(nobody, {child_tool}, options),
                    ferry::NotSupported);
  };
  refused({.process_group = 7});
  refused({.new_session = true});
  refused({.umask = 022});
  refused({.user = "somebody"});
  refused({.group = "some"});
  CHECK_THROWS_AS(world.loop.subprocess_exec(nobody, {"\xff"}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.subprocess_exec(nobody, {child_tool, "\xff"}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.subprocess_exec(nobody, {"a\"b"}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.subprocess_shell(nobody, "\xff"), std::invalid_argument);
}

TEST_CASE("names of variables are the same in upper and lower case", "[T-174]") {
  ferry::Environment environment;
  environment.set("Ferry_\xc3\x84", "one");
  environment.set("FERRY_\xc3\xa4", "two");
  CHECK(environment.entries() == Words{"FERRY_\xc3\xa4=two"});
  CHECK(environment.get("ferry_\xc3\x84") == "two");
  environment.unset("fERRY_\xc3\xa4");
  CHECK(environment.entries().empty());
  CHECK(ferry::Environment::current().get("path") == ferry::Environment::current().get("PATH"));
}

TEST_CASE("a child's variables are one block, sorted", "[T-174]") {
  using namespace std::string_literals;
  CHECK(environment_block({}) == L"\0\0"s);
  CHECK(environment_block({"b=1", "A=2", "=C:=x", "a-b=3", "B2="}) ==
        L"=C:=x\0A=2\0a-b=3\0b=1\0B2=\0\0"s);
  CHECK(variable_of({"=C:=x", "Path=here", "PATHEXT=no"}, "PATH") == "here");
  CHECK(variable_of({"=C:=x"}, "PATH").empty());
  World world;
  ferry::Environment environment;
  CHECK_THAT(output_of(world, {"environment"}, {.env = &environment}), !Contains("PATH="));
}

TEST_CASE("a program is looked for like on other systems", "[A-029]") {
  CHECK(candidates_of("tool", "C:\\a;C:\\b\\") ==
        Words{"C:\\a\\tool.exe", "C:\\b\\tool.exe", "C:\\a\\tool", "C:\\b\\tool"});
  CHECK(candidates_of("tool.x", ";\"C:\\with;quote\"") ==
        Words{"C:\\with\\tool.x", "C:\\with\\tool.x.exe", "quote\\tool.x", "quote\\tool.x.exe"});
  CHECK(candidates_of(".\\tool", "C:\\a") == Words{".\\tool.exe", ".\\tool"});
  CHECK(candidates_of("C:tool.exe", "C:\\a") == Words{"C:tool.exe", "C:tool.exe.exe"});

  World world;
  ferry::Environment environment;
  environment.set("Path", folder_of_tool() + ";C:\\windows\\system32");
  const auto run = [&](const std::string& program) {
    auto made = world.run(
        world.loop.subprocess_exec(nobody, {program, "print", "3"}, {.env = &environment}));
    world.run_until([&] { return made.protocol->lost; });
    return made.protocol->data[1];
  };
  CHECK(run("ferry_child_tool") == "abc");
  CHECK(run("ferry_child_tool.exe") == "abc");
  CHECK(run(to_backslashes(folder_of_tool()) + "\\ferry_child_tool") == "abc");
  CHECK(error_of(world, world.loop.subprocess_exec(nobody, {"ferry_child_tool"})) ==
        std::errc::no_such_file_or_directory);  // not in this process's PATH
}

TEST_CASE("what is found and cannot be run says why", "[T-164]") {
  World world;
  const Directory directory;
  const std::string text = directory / "text.exe";
  std::ofstream{text} << "not a program";
  const auto no_program = error_of(world, world.loop.subprocess_exec(nobody, {text}));
  CHECK(no_program == std::errc::executable_format_error);
  CHECK(no_program.what() == "exec " + text + ": exec format error");
  const auto folder = error_of(world, world.loop.subprocess_exec(nobody, {directory / ""}));
  CHECK(folder == std::errc::permission_denied);
  const auto cwd =
      error_of(world, world.loop.subprocess_exec(nobody, {child_tool, "cwd"}, {.cwd = text}));
  CHECK(cwd.what() == "start " + std::string{child_tool} + ": chdir " + text +
                          ": not a directory");
  const Words much{child_tool, std::string(40'000, 'x')};
  CHECK(error_of(world, world.loop.subprocess_exec(nobody, much)) ==
        std::errc::argument_list_too_long);
}

TEST_CASE("the shell gets its command as it is", "[A-029]") {
  World world;
  const auto run = [&](const std::string& command) {
    auto made = world.run(world.loop.subprocess_shell(nobody, command));
    world.run_until([&] { return made.protocol->lost; });
    return made.protocol->data[1];
  };
  CHECK(run("echo one& echo two") == "one\r\ntwo\r\n");
  const std::string tool = "\"" + to_backslashes(child_tool) + "\"";
  CHECK(run(tool + " args \"a b\" c\\") == "[a b]\n[c\\]\n");
}

TEST_CASE("a child inherits no handle that it was not given, whatever the handle says",
          "[T-165]") {
  World world;
  auto ends = ferry::make_pipe();
  const auto handle = reinterpret_cast<HANDLE>(ends.write.fileno());
  REQUIRE(::SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) != 0);
  const std::string number = std::to_string(ends.write.fileno());
  CHECK(output_of(world, {"handle", number}) == "closed");
  const std::vector<ferry::NativeHandle> passed{ends.write.fileno()};
  CHECK(output_of(world, {"handle", number}, {.pass_handles = passed}) == "open");
  CHECK(is_inherited(ends.write.fileno()));  // as it was
}

TEST_CASE("the ends of a child's pipes are never inherited by others", "[T-165]") {
  World world;
  const Started child = start_tool(world, {"wait"});
  for (const int fd : {0, 1, 2}) {
    const auto end = child.transport->get_pipe_transport(fd)->get_extra_info(ferry::pipe);
    CHECK_FALSE(is_inherited(end.fileno()));
  }
  CHECK_FALSE(is_inherited(child.transport->get_extra_info(ferry::subprocess).handle));
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
}

TEST_CASE("children that are started at the same moment have none of each other's pipes",
          "[T-165]") {
  World world;
  constexpr std::size_t count = 8;
  std::vector<ferry::Future<ferry::Subprocess<ChildRecorder>>> starting;
  const Words argv{child_tool, "wait"};
  for (std::size_t i = 0; i < count; ++i) {
    starting.push_back(world.loop.create_task(world.loop.subprocess_exec(nobody, argv)));
  }
  world.run_until([&] {
    return std::all_of(starting.begin(), starting.end(), [](auto& one) { return one.done(); });
  });
  std::vector<Started> children;
  for (auto& one : starting) {
    auto made = one.take_result();
    children.push_back({std::move(made.protocol), std::move(made.transport)});
  }
  // The end of its outputs comes with its exit, although the others run on.
  for (std::size_t i = 0; i < count; ++i) {
    children[i].transport->stdin_pipe()->close();
    run_to_end(world, children[i]);
    for (std::size_t k = i + 1; k < count; ++k) CHECK_FALSE(children[k].protocol->exited);
  }
}

TEST_CASE("a file can be a child's stream", "[A-029]") {
  World world;
  const Directory directory;
  std::ofstream{directory / "in", std::ios::binary} << "from a file";
  const ferry::Pipe file{reinterpret_cast<ferry::NativeHandle>(
      ::CreateFileW(to_wide(directory / "in").c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                    OPEN_EXISTING, 0, nullptr))};
  REQUIRE(file);
  CHECK(output_of(world, {"cat"}, {.in = ferry::Stdio::handle(file.fileno())}) == "from a file");
  CHECK(is_open(file.fileno()));
  CHECK_FALSE(is_inherited(file.fileno()));
}

TEST_CASE("only what Windows has in place of signals can be sent", "[S-050]") {
  World world;
  const Started child = start_tool(world, {"sleepforever"});
  for (const int signal : {SIGINT, SIGBREAK, SIGABRT, 0, 1}) {
    CHECK_THROWS_AS(child.transport->send_signal(signal), std::invalid_argument);
  }
  CHECK_FALSE(child.protocol->exited);
  CHECK(child.transport->send_signal(9));  // SIGKILL
  run_to_end(world, child);
  CHECK(child.protocol->code == 1);
  CHECK_FALSE(child.transport->send_signal(SIGINT));
}

TEST_CASE("Ctrl+Break reaches a process group of its own", "[S-050]") {
  World world;
  const Started child = start_tool(world, {"sleepforever"}, {.process_group = 0});
  world.run_until([&] { return !child.protocol->data[1].empty(); });
  bool sent = false;
  try {
    sent = child.transport->send_signal(SIGBREAK);
  } catch (const ferry::OsError& error) {  // no console
    CHECK_THAT(std::string{error.what()}, Contains("send Ctrl+Break to process"));
  }
  if (!sent) child.transport->kill();
  run_to_end(world, child);
  if (!sent) return skip("Wine's programs without a console cannot be sent Ctrl+Break");
  CHECK(child.protocol->code == static_cast<int>(0xC000013A));  // STATUS_CONTROL_C_EXIT
}

TEST_CASE("an exit code is all 32 bits", "[S-048]") {
  World world;
  const Started child = start_tool(world, {"exit", "-1073741819"});
  run_to_end(world, child);
  CHECK(child.protocol->code == static_cast<int>(0xC0000005));
}

TEST_CASE("children leave no handle", "[T-164][T-173]") {
  World world;
  const auto some = [&] {
    for (int i = 0; i < 5; ++i) output_of(world, {"both"});
    const Started killed = start_tool(world, {"sleepforever"});
    killed.transport->close();
    run_to_end(world, killed);
    CHECK(error_of(world, world.loop.subprocess_exec(nobody, {"no-such-program"})));
  };
  some();  // whatever the system makes once
  const DWORD before = open_handles();
  for (int i = 0; i < 4; ++i) some();
  CHECK(open_handles() <= before + 2);
}

TEST_CASE("a start that fails leaves nothing, whichever call it was", "[T-164]") {
  World world;
  Calls calls;
  const std::size_t before = open_descriptors();
  std::string text;
  const auto start = [&] {
    const auto error = error_of(world, world.loop.subprocess_exec(nobody, {child_tool, "wait"}));
    CHECK(error == std::errc::not_enough_memory);
    return std::string{error.what()};
  };
  const std::string tool = child_tool;
  SECTION("a pipe") {
    calls.fail(Call::pipe, ENOMEM, 1, -1, 1);
    CHECK(start() == "start " + tool + ": make a pipe: cannot allocate memory");
  }
  SECTION("its other end") {
    calls.fail(Call::open, ENOMEM, 1, -1, 2);
    CHECK(start() == "start " + tool + ": make a pipe: cannot allocate memory");
  }
  SECTION("a duplicate") {
    calls.fail(Call::dup, ENOMEM);
    CHECK(start() == "start " + tool + ": make a pipe: cannot allocate memory");
  }
  SECTION("the program") {
    calls.fail(Call::spawn, ENOMEM);
    CHECK(start() == "exec " + tool + ": cannot allocate memory");
  }
  SECTION("a pipe's place in the port: the child ends") {
    calls.fail(Call::pipe_attach, ENOMEM, 1, -1, 2);
    CHECK_THAT(start(), Contains("completion port"));
    CHECK(calls.count(Call::kill) == 1);
  }
  SECTION("the wait for its end: the child ends") {
    calls.fail(Call::exit_wait, ENOMEM);
    CHECK_THAT(start(), Contains("wait for a process"));
    CHECK(calls.count(Call::kill) == 1);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("an exit code that cannot be fetched is told as unknown", "[T-169]") {
  World world;
  Calls calls;
  calls.fail(Call::exit_code, EACCES);
  const Started child = start_tool(world, {"exit", "3"});
  run_to_end(world, child);
  CHECK(child.protocol->code == 255);
  CHECK(world.take_logs().size() == 1);
}
