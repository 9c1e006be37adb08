// The fault sweep over child processes and pipes: as sweep_test.cpp. What a child calls before its
// program runs is swept too, also where it begins in a copy of its parent.
#include "faults/posix/scenes.hpp"
#include "support/posix/features.hpp"

#include <csignal>
#include <filesystem>
#include <thread>

using namespace test;

namespace {

using Child = std::shared_ptr<ferry::SubprocessTransport>;

// The arguments are the tool's, without its own name.
Child start(Stage& stage, std::vector<std::string> arguments,
            const ferry::SubprocessOptions& options = {}) {
  arguments.insert(arguments.begin(), child_tool);
  auto protocol = stage.child();
  auto task = stage.attempt([&] {
    return stage.loop.subprocess_exec([protocol] { return protocol; }, arguments, options);
  });
  return stage.await_all(std::move(task), "a child").transport;
}

// What came of a child, but for the order of what the contract leaves free.
std::string outcome_of(const ChildRecorder& child) {
  std::string all = child.events.empty() ? "" : child.events.front() + " ";
  for (const int fd : {0, 1, 2}) {
    const auto lost = child.pipe_lost.find(fd);
    const auto data = child.data.find(fd);
    if (lost != child.pipe_lost.end()) all += "lost " + std::to_string(fd) + " ";
    if (data != child.data.end()) all += data->second.substr(0, 40) + " ";
    if (data != child.data.end()) all += std::to_string(data->second.size()) + " ";
  }
  return all + (child.code ? std::to_string(*child.code) : "runs") + (child.lost ? " lost" : "");
}

std::string to_the_end(Stage& stage) {
  stage.until([&] { return stage.all_lost(); }, "the child's end");
  return outcome_of(*stage.children.front());
}

std::string fed_and_read(Stage& stage) {
  const Child child = start(stage, {"cat"});
  child->stdin_pipe()->write(some_text);
  stage.until([&] { return stage.children[0]->data[1] == some_text; }, "the echo");
  child->stdin_pipe()->writelines(std::vector<std::string>{" and", " more"});
  child->stdin_pipe()->close();
  return to_the_end(stage);
}

// More than pipes keep, both ways.
std::string bulk(Stage& stage) {
  const Child child = start(stage, {"cat"});
  child->stdout_pipe()->pause_reading();
  static const std::string text = pattern(300'000);
  child->stdin_pipe()->write(text);
  child->stdin_pipe()->write_eof();
  child->stdout_pipe()->resume_reading();
  stage.until([&] { return stage.all_lost(); }, "the child's end");
  auto& protocol = *stage.children[0];
  return std::string{protocol.data[1] == text ? "all " : "not all "} + outcome_of(protocol);
}

// Streams, places and handles of all kinds. The child says whether it has a handle that it shall
// not have.
std::string every_option(Stage& stage) {
  const Pipe ends;
  // Which is inherited unless it is closed.
  const int stray = ::dup(static_cast<int>(ends.read.fileno()));
  struct Closed {
    int handle;
    ~Closed() { ::close(handle); }
  } const closed{stray};
  const std::vector<ferry::NativeHandle> passed{ends.read.fileno(), ends.write.fileno()};
  auto environment = ferry::Environment::current();
  environment.set("FERRY_TEST_VARIABLE", "x");
  const bool root = ::geteuid() == 0;
  start(stage, {"handle", std::to_string(stray)},
        {.in = ferry::Stdio::null(), .err = ferry::Stdio::to_stdout(), .env = &environment,
         .cwd = "/", .pass_handles = passed, .new_session = true, .umask = 077,
         .user = root ? "0" : "", .group = root ? "0" : ""});
  return to_the_end(stage);
}

std::string handles(Stage& stage) {
  const Pipe input, output;
  put(input.write);
  start(stage, {"args", "x"},
        {.in = ferry::Stdio::handle(input.read.fileno()),
         .out = ferry::Stdio::handle(output.write.fileno()), .err = ferry::Stdio::null(),
         .process_group = 0});
  const std::string result = to_the_end(stage);
  return result + get(output.read);
}

std::string shell(Stage& stage) {
  auto protocol = stage.child();
  auto task = stage.attempt([&] {
    return stage.loop.subprocess_shell([protocol] { return protocol; }, "echo shell; exit 3");
  });
  stage.await_all(std::move(task), "a shell");
  return to_the_end(stage);
}

std::string fails(Stage& stage) {
  auto protocol = stage.child();
  auto task = stage.loop.subprocess_exec([protocol] { return protocol; }, {"/no/such/program"});
  ferry::Future<ferry::Subprocess<ChildRecorder>> future =
      stage.loop.create_task(std::move(task));
  stage.until_done(future, "the failure");
  try {
    future.take_result();
  } catch (const ferry::OsError& error) {
    if (error.code() == std::errc::no_such_file_or_directory) return "no such program";
    stage.tell(opener, error.code(), error.what());
  }
  throw Over{};
}

// Told so that it does not matter whether the child was hit.
std::string signalled(Stage& stage) {
  const Child child = start(stage, {"sleepforever"});
  stage.until([&] { return !stage.children[0]->data[1].empty(); }, "the child's word");
  const bool killed = stage.attempt([&] { return child->kill(); });
  if (!killed) stage.tell(caller, std::make_error_code(std::errc::no_such_process), "kill()");
  return to_the_end(stage);
}

// close() ends everything, also of a child that cannot be signalled: its stdin has ended.
std::string closed(Stage& stage) {
  const Child child = start(stage, {"cat"}, {.kill_after = ferry::Seconds{600}});
  child->stdin_pipe()->write(some_text);
  // What is still queued would break with the child.
  stage.until([&] { return child->stdin_pipe()->get_write_buffer_size() == 0; }, "the write");
  stage.attempt([&] { child->close(); });
  stage.until([&] { return stage.all_lost(); }, "the child's end");
  return "closed";
}

// Nobody waits for it any more.
std::string cancelled(Stage& stage) {
  const std::vector<std::string> argv{child_tool, "wait"};
  auto protocol = stage.child();
  auto task = stage.loop.subprocess_exec([protocol] { return protocol; }, argv);
  auto future = stage.loop.create_task(std::move(task));
  protocol->on_made = [&] { future.cancel(); };
  stage.until_done(future, "the end of the start");
  stage.children.clear();
  protocol->on_made = nullptr;
  if (future.cancelled()) return "cancelled";
  stage.tell_of(future);
  throw Over{};
}

// A loop that ends before its child does.
std::string dropped(Stage& stage) {
  std::optional<ferry::Loop> second;
  stage.attempt([&] { second.emplace(backend()); });
  second->set_log_sink([](ferry::LogLevel, std::string_view) {});
  const std::vector<std::string> argv{child_tool, "wait"};
  auto protocol = std::make_shared<ChildRecorder>();
  auto future = second->create_task(second->subprocess_exec([&] { return protocol; }, argv));
  while (!future.done()) {  // also if the loop cannot be woken, or waiting fails
    try {
      second->process_events(second->poll_events(20ms));
    } catch (const ferry::OsError& error) {
      stage.tell(caller, error.code(), error.what());
    }
    second->process_ready();
  }
  stage.tell_of(future);
  if (!stage.told.empty()) throw Over{};
  stage.attempt([&] { second->close(); });
  return "dropped";
}

std::string communicated(Stage& stage) {
  const std::vector<std::string> argv{child_tool, "cat"};
  auto task = stage.attempt([&] { return stage.loop.create_subprocess_exec(argv); });
  const ferry::Process process = stage.await_all(std::move(task), "a process");
  ferry::Future<ferry::Process::Output> future =
      stage.loop.create_task(process.communicate(some_text));
  stage.until_done(future, "its output");
  ferry::Process::Output output;
  try {
    output = future.take_result();
  } catch (const ferry::OsError& error) {
    stage.tell(lost, error.code(), error.what());
    throw Over{};
  }
  // No error of its own, but it shows.
  const bool all = output.out == some_text;
  if (!all) stage.tell(lost, std::make_error_code(std::errc::broken_pipe), "not all was taken");
  return output.out + " " + output.err + std::to_string(output.returncode);
}

// --- Pipes ---

struct Joined {
  std::shared_ptr<Actor> reader, writer;
  std::shared_ptr<ferry::ReadTransport> from;
  std::shared_ptr<ferry::WriteTransport> to;
};

Joined join(Stage& stage, ferry::Pipe read, ferry::Pipe write) {
  Joined joined;
  joined.reader = stage.actor();
  joined.writer = stage.actor();
  joined.from = stage.await(stage.attempt([&] {
    return stage.loop.connect_read_pipe([&] { return joined.reader; }, std::move(read));
  }), "the reading end").transport;
  joined.to = stage.await(stage.attempt([&] {
    return stage.loop.connect_write_pipe([&] { return joined.writer; }, std::move(write));
  }), "the writing end").transport;
  return joined;
}

std::string pipe_ends(Stage& stage) {
  auto ends = stage.attempt([] { return ferry::make_pipe(); });
  const Joined joined = join(stage, std::move(ends.read), std::move(ends.write));
  joined.to->write(some_text);
  stage.until([&] { return joined.reader->received == some_text; }, "the text");
  joined.to->writelines(std::vector<std::string>{some_text, some_text});
  joined.to->close();
  stage.until([&] { return stage.all_lost(); }, "the end of both");
  return stage.outcome();
}

// Ends that block, and shall do so again; and more than they keep.
std::string blocking_ends(Stage& stage) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  for (const int end : ends) REQUIRE(::fcntl(end, F_SETFD, FD_CLOEXEC) == 0);
  const int watched = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
  struct Closed {
    int handle;
    ~Closed() { ::close(handle); }
  } const closed{watched};
  const Joined joined = join(stage, ferry::Pipe{ends[0]}, ferry::Pipe{ends[1]});
  if (!is_nonblocking(watched)) return "it blocks";
  joined.from->pause_reading();
  joined.to->write(pattern(200'000));
  joined.to->write_eof();
  joined.from->resume_reading();
  ::close(::dup(watched));
  stage.until([&] { return joined.writer->is_lost; }, "the end of the writer");
  joined.from->close();
  stage.until([&] { return stage.all_lost(); }, "the end of both");
  return "paused " + std::to_string(joined.writer->pauses);
}

std::string reader_gone(Stage& stage) {
  auto ends = stage.attempt([] { return ferry::make_pipe(); });
  const Joined joined = join(stage, std::move(ends.read), std::move(ends.write));
  joined.from->close();
  stage.until([&] { return stage.all_lost(); }, "the end of both");
  return stage.outcome();
}

void sweep_children(const char* name, std::string (*run)(Stage&), bool makes_good = false,
                    const char* program = child_tool) {
  FaultSweep{{name, run, makes_good, false, true, program}}.run();
}

void sweep_pipes(const char* name, std::string (*run)(Stage&), bool makes_good = false) {
  FaultSweep{{name, run, makes_good, false, true}}.run();
}

// All ways to start a child and to wait for it.
void in_every_way(const std::function<void()>& run) {
  using Way = bool Features::*;
  SECTION("in shared memory") { run(); }
  for (const auto& [name, way] : {std::pair<const char*, Way>{"by fork()", &Features::shared_start},
                                  {"without pidfds", &Features::pidfd},
                                  {"without close_range()", &Features::close_range},
                                  {"without pipe2()", &Features::pipe2}}) {
    SECTION(name) {
      const Lacking lacking{way};
      run();
    }
  }
  SECTION("by fork() and without pidfds") {
    const Lacking one{&Features::shared_start};
    const Lacking other{&Features::pidfd};
    run();
  }
}

}  // namespace

TEST_CASE("faults: a child is fed and read", "[A-029][S-020][S-046][S-064][T-164]") {
  in_every_way([] { sweep_children("child", fed_and_read); });
}
TEST_CASE("faults: much to a child and back", "[C-19][S-077][T-161]") {
  sweep_children("bulk of a child", bulk);
}
TEST_CASE("faults: a child with every option", "[A-029][T-164][T-165][T-174]") {
  in_every_way([] { sweep_children("every option", every_option); });
}
TEST_CASE("faults: a child on handles", "[A-029][T-164]") {
  in_every_way([] { sweep_children("handles", handles); });
}
TEST_CASE("faults: a shell", "[A-030][T-164]") {
  sweep_children("shell", shell, false, "");
}
// (Not to be there is no worse than not to be found.)
TEST_CASE("faults: a program that is not there", "[T-164]") {
  in_every_way([] { sweep_children("fails", fails, true, "/no/such/program"); });
}
TEST_CASE("faults: a child that is killed", "[C-05][C-06][S-049]") {
  in_every_way([] { sweep_children("signalled", signalled); });
}
// (An error of stdin's is nobody's when all is closed.)
TEST_CASE("faults: a child that is closed", "[C-04][S-052]") {
  in_every_way([] { sweep_children("closed", closed, true); });
}
TEST_CASE("faults: a start that nobody waits for", "[T-173]") {
  in_every_way([] { sweep_children("cancelled", cancelled, true); });
}
TEST_CASE("faults: a loop that ends before its child", "[T-024][T-173]") {
  in_every_way([] { sweep_children("dropped", dropped, true, ""); });
}
TEST_CASE("faults: communicate", "[T-177]") {
  sweep_children("communicate", communicated, false, "");
}
TEST_CASE("faults: both ends of a pipe", "[A-028][T-154]") { sweep_pipes("pipe", pipe_ends); }
TEST_CASE("faults: ends of a pipe that block", "[A-028][T-154]") {
  sweep_pipes("blocking ends", blocking_ends);
}
// (The writer ends in any case.)
TEST_CASE("faults: a pipe whose reader goes", "[T-152]") {
  sweep_pipes("reader gone", reader_gone, true);
}
