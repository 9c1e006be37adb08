// What sees every system call first, in the tests' build.
//
// In the library each call is the call itself. In the tests' build (FERRY_TEST_HOOKS) a Hook can
// count the calls, make one fail with an errno, or shorten what is moved. Errors are told by errno
// on every system: where a system has numbers of its own, its calls.hpp translates.
#pragma once

#include <ferry/socket.hpp>

#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

namespace ferry::internal::calls {

// By what is asked for; a system may need more than one call of its own for it.
enum class Call : unsigned char {
  socket, bind, listen, accept, connect, recv, send, sendmsg, recv_many, send_many, shutdown,
  close, getsockname,
  getpeername, setsockopt, getsockopt, fcntl, socketpair, epoll_create, epoll_ctl, epoll_wait,
  eventfd, kqueue, kevent_change, kevent_trigger, kevent_wait, poll, pipe, read, write, unlink,
  stat, fstat, getaddrinfo, sigaction,
  port_create, port_wait, port_post, afd_open, afd_poll, afd_cancel, base_handle,
  count,
};

#ifdef FERRY_TEST_HOOKS
class Hook {
 public:
  virtual ~Hook() = default;
  // An errno to fail with instead of making the call; 0: make it. May lower `size`, the number of
  // bytes to move. getaddrinfo: `handle` is -1, and the number is its own EAI_ code.
  virtual int before(Call call, NativeHandle handle, std::size_t& size) = 0;
  // This host's addresses as numeric text, in the resolver's place; null: ask the resolver.
  virtual const std::vector<std::string>* answer([[maybe_unused]] const char* host) {
    return nullptr;
  }
};
// Null: none. Set while no other thread makes calls.
extern Hook* hook;
// Whether the last call of this thread moved less because the hook said so: then a short count does
// not mean that the system has no more, or takes no more.
extern thread_local bool cut;
inline bool was_cut() noexcept { return cut; }

template <class Real>
auto through(Call call, NativeHandle handle, std::size_t size, Real real) -> decltype(real(size)) {
  if (hook != nullptr) {
    const std::size_t asked = size;
    const int error = hook->before(call, handle, size);
    cut = size < asked;
    if (error != 0) {
      errno = error;
      return static_cast<decltype(real(size))>(-1);
    }
  }
  return real(size);
}
#else
constexpr bool was_cut() noexcept { return false; }
template <class Real>
inline auto through(Call, NativeHandle, std::size_t size, Real real) -> decltype(real(size)) {
  return real(size);
}
#endif

}  // namespace ferry::internal::calls
