// Every system call of the POSIX platform, in one table.
#pragma once

#include "platform/poller.hpp"
#include "platform/posix/features.hpp"
#include "platform/sockets/hook.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace ferry::internal::calls {

// --- What sockets/ uses: the same on every system ---

using AddrInfo = addrinfo;
using Part = iovec;  // of what is sent by one call
}  // namespace ferry::internal::calls

#include "platform/sockets/datagram_parts.hpp"

namespace ferry::internal::calls {
inline Part part(const void* data, std::size_t size) noexcept {
  return {const_cast<void*>(data), size};
}
// Whether the selector tells of the peer's reset: here recv() and send() do.
constexpr bool selector_tells_resets = false;

inline int fd(NativeHandle handle) noexcept { return static_cast<int>(handle); }

// Descriptors are born here: never inherited by other programs, no SIGPIPE from sockets.
enum class Blocking : bool { no, yes };
// Gives a new descriptor what the system did not at its birth. `flagged`: the flags it has. Passes
// on what it is given, or -1 and errno: then it is closed.
int complete_slowly(int fd, Blocking blocking, bool flagged);
inline int complete(int fd, Blocking blocking, bool flagged) {
  return flagged && features.msg_nosignal ? fd : complete_slowly(fd, blocking, flagged);
}
inline NativeHandle stream_socket(int family) {
  const bool flagged = features.socket_flags;
  const int type = SOCK_STREAM | (flagged ? sock_nonblock | sock_cloexec : 0);
  const int made = through(Call::socket, -1, 0,
                           [&](std::size_t) { return ::socket(family, type, 0); });
  return complete(made, Blocking::no, flagged);
}
inline int bind(NativeHandle handle, const sockaddr* address, socklen_t length) {
  return through(Call::bind, handle, 0,
                 [&](std::size_t) { return ::bind(fd(handle), address, length); });
}
inline int listen(NativeHandle handle, int backlog) {
  return through(Call::listen, handle, 0,
                 [&](std::size_t) { return ::listen(fd(handle), backlog); });
}
// Does not block either.
inline NativeHandle accept(NativeHandle handle, sockaddr* address, socklen_t* length) {
  const int made = through(Call::accept, handle, 0, [&](std::size_t) {
    return features.accept4 ? accept4(fd(handle), address, length, sock_nonblock | sock_cloexec)
                            : ::accept(fd(handle), address, length);
  });
  return complete(made, Blocking::no, features.accept4);
}
NativeHandle datagram_socket(int family);
// Many by one system call, where there is one. They begin and end with whole datagrams.
DatagramsMoved receive_many(NativeHandle handle, DatagramIn* in, std::size_t count,
                            ReceiveWhat what);
DatagramsMoved send_many(NativeHandle handle, DatagramOut* out, std::size_t count);
// Whether send_many() and receive_many() know `segment`, for this socket.
bool can_cut_segments(NativeHandle handle);
bool join_segments(NativeHandle handle);
// 0, or -1 and errno.
int tell_packet_ways(NativeHandle handle, int family);
int membership(NativeHandle handle, int family, const Membership& of, bool join);
int set_option(NativeHandle handle, int family, DatagramOption option, int value);
// Whether the system drops a datagram of this family, rather than let it wait, when it has no
// buffers (S-082).
bool drops_datagrams(int family) noexcept;
// Errors that wait beside the datagrams (IP_RECVERR, time stamps): they would be reported for ever.
void drop_error_queue(NativeHandle handle) noexcept;
// AF_UNSPEC, and errno: it does not tell.
int family_of(NativeHandle handle);
// Whether a socket without a name can be asked for what has come.
constexpr bool receives_without_a_name = true;
// An unconnected socket does not hear of unreachable ports; here it never does.
inline void ignore_unreachable(NativeHandle) noexcept {}
// Of Unix sockets; they block.
int socket_pair(NativeHandle (&pair)[2]);
// EINPROGRESS: under way.
inline int connect(NativeHandle handle, const sockaddr* address, socklen_t length) {
  return through(Call::connect, handle, 0,
                 [&](std::size_t) { return ::connect(fd(handle), address, length); });
}
inline std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) {
  return through(Call::recv, handle, size,
                 [&](std::size_t n) { return ::recv(fd(handle), into, n, 0); });
}
// A socket that was not born here. Where no call can say so, this spares it from SIGPIPE.
inline void no_sigpipe(NativeHandle handle) {
  if (!features.msg_nosignal) static_cast<void>(complete_slowly(fd(handle), Blocking::yes, true));
}
// Where neither a call nor a socket can be told: holds SIGPIPE off this thread, and takes back the
// one that the call made.
class SigpipeHeld {
 public:
  SigpipeHeld() noexcept;
  ~SigpipeHeld();
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;
  // What the call answered, and errno: only a broken pipe leaves a signal.
  ssize_t done(ssize_t answer) noexcept {
    broken_ = answer < 0 && errno == EPIPE;
    return answer;
  }

