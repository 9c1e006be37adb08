// Children: their pipes, their exits, and how they are ended.
#include "platform/children.hpp"

#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/workers.hpp"
#include "platform/windows/child_words.hpp"
#include "platform/windows/handle_calls.hpp"
#include "platform/windows/pipe_pair.hpp"
#include "platform/windows/text.hpp"
#include "values/system_text.hpp"

#include <ferry/loop.hpp>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal {
namespace {

constexpr int signal_kill = 9;  // there is no such name here
constexpr std::size_t longest_line = 32766;

// --- A child that runs ---

class WindowsChild final : public Child, private IoHandler {
 public:
  WindowsChild(Pipe process, DWORD id, bool leads_group) noexcept
      : process_{std::move(process)}, id_{id}, leads_group_{leads_group} {}
  WindowsChild(const WindowsChild&) = delete;
  WindowsChild& operator=(const WindowsChild&) = delete;
  // One that nobody has begun to watch was never handed to anybody.
  ~WindowsChild() {
    if (io_ != nullptr) io_->unwatch(ticket_, true);
    if (io_ == nullptr) calls::terminate(process_.fileno());
  }

  long pid() const noexcept override { return static_cast<long>(id_); }
  NativeHandle handle() const noexcept override { return process_.fileno(); }

  Error watch(IoContext& io, Exited exited) override {
    Error error = io.watch_exit(process_.fileno(), *this, ticket_);
    if (error) return error;
    io_ = &io;
    exited_ = std::move(exited);
    return {};
  }

  bool send_signal(int signal) override {
    if (!runs()) return false;
    if (signal == SIGTERM || signal == signal_kill) return end();
    if ((signal != SIGINT && signal != SIGBREAK) || !leads_group_) {
      const bool is_event = signal == SIGINT || signal == SIGBREAK;
      throw std::invalid_argument{"send_signal: " + std::to_string(signal) +
                                  (is_event ? " can be sent to a process group of its own only"
                                            : " is no signal on Windows")};
    }
    if (calls::send_break(id_) == 0) return true;
    return refused("send Ctrl+Break to process ");
  }
  bool kill() override { return runs() && end(); }

 private:
  bool runs() const noexcept { return process_ && !calls::has_exited(process_.fileno()); }
  bool end() {
    return calls::terminate(process_.fileno()) == 0 || refused("end process ");
  }
  // One that is about to end refuses, has its code already, and is not signalled yet.
  bool refused(const char* what) {
    const Error error = last_error(what + std::to_string(id_));
    DWORD code = STILL_ACTIVE;
    const bool known = calls::exit_code(process_.fileno(), code) == 0;
    if (runs() && !(known && code != STILL_ACTIVE)) error.raise();
    return false;
  }

  void handle_ready(std::uint32_t) override {
    Exit exit{255, false};  // as where somebody else took it
    DWORD code = 0;
    if (calls::exit_code(process_.fileno(), code) == 0) exit = {static_cast<int>(code), true};
    io_->unwatch(ticket_, true);
    process_.close();
    Exited exited = std::move(exited_);
    exited(exit);
  }

