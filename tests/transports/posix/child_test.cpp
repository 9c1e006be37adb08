// What POSIX systems have of children: signals, sessions, users, descriptors, and the ways to see
// an exit.
#include "support/calls.hpp"
#include "support/children.hpp"
#include "support/posix/features.hpp"
#include "support/sockets.hpp"

#include <fcntl.h>
#include <poll.h>
#ifdef __linux__
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#endif
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

using namespace test;

extern char** environ;

namespace {

auto recorder() { return std::make_shared<ChildRecorder>(); }

Started shell(World& world, std::string_view command, ferry::SubprocessOptions options = {},
              std::shared_ptr<ChildRecorder> protocol = recorder()) {
  auto made =
      world.run(world.loop.subprocess_shell([&] { return protocol; }, command, options));
  return {std::move(made.protocol), std::move(made.transport)};
}
std::string said(World& world, std::string_view command, ferry::SubprocessOptions options = {}) {
  const Started child = shell(world, command, options);
  run_to_end(world, child);
  return child.protocol->data[1];
}
void await_output(World& world, const Started& child, std::string_view text) {
  world.run_until([&] { return child.protocol->data[1].find(text) != std::string::npos; });
}

// The ways to start a child, and to see its end.
std::vector<bool Features::*> any_way() {
  using Way = std::vector<bool Features::*>;
  return GENERATE(Way{}, Way{&Features::pidfd}, Way{&Features::shared_start},
                  Way{&Features::shared_start, &Features::pidfd},
                  Way{&Features::close_range, &Features::pipe2});
}

class Signalled {
 public:
  Signalled(int number, void (*handler)(int))
      : number_{number}, before_{::signal(number, handler)} {}
  ~Signalled() { ::signal(number_, before_); }
  Signalled(const Signalled&) = delete;
  Signalled& operator=(const Signalled&) = delete;

 private:
  int number_;
  void (*before_)(int);
};

}  // namespace

TEST_CASE("children start and end the same on systems that have less", "[A-030][T-161][T-171]") {
  World world;
  const Lacking lacking{any_way()};
  SECTION("fed and read") {
    const Started child = start_tool(world, {"cat"});
    child.transport->stdin_pipe()->write("through");
    child.transport->stdin_pipe()->close();
    run_to_end(world, child);
    CHECK(child.protocol->data[1] == "through");
    CHECK(child.protocol->code == 0);
  }
  SECTION("one after another") {
    for (int i = 0; i < 50; ++i) {
      const Started child = start_tool(world, {"exit", std::to_string(i)});
      run_to_end(world, child);
      REQUIRE(child.protocol->code == i);
    }
  }
  SECTION("signalled") {
    const Started child = start_tool(world, {"sleepforever"});
    await_output(world, child, "ready");
    CHECK(child.transport->send_signal(SIGUSR1));
    run_to_end(world, child);
    CHECK(child.protocol->code == -SIGUSR1);
    CHECK_FALSE(child.transport->kill());
  }
  SECTION("that cannot be started") {
    for (int i = 0; i < 20; ++i) {
      CHECK(error_of(world, world.loop.subprocess_exec(recorder, {"/no/such"})) ==
            std::errc::no_such_file_or_directory);
    }
  }
  SECTION("with descriptors of their own only") {
    const ferry::Pipe inherited{::open("/dev/null", O_RDONLY)};  // by who forgets O_CLOEXEC
    const std::string number = std::to_string(inherited.fileno());
    CHECK(output_of(world, {"handle", number}) == "closed");
    const std::vector<ferry::NativeHandle> passed{inherited.fileno()};
    CHECK(output_of(world, {"handle", number}, {.pass_handles = passed}) == "open");
  }
}

TEST_CASE("a child that a signal ended has its number, negative", "[S-048][S-050][T-164]") {
  World world;
  const int number = GENERATE(SIGTERM, SIGKILL, SIGABRT, SIGINT);
  const Started child = start_tool(world, {"sleepforever"});
  await_output(world, child, "ready");
  CHECK(child.transport->send_signal(number));
  run_to_end(world, child);
  CHECK(child.protocol->code == -number);
}

TEST_CASE("a child that is stopped has not exited", "[T-164]") {
  World world;
  const Lacking lacking{any_way()};
  const Started child = start_tool(world, {"cat"});
  CHECK(child.transport->send_signal(SIGSTOP));
  siginfo_t info{};
  const auto pid = static_cast<id_t>(child.transport->get_pid());
  REQUIRE(::waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) == 0);
  world.settle();
  CHECK_FALSE(child.protocol->exited);
  CHECK(child.transport->send_signal(SIGCONT));
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
  CHECK(child.protocol->code == 0);
}

