// Windows' selector: one completion port for everything.
#pragma once

#include "platform/selector.hpp"
#include "platform/windows/system.hpp"

#include <memory>
#include <vector>

namespace ferry::internal {

// The key of whatever is attached to the port: takes its packets. There is one for sockets, one for
// pipes and one for the exits of children.
class PacketReceiver {
 public:
  // In poll(); what is ready now goes to `out`.
  virtual void take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) = 0;

 protected:
  ~PacketReceiver() = default;
};

class PipePort;

class IocpSelector : public Selector {
 public:
  // Pipes go there first; then add() and its kin know them for what they are.
  virtual PipePort& pipes() noexcept = 0;
};

std::unique_ptr<IocpSelector> make_iocp_selector();  // throws OsError

}  // namespace ferry::internal
