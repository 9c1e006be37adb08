// posix_spawn(): how macOS starts a child without a copy of its parent.
#include "platform/posix/child_calls.hpp"
#include "platform/posix/child_start.hpp"

#include <spawn.h>

// Of the systems that have some posix_spawn() these have the one that is called here. Linux is for
// the tests: only macOS starts children so.
#if defined(__APPLE__) || defined(__linux__)
#define FERRY_SPAWNS_BY_CALL 1
#endif

#include <algorithm>
#include <cerrno>

namespace ferry::internal {
#ifdef FERRY_SPAWNS_BY_CALL
namespace {

// Everything that posix_spawn() is told; each call may run out of memory.
class SpawnCall {
 public:
  explicit SpawnCall(const StartPlan& plan) : plan_{plan} {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
  }
  ~SpawnCall() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnCall(const SpawnCall&) = delete;
  SpawnCall& operator=(const SpawnCall&) = delete;

  Started run() {
    Started started;
    take_attributes();
    take_streams();
    take_handles();
    if (plan_.directory != nullptr) {
      check(::posix_spawn_file_actions_addchdir_np(&actions_, plan_.directory));
    }
    if (error_ != 0) {
      started.error = error_;
      tell_step(started);
      return started;
    }
    started.step = StartStep::exec;
    started.error = ENOENT;
    for (const std::string& file : plan_.candidates) {
      const int error = calls::posix_spawn(started.pid, file.c_str(), actions_, attributes_,
                                           plan_.arguments.data(), plan_.environment.data());
      if (error == 0) {
        started.error = 0;
        return started;
      }
      if (started.error == ENOENT) started.error = error;
      if (error != ENOENT && error != ENOTDIR && error != EACCES) break;
    }
    started.pid = -1;
    tell_step(started);
    return started;
  }

 private:
  void check(int error) noexcept {
    if (error_ == 0) error_ = error;
  }

  void take_attributes() {
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    check(::posix_spawnattr_setsigmask(&attributes_, &none));
    check(::posix_spawnattr_setsigdefault(&attributes_, &all));
    if (plan_.new_session) flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
    if (plan_.process_group) {
      flags = static_cast<short>(flags | POSIX_SPAWN_SETPGROUP);
      check(::posix_spawnattr_setpgroup(&attributes_, *plan_.process_group));
    }
#ifdef POSIX_SPAWN_CLOEXEC_DEFAULT
    flags = static_cast<short>(flags | POSIX_SPAWN_CLOEXEC_DEFAULT);
#endif
    check(::posix_spawnattr_setflags(&attributes_, flags));
  }

  void keep(int handle) {
#ifdef POSIX_SPAWN_CLOEXEC_DEFAULT
    check(::posix_spawn_file_actions_addinherit_np(&actions_, handle));
#else
    check(::posix_spawn_file_actions_adddup2(&actions_, handle, handle));
#endif
  }

  // Those that stand where others shall are first copied out of the way, above all that we know.
  void take_streams() {
    int from[3];
    const int above = std::max({2, plan_.highest_handle, plan_.streams[0], plan_.streams[1],
                                plan_.streams[2]}) + 1;
    for (int i = 0; i < 3; ++i) {
      from[i] = plan_.streams[i];
      if (from[i] == -1 || from[i] > 2 || from[i] == i) continue;
      check(::posix_spawn_file_actions_adddup2(&actions_, from[i], above + i));
      from[i] = above + i;
    }
    for (int i = 0; i < 3; ++i) {
      if (from[i] == -1 || from[i] == i) {
        if (from[i] == i || ::fcntl(i, F_GETFD) != -1) keep(i);
      } else {
        check(::posix_spawn_file_actions_adddup2(&actions_, from[i], i));
      }
      if (from[i] >= above) check(::posix_spawn_file_actions_addclose(&actions_, from[i]));
    }
  }

  void take_handles() {
    for (const int handle : plan_.handles) {
      if (handle > 2) keep(handle);
    }
#ifndef POSIX_SPAWN_CLOEXEC_DEFAULT
    for (int handle = 3; handle <= plan_.highest_handle; ++handle) {
      const bool kept = std::binary_search(plan_.handles.begin(), plan_.handles.end(), handle);
      const bool inherited = !kept && (::fcntl(handle, F_GETFD) & FD_CLOEXEC) == 0;
      if (inherited) check(::posix_spawn_file_actions_addclose(&actions_, handle));
    }
#endif
  }

  // The call tells an errno and not whose it is.
  void tell_step(Started& started) const {
    if (started.error == EBADF) {
      const bool streams = std::any_of(std::begin(plan_.streams), std::end(plan_.streams),
                                       [](int fd) {
                                         return fd != -1 && ::fcntl(fd, F_GETFD) == -1;
                                       });
      started.step = streams ? StartStep::streams : StartStep::handles;
    } else if (plan_.directory != nullptr && ::access(plan_.directory, X_OK) != 0 &&
               errno == started.error) {
      started.step = StartStep::directory;
    } else if (plan_.process_group && started.error == EPERM) {
      started.step = StartStep::process_group;
    }
  }

  const StartPlan& plan_;
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
  int error_ = 0;
};

}  // namespace

Started start_by_call(const StartPlan& plan) { return SpawnCall{plan}.run(); }
#else
Started start_by_call(const StartPlan&) { return {-1, -1, StartStep::start, ENOSYS}; }
#endif

}  // namespace ferry::internal
