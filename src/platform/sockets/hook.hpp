// What sees every system call first, in the tests' build.
//
// In the library each call is the call itself. In the tests' build (FERRY_TEST_HOOKS) a Hook can
// count the calls, make one fail with an errno, or shorten what is moved. Errors are told by errno
// on every system: where a system has numbers of its own, its calls.hpp translates.
#pragma once

#include <ferry/socket.hpp>

#include <atomic>
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
  stat, fstat, getaddrinfo, sigaction, open,
  spawn, dup, setsid, setpgid, chdir, setgroups, setgid, setuid, close_range, exec, pidfd, waitid,
  waitpid, kill, thread,
  port_create, port_wait, port_post, afd_open, afd_poll, afd_cancel, base_handle,
  pipe_attach, pipe_wait, pipe_listen, exit_wait, exit_code,
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
// Null: none. Returns when no thread is in the former one any more.
void set_hook(Hook* hook) noexcept;

// The hook cannot go while one of these lives.
class HookUse {
 public:
  HookUse() noexcept { ++uses; }
  ~HookUse() { --uses; }
  HookUse(const HookUse&) = delete;
  HookUse& operator=(const HookUse&) = delete;
  Hook* get() const noexcept { return current; }

 private:
  friend void set_hook(Hook* hook) noexcept;
  static std::atomic<Hook*> current;
  static std::atomic<int> uses;
};

// Whether the last call of this thread moved less because the hook said so: then a short count does
// not mean that the system has no more, or takes no more.
extern thread_local bool cut;
inline bool was_cut() noexcept { return cut; }

template <class Real>
auto through(Call call, NativeHandle handle, std::size_t size, Real real) -> decltype(real(size)) {
  int error = 0;
  {
    const HookUse hook;
    if (hook.get() != nullptr) {
      const std::size_t asked = size;
      error = hook.get()->before(call, handle, size);
      cut = size < asked;
    }
  }
  if (error == 0) return real(size);
  errno = error;
  return static_cast<decltype(real(size))>(-1);
}
#else
constexpr bool was_cut() noexcept { return false; }
template <class Real>
inline auto through(Call, NativeHandle, std::size_t size, Real real) -> decltype(real(size)) {
  return real(size);
}
#endif

}  // namespace ferry::internal::calls
