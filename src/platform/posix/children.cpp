// Children: their pipes, their exits, and signals that reach nobody else.
#include "platform/children.hpp"

#include "platform/posix/child_calls.hpp"
#include "platform/posix/child_start.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/sockets/per_process.hpp"
#include "platform/sockets/socket_address.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ferry::internal {
namespace {

constexpr int unknown_status = 255;  // as asyncio has it

// The end of child `pid`, which is reaped by this; none: it runs. `how`: WNOHANG, or 0 to wait.
// Not by waitid(): macOS' does not tell which signal it was, and takes a stop for an end.
std::optional<Child::Exit> reap(pid_t pid, int how) noexcept {
  int status = 0;
  pid_t ended;
  while ((ended = calls::waitpid(pid, status, how)) == -1) {
    if (errno != EINTR) return Child::Exit{unknown_status, false};  // ECHILD: taken by others
  }
  if (ended == 0) return std::nullopt;
  return Child::Exit{WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), true};
}

// A thread that waits for the end of `pid`, leaves the child to be reaped, and then calls `ended`.
// An errno: there can be no more threads.
int wait_in_thread(pid_t pid, Function<void()> ended) {
  return calls::start_thread([pid, ended = std::move(ended)]() mutable {
    calls::block_signals();
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == -1 &&
           errno == EINTR) {
    }
    ended();
  });
}

// Children that nobody waits for, because there could be no thread: the next start looks for those
// that have ended.
class Unreaped {
 public:
  void add(pid_t pid) {
    const std::lock_guard lock{mutex_};
    pids_.push_back(pid);
  }
  void look() {
    const std::lock_guard lock{mutex_};
    std::erase_if(pids_, [](pid_t pid) { return reap(pid, WNOHANG).has_value(); });
  }

 private:
  std::mutex mutex_;
  std::vector<pid_t> pids_;
};
constinit PerProcess<Unreaped> unreaped;

// Linux takes the end of a thread for a parent's end, and signals the children that asked for that
// (PR_SET_PDEATHSIG): who has started a child stays until it has been reaped.
class Parent {
 public:
#ifdef __linux__
  // Of one child.
  class Need {
   public:
    Need() noexcept = default;
    explicit Need(std::shared_ptr<Parent> of) noexcept : of_{std::move(of)} {
      if (of_) ++of_->children_;
    }
    Need(Need&& other) noexcept = default;
    Need& operator=(Need&& other) noexcept {
      std::swap(of_, other.of_);
      return *this;
    }
    ~Need() {
      if (!of_) return;
      --of_->children_;
      of_->children_.notify_all();
    }

   private:
    std::shared_ptr<Parent> of_;
  };
  void wait() const noexcept {
    for (int count = children_; count > 0; count = children_) children_.wait(count);
  }

 private:
  std::atomic<int> children_{0};
#else
  struct Need {
    Need() = default;
    explicit Need(const std::shared_ptr<Parent>&) noexcept {}
  };
  void wait() const noexcept {}
#endif
};

class PosixChild final : public Child, private IoHandler {
 public:
  PosixChild() = default;
  PosixChild(const PosixChild&) = delete;
  PosixChild& operator=(const PosixChild&) = delete;
  // One that nobody has begun to watch was never handed to anybody.
  ~PosixChild() {
    if (heard_) *heard_ = nullptr;
    if (io_ != nullptr) io_->unwatch(ticket_, true);
    if (running_ && io_ == nullptr) signal_now(SIGKILL);
    if (pidfd_) pidfd_.close();
    if (!running_ || !is_ours() || reap(pid_, WNOHANG)) return;
    auto reap_it = [pid = pid_, until_then = std::move(parent_)] {
      static_cast<void>(until_then);
      reap(pid, 0);
    };
    if (wait_in_thread(pid_, std::move(reap_it)) != 0) unreaped.get().add(pid_);
  }

