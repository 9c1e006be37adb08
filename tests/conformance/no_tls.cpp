#include "tls.hpp"

#include <ferry/error.hpp>

namespace conformance {
namespace {

[[noreturn]] void refuse() {
  throw ferry::NotSupported{"a scenario over TLS, in a build without it"};
}

}  // namespace

std::unique_ptr<SecretEnd> new_end(bool) { refuse(); }
const ferry::SslContext& client_context() { refuse(); }
const ferry::SslContext& server_context() { refuse(); }

}  // namespace conformance