  Pipe process_;  // a handle like others
  const DWORD id_;
  const bool leads_group_;
  IoContext* io_ = nullptr;
  Ticket ticket_;
  Exited exited_;
};

// --- The start of one ---

// What the child inherits: duplicates that live no longer than the start.
class Streams {
 public:
  Error add(const SpawnSpec& spec, std::size_t i, Pipe& ours) {
    const Stdio& stream = spec.streams[i];
    switch (stream.kind()) {
      case Stdio::Kind::inherited: {
        constexpr DWORD which[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
        const NativeHandle here = calls::standard_handle(which[i]);
        if (here != invalid_handle) inherit(i, here);
        return {};  // if it cannot be had: none
      }
      case Stdio::Kind::handle:
        return inherit(i, stream.handle()) ? Error{} : last_error(spec.in_start() + "handles");
      case Stdio::Kind::to_stdout: stand_[2] = stand_[1]; return {};
      case Stdio::Kind::null: {
        const Pipe null{calls::open_null()};
        const bool made = null && inherit(i, null.fileno());
        return made ? Error{} : last_error(spec.in_start() + "open NUL");
      }
      case Stdio::Kind::piped: break;
    }
    Pipe theirs;
    if (Error error = make_pipe_pair(i == 0 ? TheirEnd::reads : TheirEnd::writes, false, ours,
                                     theirs)) {
      return Error::worded(error.code(), spec.in_start() + std::string{error.what()});
    }
    return inherit(i, theirs.fileno()) ? Error{} : last_error(spec.in_start() + "make a pipe");
  }

  void fill(calls::ProcessPlan& plan) const {
    for (std::size_t i = 0; i < 3; ++i) {
      if (stand_[i] == invalid_handle) continue;
      plan.streams[i] = reinterpret_cast<HANDLE>(stand_[i]);
      plan.inherited.push_back(plan.streams[i]);
    }
  }

 private:
  bool inherit(std::size_t i, NativeHandle handle) {
    copies_[i] = Pipe{calls::duplicate(handle, true)};
    stand_[i] = copies_[i].fileno();
    return static_cast<bool>(copies_[i]);
  }

  std::array<Pipe, 3> copies_;
  std::array<NativeHandle, 3> stand_{invalid_handle, invalid_handle, invalid_handle};
};

// Handles that the child has under their numbers can only be made inheritable themselves: for as
// long as a start takes, and one start after the other.
class PassedHandles {
 public:
  explicit PassedHandles(const std::vector<NativeHandle>& handles) {
    if (handles.empty()) return;
    static auto* const mutex = new std::mutex;
    lock_ = std::unique_lock{*mutex};
    for (const NativeHandle number : handles) {
      const auto handle = reinterpret_cast<HANDLE>(number);
      DWORD flags = 0;
      if (::GetHandleInformation(handle, &flags) == 0 ||
          ((flags & HANDLE_FLAG_INHERIT) == 0 && !set(handle, HANDLE_FLAG_INHERIT))) {
        good_ = false;
        return;
      }
      if ((flags & HANDLE_FLAG_INHERIT) == 0) changed_.push_back(handle);
    }
  }
  ~PassedHandles() {
    for (const HANDLE handle : changed_) set(handle, 0);
  }
  PassedHandles(const PassedHandles&) = delete;
  PassedHandles& operator=(const PassedHandles&) = delete;

  explicit operator bool() const noexcept { return good_; }

 private:
  static bool set(HANDLE handle, DWORD flag) noexcept {
    return ::SetHandleInformation(handle, HANDLE_FLAG_INHERIT, flag) != 0;
  }