 private:
  bool pending_before_ = false;
  bool broken_ = false;
  sigset_t mask_before_;
};
template <class Send>
inline ssize_t without_sigpipe(Send send) {
  if (features.msg_nosignal || so_nosigpipe != 0) return send(msg_nosignal);
  SigpipeHeld held;
  return held.done(send(0));
}
inline std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) {
  return through(Call::send, handle, size, [&](std::size_t n) {
    return without_sigpipe([&](int flags) { return ::send(fd(handle), from, n, flags); });
  });
}
// `parts` may be changed by the call.
std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count);
// Ends the writing side.
inline int shut_write(NativeHandle handle) {
  return through(Call::shutdown, handle, 0,
                 [&](std::size_t) { return ::shutdown(fd(handle), SHUT_WR); });
}
inline int close(NativeHandle handle) {
  return through(Call::close, handle, 0, [&](std::size_t) { return ::close(fd(handle)); });
}
inline int getsockname(NativeHandle handle, sockaddr* address, socklen_t* length) {
  return through(Call::getsockname, handle, 0,
                 [&](std::size_t) { return ::getsockname(fd(handle), address, length); });
}
inline int getpeername(NativeHandle handle, sockaddr* address, socklen_t* length) {
  return through(Call::getpeername, handle, 0,
                 [&](std::size_t) { return ::getpeername(fd(handle), address, length); });
}
inline int setsockopt(NativeHandle handle, int level, int option, const void* value,
                      socklen_t length) {
  return through(Call::setsockopt, handle, 0, [&](std::size_t) {
    return ::setsockopt(fd(handle), level, option, value, length);
  });
}
inline int getsockopt(NativeHandle handle, int level, int option, void* value,
                      socklen_t* length) {
  return through(Call::getsockopt, handle, 0, [&](std::size_t) {
    return ::getsockopt(fd(handle), level, option, value, length);
  });
}
inline int fcntl(NativeHandle handle, int command, int argument) {
  return through(Call::fcntl, handle, 0,
                 [&](std::size_t) { return ::fcntl(fd(handle), command, argument); });
}
// 0, or -1 and errno.
int set_nonblocking(NativeHandle handle);
bool listens(NativeHandle handle) noexcept;
// The error that the socket keeps, which this takes; 0: none.
inline int pending_error(NativeHandle handle) noexcept {
  int error = 0;
  socklen_t length = sizeof error;
  return calls::getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}
// Before bind(). `reuse`: in spite of connections that the port had before.
inline int claim_address(NativeHandle handle, bool reuse) {
  const int on = 1;
  return reuse ? calls::setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) : 0;
}
inline int share_port(NativeHandle handle) {
  const int on = 1;
  return calls::setsockopt(handle, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
}
// Whether a stream that has no peer (any more) once had one: it has an end to be read.
bool has_ended(NativeHandle handle);

inline int look_up(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out) {
  return ::getaddrinfo(host, service, hints, out);
}
inline void free_addresses(AddrInfo* list) noexcept { ::freeaddrinfo(list); }
inline long process_id() noexcept { return ::getpid(); }
// In a thread of our own: signals are for the program's.
inline void block_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

struct FileFacts {
  bool is_socket = false;
  std::uint64_t device = 0, inode = 0;
};
int stat(const char* path, FileFacts& facts);  // not through links
inline int unlink(const char* path) {
  return through(Call::unlink, -1, 0, [&](std::size_t) { return ::unlink(path); });
}

// --- What POSIX selectors and signals use ---

inline int poll(pollfd* set, nfds_t count, int timeout) {
  return through(Call::poll, -1, 0, [&](std::size_t) { return ::poll(set, count, timeout); });
}
// What shows at a handle that is read, as readiness.
inline std::uint32_t look(NativeHandle handle) {
#ifdef POLLRDHUP
  constexpr short ends = POLLHUP | POLLERR | POLLRDHUP;
#else
  constexpr short ends = POLLHUP | POLLERR;
#endif
  pollfd end{static_cast<int>(handle), static_cast<short>(POLLIN | ends), 0};
  const int count = calls::poll(&end, 1, 0);
  if (count <= 0) return count == 0 ? 0u : std::uint32_t{ready_read};
  return (end.revents & ends) == 0 ? std::uint32_t{ready_read} : ready_read | ready_hint;
}
int pipe(int* pair, Blocking blocking = Blocking::no);
// The same, but only our end does not block: 0 is the one that is read.
int child_pipe(int* pair, int ours);
inline ssize_t writev(int fd, const iovec* parts, int count) {
  return through(Call::write, fd, 0, [&](std::size_t) { return ::writev(fd, parts, count); });
}
inline int open(const char* path, int how) {
  return through(Call::open, -1, 0, [&](std::size_t) { return ::open(path, how); });
}
inline ssize_t read(int fd, void* into, std::size_t size) {
  return through(Call::read, fd, size, [&](std::size_t n) { return ::read(fd, into, n); });
}
inline ssize_t write(int fd, const void* from, std::size_t size) {
  return through(Call::write, fd, size, [&](std::size_t n) { return ::write(fd, from, n); });
}
inline int fstat(int fd, struct stat* facts) {
  return through(Call::fstat, fd, 0, [&](std::size_t) { return ::fstat(fd, facts); });
}
inline int sigaction(int number, const struct sigaction* now, struct sigaction* before) {
  return through(Call::sigaction, -1, 0,
                 [&](std::size_t) { return ::sigaction(number, now, before); });
}

}  // namespace ferry::internal::calls
