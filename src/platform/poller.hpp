// The poller port: where a loop waits for the world.
#pragma once

#include <ferry/error.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>
#include <vector>

namespace ferry::internal {

// What a poller gives back of a registration: an index and a generation (see io.hpp), never a
// pointer, so that a report for somebody who has gone meanwhile can be told and dropped.
using Token = std::uint64_t;

// What a report says. `hint` comes with anything but plain readiness (the peer's end, a hang-up, an
// error, urgent data): then a short read does not mean that nothing is left to read. `reset`: the
// peer has reset the connection, on systems where reading does not tell (calls.hpp says which).
enum Ready : std::uint32_t { ready_read = 1, ready_write = 2, ready_hint = 4, ready_reset = 8 };

struct Event {
  Token token = 0;
  std::uint32_t ready = 0;
};

// Contract
// - poll() waits until something is ready, wake() was called, or `timeout` has passed (none: for
//   ever); it never returns early by more than the clock's resolution, but may return with no
//   event. It appends to `out`; an interrupting signal ends the wait early with no event.
// - wake() may be called from any thread and from a signal handler; a wake() before poll() makes
//   that poll() return at once. Several of them count as one, and a waker that is full counts as
//   rung.
//   What comes back is why it could not be rung.
class Poller {
 public:
  virtual ~Poller() = default;
  virtual Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) = 0;
  virtual std::error_code wake() noexcept = 0;
};

}  // namespace ferry::internal