TEST_CASE("close() terminates, and kills only when it is told to", "[C-04]") {
  World world;
  const bool kills = GENERATE(false, true);
  const Directory directory;
  const std::string place = directory / "", asked = directory / "asked";
  ferry::SubprocessOptions options{.err = ferry::Stdio::null(), .cwd = place};
  if (kills) options.kill_after = ferry::Seconds{0.05};
  const Started child = shell(
      world, "trap 'touch asked' TERM; echo ready; until test -e enough; do sleep 0.01; done",
      options);
  await_output(world, child, "ready");
  child.transport->close();
  if (!kills) {
    // It was asked, and lives: it ends when it wants to.
    world.run_until([&] { return std::filesystem::exists(asked); });
    bool later = false;
    world.loop.call_later(ferry::Seconds{0.2}, [&] { later = true; });
    world.run_until([&] { return later; });
    CHECK_FALSE(child.protocol->exited);
    std::ofstream{directory / "enough"} << "";
  }
  run_to_end(world, child);
  CHECK(child.protocol->code == (kills ? -SIGKILL : 0));
}

TEST_CASE("what cannot be run is told with program and step", "[A-029][T-164]") {
  World world;
  const Directory directory;
  const std::string plain = directory / "plain";
  std::ofstream{plain} << "no program";
  const std::string garbage = directory / "garbage";
  std::ofstream{garbage} << std::string(100, '\x01');
  ::chmod(garbage.c_str(), 0700);
  const auto refused = [&](const std::string& name, ferry::SubprocessOptions options = {}) {
    const auto error = error_of(
        world, world.loop.subprocess_exec(recorder, std::vector<std::string>{name}, options));
    return std::string{error.what()};
  };
  const int times = sanitized ? 5 : 1000;
  for (int i = 0; i < times; ++i) {
    REQUIRE(refused(plain) == "exec " + plain + ": permission denied");
    REQUIRE(refused(directory / "") == "exec " + (directory / "") + ": permission denied");
    REQUIRE(refused(garbage) == "exec " + garbage + ": exec format error");
    REQUIRE(refused(plain + "/below") == "exec " + plain + "/below: not a directory");
    REQUIRE(refused("/bin/true", {.cwd = "/no/such"}) ==
            "start /bin/true: chdir /no/such: no such file or directory");
    REQUIRE(refused("/bin/true", {.user = "nobody-of-that-name"}) ==
            "start /bin/true: no such user: nobody-of-that-name");
    REQUIRE(refused("/bin/true", {.group = "no-such-group"}) ==
            "start /bin/true: no such group: no-such-group");
    REQUIRE(refused("/bin/true", {.user = "123456789"}) ==
            "start /bin/true: user 123456789 is not known to the system, and no group is given");
    REQUIRE(refused("/bin/true", {.process_group = 1}) ==
            "start /bin/true: process group 1: operation not permitted");
    REQUIRE(refused("/bin/true", {.out = ferry::Stdio::handle(30000)}) ==
            "start /bin/true: standard streams: bad file descriptor");
    const std::vector<ferry::NativeHandle> closed{30000};
    REQUIRE(refused("/bin/true", {.pass_handles = closed}) ==
            "start /bin/true: handles: bad file descriptor");
  }
}

TEST_CASE("a closed descriptor is told, and is none of ferry's own", "[T-164][T-165]") {
  World world;
  const Lacking lacking{any_way()};
  run_to_end(world, start_tool(world, {"exit", "0"}));  // what is made once is there
  const int lowest = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(lowest != -1);
  ::close(lowest);
  const auto refused = [&](ferry::SubprocessOptions options) {
    const auto error =
        error_of(world, world.loop.subprocess_exec(recorder, {"/bin/true"}, options));
    return std::string{error.what()};
  };
  CHECK(refused({.out = ferry::Stdio::handle(lowest)}) ==
        "start /bin/true: standard streams: bad file descriptor");
  const std::vector<ferry::NativeHandle> closed{lowest};
  CHECK(refused({.pass_handles = closed}) == "start /bin/true: handles: bad file descriptor");
}

TEST_CASE("a number that the system cannot take is refused at the call", "[C-22][T-164]") {
  World world;
  const auto refused = [&](ferry::SubprocessOptions options) {
    return thrown_by<std::invalid_argument>(
        [&] { return world.loop.subprocess_exec(recorder, {"/bin/true"}, options); });
  };
  constexpr auto more = std::intptr_t{1} << 33;
  const std::vector<ferry::NativeHandle> handles{more};
  CHECK(refused({.in = ferry::Stdio::handle(more)}) ==
        "start /bin/true: handle 8589934592 cannot be");
  CHECK(refused({.pass_handles = handles}) == "start /bin/true: handle 8589934592 cannot be");
  CHECK(refused({.process_group = more}) ==
        "start /bin/true: process group 8589934592 cannot be");
  CHECK(refused({.umask = 010000}) == "start /bin/true: umask 4096 cannot be");
}

