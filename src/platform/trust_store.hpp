// Whom the system trusts, where the system and not OpenSSL keeps that.
#pragma once

#include <string>
#include <vector>

namespace ferry::internal {

// Certificates in DER. Empty where OpenSSL's own default paths serve.
std::vector<std::string> system_trust_store();

}  // namespace ferry::internal
