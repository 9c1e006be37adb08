// How a child begins: in its parent's memory where the system can do that, so that starting costs
// the same whatever the parent's size; else in a copy.
#include "platform/posix/child_start.hpp"

#include "platform/posix/child_calls.hpp"
#include "platform/sockets/socket_address.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

// Code that runs between two programs, on a stack that no sanitizer knows, and never returns.
#if defined(__GNUC__)
#define FERRY_IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define FERRY_IN_CHILD
#endif

namespace ferry::internal {
namespace {

// --- The plan ---

using Views = std::vector<std::string_view>;

// Copies of `views`, in one block: an environment has dozens, and a block for each of them would
// cost more than the rest of a plan.
std::unique_ptr<char[]> copy_of(const Views& views) {
  std::size_t size = 0;
  for (const std::string_view view : views) size += view.size() + 1;
  std::unique_ptr<char[]> texts{new char[size]};
  char* next = texts.get();
  for (const std::string_view view : views) {
    next = std::copy(view.begin(), view.end(), next);
    *next++ = '\0';
  }
  return texts;
}

// To the next `count` of the texts that begin at `next`, which ends up behind them.
std::vector<char*> pointers_to(char*& next, const std::string_view* views, std::size_t count) {
  std::vector<char*> pointers;
  pointers.reserve(count + 1);
  for (std::size_t i = 0; i < count; ++i) {
    pointers.push_back(next);
    next += views[i].size() + 1;
  }
  pointers.push_back(nullptr);
  return pointers;
}

std::string path_of(const SpawnSpec& spec) {
  for (const std::string& entry : spec.environment) {
    if (entry.starts_with("PATH=")) return entry.substr(5);
  }
  return "/bin:/usr/bin";
}

std::vector<std::string> candidates_of(const SpawnSpec& spec) {
  if (spec.program.find('/') != std::string::npos) return {spec.program};
  std::vector<std::string> found;
  std::string path = path_of(spec);
  for (std::size_t begin = 0;;) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string directory = path.substr(begin, end - begin);
    found.push_back((directory.empty() ? "." : directory) + "/" + spec.program);
    if (end == path.size()) return found;
    begin = end + 1;
  }
}

std::optional<unsigned> as_number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool all = error == std::errc{} && end == text.data() + text.size();
  return all ? std::optional{value} : std::nullopt;
}

[[noreturn]] void nobody(const SpawnSpec& spec, const char* what, const std::string& name) {
  throw OsError{std::make_error_code(std::errc::invalid_argument),
                spec.in_start() + "no such " + what + ": " + name};
}

// Asks the system's database `ask(entry, buffer, size, found)`, whatever room that needs.
template <class Entry, class Ask>
bool look_up(const std::string& context, Entry& entry, std::vector<char>& room, Ask ask) {
  for (room.resize(1024);; room.resize(room.size() * 2)) {
    Entry* found = nullptr;
    const int error = ask(&entry, room.data(), room.size(), &found);
    if (error == ERANGE && room.size() <= 1024 * 1024) continue;
    // How databases say that there is no such entry; all else is that they could not be asked.
    constexpr int none[] = {0, ENOENT, ESRCH, EBADF, EPERM};
    if (std::find(std::begin(none), std::end(none), error) == std::end(none)) {
      os_error(error, context).raise();
    }
    return error == 0 && found != nullptr;
  }
}

void find_user(const SpawnSpec& spec, StartPlan& plan) {
  passwd entry{};
  std::vector<char> room;
  plan.user = as_number(spec.user);
  const std::string context = spec.in_start() + "user " + spec.user;
  const bool known = look_up(context, entry, room, [&](auto... where) {
    return plan.user ? ::getpwuid_r(*plan.user, where...)
                     : ::getpwnam_r(spec.user.c_str(), where...);
  });
  if (!known && !plan.user) nobody(spec, "user", spec.user);
  if (!known && spec.group.empty()) {  // whose groups would it keep? Ours
    throw OsError{std::make_error_code(std::errc::invalid_argument),
                  spec.in_start() + "user " + spec.user +
                      " is not known to the system, and no group is given"};
  }
  if (!known) return;
  plan.user = entry.pw_uid;
  if (spec.group.empty()) plan.group = entry.pw_gid;
  int count = 64;
#ifdef __APPLE__
  using Group = int;
#else
  using Group = gid_t;
#endif
  std::vector<Group> groups(static_cast<std::size_t>(count));
  while (::getgrouplist(entry.pw_name, static_cast<Group>(entry.pw_gid), groups.data(), &count) ==
             -1 &&
         groups.size() < 65536) {
    groups.resize(std::max(groups.size() * 2, static_cast<std::size_t>(count)));
    count = static_cast<int>(groups.size());
  }
  for (int i = 0; i < count; ++i) {
    plan.groups.push_back(static_cast<gid_t>(groups[static_cast<std::size_t>(i)]));
  }
}

