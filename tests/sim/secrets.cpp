#include "sim/secrets.hpp"

#include "support/tls/certificates.hpp"
#include "support/tls/fixed_random.hpp"

namespace sim_lives {
namespace {

// Keys of Ed25519: their signatures, and so the handshakes, have one size.
Secrets make_secrets() {
  const test::Identity identity =
      test::authority().issue(test::for_localhost(test::KeyKind::ed25519));
  return {ferry::SslContext::client(ferry::Pem::text(test::authority().pem())),
          ferry::SslContext::server(ferry::Pem::text(identity.cert_pem),
                                    ferry::Pem::text(identity.key_pem))};
}

}  // namespace

const Secrets& secrets_for(const ferry::SimWorld& world) {
  test::seed_openssl(0);
  static const Secrets secrets = make_secrets();
  test::seed_openssl(world.seed());  // whatever was made before
  return secrets;
}

}  // namespace sim_lives
