// What lives over TLS need.
#pragma once

#include "sim/lives.hpp"

namespace sim_lives {

// Contexts of both sides, made once. OpenSSL's own random numbers come from the world's seed from
// now on: the same seed gives the same ciphertext.
const Secrets& secrets_for(const ferry::SimWorld& world);

}  // namespace sim_lives