void find_group(const SpawnSpec& spec, StartPlan& plan) {
  plan.group = as_number(spec.group);
  if (plan.group) return;
  group entry{};
  std::vector<char> room;
  const std::string context = spec.in_start() + "group " + spec.group;
  const bool known = look_up(context, entry, room, [&](auto... where) {
    return ::getgrnam_r(spec.group.c_str(), where...);
  });
  if (!known) nobody(spec, "group", spec.group);
  plan.group = entry.gr_gid;
}

// Whether this process's groups are these; its main one may be among them.
bool has_groups(const std::vector<gid_t>& wanted) {
  std::vector<gid_t> have(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0)));
  const int count = ::getgroups(static_cast<int>(have.size()), have.data());
  have.resize(static_cast<std::size_t>(std::max(count, 0)));
  const auto among = [](const std::vector<gid_t>& all) {
    return [&all](gid_t id) { return std::find(all.begin(), all.end(), id) != all.end(); };
  };
  if (!std::all_of(have.begin(), have.end(), among(wanted))) return false;
  have.push_back(::getegid());
  return std::all_of(wanted.begin(), wanted.end(), among(have));
}

// The system may be older than what ferry was built on, or a sandbox may forbid it.
bool can_close_range() { return features.close_range && calls::close_range(INT_MAX, INT_MAX) == 0; }

// For systems that cannot close all at once.
int highest_open_handle() {
  int highest = 2;
  try {
    for (const auto& entry : std::filesystem::directory_iterator{"/dev/fd"}) {
      const auto number = as_number(entry.path().filename().string());
      if (number) highest = std::max(highest, static_cast<int>(*number));
    }
  } catch (const std::filesystem::filesystem_error&) {
    const long limit = ::sysconf(_SC_OPEN_MAX);
    highest = static_cast<int>(std::clamp(limit, 3l, 65536l));
  }
  return highest;
}

// --- In the child: nothing but system calls, on memory that is there ---

#ifdef _SIG_MAXSIG
constexpr int signal_count = _SIG_MAXSIG + 1;  // BSDs have more than NSIG says
#else
constexpr int signal_count = NSIG;
#endif

// What other threads may have opened since the highest handle was looked for.
constexpr int born_meanwhile = 256;

// How the child tells its parent what failed.
struct Outcome {
  StartStep step = StartStep::start;
  int error = 0;
};

class InChild {
 public:
  InChild(const StartPlan& plan, int told, Outcome& outcome) noexcept
      : plan_{plan}, told_{told}, outcome_{outcome} {}

  // Ends in the new program, or with `outcome` and through the pipe `told`, unless that is -1.
  FERRY_IN_CHILD void run() noexcept {
    if (restore_signals() && take_place() && connect_streams() && close_handles() &&
        become_somebody()) {
      execute();
    }
    if (told_ != -1) {
      while (::write(told_, &outcome_, sizeof outcome_) < 0 && errno == EINTR) {
      }
    }
  }

 private:
  FERRY_IN_CHILD bool failed(StartStep step) noexcept {
    outcome_ = {step, errno};
    return false;
  }

  // Ignored signals stay ignored in a new program: the child is to have them as they are by
  // default, none blocked (T-172).
  FERRY_IN_CHILD bool restore_signals() noexcept {
    struct sigaction by_default;
    std::memset(&by_default, 0, sizeof by_default);
    by_default.sa_handler = SIG_DFL;
    for (int number = 1; number < signal_count; ++number) {
      calls::child_sigaction(number, &by_default, nullptr);
    }
    sigset_t none;
    sigemptyset(&none);
    return ::sigprocmask(SIG_SETMASK, &none, nullptr) == 0 || failed(StartStep::signals);
  }

  FERRY_IN_CHILD bool take_place() noexcept {
    if (plan_.new_session && calls::setsid() == -1) return failed(StartStep::session);
    if (plan_.process_group && calls::setpgid(*plan_.process_group) != 0) {
      return failed(StartStep::process_group);
    }
    return true;
  }

