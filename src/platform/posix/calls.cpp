#include "platform/posix/calls.hpp"

#include "platform/sockets/socket_address.hpp"
#include "values/system_text.hpp"

#ifdef __APPLE__
#include <libproc.h>
#endif

namespace ferry::internal {

namespace calls {

int set_nonblocking(NativeHandle handle) {
  const int flags = calls::fcntl(handle, F_GETFL, 0);
  if (flags == -1) return -1;
  return (flags & O_NONBLOCK) != 0 ? 0 : calls::fcntl(handle, F_SETFL, flags | O_NONBLOCK);
}

int complete_slowly(int fd, Blocking blocking, bool flagged) {
  if (fd < 0) return fd;
  // An accepted socket has inherited its listener's flags on some systems and none on others:
  // whatever it was, this is what it is now.
  if (!flagged && (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
                   (blocking == Blocking::no && set_nonblocking(fd) != 0))) {
    const int error = errno;
    close(fd);
    return errno = error, -1;
  }
  if (so_nosigpipe != 0 && !features.msg_nosignal) {
    // Fails for what is no socket, and for one that died already: its listener had the option.
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, so_nosigpipe, &on, sizeof on);
  }
  return fd;
}

namespace {

// Completes both ends; if that fails, neither is left.
int complete_pair(int* pair, Blocking blocking, bool flagged) {
  for (const int i : {0, 1}) {
    if (complete(pair[i], blocking, flagged) != -1) continue;
    const int error = errno;
    close(pair[1 - i]);
    return errno = error, -1;
  }
  return 0;
}

}  // namespace

int socket_pair(NativeHandle (&pair)[2]) {
  int ends[2] = {-1, -1};
  const bool flagged = features.socket_flags;
  const int type = SOCK_STREAM | (flagged ? sock_cloexec : 0);
  const int made = through(Call::socketpair, -1, 0, [&](std::size_t) {
    return ::socketpair(AF_UNIX, type, 0, ends);
  });
  if (made != 0) return made;
  const int answer = complete_pair(ends, Blocking::yes, flagged);
  pair[0] = ends[0];
  pair[1] = ends[1];
  return answer;
}

int pipe(int* pair, Blocking blocking) {
  const bool flagged = features.pipe2;
  const int flags = O_CLOEXEC | (blocking == Blocking::no ? O_NONBLOCK : 0);
  const int made = through(Call::pipe, -1, 0, [&](std::size_t) {
    return flagged ? pipe2(pair, flags) : ::pipe(pair);
  });
  return made == 0 ? complete_pair(pair, blocking, flagged) : made;
}

int child_pipe(int* pair, int ours) {
  if (pipe(pair, Blocking::yes) != 0) return -1;
  // A new one has no other flags that could be set.
  if (fcntl(pair[ours], F_SETFL, O_NONBLOCK) == 0) return 0;
  const int error = errno;
  close(pair[0]);
  close(pair[1]);
  return errno = error, -1;
}

bool listens(NativeHandle handle) noexcept {
#ifdef __APPLE__
  // getsockopt() does not know SO_ACCEPTCONN there.
  socket_fdinfo facts{};
  const int size = ::proc_pidfdinfo(::getpid(), fd(handle), PROC_PIDFDSOCKETINFO, &facts,
                                    sizeof facts);
  return size == sizeof facts && (facts.psi.soi_options & SO_ACCEPTCONN) != 0;
#else
  int answer = 0;
  socklen_t length = sizeof answer;
  calls::getsockopt(handle, SOL_SOCKET, SO_ACCEPTCONN, &answer, &length);
  return answer != 0;
#endif
}

namespace {

sigset_t only_sigpipe() noexcept {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}
bool sigpipe_is_pending() noexcept {
  sigset_t pending;
  return ::sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

}  // namespace

SigpipeHeld::SigpipeHeld() noexcept {
  const sigset_t set = only_sigpipe();
  ::pthread_sigmask(SIG_BLOCK, &set, &mask_before_);
  // While it was let through, none can have been left pending for this thread.
  pending_before_ = sigismember(&mask_before_, SIGPIPE) == 1 && sigpipe_is_pending();
}

SigpipeHeld::~SigpipeHeld() {
  const int error = errno;
  // One that was pending before is somebody else's.
  if (broken_ && !pending_before_ && sigpipe_is_pending()) {
    const sigset_t set = only_sigpipe();
    int taken = 0;
    ::sigwait(&set, &taken);
  }
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  errno = error;
}

std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += parts[i].iov_len;
  return through(Call::sendmsg, handle, total, [&](std::size_t allowed) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
    if (allowed < total) {  // only in tests: a short count
      for (std::size_t i = 0; i < count; ++i) {
        if (parts[i].iov_len > allowed) parts[i].iov_len = allowed;
        allowed -= parts[i].iov_len;
      }
    }
    return without_sigpipe([&](int flags) { return ::sendmsg(fd(handle), &message, flags); });
  });
}

bool has_ended(NativeHandle handle) {
  pollfd end{fd(handle), POLLIN, 0};
  return calls::poll(&end, 1, 0) == 1 && (end.revents & POLLIN) != 0;
}

int stat(const char* path, FileFacts& facts) {
  struct stat found {};
  const int answer =
      through(Call::stat, -1, 0, [&](std::size_t) { return ::lstat(path, &found); });
  facts = {S_ISSOCK(found.st_mode), static_cast<std::uint64_t>(found.st_dev), found.st_ino};
  return answer;
}

}  // namespace calls

std::error_code system_error(int number) noexcept { return {number, std::system_category()}; }
int errno_of(const std::error_code& code) noexcept { return code.value(); }
std::string message_of(const std::error_code& code) { return code.message(); }

}  // namespace ferry::internal
