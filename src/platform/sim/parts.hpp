// A simulated world as a backend.
#pragma once

#include "platform/backend.hpp"
#include "platform/sim/world.hpp"

#include <memory>

namespace ferry::internal::sim {

// The parts use the world and do not keep it.
std::unique_ptr<BackendParts> make_parts(World& world);
std::unique_ptr<Pipes> make_pipes(World& world);
std::unique_ptr<Children> make_children(World& world);

}  // namespace ferry::internal::sim
