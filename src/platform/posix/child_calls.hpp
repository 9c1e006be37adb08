// The system calls of children and their starts, in the same table as the others.
#pragma once

#include "platform/posix/calls.hpp"

#include <grp.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

#include <memory>
#include <utility>

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#endif

namespace ferry::internal::calls {

// --- In the child, before its program ---

#ifdef __GLIBC__
// ThreadSanitizer notes in this process's memory what sigaction() has changed, and would take the
// child's dispositions for this process's: by its other name it is left alone.
extern "C" int __sigaction(int number, const struct sigaction* now, struct sigaction* before);
inline constexpr auto* child_sigaction = __sigaction;
#else
inline constexpr auto* child_sigaction = ::sigaction;
#endif
inline pid_t setsid() {
  return through(Call::setsid, -1, 0, [](std::size_t) { return ::setsid(); });
}
inline int setpgid(pid_t group) {
  return through(Call::setpgid, -1, 0, [&](std::size_t) { return ::setpgid(0, group); });
}
inline int dup_above(int fd, int least) {
  return through(Call::dup, fd, 0,
                 [&](std::size_t) { return ::fcntl(fd, F_DUPFD_CLOEXEC, least); });
}
inline int dup_to(int fd, int number) {
  return through(Call::dup, fd, 0, [&](std::size_t) { return ::dup2(fd, number); });
}
// The program has it too.
inline int keep_open(int fd) {
  return through(Call::fcntl, fd, 0, [&](std::size_t) {
    const int flags = ::fcntl(fd, F_GETFD);
    return flags == -1 ? -1 : ::fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
  });
}
inline int chdir(const char* path) {
  return through(Call::chdir, -1, 0, [&](std::size_t) { return ::chdir(path); });
}
inline int exec(const char* file, char* const* arguments, char* const* environment) {
  return through(Call::exec, -1, 0,
                 [&](std::size_t) { return ::execve(file, arguments, environment); });
}
#ifdef __linux__
inline int close_range(int first, int last) {
#ifdef SYS_close_range
  return through(Call::close_range, first, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(SYS_close_range, static_cast<unsigned>(first),
                                      static_cast<unsigned>(last), 0u));
  });
#else
  static_cast<void>(first);
  static_cast<void>(last);
  return errno = ENOSYS, -1;
#endif
}
// Not the C library's, which would change all threads of the memory's owner, the parent.
#ifdef SYS_setuid32
inline constexpr long setgroups_number = SYS_setgroups32, setgid_number = SYS_setgid32,
                      setuid_number = SYS_setuid32;
#else
inline constexpr long setgroups_number = SYS_setgroups, setgid_number = SYS_setgid,
                      setuid_number = SYS_setuid;
#endif
inline int setgroups(const gid_t* groups, std::size_t count) {
  return through(Call::setgroups, -1, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(setgroups_number, count, groups));
  });
}
inline int setgid(gid_t group) {
  return through(Call::setgid, -1, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(setgid_number, group));
  });
}
inline int setuid(uid_t user) {
  return through(Call::setuid, -1, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(setuid_number, user));
  });
}
#else
inline int close_range(int first, int last) {
#ifdef __FreeBSD__
  return through(Call::close_range, first, 0, [&](std::size_t) {
    return ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(last), 0);
  });
#else
  static_cast<void>(first);
  static_cast<void>(last);
  return errno = ENOSYS, -1;
#endif
}
inline int setgroups(const gid_t* groups, std::size_t count) {
  return through(Call::setgroups, -1, 0, [&](std::size_t) {
    return ::setgroups(static_cast<int>(count), groups);
  });
}
inline int setgid(gid_t group) {
  return through(Call::setgid, -1, 0, [&](std::size_t) { return ::setgid(group); });
}
inline int setuid(uid_t user) {
  return through(Call::setuid, -1, 0, [&](std::size_t) { return ::setuid(user); });
}
#endif

// --- In the parent ---