TEST_CASE("a factory that gives nothing starts nothing", "[T-012][C-22]") {
  World world;
  Calls calls;
  const auto nobody = [] { return std::shared_ptr<ChildRecorder>{}; };
  const auto error = error_of(world, world.loop.subprocess_exec(nobody, {"/bin/true"}));
  CHECK(error.what() == "start /bin/true: the protocol is null");
  CHECK(calls.count(Call::spawn) == 0);
}

TEST_CASE("a child may end before its protocol hears of it", "[T-163][T-171]") {
  World world;
  const Lacking lacking{any_way()};
  auto protocol = recorder();
  auto starting = world.loop.create_task(world.loop.subprocess_exec(
      [&] { return protocol; }, std::vector<std::string>{child_tool, "both"}));
  world.turn();  // it is on its way, and the loop does nothing until it has ended
  siginfo_t info{};
  while (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == -1) std::this_thread::yield();
  CHECK_FALSE(protocol->made);
  world.run_until([&] { return protocol->lost; });
  CHECK(starting.done());
  CHECK(protocol->events.front() == "made");
  CHECK(protocol->data[1] == "out");
  CHECK(protocol->data[2] == "err");
  CHECK(protocol->code == 0);
}

TEST_CASE("ferry's ends of a child's streams are for no other child", "[T-165][S-020]") {
  World world;
  const Lacking lacking{any_way()};
  const Started child = start_tool(world, {"cat"});
  const auto closes_on_exec = [](ferry::NativeHandle handle) {
    return ::fcntl(static_cast<int>(handle), F_GETFD) == FD_CLOEXEC;
  };
  for (const int fd : {0, 1, 2}) {
    const auto end = child.transport->get_pipe_transport(fd);
    CHECK(closes_on_exec(end->get_extra_info(ferry::pipe).fileno()));
  }
  const auto process = child.transport->get_extra_info(ferry::subprocess);
  CHECK(process.pid == child.transport->get_pid());
  CHECK_FALSE(process.returncode);
  CHECK((process.handle != ferry::invalid_handle) == ferry::internal::features.pidfd);
  if (process.handle != ferry::invalid_handle) CHECK(closes_on_exec(process.handle));
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
}

TEST_CASE("children share a pipe of make_pipe() as programs expect", "[A-028][A-029][T-175]") {
  World world;
  auto ends = ferry::make_pipe();
  const auto words = ferry::Stdio::null();
  const std::vector<std::string> all{"/usr/bin/seq", "200000"}, count{"/usr/bin/wc", "-l"};
  auto writer = world.run(world.loop.create_subprocess_exec(
      all, {.in = words, .out = ferry::Stdio::handle(ends.write.fileno())}));
  ends.write.close();
  auto reader = world.run(world.loop.create_subprocess_exec(
      count, {.in = ferry::Stdio::handle(ends.read.fileno()), .err = words}));
  ends.read.close();
  CHECK(world.run(reader.communicate()).out == "200000\n");
  CHECK(world.run(writer.wait()) == 0);
}

TEST_CASE("an error shows the beginning of a long command", "[A-029][T-164]") {
  World world;
  const std::string name = "/" + std::string(150, 'x') + std::string(200, '\xc3') + "\xa4";
  const auto error = error_of(
      world, world.loop.subprocess_exec(recorder, std::vector<std::string>{name}));
  CHECK(error == std::errc::filename_too_long);
  const std::string told{error.what()};
  CHECK(told.starts_with("exec /xxx"));
  CHECK(told.size() < 300);
  const auto of_shell = thrown_by<std::invalid_argument>([&] {
    return world.loop.subprocess_shell(recorder, std::string(5000, 'y') + '\0');
  });
  CHECK(of_shell == "start " + std::string(200, 'y') + "...: the command has a NUL inside");
}

TEST_CASE("a program is looked for from the child's directory", "[A-029][T-174]") {
  World world;
  const Directory directory;
  const std::string place = directory / "";
  std::filesystem::create_symlink(child_tool, directory / "tool");
  Calls calls;
  const auto error = error_of(world, world.loop.subprocess_exec(recorder, {"./tool"}));
  CHECK(error.what() == "exec ./tool: no such file or directory");
  const auto pipes = calls.count(Call::pipe);
  auto protocol = recorder();
  const auto made = world.run(world.loop.subprocess_exec(
      [&] { return protocol; }, {"./tool", "exit", "3"}, {.cwd = place}));
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->code == 3);
  // Not by posix_spawn(), which on macOS would start it and say that it is not there: one pipe more
  // tells what failed.
  if (ferry::internal::features.spawn_call) CHECK(calls.count(Call::pipe) - pipes == 4);
}