  void has_started(pid_t pid, int pidfd, Parent::Need parent) noexcept {
    pid_ = pid;
    pidfd_ = Pipe{pidfd};
    parent_ = std::move(parent);
    running_ = true;
  }

  long pid() const noexcept override { return pid_; }
  NativeHandle handle() const noexcept override { return pidfd_.fileno(); }

  Error watch(IoContext& io, Exited exited) override {
    exited_ = std::move(exited);
    Error error = begin_to_watch(io);
    if (!error) io_ = &io;
    return error;
  }

  bool send_signal(int signal) override {
    if (!running_) return false;
    if (signal_now(signal) == 0) return true;
    if (errno == ESRCH) return false;
    if (errno == EINVAL) {
      throw std::invalid_argument{"send_signal: " + std::to_string(signal) + " is no signal"};
    }
    last_error("signal " + std::to_string(signal) + " to process " + std::to_string(pid_)).raise();
    return false;
  }
  bool kill() override { return send_signal(SIGKILL); }

 private:
  // In a process that was forked meanwhile it is nobody's.
  bool is_ours() const noexcept { return process_ == calls::process_id(); }

  int signal_now(int signal) noexcept {
    if (!is_ours()) return errno = ESRCH, -1;
    if (!pidfd_) return signal_by_pid(signal);
    const int answer = calls::pidfd_send_signal(static_cast<int>(pidfd_.fileno()), signal);
    // Filters of system calls may know the older one only.
    return answer != 0 && (errno == EPERM || errno == ENOSYS) ? signal_by_pid(signal) : answer;
  }
  // The pid is this child's as long as it has not been reaped, and only we do that; unless another
  // part of the process does, which is asked first (C-06).
  int signal_by_pid(int signal) noexcept {
    siginfo_t info{};
    while (calls::waitid(pid_, info, WEXITED | WNOHANG | WNOWAIT) == -1) {
      if (errno != EINTR) return errno = ESRCH, -1;
    }
    return calls::kill(pid_, signal);
  }

  // What others may call when we have gone.
  auto hear() {
    if (!heard_) heard_ = std::make_shared<PosixChild*>(this);
    return [heard = heard_] {
      if (*heard != nullptr) (*heard)->ended();
    };
  }

  Error begin_to_watch(IoContext& io) {
    if (pidfd_) return io.watch(pidfd_.fileno(), want_read, Trigger::level, *this, ticket_);
    const Error error = io.watch_exit(pid_, *this, ticket_);
    if (!error) return {};
    if (error == std::errc::no_such_process) {
      io.poster()(hear());
      return {};
    }
    if (error != std::errc::not_supported) return error;
    const int failure = watch_in_thread(io);
    if (failure != 0) return os_error(failure, "wait for process " + std::to_string(pid_));
    return {};
  }

  int watch_in_thread(IoContext& io) {
    return wait_in_thread(pid_,
                          [hear = hear(), post = io.poster()]() mutable { post(hear); });
  }

  void handle_ready(std::uint32_t) override { ended(); }

  void ended() {
    if (!running_) return;
    auto exit = reap(pid_, WNOHANG);
    if (!exit) {
      // Told of an end that cannot be fetched yet: a tracer has it first, and may take its time; on
      // macOS for a moment.
      if (pidfd_) io_->unwatch(ticket_, false);
      if (watch_in_thread(*io_) == 0) return;
      exit = reap(pid_, 0);
    }
    running_ = false;
    parent_ = {};
    io_->unwatch(ticket_, true);
    pidfd_.close();
    Exited exited = std::move(exited_);
    exited(*exit);
  }

  const long process_ = calls::process_id();
  pid_t pid_ = -1;
  Pipe pidfd_;
  Parent::Need parent_;
  IoContext* io_ = nullptr;
  Ticket ticket_;
  std::shared_ptr<PosixChild*> heard_;  // what a thread knows of us; the loop's thread looks inside
  Exited exited_;
  bool running_ = false;
};

