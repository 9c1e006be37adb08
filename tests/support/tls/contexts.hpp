// ferry's contexts for tests: a server for "localhost", and clients that trust who vouches for it.
#pragma once

#include "support/tls/certificates.hpp"

#include <ferry/ssl.hpp>

#include <string>

namespace test {

inline ferry::SslContext server_context(const Identity& identity,
                                        const std::string& chain_pem = {}) {
  return ferry::SslContext::server(ferry::Pem::text(identity.cert_pem + chain_pem),
                                   ferry::Pem::text(identity.key_pem));
}
// One that the tests' authority vouches for. Made once per process.
inline const Identity& localhost_identity() {
  static const Identity identity = authority().issue(for_localhost());
  return identity;
}
inline ferry::SslContext server_context() { return server_context(localhost_identity()); }
inline ferry::SslContext client_context(const std::string& trusted_pem = authority().pem()) {
  return ferry::SslContext::client(ferry::Pem::text(trusted_pem));
}
inline ferry::SslContext trusting_anybody() {
  ferry::SslContext context = client_context();
  context.set_verify_mode(ferry::VerifyMode::none);
  return context;
}

}  // namespace test