// An errno, or 0.
inline int posix_spawn(pid_t& pid, const char* file, const posix_spawn_file_actions_t& actions,
                       const posix_spawnattr_t& attributes, char* const* arguments,
                       char* const* environment) {
  const int answer = through(Call::spawn, -1, 0, [&](std::size_t) {
    const int error = ::posix_spawn(&pid, file, &actions, &attributes, arguments, environment);
    return error == 0 ? 0 : (errno = error, -1);
  });
  return answer == 0 ? 0 : errno;
}
inline pid_t fork() {
  return through(Call::spawn, -1, 0, [](std::size_t) { return ::fork(); });
}
#ifdef __linux__
// ThreadSanitizer takes clone() for fork(), and from then on does not see what this thread and
// others do in turn, or ends the program: by its other name it is left alone. And the child's
// descriptors, which it takes for this process's, are none of its business. It may be the program's
// that ferry is linked into, and not ferry's own: so it is looked for when that runs.
extern "C" {
#ifdef __GLIBC__
int __clone(int (*run)(void*), void* stack, int how, void* of, ...);
#endif
__attribute__((weak)) void AnnotateIgnoreWritesBegin(const char* file, int line);
__attribute__((weak)) void AnnotateIgnoreWritesEnd(const char* file, int line);
}
template <typename... More>
pid_t system_clone(int (*run)(void*), void* stack, int how, void* of, More... more) {
  if (AnnotateIgnoreWritesBegin != nullptr) AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#ifdef __GLIBC__
  const pid_t pid = __clone(run, stack, how, of, more...);
#else
  const pid_t pid = ::clone(run, stack, how, of, more...);
#endif
  if (AnnotateIgnoreWritesEnd != nullptr) AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  return pid;
}
// `run` on `stack`, in our memory; returns when that has ended, or become another program.
inline pid_t clone_shared(int (*run)(void*), void* stack, void* of, int* pidfd) {
  return through(Call::spawn, -1, 0, [&](std::size_t) {
    constexpr int how = CLONE_VM | CLONE_VFORK | SIGCHLD;
#ifdef CLONE_PIDFD
    if (pidfd != nullptr) {
      const pid_t pid = system_clone(run, stack, how | CLONE_PIDFD, of, pidfd);
      if (pid != -1 || errno != EINVAL) return pid;
      *pidfd = -1;  // a kernel older than these
    }
#else
    static_cast<void>(pidfd);
#endif
    return system_clone(run, stack, how, of);
  });
}
inline int pidfd_open(pid_t pid) {
  if (!features.pidfd) return errno = ENOSYS, -1;
  return through(Call::pidfd, -1, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  });
}
inline int pidfd_send_signal(int pidfd, int signal) {
  return through(Call::kill, pidfd, 0, [&](std::size_t) {
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
  });
}
#else
inline int pidfd_open(pid_t) { return errno = ENOSYS, -1; }
inline int pidfd_send_signal(int, int) { return errno = ENOSYS, -1; }
#endif
inline int waitid(pid_t pid, siginfo_t& info, int how) {
  return through(Call::waitid, -1, 0, [&](std::size_t) {
    info = {};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, how);
  });
}
// Detached, and with a small stack: each child may have one. An errno, or 0.
template <class Run>
int start_thread(Run run) {
  constexpr std::size_t stack = 512 * 1024;
  return through(Call::thread, -1, 0, [&](std::size_t) {
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    ::pthread_attr_setstacksize(&attributes, stack);
    const auto begin = [](void* of) -> void* {
      const std::unique_ptr<Run> owned{static_cast<Run*>(of)};
      (*owned)();
      return nullptr;
    };
    auto owned = std::make_unique<Run>(std::move(run));
    pthread_t thread;
    const int error = ::pthread_create(&thread, &attributes, begin, owned.get());
    ::pthread_attr_destroy(&attributes);
    if (error != 0) return errno = error, -1;
    static_cast<void>(owned.release());
    return 0;
  }) == 0 ? 0 : errno;
}
// 0: it runs; -1 and ECHILD: another part of the process was faster.
inline pid_t waitpid(pid_t pid, int& status, int how) {
  return through(Call::waitpid, -1, 0, [&](std::size_t) { return ::waitpid(pid, &status, how); });
}
inline int kill(pid_t pid, int signal) {
  return through(Call::kill, -1, 0, [&](std::size_t) { return ::kill(pid, signal); });
}

}  // namespace ferry::internal::calls
