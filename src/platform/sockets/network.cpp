// The system's own sockets as a network.
#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_network.hpp"
#include "platform/sockets/system_calls.hpp"

namespace ferry::internal {

std::unique_ptr<Network> make_network() { return std::make_unique<SocketNetwork<SystemCalls>>(); }

}  // namespace ferry::internal