TEST_CASE("a variable without a value is no variable's fault", "[T-174]") {
  char odd[] = "ODD";
  char* entries[] = {odd, nullptr};
  char** const before = std::exchange(environ, entries);
  const auto environment = ferry::Environment::current();
  environ = before;
  CHECK(environment.get("ODD") == "");
  CHECK_FALSE(environment.get("EVEN"));
}

TEST_CASE("an exit status that others took is told as unknown", "[T-169]") {
  World world;
  const Lacking lacking{any_way()};
  SECTION("by another thread, that waits for it") {
    const Started child = start_tool(world, {"cat"});
    const auto pid = static_cast<pid_t>(child.transport->get_pid());
    child.transport->stdin_pipe()->close();
    ::waitpid(pid, nullptr, 0);  // before the loop has its next turn
    CHECK_FALSE(child.transport->kill());
    run_to_end(world, child);
    CHECK(child.protocol->code == 255);
  }
  SECTION("by the system, which was told to ignore it") {
    const Signalled ignored{SIGCHLD, SIG_IGN};
    const Started child = start_tool(world, {"exit", "0"});
    run_to_end(world, child);
    CHECK(child.protocol->code == 255);
  }
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(logs.front().find("was taken by another part of this program") != std::string::npos);
}

TEST_CASE("foreign SIGCHLD handlers and blocked signals change nothing", "[A-030][T-172]") {
  World world;
  const Lacking lacking{any_way()};
  const Signalled foreign{SIGCHLD, [](int) {}};
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  const Started child = start_tool(world, {"exit", "5"});
  run_to_end(world, child);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(child.protocol->code == 5);
}

TEST_CASE("a child has an empty mask and every signal at its default", "[T-172]") {
  World world;
  const Lacking lacking{any_way()};
  const Signalled ignored{SIGPIPE, SIG_IGN}, too{SIGUSR2, SIG_IGN};
  sigset_t some, before;
  sigemptyset(&some);
  sigaddset(&some, SIGTERM);
  sigaddset(&some, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &some, &before);
  const std::string status = said(world, "cat /proc/self/status");
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const auto signals = [&](const char* name) {
    const auto at = status.find(name);
    return at == status.npos ? ~0ull : std::stoull(status.substr(at + 8), nullptr, 16);
  };
  CHECK(signals("SigBlk:") == 0);
  // glibc's posix_spawn() ignores two that are its own: 32 and 33.
  CHECK((signals("SigIgn:") & ~0x180000000ull) == 0);
}

TEST_CASE("session, group and umask are the child's only", "[T-174]") {
  World world;
  const Lacking lacking{any_way()};
  const pid_t session = ::getsid(0), group = ::getpgrp();
  const mode_t mask = ::umask(0022);
  ::umask(mask);
  // Fields 5 and 6 of its stat are group and session.
  constexpr auto places = "cut -d' ' -f5,6 /proc/$$/stat; umask; echo $$";
  const auto parts = [&](ferry::SubprocessOptions options) {
    std::istringstream words{said(world, places, options)};
    std::array<long, 4> all{};
    std::string octal;
    words >> all[0] >> all[1] >> octal >> all[3];
    all[2] = std::stol(octal, nullptr, 8);
    return all;
  };
  const auto plain = parts({});
  CHECK(plain[0] == group);
  CHECK(plain[1] == session);
  CHECK(plain[2] == static_cast<long>(mask));
  const auto own_session = parts({.new_session = true});
  CHECK(own_session[0] == own_session[3]);
  CHECK(own_session[1] == own_session[3]);
  const auto own_group = parts({.process_group = 0});
  CHECK(own_group[0] == own_group[3]);
  CHECK(own_group[1] == session);
  const auto both = parts({.process_group = 0, .new_session = true});
  CHECK(both[0] == both[3]);
  CHECK(both[1] == both[3]);
  CHECK(parts({.umask = 0077})[2] == 0077);
  CHECK(::getsid(0) == session);
  CHECK(::umask(mask) == mask);
}

TEST_CASE("a child can be another user's", "[T-174]") {
  World world;
  if (::geteuid() != 0) return skip("only root can become somebody else");
  const Lacking lacking{any_way()};
  constexpr auto who = "id -u; id -g; id -G";
  CHECK(said(world, who, {.user = "nobody"}) == "65534\n65534\n65534\n");
  CHECK(said(world, who, {.user = "65534"}) == "65534\n65534\n65534\n");
  CHECK(said(world, who, {.user = "12345", .group = "12346"}) == "12345\n12346\n12346\n");
  CHECK(said(world, who, {.group = "daemon"}).substr(0, 4) == "0\n1\n");
  CHECK(::geteuid() == 0);
  CHECK(::getegid() == 0);
}