std::string context_of(const SpawnSpec& spec, StartStep step) {
  const std::string start = spec.in_start();
  switch (step) {
    case StartStep::start: return start + "new process";
    case StartStep::signals: return start + "signal mask";
    case StartStep::session: return start + "new session";
    case StartStep::process_group:
      return start + "process group " + std::to_string(*spec.process_group);
    case StartStep::streams: return start + "standard streams";
    case StartStep::handles: return start + "handles";
    case StartStep::umask: return start + "umask";
    case StartStep::directory: return start + "chdir " + spec.directory;
    case StartStep::groups: return start + "groups of user " + spec.user + spec.group;
    case StartStep::group:
      return start + "group " + (spec.group.empty() ? "of user " + spec.user : spec.group);
    case StartStep::user: return start + "user " + spec.user;
    case StartStep::exec: break;
  }
  return "exec " + (spec.shell_command.empty() ? shown(spec.program) : "/bin/sh");
}

// The child's ends, which are closed once it has them.
struct TheirEnds {
  std::array<Pipe, 3> pipes;
  Pipe null;
};

bool is_open(NativeHandle handle) { return ::fcntl(static_cast<int>(handle), F_GETFD) != -1; }

// Before anything is opened: what is closed here could be our own pipe's number a moment later.
Error check_handles(const SpawnSpec& spec) {
  for (const Stdio& stream : spec.streams) {
    if (stream.kind() == Stdio::Kind::handle && !is_open(stream.handle())) {
      return last_error(context_of(spec, StartStep::streams));
    }
  }
  for (const NativeHandle handle : spec.handles) {
    if (!is_open(handle)) return last_error(context_of(spec, StartStep::handles));
  }
  return {};
}

Error make_streams(const SpawnSpec& spec, StartPlan& plan, TheirEnds& theirs,
                   std::array<Pipe, 3>& ours) {
  for (std::size_t i = 0; i < 3; ++i) {
    int& stream = plan.streams[i];
    switch (spec.streams[i].kind()) {
      case Stdio::Kind::inherited: break;
      case Stdio::Kind::handle: stream = static_cast<int>(spec.streams[i].handle()); break;
      case Stdio::Kind::to_stdout: stream = plan.streams[1] == -1 ? 1 : plan.streams[1]; break;
      case Stdio::Kind::null:
        if (!theirs.null) theirs.null = Pipe{calls::open("/dev/null", O_RDWR | O_CLOEXEC)};
        if (!theirs.null) return last_error(spec.in_start() + "open /dev/null");
        stream = static_cast<int>(theirs.null.fileno());
        break;
      case Stdio::Kind::piped: {
        int ends[2];
        const int our_end = i == 0 ? 1 : 0;
        if (calls::child_pipe(ends, our_end) != 0) {
          return last_error(spec.in_start() + "make a pipe");
        }
        ours[i] = Pipe{ends[our_end]};
        theirs.pipes[i] = Pipe{ends[1 - our_end]};
        stream = ends[1 - our_end];
        break;
      }
    }
  }
  return {};
}

// Where pipes are not born uninherited, a child that starts in just that moment would keep them
// (T-165): one start at a time.
std::unique_lock<std::mutex> alone() {
  if (features.pipe2) return {};
  static constinit PerProcess<std::mutex> mutex;
  return std::unique_lock{mutex.get()};
}

// `wanted` has expired: nobody waits for it any more, and nothing is started.
struct Job {
  SpawnSpec spec;
  std::weak_ptr<const void> wanted;
  Function<void(Spawned)> done;
};