  FERRY_IN_CHILD bool connect_streams() noexcept {
    int from[3];
    // First out of the way of those that will be 0, 1 and 2.
    for (int i = 0; i < 3; ++i) {
      from[i] = plan_.streams[i];
      if (from[i] == -1 || from[i] > 2 || from[i] == i) continue;
      from[i] = calls::dup_above(from[i], 3);
      if (from[i] == -1) return failed(StartStep::streams);
    }
    if (told_ >= 0 && told_ < 3) {
      told_ = calls::dup_above(told_, 3);
      if (told_ == -1) return failed(StartStep::streams);
    }
    for (int i = 0; i < 3; ++i) {
      if (from[i] == -1) continue;
      const int answer = from[i] == i ? calls::keep_open(i) : calls::dup_to(from[i], i);
      if (answer == -1) return failed(StartStep::streams);
    }
    return true;
  }

  FERRY_IN_CHILD bool close_handles() noexcept {
    for (const int handle : plan_.handles) {
      if (handle > 2 && calls::keep_open(handle) != 0) return failed(StartStep::handles);
    }
    int next = 3;
    std::size_t i = 0;
    for (;;) {
      // The next one that stays: of the plan's, or the one that we tell by.
      while (i < plan_.handles.size() && plan_.handles[i] < next) ++i;
      int stays = i < plan_.handles.size() ? plan_.handles[i] : INT_MAX;
      if (told_ >= next && told_ < stays) stays = told_;
      if (stays > next && !close_from(next, stays - 1)) return failed(StartStep::handles);
      if (stays == INT_MAX) return true;
      next = stays + 1;
    }
  }
  FERRY_IN_CHILD bool close_from(int first, int last) noexcept {
    if (plan_.highest_handle == -1) return calls::close_range(first, last) == 0;
    // EBADF is what most of them are.
    for (int handle = first; handle <= std::min(last, plan_.highest_handle + born_meanwhile);
         ++handle) {
      ::close(handle);
    }
    return true;
  }

  FERRY_IN_CHILD bool become_somebody() noexcept {
    if (plan_.umask) ::umask(*plan_.umask);
    if (plan_.directory != nullptr && calls::chdir(plan_.directory) != 0) {
      return failed(StartStep::directory);
    }
    const bool changes = plan_.user || plan_.group;
    if (changes && calls::setgroups(plan_.groups.data(), plan_.groups.size()) != 0) {
      // Who is not root keeps his groups: those that he shall have, or his own as the same user.
      const bool same_user = plan_.user && *plan_.user == ::geteuid();
      if (errno != EPERM || !(same_user || plan_.has_these_groups)) {
        return failed(StartStep::groups);
      }
    }
    if (plan_.group && calls::setgid(*plan_.group) != 0) return failed(StartStep::group);
    if (plan_.user && calls::setuid(*plan_.user) != 0) return failed(StartStep::user);
    return true;
  }

  FERRY_IN_CHILD void execute() noexcept {
    int error = ENOENT;
    for (const std::string& file : plan_.candidates) {
      calls::exec(file.c_str(), plan_.arguments.data(), plan_.environment.data());
      // What is not there is looked for elsewhere; what may not be run is remembered.
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
        error = errno;
        break;
      }
      if (error == ENOENT) error = errno;
    }
    outcome_ = {StartStep::exec, error};
  }

  const StartPlan& plan_;
  int told_;
  Outcome& outcome_;
};

// --- In the parent ---

Started start_copied(const StartPlan& plan) {
  Started started;
  int ends[2];
  if (calls::child_pipe(ends, 1) != 0) {
    started.error = errno;
    return started;
  }
  const Pipe reader{ends[0]};
  Pipe writer{ends[1]};
  started.pid = calls::fork();
  if (started.pid == 0) {
    Outcome outcome;
    InChild{plan, ends[1], outcome}.run();
    ::_exit(127);
  }
  started.error = started.pid == -1 ? errno : 0;
  writer.close();
  Outcome outcome;
  ssize_t count = 0;
  while (started.pid > 0 && (count = ::read(ends[0], &outcome, sizeof outcome)) < 0 &&
         errno == EINTR) {
  }
  // Its end without a word: the program runs, or somebody has killed the child, which its exit will
  // tell.
  if (count == sizeof outcome) {
    started.step = outcome.step;
    started.error = outcome.error;
  }
  return started;
}

#ifdef __linux__
constexpr std::size_t child_stack = 32 * 1024;

struct Begin {
  const StartPlan* plan;
  Outcome* outcome;
};
FERRY_IN_CHILD int begin_shared(void* of) {
  const auto* const begin = static_cast<const Begin*>(of);
  InChild{*begin->plan, -1, *begin->outcome}.run();
  return 127;
}

