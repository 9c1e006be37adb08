// Contexts: what is wrong with one is said when it is made; what changes in one while it serves.
#include "platform/trust_store.hpp"
#include "support/tls/tls_world.hpp"

#include <ferry/openssl.hpp>
#include <ferry/ssl.hpp>

#include <openssl/ssl.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

using namespace test;
using Catch::Matchers::Contains;
using ferry::Pem;
using ferry::SslContext;
using ferry::SslErrc;
using ferry::TlsVersion;

namespace {

// The SslError that `call` throws, as a value; empty: none.
template <class Call>
ferry::Error ssl_error(Call&& call) {
  try {
    call();
  } catch (const ferry::SslError&) {
    return ferry::Error{std::current_exception()};
  }
  return {};
}
template <class Call>
void check_error(Call&& call, SslErrc code, const std::string& words) {
  const ferry::Error error = ssl_error(std::forward<Call>(call));
  CHECK(error == make_error_code(code));
  CHECK_THAT(std::string{error.what()}, Contains(words));
}

std::string written(const std::string& path, const std::string& content) {
  std::ofstream{path, std::ios::binary} << content;
  return path;
}

// The certificate with its seventh line spoilt, and its END line gone.
std::string spoilt(std::string pem) {
  pem[pem.find('\n', 200) + 5] = '!';
  return pem;
}
std::string without_end(const std::string& pem) { return pem.substr(0, pem.find("-----END")); }

void load(SslContext& context, const Identity& identity) {
  context.load_cert_chain(Pem::text(identity.cert_pem), Pem::text(identity.key_pem));
}

// The environment variable for as long as this lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_{name} {
    const char* const before = std::getenv(name);
    if (before != nullptr) before_ = before;
    set_environment(name, value.c_str());
  }
  ~Variable() { set_environment(name_, before_ ? before_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("tls: files that are not there are named", "[C-22]") {
  const Directory directory;
  const std::string missing = directory / "missing.pem";
  const std::string cert = written(directory / "cert.pem", localhost_identity().cert_pem);
  const std::string key = written(directory / "key.pem", localhost_identity().key_pem);
  CHECK_NOTHROW(SslContext::server(cert, key));
  CHECK_NOTHROW(SslContext::client(cert));
  const auto check_missing = [&](const auto& call) {
    try {
      call();
      FAIL_CHECK("nothing was thrown");
    } catch (const ferry::OsError& error) {
      CHECK(error.code() == std::errc::no_such_file_or_directory);
      CHECK_THAT(error.what(), Contains(missing));
    }
  };
  check_missing([&] { SslContext::server(missing, key); });
  check_missing([&] { SslContext::server(cert, missing); });
  check_missing([&] { SslContext::client(missing); });
  CHECK_THROWS_AS(SslContext::server(directory / "", key), ferry::OsError);  // a folder
}

TEST_CASE("tls: PEM that is broken is named with its file and line", "[C-22]") {
  const Directory directory;
  const Identity& good = localhost_identity();
  const std::string key = written(directory / "key.pem", good.key_pem);
  const auto server = [&](const std::string& content) {
    const std::string path = written(directory / "chain.pem", content);
    return [path, key] { SslContext::server(path, key); };
  };
  const std::string path = directory / "chain.pem";
  check_error(server("some words\nof a person\n" + spoilt(good.cert_pem)), SslErrc::bad_certificate,
              path + ":3");
  const auto lines = std::count(good.cert_pem.begin(), good.cert_pem.end(), '\n');
  check_error(server(good.cert_pem + spoilt(authority().pem())), SslErrc::bad_certificate,
              path + ":" + std::to_string(lines + 1));
  check_error(server(without_end(good.cert_pem)), SslErrc::bad_certificate, path + ":1");
  check_error(server("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
              SslErrc::bad_certificate, path + ":1");
  check_error(server(""), SslErrc::bad_certificate, path);
  check_error(server("no PEM at all"), SslErrc::bad_certificate, path);
  check_error(server(good.key_pem), SslErrc::bad_certificate, path);

  const auto with_key = [&](const std::string& content) {
    const std::string key_path = written(directory / "bad.key", content);
    return [=, &good] { SslContext::server(Pem::text(good.cert_pem), key_path); };
  };
  const std::string key_path = directory / "bad.key";
  check_error(with_key("\n\n" + spoilt(good.key_pem.substr(0, 60) + good.key_pem)),
              SslErrc::bad_key, key_path + ":3");
  check_error(with_key(without_end(good.key_pem)), SslErrc::bad_key, key_path + ":1");
  check_error(with_key(good.cert_pem), SslErrc::bad_key, key_path);
  check_error(with_key(""), SslErrc::bad_key, key_path);
  CHECK_NOTHROW(SslContext::server(Pem::text(good.cert_pem + good.key_pem),
                                   Pem::text(good.cert_pem + good.key_pem)));
  std::string windows = good.cert_pem;
  for (std::size_t at = 0; (at = windows.find('\n', at)) != windows.npos; at += 2) {
    windows.insert(at, "\r");
  }
  CHECK_NOTHROW(SslContext::server(Pem::text(windows), Pem::text(good.key_pem)));
}

TEST_CASE("tls: an encrypted key asks for its password", "[C-22]") {
  const Identity& identity = localhost_identity();
  const Pem cert = Pem::text(identity.cert_pem);
  const Pem key = Pem::text(encrypted_key(identity, "secret"));
  int asked = 0;
  const auto answer = [&](std::string password) {
    return [&asked, password] {
      ++asked;
      return password;
    };
  };
  CHECK_NOTHROW(SslContext::server(cert, key, answer("secret")));
  CHECK(asked == 1);
  check_error([&] { SslContext::server(cert, key, answer("wrong")); }, SslErrc::bad_key,
              "password");
  check_error([&] { SslContext::server(cert, key, answer("")); }, SslErrc::bad_key, "password");
  check_error([&] { SslContext::server(cert, key, answer(std::string(100000, 'x'))); },
              SslErrc::bad_key, "password");
  check_error([&] { SslContext::server(cert, key); }, SslErrc::bad_key, "password");
  asked = 0;
  CHECK_NOTHROW(SslContext::server(cert, Pem::text(identity.key_pem), answer("secret")));
  CHECK(asked == 0);
  const auto throws = []() -> std::string { throw std::runtime_error{"no keyboard"}; };
  CHECK_THROWS_WITH(SslContext::server(cert, key, throws), "no keyboard");
}

TEST_CASE("tls: a key that is not the certificate's changes nothing", "[C-22]") {
  const KeyKind kind = GENERATE(KeyKind::ecdsa_p256, KeyKind::rsa2048);
  CertificateSpec spec = for_localhost(kind);
  const Identity one = authority().issue(spec);
  spec.rsa_number = 1;
  const Identity other = authority().issue(spec);
  check_error([&] { SslContext::server(Pem::text(one.cert_pem), Pem::text(other.key_pem)); },
              SslErrc::key_mismatch, "CN=localhost");
  check_error(
      [&] { SslContext::server(Pem::text(one.cert_pem), Pem::text(self_signed({}).key_pem)); },
      SslErrc::key_mismatch, "CN=localhost");
  World world;
  SslContext context = server_context(one);
  CHECK(ssl_error(
      [&] { context.load_cert_chain(Pem::text(other.cert_pem), Pem::text(one.key_pem)); }));
  CHECK(ssl_error([&] { context.load_cert_chain(Pem::text("nothing"), Pem::text("nothing")); }));
  TlsServer server{world, context};
  const TlsClient client = server.connect(client_context());
  const auto der = client.transport->get_extra_info(ferry::peercert)->der;
  CHECK(ferry::BytesView{der}.text() == der_of(one.cert_pem));
  close(world, client);
}

TEST_CASE("tls: with nobody to trust there is no client's context", "[C-22]") {
  const Directory directory;
  check_error([] { SslContext::client(Pem::text("")); }, SslErrc::no_trusted_certificates, "");
  check_error([] { SslContext::client(Pem::text("a person's words")); },
              SslErrc::no_trusted_certificates, "certificate");
  check_error([] { SslContext::client(Pem::text(localhost_identity().key_pem)); },
              SslErrc::no_trusted_certificates, "certificate");
  const std::string broken = written(directory / "roots.pem", "\n" + spoilt(authority().pem()));
  check_error([&] { SslContext::client(broken); }, SslErrc::bad_certificate, broken + ":2");
  SslContext context = SslContext::server();
  check_error([&] { context.load_verify_directory(directory / ""); },
              SslErrc::no_trusted_certificates, directory / "");
  check_error([&] { context.load_verify_directory(directory / "nowhere"); },
              SslErrc::no_trusted_certificates, directory / "nowhere");
}

TEST_CASE("tls: the system's trust store is what clients trust", "[C-22]") {
  const Directory directory;
  const std::string roots = written(directory / "roots.pem", authority().pem());
  World world;
  TlsServer server{world, server_context()};
  const Variable no_folder{"SSL_CERT_DIR", directory / "nowhere"};
  {
    const Variable file{"SSL_CERT_FILE", roots};
    const TlsClient client = server.connect(SslContext::client());
    check_echo(world, client);
    close(world, client);
  }
  const Variable no_file{"SSL_CERT_FILE", directory / "missing.pem"};
  if (!ferry::internal::system_trust_store().empty()) return skip("this system has its own");
  check_error([] { SslContext::client(); }, SslErrc::no_trusted_certificates,
              "trust store is empty");
}

TEST_CASE("tls: whom to trust adds up, from memory, files and folders", "[T-088]") {
  const Directory directory;
  const Authority second{"Second Root"};
  World world;
  TlsServer first_server{world, server_context()};
  TlsServer second_server{world, server_context(second.issue(for_localhost()))};
  SslContext context = client_context();
  CHECK(second_server.refusal(context) == make_error_code(SslErrc::unknown_issuer));
  SECTION("a file") { context.load_verify_locations(written(directory / "ca.pem", second.pem())); }
  SECTION("several in one text, one of them twice") {
    context.load_verify_locations(Pem::text(authority().pem() + "words\n" + second.pem()));
  }
  SECTION("a folder of hashed names") {
    const SslContext hashed = client_context(second.pem());
    X509_STORE* const store = SSL_CTX_get_cert_store(native_handle(hashed));
    STACK_OF(X509)* const all = X509_STORE_get1_all_certs(store);
    REQUIRE(sk_X509_num(all) == 1);
    char name[16];
    std::snprintf(name, sizeof name, "%08lx.0", X509_subject_name_hash(sk_X509_value(all, 0)));
    sk_X509_pop_free(all, X509_free);
    written(directory / name, second.pem());
    context.load_verify_directory(directory / "");
  }
  for (TlsServer* const server : {&first_server, &second_server}) {
    const TlsClient client = server->connect(context);
    check_echo(world, client);
    close(world, client);
  }
}

TEST_CASE("tls: settings that cannot be are refused where they are made, and change nothing",
          "[C-22]") {
  SslContext context = server_context();
  check_error([&] { context.set_ciphers("NO-SUCH-CIPHER"); }, SslErrc::bad_setting,
              "NO-SUCH-CIPHER");
  check_error([&] { context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:NO-SUCH-CIPHER"); },
              SslErrc::bad_setting, "NO-SUCH-CIPHER");
  check_error([&] { context.set_ciphers(""); }, SslErrc::bad_setting, "");
  check_error([&] { context.set_ciphersuites("TLS_NOPE"); }, SslErrc::bad_setting, "TLS_NOPE");
  check_error([&] { context.set_ciphersuites("TLS_AES_128_GCM_SHA256:TLS_NOPE"); },
              SslErrc::bad_setting, "TLS_NOPE");
  check_error([&] { context.set_ciphersuites("ECDHE-ECDSA-AES128-GCM-SHA256"); },
              SslErrc::bad_setting, "ECDHE-ECDSA-AES128-GCM-SHA256");
  check_error([&] { context.set_alpn_protocols({"h2", ""}); }, SslErrc::bad_setting, "");
  check_error([&] { context.set_alpn_protocols({std::string(256, 'h')}); }, SslErrc::bad_setting,
              "");
  check_error([&] { context.set_ticket_keys("short"); }, SslErrc::bad_setting, "80");
  CHECK_NOTHROW(context.set_ciphers("ECDHE+AESGCM:!aNULL:@STRENGTH"));
  CHECK_NOTHROW(context.set_ciphersuites("TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"));
  SslContext newest = server_context();
  newest.set_minimum_version(TlsVersion::v1_3);
  check_error([&] { newest.set_maximum_version(TlsVersion::v1_2); }, SslErrc::bad_setting,
              "version");
  SslContext oldest = client_context();
  oldest.set_maximum_version(TlsVersion::v1_2);
  check_error([&] { oldest.set_minimum_version(TlsVersion::v1_3); }, SslErrc::bad_setting,
              "version");
  World world;
  TlsServer server{world, newest};
  CHECK(server.refusal(oldest) == make_error_code(SslErrc::alert));
  CHECK(server.next_error() == make_error_code(SslErrc::no_common_protocol));
  const TlsClient client = server.connect(client_context());
  CHECK(client.transport->get_extra_info(ferry::tls_version) == "TLSv1.3");
  close(world, client);
}

TEST_CASE("tls: the versions and ciphers that were set are what is spoken", "[S-015]") {
  World world;
  SslContext context = server_context();
  context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305");
  context.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256");
  TlsServer server{world, context};
  for (const TlsVersion version : {TlsVersion::v1_2, TlsVersion::v1_3}) {
    const SslContext mine = client_context();
    speak_only(mine, version);
    const TlsClient client = server.connect(mine);
    CHECK(client.transport->get_extra_info(ferry::tls_version) == name_of(version));
    CHECK(client.transport->get_extra_info(ferry::cipher).name ==
          (version == TlsVersion::v1_2 ? "ECDHE-ECDSA-CHACHA20-POLY1305"
                                       : "TLS_CHACHA20_POLY1305_SHA256"));
    close(world, client);
  }
  SslContext other = client_context();
  other.set_maximum_version(TlsVersion::v1_2);
  other.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384");
  CHECK(server.refusal(other) == make_error_code(SslErrc::alert));
  CHECK(server.next_error() == make_error_code(SslErrc::no_common_protocol));
}

TEST_CASE("tls: a context is given to the side that it is for", "[C-22][T-061]") {
  using Wrong = std::invalid_argument;
  World world;
  const SslContext none, client = client_context(), server = server_context(),
                         bare = SslContext::server();
  CHECK_FALSE(none);
  CHECK(native_handle(none) == nullptr);
  CHECK(server.is_server());
  CHECK_FALSE(client.is_server());
  CHECK(SslContext{client} == client);
  CHECK_FALSE(client_context() == client);
  const auto serve = [&](const SslContext& context) {
    ferry::ServerOptions options;
    options.ssl = &context;
    return world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0, options);
  };
  CHECK_THAT(thrown_by<Wrong>([&] { return serve(client); }), Contains("clients"));
  CHECK_THAT(thrown_by<Wrong>([&] { return serve(none); }), Contains("empty"));
  CHECK_THAT(thrown_by<Wrong>([&] { return serve(bare); }), Contains("certificate"));
  ferry::ConnectOptions options;
  const auto connect = [&] {
    return world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", 9, options);
  };
  options.ssl = &server;
  CHECK_THAT(thrown_by<Wrong>(connect), Contains("servers"));
  options.ssl = &none;
  CHECK_THAT(thrown_by<Wrong>(connect), Contains("empty"));
  for (const double wrong : {0.0, -1.0}) {
    options = {};
    options.ssl = &client;
    options.ssl_handshake_timeout = ferry::Seconds{wrong};
    CHECK_THAT(thrown_by<Wrong>(connect), Contains("ssl_handshake_timeout"));
    options.ssl_handshake_timeout.reset();
    options.ssl_shutdown_timeout = ferry::Seconds{wrong};
    CHECK_THAT(thrown_by<Wrong>(connect), Contains("ssl_shutdown_timeout"));
    ferry::ServerOptions serving;
    serving.ssl = &server;
    serving.ssl_handshake_timeout = ferry::Seconds{wrong};
    CHECK_THAT(thrown_by<Wrong>([&] {
                 return world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0, serving);
               }),
               Contains("ssl_handshake_timeout"));
  }
  // Without ssl these settings are a mistake, as in asyncio.
  options = {};
  options.server_hostname = "localhost";
  CHECK_THAT(thrown_by<Wrong>(connect), Contains("ssl"));
  options = {};
  options.ssl_handshake_timeout = ferry::Seconds{1};
  CHECK_THAT(thrown_by<Wrong>(connect), Contains("ssl"));
}

TEST_CASE("tls: a server may have an RSA and an ECDSA certificate at once", "[S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  const Identity rsa = authority().issue(for_localhost(KeyKind::rsa2048));
  const Authority intermediate = authority().intermediate();
  const Identity ecdsa = intermediate.issue(for_localhost());
  SslContext context = server_context(rsa);
  context.load_cert_chain(Pem::text(ecdsa.cert_pem + intermediate.pem()), Pem::text(ecdsa.key_pem));
  TlsServer server{world, context};
  const auto seen = [&](const char* algorithms, const char* ciphers) {
    SslContext mine = client_context();
    speak_only(mine, version);
    mine.set_ciphers(ciphers);  // which tell the kind of key in TLS 1.2, and not in 1.3
    SSL_CTX_set1_sigalgs_list(native_handle(mine), algorithms);
    const TlsClient client = server.connect(mine);
    const auto der = client.transport->get_extra_info(ferry::peercert)->der;
    close(world, client);
    return std::string{ferry::BytesView{der}.text()};
  };
  // (The root's own signature is ECDSA: a client must know that for the chain.)
  CHECK((seen("RSA-PSS+SHA256:ECDSA+SHA256", "aRSA") == der_of(rsa.cert_pem)));
  CHECK((seen("ECDSA+SHA256", "aECDSA") == der_of(ecdsa.cert_pem)));
}

TEST_CASE("tls: a new certificate is for new handshakes, old connections go on", "[S-016]") {
  World world;
  SslContext context = server_context();
  TlsServer server{world, context};
  const auto der_seen = [](const TlsClient& client) {
    const auto der = client.transport->get_extra_info(ferry::peercert)->der;
    return std::string{ferry::BytesView{der}.text()};
  };
  const TlsClient before = server.connect(client_context());
  const Authority intermediate = authority().intermediate();
  const Identity next = intermediate.issue(for_localhost());
  context.load_cert_chain(Pem::text(next.cert_pem + intermediate.pem()), Pem::text(next.key_pem));
  const TlsClient after = server.connect(client_context());
  CHECK(der_seen(before) == der_of(localhost_identity().cert_pem));
  CHECK(der_seen(after) == der_of(next.cert_pem));
  check_echo(world, before);
  check_echo(world, after);
  close(world, before);
  close(world, after);
  load(context, localhost_identity());  // and its chain is gone with the other one
  const TlsClient again = server.connect(client_context());
  CHECK(der_seen(again) == der_of(localhost_identity().cert_pem));
  CHECK(SSL_get_peer_cert_chain(again.transport->get_extra_info(ferry::ssl_object)) != nullptr);
  CHECK(sk_X509_num(SSL_get_peer_cert_chain(again.transport->get_extra_info(ferry::ssl_object))) ==
        1);
  close(world, again);
}

TEST_CASE("tls: certificates may be changed by another thread while connections are made", "") {
  World world;
  SslContext context = server_context();
  TlsServer server{world, context};
  const Identity other = authority().issue(for_localhost());
  const std::string keys[] = {pattern(80, 1), pattern(80, 2)};
  std::atomic<bool> stop = false;
  std::thread thread{[&] {
    for (unsigned i = 0; !stop; ++i) {
      SslContext mine = context;
      load(mine, i % 2 == 0 ? other : localhost_identity());
      mine.set_ocsp_response(keys[i % 2]);
      mine.set_ticket_keys(keys[i % 2]);
    }
  }};
  const SslContext mine = client_context();
  for (int i = 0; i < (is_slow() ? 5 : 30); ++i) {
    const TlsClient client = server.connect(mine);
    check_echo(world, client);
    close(world, client);
  }
  stop = true;
  thread.join();
}