TEST_CASE("an empty environment is empty", "[T-174]") {
  World world;
  const ferry::Environment nothing;
  CHECK(output_of(world, {"environment"}, {.env = &nothing}).empty());
  // The program is looked for where the child would look.
  ferry::Environment path;
  path.set("PATH", "/nowhere");
  const auto error = error_of(
      world, world.loop.subprocess_exec(recorder, {"true"}, {.env = &path}));
  CHECK(error.what() == "exec true: no such file or directory");
}

TEST_CASE("a child's streams are pipes, which it can open by name", "[T-175]") {
  World world;
  const Started child = shell(world, "cat /dev/stdin > /dev/stdout; test -p /dev/stdin && echo p");
  child.transport->stdin_pipe()->write("by name ");
  child.transport->stdin_pipe()->close();
  run_to_end(world, child);
  CHECK(child.protocol->data[1] == "by name p\n");
}

TEST_CASE("an inherited stream stays what it is", "[T-175]") {
  World world;
  const Lacking lacking{any_way()};
  const bool terminal = GENERATE(true, false);
  const ferry::Pipe end{terminal ? ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)
                                 : ::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  const ferry::Pipe before{::fcntl(0, F_DUPFD_CLOEXEC, 3)};
  REQUIRE(::dup2(static_cast<int>(end.fileno()), 0) == 0);
  const std::string said = output_of(world, {"isatty"}, {.in = ferry::Stdio::inherit()});
  REQUIRE(::dup2(static_cast<int>(before.fileno()), 0) == 0);
  CHECK(said == (terminal ? "tty no no " : "no no no "));
}