  std::unique_lock<std::mutex> lock_;
  std::vector<HANDLE> changed_;
  bool good_ = true;
};

bool is_open(NativeHandle handle) {
  DWORD flags = 0;
  return ::GetHandleInformation(reinterpret_cast<HANDLE>(handle), &flags) != 0;
}

// Before anything is opened: what is closed here could be our own pipe's number a moment later.
Error check_handles(const SpawnSpec& spec) {
  bool open = std::all_of(spec.handles.begin(), spec.handles.end(), is_open);
  for (const Stdio& stream : spec.streams) {
    if (stream.kind() == Stdio::Kind::handle && !is_open(stream.handle())) open = false;
  }
  return open ? Error{} : os_error(EBADF, spec.in_start() + "handles");
}

bool is_file(const std::string& path) {
  const DWORD facts = ::GetFileAttributesW(to_wide(path).c_str());
  return facts != INVALID_FILE_ATTRIBUTES && (facts & FILE_ATTRIBUTE_DIRECTORY) == 0;
}
bool is_folder(const std::string& path) {
  const DWORD facts = ::GetFileAttributesW(to_wide(path).c_str());
  return facts != INVALID_FILE_ATTRIBUTES && (facts & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

std::string system_folder() {
  wchar_t path[MAX_PATH] = {};
  const UINT size = ::GetSystemDirectoryW(path, MAX_PATH);
  return from_wide({path, size});
}

// Where to look for a program: as its own variables say, if there are some.
std::string search_path(const SpawnSpec& spec) {
  std::string path = variable_of(spec.environment, "PATH");
  return path.empty() ? system_folder() : path;
}

// Empty, and an errno: there is no such file.
std::string find_program(const SpawnSpec& spec) {
  if (!spec.shell_command.empty()) {
    std::string shell = variable_of(environment_entries(), "ComSpec");
    if (shell.empty()) shell = system_folder() + "\\cmd.exe";
    return shell;
  }
  for (std::string& file : candidates_of(spec.program, search_path(spec))) {
    if (is_file(file)) return std::move(file);
  }
  const bool path = spec.program.find_first_of("\\/:") != std::string::npos;
  errno = path && is_folder(spec.program) ? EACCES : ENOENT;
  return {};
}

Error check_directory(const SpawnSpec& spec) {
  if (spec.directory.empty() || is_folder(spec.directory)) return {};
  return os_error(is_file(spec.directory) ? ENOTDIR : ENOENT,
                  spec.in_start() + "chdir " + spec.directory);
}

// `program`: the file, as it was found.
Error make_plan(const SpawnSpec& spec, std::string& program, std::wstring& environment,
                calls::ProcessPlan& plan) {
  if (Error error = check_directory(spec)) return error;
  program = find_program(spec);
  if (program.empty()) return last_error("exec " + shown(spec.name()));
  // What stands in quotes after /s /c is taken as it is.
  const std::string line = spec.shell_command.empty()
                               ? command_line_of(spec.arguments)
                               : '"' + program + "\" /d /s /c \"" + spec.shell_command + '"';
  plan.program = to_wide(program);
  plan.line = to_wide(line);
  plan.directory = to_wide(spec.directory);
  if (plan.line.size() > longest_line) return os_error(E2BIG, "exec " + shown(spec.name()));
  environment = environment_block(spec.environment);
  plan.environment = environment.c_str();
  plan.flags = spec.process_group ? CREATE_NEW_PROCESS_GROUP : 0;
  return {};
}

void start(const SpawnSpec& spec, Spawned& spawned) {
  std::string program;
  std::wstring environment;
  calls::ProcessPlan plan;
  if ((spawned.error = check_handles(spec))) return;
  if ((spawned.error = make_plan(spec, program, environment, plan))) return;
  Streams streams;
  std::array<Pipe, 3> ours;
  for (std::size_t i = 0; i < 3; ++i) {
    if ((spawned.error = streams.add(spec, i, ours[i]))) return;
  }
  streams.fill(plan);
  const PassedHandles passed{spec.handles};
  if (!passed) {
    spawned.error = os_error(EBADF, spec.in_start() + "handles");
    return;
  }
  for (const NativeHandle handle : spec.handles) {
    plan.inherited.push_back(reinterpret_cast<HANDLE>(handle));
  }
  std::sort(plan.inherited.begin(), plan.inherited.end());
  plan.inherited.erase(std::unique(plan.inherited.begin(), plan.inherited.end()),
                       plan.inherited.end());
  calls::StartedProcess started;
  if (calls::start_process(plan, started) != 0) {
    const bool shell = !spec.shell_command.empty();
    spawned.error = last_error("exec " + (shell ? program : shown(spec.name())));
    return;
  }
  spawned.child = std::make_unique<WindowsChild>(Pipe{started.handle}, started.id,
                                                 spec.process_group.has_value());
  spawned.pipes = std::move(ours);
}

// A start that hangs (a file on a network that is gone) does not hold up the end of the process.
constinit SharedWorkers<16> workers;

Spawned started(const SpawnSpec& spec, bool wanted) {
  Spawned spawned;
  try {
    if (wanted) {
      start(spec, spawned);
    } else {
      spawned.error = os_error(ECANCELED, spec.in_start() + "new process");
    }
  } catch (...) {
    spawned.error = Error{std::current_exception()};
  }
  return spawned;
}

struct Job {
  SpawnSpec spec;
  std::weak_ptr<const void> wanted;
  Function<void(Spawned)> done;
};

class WindowsChildren final : public Children {
 public:
  void spawn(SpawnSpec spec, std::weak_ptr<const void> wanted,
             Function<void(Spawned)> done) override {
    auto job = std::make_shared<Job>(Job{std::move(spec), std::move(wanted), std::move(done)});
    const std::error_code error = workers.get().add(
        [job] { job->done(started(job->spec, !job->wanted.expired())); });
    if (!error) return;
    Spawned failed;
    failed.error = Error{error, job->spec.in_start() + "new thread"};
    job->done(std::move(failed));
  }
};

void must_be_utf8(const SpawnSpec& spec, const std::string& text, const char* what) {
  if (text.empty() || !to_wide(text).empty()) return;
  throw std::invalid_argument{spec.in_start() + what + " is not UTF-8"};
}

}  // namespace

void check_spawn(const SpawnSpec& spec) {
  const bool only_posix = spec.new_session || spec.umask || !spec.user.empty() ||
                          !spec.group.empty() || spec.process_group.value_or(0) != 0;
  if (only_posix) {
    throw NotSupported{spec.in_start() +
                       "sessions, groups of other processes, umask, user and group are POSIX "
                       "systems' only"};
  }
  must_be_utf8(spec, spec.program, "the program's name");
  must_be_utf8(spec, spec.shell_command, "the command");
  must_be_utf8(spec, spec.directory, "the directory");
  for (const std::string& argument : spec.arguments) must_be_utf8(spec, argument, "an argument");
  for (const std::string& entry : spec.environment) must_be_utf8(spec, entry, "a variable");
  if (is_batch_file(spec.program)) {
    throw std::invalid_argument{spec.in_start() +
                                "it is a batch file, and its arguments cannot be quoted safely; "
                                "subprocess_shell() runs it"};
  }
  if (!spec.arguments.empty() && spec.arguments.front().find('"') != std::string::npos) {
    throw std::invalid_argument{spec.in_start() + "the program's name has a quote inside"};
  }
}

std::unique_ptr<Children> make_children() { return std::make_unique<WindowsChildren>(); }

}  // namespace ferry::internal