// This thread waits meanwhile, since the child uses its memory: a part of this very stack, which
// costs no mapping per start.
Started start_shared(const StartPlan& plan) {
  Started started;
  alignas(64) std::byte stack[child_stack];
  Outcome outcome;
  Begin begin{&plan, &outcome};
  started.pid = calls::clone_shared(&begin_shared, stack + child_stack, &begin,
                                    features.pidfd ? &started.pidfd : nullptr);
  started.error = started.pid == -1 ? errno : outcome.error;
  started.step = outcome.step;
  return started;
}

FERRY_IN_CHILD int tell_of_itself(void* told) {
  *static_cast<volatile bool*>(told) = true;
  return 0;
}

// Emulators of Linux, and valgrind, make a copy instead, whose errors nobody would hear of: asked
// once, by a child that does nothing.
std::optional<bool> children_share_memory() {
  alignas(64) std::byte stack[child_stack];
  volatile bool told = false;
  // Without a signal: nobody else in this process hears of it.
  const pid_t pid = calls::system_clone(&tell_of_itself, stack + child_stack,
                                        CLONE_VM | CLONE_VFORK, const_cast<bool*>(&told));
  if (pid == -1) return std::nullopt;  // no more processes, perhaps just now
  while (::waitpid(pid, nullptr, __WALL) == -1 && errno == EINTR) {
  }
  return told;
}
bool can_share() {
  enum : int { unknown, no, yes };
  static std::atomic<int> known{unknown};
  if (known == unknown) {
    if (const auto answer = children_share_memory()) known = *answer ? yes : no;
  }
  return known == yes;
}
#else
bool can_share() { return false; }
Started start_shared(const StartPlan&) { return {-1, -1, StartStep::start, ENOSYS}; }
#endif

// Where the directory that the child is given matters to which program it is.
bool is_relative(const std::vector<std::string>& candidates) {
  return std::any_of(candidates.begin(), candidates.end(),
                     [](const std::string& file) { return !file.starts_with('/'); });
}

}  // namespace

StartPlan::StartPlan(const SpawnSpec& spec) {
  const bool shell = !spec.shell_command.empty();
  candidates = shell ? std::vector<std::string>{"/bin/sh"} : candidates_of(spec);
  Views views = shell ? Views{"/bin/sh", "-c", spec.shell_command}
                      : Views{spec.arguments.begin(), spec.arguments.end()};
  const std::size_t count = views.size();
  views.insert(views.end(), spec.environment.begin(), spec.environment.end());
  views.push_back(spec.directory);
  texts_ = copy_of(views);
  char* next = texts_.get();
  arguments = pointers_to(next, views.data(), count);
  environment = pointers_to(next, views.data() + count, views.size() - 1 - count);
  if (!spec.directory.empty()) directory = next;
  for (const NativeHandle handle : spec.handles) handles.push_back(static_cast<int>(handle));
  std::sort(handles.begin(), handles.end());
  if (!can_close_range()) highest_handle = highest_open_handle();
  new_session = spec.new_session;
  const bool led_already = spec.new_session && spec.process_group == 0;
  if (spec.process_group && !led_already) process_group = static_cast<pid_t>(*spec.process_group);
  if (spec.umask) umask = static_cast<mode_t>(*spec.umask);
  if (!spec.user.empty()) find_user(spec, *this);
  if (!spec.group.empty()) find_group(spec, *this);
  if (group && groups.empty()) groups.push_back(*group);
  if (group || user) has_these_groups = has_groups(groups);
}

Started start_child(const StartPlan& plan) {
  const bool by_call = features.spawn_call && !plan.umask && !plan.user && !plan.group &&
                       !(plan.directory != nullptr && is_relative(plan.candidates));
  // Who becomes somebody else has no business in our memory: the other could stop or signal him.
  const bool shares = features.shared_start && !plan.user && !plan.group && can_share();
  Started started = by_call             ? start_by_call(plan)
                    : shares            ? start_shared(plan)
                                        : start_copied(plan);
  if (started.pid == -1 || started.error == 0) {
    if (started.pid != -1 && started.pidfd == -1) started.pidfd = calls::pidfd_open(started.pid);
    return started;
  }
  // It has told why, and ends at once.
  while (::waitpid(started.pid, nullptr, 0) == -1 && errno == EINTR) {
  }
  if (started.pidfd != -1) calls::close(std::exchange(started.pidfd, -1));
  started.pid = -1;
  return started;
}

}  // namespace ferry::internal
