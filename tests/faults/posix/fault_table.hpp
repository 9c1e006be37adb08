// What each system call may fail with, by its manual, and where ferry must tell of it.
#pragma once

#include "support/calls.hpp"

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

namespace test {

// Where the error is told. `unharmed`: nowhere, and then all goes on as if nothing had happened:
// the call is made again, another one does, or ferry does without.
// `receiver`: error_received() of a datagram endpoint.
enum Place : unsigned {
  unharmed = 1, opener = 2, lost = 4, handler = 8, caller = 16, receiver = 32
};

struct CallFaults {
  Call call;
  const char* name;
  std::vector<int> errors;
  unsigned places;
  bool same_code = true;  // what is told has the errno of the fault
};

// Left out everywhere: EFAULT, which only a wrong pointer gives. The numbers are those of the
// manuals of Linux and POSIX.
inline const std::vector<CallFaults> fault_table = {
    {Call::socket, "socket",
     {EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT},
     // A probe for a live server that cannot be made counts as one: address in use.
     opener, false},
    {Call::bind, "bind",
     {EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF, EINVAL, ELOOP, ENAMETOOLONG, ENOENT,
      ENOMEM, ENOBUFS, ENOTDIR, ENOTSOCK, EROFS},
     opener},
    {Call::listen, "listen", {EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP}, opener},
    // Either the next connection is tried at once, or the listener rests and the handler is told.
    {Call::accept, "accept: the next one at once",
     {EAGAIN, EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH,
      ENOPROTOOPT, EOPNOTSUPP},
     unharmed},
    {Call::accept, "accept: a rest",
     {EMFILE, ENFILE, ENOBUFS, ENOMEM, EBADF, EINVAL, ENOTSOCK, EPROTONOSUPPORT, ETIMEDOUT},
     handler},
    // Not EINPROGRESS, EALREADY, EINTR and EISCONN: with those the call has begun, which an
    // injected one has not. connect_test.cpp has them.
    {Call::connect, "connect",
     {EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED,
      ECONNRESET, EHOSTUNREACH, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENETDOWN, ENETUNREACH, ENOBUFS,
      ENOENT, ENOTDIR, ENOTSOCK, EOPNOTSUPP, EPROTOTYPE, ETIMEDOUT},
     // Of a probe for a live server: address in use.
     opener, false},
    {Call::recv, "recv, tried again", {EINTR, EAGAIN}, unharmed},
    {Call::recv, "recv",
     {EBADF, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EINVAL, EIO, ENETDOWN, ENOBUFS, ENOMEM,
      ENOTCONN, ENOTSOCK, ETIMEDOUT},
     lost},
    {Call::send, "send, tried again", {EINTR, EAGAIN, ENOBUFS, EPROTOTYPE}, unharmed},
    {Call::send, "send",
     {EACCES, EBADF, ECONNRESET, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EIO, EISCONN, EMSGSIZE,
      ENETDOWN, ENETUNREACH, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE, ETIMEDOUT},
     lost},
    {Call::sendmsg, "sendmsg, tried again", {EINTR, EAGAIN, ENOBUFS, EPROTOTYPE}, unharmed},
    {Call::sendmsg, "sendmsg",
     {EACCES, EBADF, ECONNRESET, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EIO, EISCONN, EMSGSIZE,
      ENETDOWN, ENETUNREACH, ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPIPE, ETIMEDOUT},
     lost},
    {Call::recv_many, "recv_many, tried again", {EINTR, EAGAIN}, unharmed},
    {Call::recv_many, "recv_many",
     {ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EINVAL, EIO, EMSGSIZE, ENETDOWN, ENOBUFS, ENOMEM,
      ENOTCONN, ETIMEDOUT},
     receiver},
    {Call::recv_many, "recv_many: no socket any more", {EBADF, ENOTSOCK}, lost},
    // Where the system drops datagrams it tells that it has no buffers (S-082).
    {Call::send_many, "send_many, tried again", {EINTR, EAGAIN, ENOBUFS}, unharmed | receiver},
    {Call::send_many, "send_many",
     {EACCES, ECONNRESET, EDESTADDRREQ, EHOSTUNREACH, EINVAL, EIO, EISCONN, EMSGSIZE, ENETDOWN,
      ENETUNREACH, ENOMEM, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE, ETIMEDOUT},
     // Datagrams that the system was to cut go one by one then.
     receiver | unharmed},
    {Call::send_many, "send_many: of an earlier one", {ECONNREFUSED}, receiver | unharmed},
    {Call::send_many, "send_many: no socket any more", {EBADF, ENOTSOCK}, lost | unharmed},
    // What is wrong with the socket shows in reading or writing (T-050). Made all the same.
    {Call::shutdown, "shutdown", {EBADF, EINVAL, ENOTCONN, ENOTSOCK}, unharmed},
    // Closed all the same, and never again. Not EBADF, which only a second close() gives.
    {Call::close, "close", {EINTR, EIO, ENOSPC, EDQUOT}, unharmed},
    // The name is none then; where a port or a state depends on it, it is an error.
    {Call::getsockname, "getsockname", {EBADF, EINVAL, ENOBUFS, ENOTSOCK},
     opener | caller | unharmed, false},
    {Call::getpeername, "getpeername", {EBADF, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK},
     opener | caller | unharmed, false},
    // Without delay, keep-alive, a wish for IPv6 alone: done without. SO_REUSEADDR is told.
    {Call::setsockopt, "setsockopt",
     {EACCES, EBADF, EDOM, EINVAL, EISCONN, ENOBUFS, ENOMEM, ENOPROTOOPT, ENOTSOCK},
     opener | unharmed},
    // A socket of whose kind nothing is known is refused with words of ferry's own.
    {Call::getsockopt, "getsockopt",
     {EACCES, EBADF, EINVAL, ENOBUFS, ENOPROTOOPT, ENOTSOCK},
     opener | caller | unharmed, false},
    // Else the socket might block the loop. (The manual's other errors are of locks and pipes.)
    // When a handle is let go nobody needs to know.
    {Call::fcntl, "fcntl", {EBADF, EINVAL}, opener | caller | handler | unharmed, false},
    {Call::socketpair, "socketpair",
     {EACCES, EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM, EOPNOTSUPP, EPROTONOSUPPORT},
     caller},
    {Call::epoll_create, "epoll_create1", {EINVAL, EMFILE, ENFILE, ENOMEM}, caller},
    // Two of them are mended by the opposite call, which tells that it was not so.
    {Call::epoll_ctl, "epoll_ctl", {EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM},
     opener | lost | handler | caller | unharmed, false},
    {Call::epoll_wait, "epoll_wait, tried again", {EINTR}, unharmed},
    {Call::epoll_wait, "epoll_wait", {EBADF, EINVAL}, caller},
    {Call::eventfd, "eventfd", {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM}, caller},
    {Call::kqueue, "kqueue", {EMFILE, ENFILE, ENOMEM}, caller},
    // Not EINTR: then all changes have been made, which an injected one has not.
    {Call::kevent_change, "kevent_change", {EACCES, EBADF, EINVAL, ENOENT, ENOMEM, ESRCH},
     opener | lost | handler | caller | unharmed, false},
    {Call::kevent_trigger, "kevent_trigger", {EINTR, EBADF, EINVAL, ENOMEM}, handler | unharmed},
    {Call::kevent_wait, "kevent_wait, tried again", {EINTR}, unharmed},
    {Call::kevent_wait, "kevent_wait", {EACCES, EBADF, EINVAL, ENOENT, ENOMEM}, caller},
    {Call::poll, "poll, tried again", {EINTR}, unharmed},
    // Of a socket to adopt it is asked too: then it is taken for one without a peer.
    {Call::poll, "poll", {EINVAL, ENOMEM}, caller | unharmed},
    {Call::pipe, "pipe", {EMFILE, ENFILE, ENOMEM}, caller | opener},
    {Call::read, "read, tried again", {EINTR, EAGAIN}, unharmed},
    // Of the waker: it is emptied again the next time.
    {Call::read, "read", {EBADF, EINVAL, EIO, EISDIR}, unharmed | lost},
    // To the waker: a full one counts as rung.
    {Call::write, "write, tried again", {EINTR, EAGAIN}, unharmed},
    {Call::write, "write", {EBADF, EDESTADDRREQ, EDQUOT, EFBIG, EINVAL, EIO, ENOSPC, EPERM, EPIPE},
     handler | lost},
    // The file stays; the next server there removes it, or cannot bind.
    {Call::unlink, "unlink",
     {EACCES, EBUSY, EIO, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EPERM, EROFS},
     opener | unharmed, false},
    // The same.
    {Call::stat, "stat", {EACCES, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, EOVERFLOW},
     opener | unharmed, false},
    {Call::fstat, "fstat", {EBADF, EIO, ENOMEM, EOVERFLOW},
     opener | caller | handler | unharmed, false},
    {Call::getaddrinfo, "getaddrinfo",
     {EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY, EAI_NONAME, EAI_SERVICE,
      EAI_SOCKTYPE, EAI_SYSTEM},
     opener, false},
    {Call::sigaction, "sigaction", {EINVAL}, caller, false},
    // --- The start of a child, in it and before it ---
    {Call::open, "open",
     {EACCES, EINTR, EIO, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENODEV, ENOENT, ENOMEM, ENXIO,
      EPERM},
     opener},
    {Call::spawn, "spawn", {EAGAIN, EINVAL, ENOMEM, ENOSPC, ENOSYS, EPERM}, opener},
    {Call::dup, "dup", {EBADF, EBUSY, EINTR, EINVAL, EMFILE}, opener},
    {Call::setsid, "setsid", {EPERM}, opener},
    {Call::setpgid, "setpgid", {EACCES, EINVAL, EPERM, ESRCH}, opener},
    {Call::chdir, "chdir",
     {EACCES, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR}, opener},
    // Who may not change his groups may become who he is already.
    {Call::setgroups, "setgroups", {EINVAL, ENOMEM, EPERM}, opener | unharmed},
    {Call::setgid, "setgid", {EINVAL, EPERM}, opener},
    {Call::setuid, "setuid", {EAGAIN, EINVAL, EPERM}, opener},
    // Those handles are closed one by one then.
    {Call::close_range, "close_range", {EINVAL, EMFILE, ENOMEM, ENOSYS, EPERM},
     opener | unharmed},
    {Call::exec, "exec",
     {E2BIG, EACCES, EINVAL, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENFILE, ENOENT, ENOEXEC,
      ENOMEM, ENOTDIR, EPERM, ETXTBSY},
     opener},
    // --- Its life ---
    // A thread waits for the child then.
    {Call::pidfd, "pidfd", {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSYS, ESRCH}, unharmed},
    {Call::waitpid, "waitpid, tried again", {EINTR}, unharmed},
    {Call::waitpid, "waitpid", {ECHILD}, handler},  // told by a warning, and as 255
    {Call::waitid, "waitid, tried again", {EINTR}, unharmed},
    // Who asks before he signals is told that there is nobody.
    {Call::waitid, "waitid", {ECHILD}, handler | caller},
    {Call::kill, "kill", {EPERM, ESRCH}, caller | unharmed},
    {Call::thread, "thread", {EAGAIN}, opener | unharmed},
};

// "recv" of "recv, tried again".
inline std::string call_name(const CallFaults& faults) {
  const std::string name{faults.name};
  return name.substr(0, name.find_first_of(":,"));
}

inline bool moves_bytes(Call call) {
  return call == Call::recv || call == Call::send || call == Call::sendmsg ||
         call == Call::recv_many || call == Call::send_many || call == Call::read ||
         call == Call::write;
}

// Faults that the system cannot give: by edges it never says would-block while there is something,
// since nothing would tell of that later.
inline bool cannot_be(const CallFaults& faults, int error, std::string_view backend,
                      bool over_pipes) {
  const bool of_waker = (faults.call == Call::read || faults.call == Call::write) && !over_pipes;
  return moves_bytes(faults.call) && !of_waker && error == EAGAIN && backend == "epoll";
}

}  // namespace test
