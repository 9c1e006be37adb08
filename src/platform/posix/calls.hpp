// Every system call of the POSIX platform, in one table.
//
// In the library each is the call itself. In the tests' build (FERRY_TEST_HOOKS) a Hook sees every
// call first: it can count them, make one fail with an errno, or shorten what is moved.
#pragma once

#include "platform/posix/features.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <utility>

namespace ferry::internal::calls {

enum class Call : unsigned char {
  socket, bind, listen, accept, connect, recv, send, sendmsg, shutdown, close, getsockname,
  getpeername, setsockopt, getsockopt, fcntl, socketpair, epoll_create, epoll_ctl, epoll_wait,
  eventfd, kqueue, kevent_change, kevent_trigger, kevent_wait, poll, pipe, read, write, unlink,
  stat, fstat, getaddrinfo, sigaction,
  count,
};

#ifdef FERRY_TEST_HOOKS
class Hook {
 public:
  virtual ~Hook() = default;
  // An errno to fail with instead of making the call; 0: make it. May lower `size`, the number of
  // bytes to move. getaddrinfo: `handle` is -1, and the number is its own EAI_ code.
  virtual int before(Call call, int handle, std::size_t& size) = 0;
  // Makes a look-up that before() has let pass.
  virtual int look_up(const char* host, const char* service, const addrinfo* hints,
                      addrinfo** out) {
    return ::getaddrinfo(host, service, hints, out);
  }
};
// Null: none. Set while no other thread makes calls.
extern Hook* hook;
// Whether the last call of this thread moved less because the hook said so: then a short count does
// not mean that the system has no more, or takes no more.
extern thread_local bool cut;
inline bool was_cut() noexcept { return cut; }

template <class Real>
auto through(Call call, int handle, std::size_t size, Real real) -> decltype(real(size)) {
  if (hook != nullptr) {
    const std::size_t asked = size;
    const int error = hook->before(call, handle, size);
    cut = size < asked;
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  return real(size);
}
#else
constexpr bool was_cut() noexcept { return false; }
template <class Real>
inline auto through(Call, int, std::size_t size, Real real) -> decltype(real(size)) {
  return real(size);
}
#endif

// --- descriptors are born here: never inherited by other programs, no SIGPIPE from sockets ---

enum class Blocking : bool { no, yes };
// Gives a new descriptor what the system did not at its birth. `flagged`: the flags it has. Passes
// on what it is given, or -1 and errno: then it is closed.
int complete_slowly(int fd, Blocking blocking, bool flagged);
inline int complete(int fd, Blocking blocking, bool flagged) {
  return flagged && features.msg_nosignal ? fd : complete_slowly(fd, blocking, flagged);
}
inline int stream_socket(int family) {
  const bool flagged = features.socket_flags;
  const int type = SOCK_STREAM | (flagged ? sock_nonblock | sock_cloexec : 0);
  const int fd = through(Call::socket, -1, 0,
                         [&](std::size_t) { return ::socket(family, type, 0); });
  return complete(fd, Blocking::no, flagged);
}
// Does not block either.
inline int accept(int listener, sockaddr* address, socklen_t* length) {
  const int fd = through(Call::accept, listener, 0, [&](std::size_t) {
    return features.accept4 ? accept4(listener, address, length, sock_nonblock | sock_cloexec)
                            : ::accept(listener, address, length);
  });
  return complete(fd, Blocking::no, features.accept4);
}
// Of Unix sockets; they block.
int socket_pair(int* pair);
int pipe(int* pair);

inline int bind(int fd, const sockaddr* address, socklen_t length) {
  return through(Call::bind, fd, 0, [&](std::size_t) { return ::bind(fd, address, length); });
}
inline int listen(int fd, int backlog) {
  return through(Call::listen, fd, 0, [&](std::size_t) { return ::listen(fd, backlog); });
}
inline int connect(int fd, const sockaddr* address, socklen_t length) {
  return through(Call::connect, fd, 0,
                 [&](std::size_t) { return ::connect(fd, address, length); });
}
inline ssize_t recv(int fd, void* into, std::size_t size, int flags) {
  return through(Call::recv, fd, size,
                 [&](std::size_t n) { return ::recv(fd, into, n, flags); });
}

// A socket that was not born here. Where no call can say so, this spares it from SIGPIPE.
inline void no_sigpipe(int fd) {
  if (!features.msg_nosignal) static_cast<void>(complete_slowly(fd, Blocking::yes, true));
}
// Where neither a call nor a socket can be told: holds SIGPIPE off this thread, and takes back the
// one that the call made.
class SigpipeHeld {
 public:
  SigpipeHeld() noexcept;
  ~SigpipeHeld();
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;

 private:
  bool pending_before_ = false;
  sigset_t mask_before_;
};
template <class Send>
inline ssize_t without_sigpipe(Send send) {
  if (features.msg_nosignal || so_nosigpipe != 0) return send(msg_nosignal);
  const SigpipeHeld held;
  return send(0);
}
inline ssize_t send(int fd, const void* from, std::size_t size) {
  return through(Call::send, fd, size, [&](std::size_t n) {
    return without_sigpipe([&](int flags) { return ::send(fd, from, n, flags); });
  });
}
// `parts` may be changed by the call.
ssize_t sendmsg(int fd, iovec* parts, std::size_t count);
inline int shutdown(int fd, int how) {
  return through(Call::shutdown, fd, 0, [&](std::size_t) { return ::shutdown(fd, how); });
}
inline int close(int fd) {
  return through(Call::close, fd, 0, [&](std::size_t) { return ::close(fd); });
}
inline int getsockname(int fd, sockaddr* address, socklen_t* length) {
  return through(Call::getsockname, fd, 0,
                 [&](std::size_t) { return ::getsockname(fd, address, length); });
}
inline int getpeername(int fd, sockaddr* address, socklen_t* length) {
  return through(Call::getpeername, fd, 0,
                 [&](std::size_t) { return ::getpeername(fd, address, length); });
}
inline int setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  return through(Call::setsockopt, fd, 0, [&](std::size_t) {
    return ::setsockopt(fd, level, option, value, length);
  });
}
inline int getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  return through(Call::getsockopt, fd, 0, [&](std::size_t) {
    return ::getsockopt(fd, level, option, value, length);
  });
}
inline int fcntl(int fd, int command, int argument) {
  return through(Call::fcntl, fd, 0,
                 [&](std::size_t) { return ::fcntl(fd, command, argument); });
}
// 0, or -1 and errno.
int set_nonblocking(int fd);
bool listens(int fd) noexcept;
inline int poll(pollfd* set, nfds_t count, int timeout) {
  return through(Call::poll, -1, 0, [&](std::size_t) { return ::poll(set, count, timeout); });
}
inline ssize_t read(int fd, void* into, std::size_t size) {
  return through(Call::read, fd, size, [&](std::size_t n) { return ::read(fd, into, n); });
}
inline ssize_t write(int fd, const void* from, std::size_t size) {
  return through(Call::write, fd, size, [&](std::size_t n) { return ::write(fd, from, n); });
}
inline int unlink(const char* path) {
  return through(Call::unlink, -1, 0, [&](std::size_t) { return ::unlink(path); });
}
inline int stat(const char* path, struct stat* facts) {
  return through(Call::stat, -1, 0, [&](std::size_t) { return ::lstat(path, facts); });
}
inline int fstat(int fd, struct stat* facts) {
  return through(Call::fstat, fd, 0, [&](std::size_t) { return ::fstat(fd, facts); });
}
inline int sigaction(int number, const struct sigaction* now, struct sigaction* before) {
  return through(Call::sigaction, -1, 0,
                 [&](std::size_t) { return ::sigaction(number, now, before); });
}
// Answers an EAI_ code, as the call does.
int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** out);

}  // namespace ferry::internal::calls
