// The selector port: a poller that reports the readiness of handles.
#pragma once

#include "platform/poller.hpp"

#include <ferry/socket.hpp>

namespace ferry::internal {

enum Interest : std::uint32_t { want_none = 0, want_read = 1, want_write = 2 };

// How a registration is reported. `edge` asks for a report per change, `level` for one as long as
// the state lasts. A selector that cannot do edges reports `edge` registrations by level: its
// edge_triggered() says so, and their owners then keep the interest no larger than what they wait
// for.
enum class Trigger : std::uint8_t { edge, level };

// Contract
// - A report may be an edge, and it may be wrong (spurious): owners find out by a call that says
//   would-block. Errors and hang-ups are reported, with a hint, to whoever is interested in
//   anything, at least in the directions that he is interested in, so that the error is fetched
//   (T-203).
// - A registration whose interest is `want_none` is never reported.
// - remove() comes before the handle is closed; `closing` says that this happens now, which lets a
//   selector save a system call that the close makes needless.
// - add() fails (EPERM and the like) for handles that cannot be watched, and changes nothing then.
class Selector : public Poller {
 public:
  virtual bool edge_triggered() const noexcept = 0;
  virtual Error add(NativeHandle handle, std::uint32_t interest, Trigger trigger, Token token) = 0;
  virtual Error modify(NativeHandle handle, std::uint32_t interest, Trigger trigger,
                       Token token) = 0;
  virtual void remove(NativeHandle handle, bool closing) noexcept = 0;
  // Reports ready_read once, when a child of this process has ended: a process id, on Windows a
  // process's handle. It cannot be taken back; who no longer wants it has another token by then.
  // std::errc::not_supported: not here; std::errc::no_such_process: it has ended already.
  virtual Error add_exit(NativeHandle, Token) {
    return Error{std::make_error_code(std::errc::not_supported), "watch a process"};
  }
};

}  // namespace ferry::internal
