// Sockets that no system knows: those of simulated worlds. Their handles are below invalid_handle,
// where no system has any, so that Socket and SocketView can tell.
#pragma once

#include <ferry/address.hpp>
#include <ferry/socket.hpp>

#include <cstddef>

namespace ferry::internal {

// In the shape of the system's calls: -1 and errno.
class SimulatedSockets {
 public:
  virtual int close(NativeHandle handle) = 0;
  virtual std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) = 0;
  virtual std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) = 0;
  virtual Address local_address(NativeHandle handle) = 0;
  virtual Address peer_address(NativeHandle handle) = 0;
  virtual int set_option(NativeHandle handle, int level, int option, int value) = 0;
  virtual int get_option(NativeHandle handle, int level, int option, int& value) = 0;
  virtual int membership(NativeHandle handle, const Address& group, const Address& source,
                         bool join) = 0;
  virtual int set_datagram_option(NativeHandle handle, int option, int value) = 0;

 protected:
  ~SimulatedSockets() = default;
};

inline bool is_simulated(NativeHandle handle) noexcept { return handle < invalid_handle; }

// The worlds of this thread. A handle names its world by `slot`.
inline constexpr NativeHandle handles_per_world = NativeHandle{1} << 20;
std::size_t add_simulated_sockets(SimulatedSockets& world);
void remove_simulated_sockets(std::size_t slot) noexcept;
// Null, and errno set: there is no such world (any more) in this thread.
SimulatedSockets* simulated_sockets(NativeHandle handle) noexcept;

}  // namespace ferry::internal
