// Windows' selector: one completion port for everything.
#pragma once

#include "platform/selector.hpp"
#include "platform/windows/system.hpp"

#include <memory>
#include <vector>

namespace ferry::internal {

// The key of whatever is attached to the port: takes its packets. (Pipes and the exits of children
// will be some; sockets are.)
class PacketReceiver {
 public:
  // In poll(); what is ready now goes to `out`.
  virtual void take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) = 0;

 protected:
  ~PacketReceiver() = default;
};

std::unique_ptr<Selector> make_iocp_selector();  // throws OsError

}  // namespace ferry::internal
