#include "platform/simulated.hpp"

#include <algorithm>
#include <cerrno>
#include <vector>

namespace ferry::internal {
namespace {

thread_local std::vector<SimulatedSockets*> worlds;  // by slot; null: free

}  // namespace

std::size_t add_simulated_sockets(SimulatedSockets& world) {
  const auto free = std::find(worlds.begin(), worlds.end(), nullptr);
  const auto slot = static_cast<std::size_t>(free - worlds.begin());
  if (free == worlds.end()) worlds.push_back(nullptr);
  worlds[slot] = &world;
  return slot;
}

void remove_simulated_sockets(std::size_t slot) noexcept { worlds[slot] = nullptr; }

SimulatedSockets* simulated_sockets(NativeHandle handle) noexcept {
  const auto slot = static_cast<std::size_t>((invalid_handle - 1 - handle) / handles_per_world);
  if (slot < worlds.size() && worlds[slot] != nullptr) return worlds[slot];
  errno = EBADF;
  return nullptr;
}

}  // namespace ferry::internal
