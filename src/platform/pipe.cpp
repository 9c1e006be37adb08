#include <ferry/pipe.hpp>

#include "platform/pipes.hpp"
#include "platform/simulated.hpp"

#include <utility>

namespace ferry {

Pipe& Pipe::operator=(Pipe&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = std::exchange(other.handle_, invalid_handle);
  }
  return *this;
}

void Pipe::close() noexcept {
  const NativeHandle handle = detach();
  if (handle == invalid_handle) return;
  if (!internal::is_simulated(handle)) return internal::close_pipe(handle);
  if (internal::SimulatedSockets* const world = internal::simulated_sockets(handle)) {
    world->close(handle);
  }
}

}  // namespace ferry
