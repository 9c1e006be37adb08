// Whom the system trusts.
#pragma once

#include <string>
#include <vector>

namespace ferry::internal {

// The root certificates that the system itself keeps, in DER. Empty where OpenSSL's own default
// paths lead to them: on POSIX. Never throws but for memory; a store that cannot be opened is an
// empty one.
std::vector<std::string> system_trust_store();

}  // namespace ferry::internal