Spawned start(const Job& job, const std::shared_ptr<Parent>& parent) {
  Spawned spawned;
  try {
    const SpawnSpec& spec = job.spec;
    unreaped.get().look();
    const auto lock = alone();
    if (job.wanted.expired()) {
      spawned.error = os_error(ECANCELED, spec.in_start() + "new process");
      return spawned;
    }
    if ((spawned.error = check_handles(spec))) return spawned;
    StartPlan plan{spec};
    TheirEnds theirs;
    std::array<Pipe, 3> ours;
    if ((spawned.error = make_streams(spec, plan, theirs, ours))) return spawned;
    auto child = std::make_unique<PosixChild>();
    const Started started = start_child(plan);
    if (started.error != 0) {
      spawned.error = os_error(started.error, context_of(spec, started.step));
      return spawned;
    }
    child->has_started(started.pid, started.pidfd, Parent::Need{parent});
    spawned.child = std::move(child);
    spawned.pipes = std::move(ours);
  } catch (...) {
    spawned.error = Error{std::current_exception()};
  }
  return spawned;
}

bool is_descriptor(NativeHandle handle) { return handle >= 0 && std::in_range<int>(handle); }

// The starts of one loop, each in a new thread: that has what the loop's thread has just now, and
// so has the child (nice, CPUs, capabilities, namespaces, filters of system calls). Held by the
// threads as well, which may outlive the loop: a start that hangs (a file on a network that is
// gone) does not hold up anybody's end.
class Starts : public std::enable_shared_from_this<Starts> {
 public:
  void add(std::shared_ptr<Job> job) {
    const auto parent = std::make_shared<Parent>();
    const std::lock_guard lock{mutex_};
    const int error = calls::start_thread(
        [self = shared_from_this(), job, parent]() mutable { self->run(std::move(job), parent); });
    if (error == 0) {
      ++threads_;
    } else if (threads_ > 0) {
      waiting_.push_back(std::move(job));
    } else {
      Spawned failed;
      failed.error = os_error(error, job->spec.in_start() + "new thread");
      job->done(std::move(failed));
    }
  }

 private:
  static constexpr std::size_t most_at_once = 16;

  void run(std::shared_ptr<Job> job, const std::shared_ptr<Parent>& parent) {
    calls::block_signals();
    std::unique_lock lock{mutex_};
    place_.wait(lock, [this] { return starting_ < most_at_once; });
    ++starting_;
    while (job) {
      lock.unlock();
      job->done(start(*job, parent));
      lock.lock();
      job = nullptr;
      if (waiting_.empty()) continue;
      job = std::move(waiting_.front());
      waiting_.pop_front();
    }
    --starting_;
    --threads_;
    lock.unlock();
    place_.notify_one();
    parent->wait();
  }

  std::mutex mutex_;
  std::condition_variable place_;
  std::deque<std::shared_ptr<Job>> waiting_;  // for which there could be no thread
  std::size_t threads_ = 0;                   // that start, or wait for their place to do so
  std::size_t starting_ = 0;
};

class PosixChildren final : public Children {
 public:
  void spawn(SpawnSpec spec, std::weak_ptr<const void> wanted,
             Function<void(Spawned)> done) override {
    starts_->add(
        std::make_shared<Job>(Job{std::move(spec), std::move(wanted), std::move(done)}));
  }

 private:
  const std::shared_ptr<Starts> starts_ = std::make_shared<Starts>();
};

}  // namespace

void check_spawn(const SpawnSpec& spec) {
  const auto refuse = [&](const std::string& what, auto number) {
    throw std::invalid_argument{spec.in_start() + what + " " + std::to_string(number) +
                                " cannot be"};
  };
  for (const Stdio& stream : spec.streams) {
    if (stream.kind() == Stdio::Kind::handle && !is_descriptor(stream.handle())) {
      refuse("handle", stream.handle());
    }
  }
  for (const NativeHandle handle : spec.handles) {
    if (!is_descriptor(handle)) refuse("handle", handle);
  }
  if (spec.process_group && !std::in_range<pid_t>(*spec.process_group)) {
    refuse("process group", *spec.process_group);
  }
  if (spec.umask && *spec.umask > 07777) refuse("umask", *spec.umask);
}

std::unique_ptr<Children> make_children() { return std::make_unique<PosixChildren>(); }

}  // namespace ferry::internal
