// What the things that do I/O (channels, connectors, acceptors) see of the loop.
#pragma once

#include "platform/poller.hpp"
#include "platform/selector.hpp"

#include <ferry/callback.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ferry::internal {

// Names a registration for ever: a report or a clean-up that comes with an old ticket meets a newer
// generation and does nothing (T-006, T-202).
struct Ticket {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // 0: no registration
  explicit operator bool() const noexcept { return generation != 0; }
};

class IoHandler {
 public:
  // In the loop's thread, from its ready queue, with an or of Ready.
  virtual void handle_ready(std::uint32_t ready) = 0;

 protected:
  ~IoHandler() = default;
};

struct DatagramBatch;

class IoContext {
 public:
  virtual bool edge_triggered() const noexcept = 0;
  virtual Error watch(NativeHandle handle, std::uint32_t interest, Trigger trigger,
                      IoHandler& handler, Ticket& ticket) = 0;
  virtual Error rewatch(Ticket ticket, std::uint32_t interest) = 0;
  // Empties the ticket; whatever was reported and not yet handled is dropped.
  virtual void unwatch(Ticket& ticket, bool closing) noexcept = 0;
  // handle_ready(ready) once more in the next turn, without a new report: for what is still there
  // when a turn's share is used up, and for reading that is resumed.
  virtual void again(Ticket ticket, std::uint32_t ready) = 0;
  // The same after a short rest, for errors that pass (ENOBUFS, T-044).
  virtual void again_later(Ticket ticket, std::uint32_t ready) = 0;
  // handle_ready(ready_read) once `process` (Selector::add_exit) has ended.
  virtual Error watch_exit(NativeHandle process, IoHandler& handler, Ticket& ticket) = 0;
  // Whether somebody watches this handle already.
  virtual bool watches(NativeHandle handle) const noexcept = 0;
  // Runs what it is given in the loop's thread; may be called on any thread, also once the loop has
  // gone: then nothing happens.
  virtual Function<void(Callback)> poster() = 0;
  // One buffer for everybody who reads and passes on at once.
  virtual std::span<std::byte> scratch() noexcept = 0;
  virtual DatagramBatch& datagram_batch() = 0;

 protected:
  ~IoContext() = default;
};

}  // namespace ferry::internal