TEST_CASE("handles are connected whatever their numbers are", "[A-029]") {
  World world;
  const Lacking lacking{any_way()};
  const Directory directory;
  const std::string path = directory / "file";
  const auto read_back = [&] {
    std::ifstream file{path};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  };
  ferry::Pipe file{::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  SECTION("one for both outputs") {
    const auto to = ferry::Stdio::handle(file.fileno());
    const Started child = shell(world, "echo o; echo e >&2", {.out = to, .err = to});
    run_to_end(world, child);
    CHECK(read_back() == "o\ne\n");
  }
  SECTION("stdout and stderr exchanged") {
    const Started child =
        shell(world, "echo o; echo e >&2",
              {.out = ferry::Stdio::handle(2), .err = ferry::Stdio::handle(file.fileno())});
    run_to_end(world, child);
    CHECK(read_back() == "e\n");
  }
  SECTION("its own number") {
    const Started child = shell(world, "exit 0", {.out = ferry::Stdio::handle(1)});
    run_to_end(world, child);
    CHECK(child.protocol->code == 0);
  }
  CHECK(is_open(file.fileno()));  // it stays the caller's
}

TEST_CASE("children start where 0, 1 and 2 are closed", "[A-029]") {
  // In a process of its own, whose standard streams are ferry's to take.
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (const int fd : {0, 1, 2}) ::close(fd);
    int answer = 1;
    try {
      ferry::Loop loop{backend()};
      const std::vector<std::string> argv{child_tool, "cat"};
      auto process = loop.run_until_complete(loop.create_subprocess_exec(argv));
      const auto output = loop.run_until_complete(process.communicate("low numbers"));
      answer = output.out == "low numbers" ? 0 : 2;
    } catch (...) {
      answer = 3;
    }
    ::_exit(answer);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(status == 0);
}

TEST_CASE("a slow start does not hold up the loop", "[T-176]") {
  World world;
  Calls calls;
  int gate[2];
  REQUIRE(::pipe(gate) == 0);
  char byte = 0;
  const bool shared = ferry::internal::features.shared_start;
  // In the new process, or on the way to it: until the loop has had a turn of its own.
  calls.before_next(shared ? Call::exec : Call::spawn,
                    [&] { static_cast<void>(::read(gate[0], &byte, 1)); });
  bool ran = false;
  auto protocol = recorder();
  auto starting = world.loop.create_task(world.loop.subprocess_exec(
      [&] { return protocol; }, std::vector<std::string>{child_tool, "exit", "0"}));
  world.loop.call_soon([&] {
    world.loop.call_soon([&] {
      ran = true;
      CHECK_FALSE(starting.done());
      REQUIRE(::write(gate[1], "x", 1) == 1);
    });
  });
  world.run_until([&] { return protocol->lost; });
  CHECK(ran);
  ::close(gate[0]);
  ::close(gate[1]);
}

TEST_CASE("what is cancelled before its start began is not started", "[T-176]") {
  World world;
  const std::size_t descriptors = open_descriptors();
  Calls calls;
  std::atomic<bool> open{false};
  std::atomic<int> begun{0};
  // All that start at once stand still there.
  calls.on_call = [&](Call call, ferry::NativeHandle) {
    if (call != Call::spawn) return 0;
    ++begun;
    open.wait(false);
    return EAGAIN;
  };
  std::vector<ferry::Future<ferry::Subprocess<ChildRecorder>>> starting;
  const std::vector<std::string> argv{child_tool, "exit", "0"};
  for (int i = 0; i < 40; ++i) {
    starting.push_back(world.loop.create_task(world.loop.subprocess_exec(recorder, argv)));
  }
  const int at_once = ferry::internal::features.pipe2 ? 16 : 1;
  world.run_until([&] { return begun == at_once; });
  for (auto& one : starting) one.cancel();
  world.settle();
  open = true;
  open.notify_all();
  world.run_until([&] { return open_descriptors() == descriptors; });
  auto last = world.loop.create_task(world.loop.subprocess_exec(recorder, argv));
  world.run_until([&] { return last.done(); });
  CHECK(last.exception() != nullptr);
  CHECK(begun == at_once + 1);
}

TEST_CASE("each child of many has what the loop's thread had at the call", "[T-174]") {
#ifdef __linux__
  cpu_set_t all, one;
  REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
  if (CPU_COUNT(&all) < 2) return skip("there is one CPU only");
  CPU_ZERO(&one);
  for (int i = 0; CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  }
  World world;
  std::vector<std::shared_ptr<ChildRecorder>> protocols;
  std::vector<ferry::Future<ferry::Subprocess<ChildRecorder>>> starting;
  const std::vector<std::string> argv{"/usr/bin/nproc"};
  const auto start_some = [&] {
    for (int i = 0; i < 40; ++i) {
      auto& protocol = protocols.emplace_back(recorder());
      starting.push_back(world.loop.create_task(
          world.loop.subprocess_exec([protocol] { return protocol; }, argv)));
    }
    world.turn();
  };
  start_some();
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  start_some();
  REQUIRE(::sched_setaffinity(0, sizeof all, &all) == 0);
  world.run_until([&] {
    return std::all_of(protocols.begin(), protocols.end(), [](auto& child) { return child->lost; });
  });
  for (std::size_t i = 0; i < protocols.size(); ++i) {
    CHECK(std::atoi(protocols[i]->data[1].c_str()) == (i < 40 ? CPU_COUNT(&all) : 1));
  }
#else
  skip("only Linux has CPUs of a thread");
#endif
}

TEST_CASE("children that end with their parent live as long as it does", "[T-174]") {
#ifdef __linux__
  World world;
  const std::string helper = "/usr/bin/setpriv";
  if (!std::filesystem::exists(helper)) return skip("there is no setpriv");
  const std::size_t count = 30;
  std::vector<std::shared_ptr<ChildRecorder>> protocols(count);
  for (auto& protocol : protocols) protocol = recorder();
  const auto null = ferry::Stdio::null();
  run_many(world, protocols, {helper, "--pdeathsig", "KILL", "/bin/cat"},
           {.out = null, .err = null});
  for (const auto& protocol : protocols) CHECK(protocol->code == 0);
#else
  skip("only Linux takes a thread's end for a parent's");
#endif
}

TEST_CASE("a forked process that drops its copy of a loop does no harm to the first", "[T-173]") {
  World world;
  auto loop = std::make_unique<ferry::Loop>(backend());
  const auto protocol = recorder();
  auto child = loop->run_until_complete(loop->subprocess_exec(
      [&] { return protocol; }, std::vector<std::string>{child_tool, "cat"}));
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::string heard;
  loop->add_reader(ends[0], [&] {
    char byte;
    if (::read(ends[0], &byte, 1) == 1) heard += byte;
    loop->remove_reader(ends[0]);
  });
  const pid_t fork = ::fork();
  if (fork == 0) {
    loop.reset();
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(fork, &status, 0) == fork);
  CHECK(status == 0);
  REQUIRE(::write(ends[1], "x", 1) == 1);
  child.transport->stdin_pipe()->close();
  while (!protocol->lost || heard.empty()) {
    loop->call_soon([&] { loop->stop(); });
    loop->run_forever();
  }
  CHECK(protocol->code == 0);
  CHECK(heard == "x");
  ::close(ends[0]);
  ::close(ends[1]);
  child.transport.reset();
  loop.reset();
}

TEST_CASE("a tracer that keeps a child's end to itself does not hold up the loop", "[T-171]") {
#ifdef __linux__
  World world;
  const Started child = start_tool(world, {"cat"});
  int ready[2], over[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(over) == 0);
  const pid_t tracer = ::fork();
  char byte = 0;
  if (tracer == 0) {
    ::close(over[1]);
    const bool can = ::ptrace(PTRACE_SEIZE, child.transport->get_pid(), nullptr, nullptr) == 0;
    static_cast<void>(::write(ready[1], can ? "y" : "n", 1));
    static_cast<void>(::read(over[0], &byte, 1));
    ::_exit(0);
  }
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  if (byte == 'y') {
    child.transport->kill();
    // It shows as ended, and cannot be reaped.
    const auto pidfd =
        static_cast<int>(::syscall(SYS_pidfd_open, child.transport->get_pid(), 0));
    pollfd end{pidfd, POLLIN, 0};
    CHECK(::poll(&end, 1, -1) == 1);
    ::close(pidfd);
    world.settle();
    CHECK_FALSE(child.protocol->exited);
  }
  ::close(over[1]);
  if (byte != 'y') child.transport->kill();
  REQUIRE(::waitpid(tracer, nullptr, 0) == tracer);
  run_to_end(world, child);
  CHECK(child.protocol->code == -SIGKILL);
  for (const int fd : {ready[0], ready[1], over[0]}) ::close(fd);
  if (byte != 'y') skip("no process may be traced here");
#else
  skip("only Linux keeps an end from the parent that long");
#endif
}

TEST_CASE("a child is signalled also where filters know the older call only", "[S-050]") {
  World world;
  const Started child = start_tool(world, {"cat"});
  Calls calls;
  calls.fail(Call::kill, EPERM, 1);  // of two, where there are two
  if (ferry::internal::features.pidfd) {
    child.transport->kill();
  } else {
    CHECK_THROWS_AS(child.transport->kill(), ferry::OsError);
    child.transport->kill();
  }
  run_to_end(world, child);
  CHECK(child.protocol->code == -SIGKILL);
}

TEST_CASE("starting a child copies nothing of its parent", "[T-176]") {
  World world;
  if (!ferry::internal::features.shared_start) return skip("children begin in a copy here");
  Calls calls;
  const Started child = start_tool(world, {"exit", "0"});
  run_to_end(world, child);
  // What the new process counted is here: it had our memory, not a copy.
  CHECK(calls.count(Call::exec) == 1);
}

TEST_CASE("starting a child costs the same whatever the limit of descriptors", "[T-176]") {
  World world;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit high = before;
  high.rlim_cur = high.rlim_max;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &high) == 0);
  {
    Calls calls;
    const Started child = start_tool(world, {"exit", "0"});
    run_to_end(world, child);
    CHECK(calls.count(Call::close_range) <= 2);
    CHECK(calls.count(Call::close) < 12);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a thousand children that end at once are reported once each", "[T-171]") {
  World world;
  const std::size_t count = sanitized ? 60 : 1000;
  const auto null = ferry::Stdio::null();
  std::vector<std::shared_ptr<ChildRecorder>> protocols(count);
  for (auto& protocol : protocols) protocol = recorder();
  run_many(world, protocols, {"/bin/cat"}, {.out = null, .err = null});
}

