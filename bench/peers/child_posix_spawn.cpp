// The limit: posix_spawn, its pipes and the child's exit (a pidfd) in one epoll, and a pipe of
// 1 MiB for `stream`. Variants: fork (and exec); bigpipe and smallpipe, 1 MiB and what the system
// gives; socketpair, which is what libuv takes.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <string>

#include "child.hpp"

extern char** environ;

namespace {

constexpr std::size_t big = 1 << 20;

std::string_view variant;
const int epoll = epoll_create1(EPOLL_CLOEXEC);
std::array<char, big> buffer;

// `streams`: its 0, 1 and 2; -1: stays what it is.
pid_t start(char** arguments, const std::array<int, 3>& streams) {
  pid_t pid = -1;
  if (variant == "fork") {
    pid = fork();
    if (pid == -1) child::fail("fork");
    if (pid > 0) return pid;
    for (int i = 0; i < 3; ++i) {
      if (streams[static_cast<std::size_t>(i)] != -1) dup2(streams[static_cast<std::size_t>(i)], i);
    }
    execve(arguments[0], arguments, environ);
    _exit(127);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int i = 0; i < 3; ++i) {
    const int stream = streams[static_cast<std::size_t>(i)];
    if (stream != -1) posix_spawn_file_actions_adddup2(&actions, stream, i);
  }
  errno = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments, environ);
  if (errno != 0) child::fail("posix_spawn");
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

void watch(int fd, std::uint64_t data) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = data;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) child::fail("epoll_ctl");
}
int pidfd_of(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }

// --- spawn ---

struct Child {
  std::uint64_t number = 0;
  int input = -1;
  std::array<int, 3> watched{};  // its outputs, its pidfd
  int left = 0;
};
std::array<Child, child::at_a_time> children;
std::uint64_t last_number = 0;

// What an event says: which child, which of what is watched, and the child's number. A handle that
// was closed can still be told of: a child that is being started holds it until its exec is over.
std::uint64_t data_of(std::size_t which, std::size_t watched) {
  return children[which].number << 16 | which << 2 | watched;
}
std::size_t which_of(std::uint64_t data) { return (data & 0xffff) >> 2; }

void begin(std::size_t which) {
  char name[] = "/bin/true";
  char* arguments[] = {name, nullptr};
  int pipes[3][2];
  for (auto& pipe : pipes) {
    if (pipe2(pipe, O_CLOEXEC) != 0) child::fail("pipe2");
  }
  const pid_t pid = start(arguments, {pipes[0][0], pipes[1][1], pipes[2][1]});
  close(pipes[0][0]), close(pipes[1][1]), close(pipes[2][1]);
  children[which] = {
      ++last_number, pipes[0][1], {pipes[1][0], pipes[2][0], pidfd_of(pid)}, 3};
  for (std::size_t i = 0; i < 3; ++i) watch(children[which].watched[i], data_of(which, i));
}

// True: that was the last of this child.
bool handle(std::uint64_t data) {
  Child& child = children[which_of(data)];
  int& fd = child.watched[data & 3];
  if (fd == -1 || data >> 16 != child.number) return false;
  if ((data & 3) == 2) {
    siginfo_t info{};
    if (waitid(P_PIDFD, static_cast<id_t>(fd), &info, WEXITED) != 0) child::fail("waitid");
    if (info.si_status != 0) child::fail("the child's exit");
  } else if (read(fd, buffer.data(), child::chunk) != 0) {
    return false;
  }
  close(std::exchange(fd, -1));
  if (--child.left > 0) return false;
  close(child.input);
  return true;
}

void spawn(std::int64_t n, std::int64_t together) {
  if (!variant.empty() && variant != "fork") std::exit(prims::bad_arguments);
  const child::Stopwatch watch;
  std::int64_t begun = std::min(n, together);
  for (std::int64_t i = 0; i < begun; ++i) begin(static_cast<std::size_t>(i));
  for (std::int64_t ended = 0; ended < n;) {
    epoll_event events[64];
    const int count = epoll_wait(epoll, events, 64, 10'000);
    if (count <= 0) child::fail("epoll_wait");
    for (int i = 0; i < count; ++i) {
      if (!handle(events[i].data.u64)) continue;
      ++ended;
      if (begun == n) continue;
      ++begun;
      begin(which_of(events[i].data.u64));
    }
  }
  watch.print_spawned(n);
}

// --- stream ---

void make_pipe(int* ends) {
  if (variant == "socketpair") {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) child::fail("socketpair");
    return;
  }
  if (pipe2(ends, O_CLOEXEC) != 0) child::fail("pipe2");
  if (variant == "smallpipe") return;
  if (fcntl(ends[0], F_SETPIPE_SZ, big) == -1) child::fail("F_SETPIPE_SZ");
}

void stream(std::int64_t n) {
  std::string name = child::generator(), number = std::to_string(n);
  char* arguments[] = {name.data(), number.data(), nullptr};
  const std::size_t most = variant == "smallpipe" ? child::chunk : big;
  const child::Stopwatch stopwatch;
  int ends[2];
  make_pipe(ends);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const pid_t pid = start(arguments, {null, ends[1], -1});
  close(ends[1]), close(null);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  watch(ends[0], 0);
  std::int64_t received = 0;
  for (ssize_t count = -1; count != 0;) {
    epoll_event event;
    if (epoll_wait(epoll, &event, 1, 10'000) <= 0) child::fail("epoll_wait");
    count = read(ends[0], buffer.data(), most);
    if (count > 0) received += count;
  }
  if (waitpid(pid, nullptr, 0) != pid) child::fail("waitpid");
  if (received != n) child::fail("the child's output");
  stopwatch.print_streamed(n);
}

constexpr prims::Test tests[] = {
    {"spawn", [](std::int64_t n) { spawn(n, 1); }},
    {"spawn_many", [](std::int64_t n) { spawn(n, child::at_a_time); }},
    {"stream", stream},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4) {
    variant = argv[--argc];
    bool known = false;
    for (const char* name : {"fork", "bigpipe", "smallpipe", "socketpair"}) {
      known = known || variant == name;
    }
    if (!known) return prims::bad_arguments;
    if (variant == "bigpipe") variant = {};  // which is the rule here
  }
  return child::run(argc, argv, "raw posix_spawn", tests);
}
