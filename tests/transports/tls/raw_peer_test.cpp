// The tests' own TLS, by itself: a raw client against a raw server, and the certificates.
#include "support/tls/raw_peer.hpp"
#include "support/world.hpp"

#include <string>

using namespace test;
using Catch::Matchers::Contains;

namespace {

struct RawPair {
  RawPeer client, server;
};
RawPair joined(const RawContext& client, const RawContext& server,
               const std::string& name = "localhost") {
  RawPair pair{RawPeer::client(client, name), RawPeer::server(server)};
  join(pair.client, pair.server);
  return pair;
}
void check_traffic(RawPair& pair) {
  REQUIRE(pair.client.is_open());
  REQUIRE(pair.server.is_open());
  CHECK(pair.client.write("ping"));
  join(pair.client, pair.server);
  CHECK(pair.server.read() == "ping");
  CHECK(pair.server.write("pong"));
  join(pair.client, pair.server);
  CHECK(pair.client.read() == "pong");
}

}  // namespace

TEST_CASE("raw peers: both versions, with each kind of key", "[tls]") {
  const int version = GENERATE(TLS1_2_VERSION, TLS1_3_VERSION);
  const KeyKind key = GENERATE(KeyKind::rsa2048, KeyKind::ecdsa_p256, KeyKind::ed25519);
  const auto client = raw_client_context(authority().pem());
  speak_only(client, version);
  RawPair pair = joined(client, raw_server_context(authority().issue(for_localhost(key))));
  CHECK(pair.client.error() == "");
  check_traffic(pair);
  CHECK(pair.client.version() == (version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3"));
  pair.client.shutdown();
  join(pair.client, pair.server);
  CHECK(pair.server.read() == "");
  CHECK(pair.server.got_close_notify());
}

TEST_CASE("raw peers: an intermediate certificate is needed, and a client's may be", "[tls]") {
  const Authority intermediate = authority().intermediate();
  const Identity leaf = intermediate.issue(for_localhost());
  const auto client = raw_client_context(authority().pem());
  RawPair without = joined(client, raw_server_context(leaf));
  CHECK(without.client.error() == "certificate verify failed");
  CHECK(without.server.error() == "tlsv1 alert unknown ca");
  const auto server = raw_server_context(leaf, intermediate.pem());
  require_client(server, authority().pem());
  CertificateSpec spec;
  spec.purpose = Purpose::client;
  spec.padding = 60000;
  use_identity(client, authority().issue(spec));
  RawPair with = joined(client, server);
  check_traffic(with);
}

TEST_CASE("raw peers: what makes a certificate bad", "[tls]") {
  CertificateSpec spec = for_localhost();
  Authority signer = authority();
  std::string name = "localhost";
  SECTION("expired") { spec.not_after = -60; }
  SECTION("not yet valid") { spec.not_before = 3600; }
  SECTION("for clients") { spec.purpose = Purpose::client; }
  SECTION("another authority's") { signer = Authority{}; }
  SECTION("another name's") { name = "elsewhere"; }
  SECTION("a NUL in its name") {
    spec.dns_names = {std::string{"localhost\0.evil", 15}};
    spec.ip_addresses.clear();
  }
  const auto client = raw_client_context(authority().pem());
  RawPair pair = joined(client, raw_server_context(signer.issue(spec)), name);
  CHECK(pair.client.error() == "certificate verify failed");
}

TEST_CASE("raw peers: KeyUpdate, renegotiation, ALPN, an end without close_notify", "[tls]") {
  const auto client = raw_client_context(authority().pem());
  const auto server = raw_server_context(authority().issue(for_localhost()));
  SECTION("KeyUpdate") {
    RawPair pair = joined(client, server);
    CHECK(pair.client.key_update(true));
    check_traffic(pair);
  }
  SECTION("renegotiation") {
    speak_only(client, TLS1_2_VERSION);
    SSL_CTX_set_options(server.get(), SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    RawPair pair = joined(client, server);
    CHECK(pair.client.renegotiate());
    for (int i = 0; i < 4; ++i) {
      join(pair.client, pair.server);
      CHECK(pair.server.read() + pair.client.read() == "");
    }
    check_traffic(pair);
  }
  SECTION("ALPN") {
    prefer_alpn(server, "\2h2\10http/1.1");
    SSL_CTX_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>("\10http/1.1\2h2"),
                            12);
    RawPair pair = joined(client, server);
    CHECK(pair.client.alpn() == "h2");
    CHECK(pair.server.alpn() == "h2");
  }
  SECTION("an end without close_notify") {
    RawPair pair = joined(client, server);
    pair.client.feed_end();
    CHECK(pair.client.read() == "");
    CHECK_FALSE(pair.client.got_close_notify());
    CHECK(pair.client.error() == "unexpected eof while reading");
  }
}

TEST_CASE("certificates: an encrypted key, DER, and keys that are made anew or not", "[tls]") {
  const Identity identity = self_signed(for_localhost(KeyKind::rsa2048));
  CHECK_THAT(identity.key_pem, Contains("BEGIN PRIVATE KEY"));
  CHECK_THAT(encrypted_key(identity, "secret"), Contains("BEGIN ENCRYPTED PRIVATE KEY"));
  CHECK(der_of(identity.cert_pem).substr(0, 2) == "\x30\x82");
  CertificateSpec other = for_localhost(KeyKind::rsa2048);
  CHECK(self_signed(other).key_pem == identity.key_pem);
  other.rsa_number = 1;
  CHECK(self_signed(other).key_pem != identity.key_pem);
  CHECK(self_signed(for_localhost()).key_pem != self_signed(for_localhost()).key_pem);
}