TEST_CASE("who starts another user's child keeps its own rights", "[T-174]") {
  World world;
  if (::geteuid() != 0) return skip("only root can become somebody else");
#ifdef __linux__
  const int before = ::prctl(PR_GET_DUMPABLE);
  CHECK(said(world, "id -u", {.user = "nobody"}) == "65534\n");
  CHECK(::prctl(PR_GET_DUMPABLE) == before);
  {  // who may not set groups cannot be in one alone, and is told so
    Calls calls;
    calls.fail(Call::setgroups, EPERM);
    const auto error = error_of(world, world.loop.subprocess_exec(
                                           recorder, {child_tool, "cat"}, {.group = "4321"}));
    CHECK(error == std::errc::operation_not_permitted);
  }
#else
  skip("only Linux has what could be lost");
#endif
}

TEST_CASE("a child has what the loop's thread has, not what an earlier one had", "[T-174]") {
#ifdef __linux__
  // Of a thread alone, which is not this one: an unprivileged one could not take it back.
  std::string before, after;
  std::thread{[&] {
    ferry::Loop loop{backend()};
    const auto niceness = [&] {
      auto process = loop.run_until_complete(loop.create_subprocess_exec({"nice"}));
      return loop.run_until_complete(process.communicate()).out;
    };
    before = niceness();
    ::setpriority(PRIO_PROCESS, 0, 7);
    after = niceness();
  }}.join();
  CHECK(before != after);
  CHECK(after == "7\n");
#else
  skip("threads have no attributes of their own that children inherit");
#endif
}

TEST_CASE("the environment is what it was at the call", "[T-174]") {
  World world;
  set_environment("FERRY_TEST_VARIABLE", "before");
  auto protocol = recorder();
  auto task = world.loop.subprocess_exec(
      [&] { return protocol; },
      std::vector<std::string>{child_tool, "env", "FERRY_TEST_VARIABLE"});
  set_environment("FERRY_TEST_VARIABLE", "after");
  static_cast<void>(world.run(std::move(task)));
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->data[1] == "before");
  set_environment("FERRY_TEST_VARIABLE", nullptr);
}

