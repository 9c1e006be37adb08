#include "sim/secrets.hpp"

#include <ferry/error.hpp>

namespace sim_lives {

const Secrets& secrets_for(const ferry::SimWorld&) {
  throw ferry::NotSupported{"lives over TLS, in a build without it"};
}

}  // namespace sim_lives
