#include "platform/trust_store.hpp"

namespace ferry::internal {

std::vector<std::string> system_trust_store() { return {}; }

}  // namespace ferry::internal