TEST_CASE("without threads a start fails, and no program begins later", "[A-029][T-164]") {
  // In a process of its own, which may have no thread any more.
  if (::geteuid() != 0) return skip("the limit of threads needs a user of its own, so root");
  const pid_t pid = ::fork();
  if (pid == 0) {
    const rlimit none{0, 0};
    if (::setuid(65534) != 0 || ::setrlimit(RLIMIT_NPROC, &none) != 0) ::_exit(9);
    int refused = 0;
    try {
      ferry::Loop loop{backend()};
      for (int i = 0; i < 10; ++i) {
        try {
          loop.run_until_complete(loop.create_subprocess_exec({"/bin/true"}));
        } catch (const ferry::OsError& error) {
          if (std::string_view{error.what()}.starts_with("start /bin/true: new ")) ++refused;
        }
      }
    } catch (...) {
      ::_exit(8);
    }
    ::_exit(refused == 10 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(status == 0);
}

TEST_CASE("ten thousand children in a row leave nothing", "[T-164][T-171]") {
  World world;
  const int count = sanitized ? 100 : 10'000;
  int exits = 0;
  for (int i = 0; i < count; ++i) {
    auto protocol = recorder();
    protocol->on_exited = [&] { ++exits; };
    auto made = world.run(
        world.loop.subprocess_exec([&] { return protocol; }, {"/bin/true"}));
    world.run_until([&] { return protocol->lost; });
    REQUIRE(protocol->code == 0);
  }
  CHECK(exits == count);
}

TEST_CASE("children started by many threads at once have no pipes but their own", "[T-165]") {
  World world;
  const int loops = 4, each = sanitized ? 5 : 25;
  std::atomic<int> strangers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < loops; ++i) {
    threads.emplace_back([&] {
      ferry::Loop loop{backend()};
      for (int k = 0; k < each; ++k) {
        // Its three streams, and what ls opens itself.
        auto process = loop.run_until_complete(
            loop.create_subprocess_exec({"/bin/sh", "-c", "ls /proc/self/fd | wc -l"}));
        const auto output = loop.run_until_complete(process.communicate());
        if (std::stoi(output.out) != 4) ++strangers;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(strangers == 0);
}

TEST_CASE("a gibibyte goes through a child unharmed", "[T-161]") {
  World world;
  const std::size_t block = 1 << 20, blocks = sanitized ? 8 : 1024;
  const std::string data = pattern(block);
  // Of all bytes, in their order (FNV); what is written and what comes have their own.
  const auto mix = [](std::uint64_t hash, const char* bytes, std::size_t size) {
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes + i, 8);
      hash = (hash ^ word) * 0x100000001b3;
    }
    return hash;
  };
  class Through : public ChildRecorder {
   public:
    std::function<void(ferry::BytesView)> take;
    void pipe_data_received(int, ferry::BytesView bytes) override { take(bytes); }
  };
  auto protocol = std::make_shared<Through>();
  std::uint64_t came_hash = 0, sent_hash = 0;
  std::string rest;
  std::size_t came = 0, pauses = 0;
  bool pausing = false;
  protocol->take = [&](ferry::BytesView bytes) {
    came += bytes.size();
    rest.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (rest.size() < block) return;
    came_hash = mix(came_hash, rest.data(), block);
    rest.erase(0, block);
    if (came / block % 64 != 0 || pausing) return;
    pausing = true;
    ++pauses;
    protocol->transport->stdout_pipe()->pause_reading();
    world.loop.call_later(ferry::Seconds{0.001}, [&] {
      pausing = false;
      protocol->transport->stdout_pipe()->resume_reading();
    });
  };
  auto made = world.run(world.loop.subprocess_exec([&] { return protocol; }, {"/bin/cat"}));
  const auto input = made.transport->stdin_pipe();
  for (std::size_t i = 0; i < blocks; ++i) {
    input->write(data);
    sent_hash = mix(sent_hash, data.data(), block);
    world.run_until([&] { return input->get_write_buffer_size() < block; });
  }
  input->close();
  world.run_until([&] { return protocol->lost; });
  CHECK(came == block * blocks);
  CHECK(came_hash == sent_hash);
  CHECK(rest.empty());
  CHECK((sanitized || pauses > 0));
}

TEST_CASE("a pid that was given away is never signalled", "[C-06]") {
  World world;
  const Lacking lacking{any_way()};
  // It ended and was reaped by somebody else; its number may be anybody's now.
  const Started child = start_tool(world, {"cat"});
  const auto pid = static_cast<pid_t>(child.transport->get_pid());
  REQUIRE(::kill(pid, SIGKILL) == 0);
  REQUIRE(::waitpid(pid, nullptr, 0) == pid);
  Calls calls;
  std::vector<ferry::NativeHandle> signalled;
  CHECK_FALSE(child.transport->kill());
  if (!ferry::internal::features.pidfd) CHECK(calls.count(Call::kill) == 0);
  run_to_end(world, child);
  static_cast<void>(world.take_logs());
}
