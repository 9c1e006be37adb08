// What two sides agree on: application protocols, the server's name, stapled answers; and what a
// connection tells of it.
#include "support/tls/tls_world.hpp"

#include <ferry/openssl.hpp>
#include <ferry/ssl.hpp>

#include <any>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

using namespace test;
using Catch::Matchers::Contains;
using ferry::Pem;
using ferry::SslContext;
using ferry::SslErrc;
using ferry::TlsVersion;

namespace {

using Names = std::vector<std::string_view>;

SslContext with_alpn(SslContext context, const Names& names, bool required = false) {
  context.set_alpn_protocols(names, required);
  return context;
}
std::string alpn_of(const ferry::Transport& transport) {
  return transport.get_extra_info(ferry::alpn_protocol);
}

}  // namespace

// --- ALPN ---

TEST_CASE("tls: the application protocol is the server's first that the client has, too",
          "[T-091]") {
  struct Case {
    Names server, client;
    std::string agreed;
  };
  const Case tried =
      GENERATE(Case{{"h2", "http/1.1"}, {"http/1.1", "h2"}, "h2"},
               Case{{"http/1.1"}, {"h2", "http/1.1"}, "http/1.1"}, Case{{"h2"}, {}, ""},
               Case{{}, {"h2"}, ""}, Case{{"h2"}, {"spdy/3"}, ""});
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  TlsServer server{world, with_alpn(server_context(), tried.server)};
  std::string at_server = "never", at_client = "never";
  server.on_protocol = [&](Recorder& protocol) {
    protocol.on_made = [&] { at_server = alpn_of(*protocol.transport); };
  };
  const SslContext context = with_alpn(client_context(), tried.client);
  speak_only(context, version);
  const auto protocol = std::make_shared<Recorder>();
  protocol->on_made = [&] { at_client = alpn_of(*protocol->transport); };
  ferry::ConnectOptions options;
  options.ssl = &context;
  options.server_hostname = "localhost";
  auto connecting = world.loop.create_connection([&] { return protocol; }, "127.0.0.1",
                                                 server.address().port(), options);
  const TlsClient client{world.run(std::move(connecting)).transport, protocol};
  check_echo(world, client);
  CHECK(at_client == tried.agreed);  // in connection_made() already
  CHECK(at_server == tried.agreed);
  close(world, client);
}

TEST_CASE("tls: without a common application protocol the handshake fails if one is required",
          "[T-091]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  const SslContext theirs = with_alpn(client_context(), {"spdy/3"});
  speak_only(theirs, version);
  SECTION("by the server") {
    TlsServer server{world, with_alpn(server_context(), {"h2"}, true)};
    const ferry::Error error = server.refusal(theirs);
    CHECK(error == make_error_code(SslErrc::alert));
    CHECK_THAT(std::string{error.what()}, Contains("no application protocol"));
    CHECK(server.next_error() == make_error_code(SslErrc::no_common_protocol));
    const TlsClient good = server.connect(with_alpn(client_context(), {"h2"}));
    check_echo(world, good);
    close(world, good);
  }
  SECTION("by the client") {
    TlsServer server{world, with_alpn(server_context(), {"h2"})};
    const SslContext strict = with_alpn(client_context(), {"spdy/3"}, true);
    speak_only(strict, version);
    CHECK(server.refusal(strict) == make_error_code(SslErrc::no_common_protocol));
    const TlsClient good = server.connect(with_alpn(client_context(), {"h2"}, true));
    CHECK(alpn_of(*good.transport) == "h2");
    check_echo(world, good);
    close(world, good);
  }
}

TEST_CASE("tls: the application protocol is agreed on anew when a session is resumed", "[T-091]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext theirs = with_alpn(server_context(), {"h2", "http/1.1"});
  TlsServer server{world, theirs};
  const SslContext context = with_alpn(client_context(), {"h2", "http/1.1"});
  speak_only(context, version);
  const TlsClient first = server.connect(context);
  check_echo(world, first);
  const ferry::SslSession session = first.transport->get_extra_info(ferry::ssl_session);
  close(world, first);
  const TlsClient second = server.connect(context, "localhost", &session);
  CHECK(second.transport->get_extra_info(ferry::session_reused));
  CHECK(alpn_of(*second.transport) == "h2");
  CHECK(alpn_of(*server.newest().transport) == "h2");
  close(world, second);
}

// --- The server's name ---

TEST_CASE("tls: the SNI callback picks the context by the name", "[S-017]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  CertificateSpec spec;
  spec.dns_names = {"other.example"};
  const SslContext other = with_alpn(server_context(authority().issue(spec)), {"other"});
  SslContext main = with_alpn(server_context(), {"main"});
  std::vector<std::string> asked;
  main.set_sni_callback([&](std::string_view name) {
    asked.emplace_back(name);
    return name == "other.example" ? other : SslContext{};
  });
  TlsServer server{world, main};
  const SslContext context = with_alpn(client_context(), {"main", "other"});
  speak_only(context, version);
  const auto visit = [&](std::string_view name, const SslContext& expected) {
    const TlsClient client = server.connect(context, name);
    check_echo(world, client);
    const ferry::Transport& accepted = *server.newest().transport;
    CHECK(accepted.get_extra_info(ferry::sslcontext) == expected);
    CHECK(client.transport->get_extra_info(ferry::sslcontext) == context);
    CHECK(alpn_of(*client.transport) == (expected == main ? "main" : "other"));
    close(world, client);
  };
  visit("localhost", main);
  visit("other.example", other);
  visit("127.0.0.1", main);  // without a name
  CHECK(asked == std::vector<std::string>{"localhost", "other.example", ""});
}

TEST_CASE("tls: all of the context that was switched to holds, also who is asked for a certificate",
          "[S-017][S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext strict = server_context();
  strict.load_verify_locations(Pem::text(authority().pem()));
  strict.set_verify_mode(ferry::VerifyMode::required);
  SslContext main = server_context();
  main.set_sni_callback([&](std::string_view) { return strict; });
  TlsServer server{world, main};
  server.watch(strict);
  SslContext context = client_context();
  speak_only(context, version);
  auto connecting = server.connecting(Recorders{}, context);
  static_cast<void>(error_of(world, std::move(connecting)));  // TLS 1.3's client hears of it later
  CHECK(server.next_error() == make_error_code(SslErrc::no_certificate));
  CHECK(server.protocols.made() == 0);
  CertificateSpec spec;
  spec.purpose = Purpose::client;
  const Identity known = authority().issue(spec);
  context.load_cert_chain(Pem::text(known.cert_pem), Pem::text(known.key_pem));
  world.settle();
  const TlsClient client = server.connect(context);
  check_echo(world, client);
  CHECK(server.newest().transport->get_extra_info(ferry::peercert));
  close(world, client);
}

TEST_CASE("tls: an SNI callback that throws refuses the client", "[S-017]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext main = server_context();
  main.set_sni_callback([](std::string_view name) -> SslContext {
    if (name == "localhost") throw std::runtime_error{"nobody of that name"};
    return {};
  });
  TlsServer server{world, main};
  SslContext context = client_context();
  speak_only(context, version);
  const ferry::Error error = server.refusal(context);
  CHECK(error == make_error_code(SslErrc::alert));
  CHECK_THAT(std::string{error.what()}, Contains("unrecognized name"));
  CHECK_THAT(std::string{server.next_error().what()}, Contains("nobody of that name"));
  const TlsClient client = server.connect(context, "127.0.0.1");
  check_echo(world, client);
  close(world, client);
}

// --- OCSP ---

TEST_CASE("tls: a stapled OCSP response comes to the client that asks for it", "[S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext theirs = server_context();
  TlsServer server{world, theirs};
  SslContext asking = client_context(), silent = client_context();
  asking.set_request_ocsp(true);
  const auto seen = [&](const SslContext& context) {
    speak_only(context, version);
    const TlsClient client = server.connect(context);
    const auto der = client.transport->get_extra_info(ferry::ocsp_response);
    close(world, client);
    return std::string{ferry::BytesView{der}.text()};
  };
  CHECK(seen(asking) == "");
  theirs.set_ocsp_response("a response, DER");  // in use already
  CHECK(seen(asking) == "a response, DER");
  CHECK(seen(silent) == "");
  theirs.set_ocsp_response("another one");
  CHECK(seen(asking) == "another one");
  theirs.set_ocsp_response({});
  CHECK(seen(asking) == "");
}

// --- What a connection tells ---

TEST_CASE("tls: the key log has what decrypts the traffic", "") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  std::map<std::string, std::string> client_keys, server_keys;  // label and random to secret
  const auto keep = [](std::map<std::string, std::string>& keys) {
    return [&keys](std::string_view line) {
      CHECK(line.find('\n') == line.npos);
      const std::size_t space = line.rfind(' ');
      keys[std::string{line.substr(0, space)}] = line.substr(space + 1);
    };
  };
  SslContext theirs = server_context(), mine = client_context();
  theirs.set_keylog_callback(keep(server_keys));
  mine.set_keylog_callback(keep(client_keys));
  speak_only(mine, version);
  TlsServer server{world, theirs};
  const TlsClient client = server.connect(mine);
  check_echo(world, client);
  close(world, client);
  CHECK(client_keys == server_keys);
  CHECK_THAT(
      client_keys.begin()->first,
      Contains(version == TlsVersion::v1_2 ? "CLIENT_RANDOM" : "CLIENT_HANDSHAKE_TRAFFIC_SECRET"));
  CHECK(client_keys.size() == (version == TlsVersion::v1_2 ? 1 : 5));
}

TEST_CASE("tls: a connection tells of its TLS, by key or by name, from connection_made() on",
          "[S-014][S-015][S-016][S-017][S-018][S-010]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext theirs = server_context(), mine = client_context();
  mine.set_ciphersuites("TLS_AES_128_GCM_SHA256");
  mine.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256");
  speak_only(mine, version);
  TlsServer server{world, theirs};
  const bool old = version == TlsVersion::v1_2;
  const ferry::SslCipher expected{old ? "ECDHE-ECDSA-AES128-GCM-SHA256" : "TLS_AES_128_GCM_SHA256",
                                  old ? "TLSv1.2" : "TLSv1.3", 128};
  int asked = 0;
  const auto check = [&](ferry::Transport& transport, const SslContext& context) {
    CHECK(transport.get_extra_info(ferry::cipher) == expected);
    CHECK(transport.get_extra_info(ferry::compression) == "");
    CHECK(transport.get_extra_info(ferry::tls_version) == name_of(version));
    CHECK(transport.get_extra_info(ferry::sslcontext) == context);
    CHECK(transport.get_extra_info(ferry::server_name) == "localhost");
    CHECK_FALSE(transport.get_extra_info(ferry::session_reused));
    CHECK(std::any_cast<ferry::SslCipher>(transport.get_extra_info("cipher")) == expected);
    CHECK(transport.get_extra_info("sslcontext").has_value());
    SSL* const ssl = transport.get_extra_info(ferry::ssl_object);
    CHECK(SSL_get_SSL_CTX(ssl) == native_handle(context));
    CHECK(SSL_version(ssl) == static_cast<int>(version));
    CHECK(transport.get_extra_info(ferry::peername));  // the ones of TCP are still there
    CHECK(transport.get_extra_info(ferry::socket).fileno() != ferry::invalid_handle);
    ++asked;
  };
  server.on_protocol = [&](Recorder& protocol) {
    protocol.on_made = [&] {
      check(*protocol.transport, theirs);
      CHECK_FALSE(protocol.transport->get_extra_info(ferry::peercert));
    };
  };
  const auto protocol = std::make_shared<Recorder>();
  protocol->on_made = [&] { check(*protocol->transport, mine); };
  ferry::ConnectOptions options;
  options.ssl = &mine;
  options.server_hostname = "localhost";
  auto connecting = world.loop.create_connection([&] { return protocol; }, "127.0.0.1",
                                                 server.address().port(), options);
  const TlsClient client{world.run(std::move(connecting)).transport, protocol};
  check_echo(world, client);
  CHECK(asked == 2);
  close(world, client);
}

TEST_CASE("tls: the peer's certificate is parsed, and stays readable after the end",
          "[S-016][T-023][S-018]") {
  World world;
  CertificateSpec spec;
  spec.common_name = "K\u00f6ln, the host";
  spec.dns_names = {"www.example.com", "*.example.org", "localhost"};
  spec.ip_addresses = {"127.0.0.1", "2001:db8::7"};
  spec.not_before = -7200;
  spec.not_after = 7200;
  const Identity identity = authority().issue(spec);
  TlsServer server{world, server_context(identity)};
  const TlsClient client = server.connect(client_context());
  const auto check = [&] {
    const auto seen = client.transport->get_extra_info(ferry::peercert);
    REQUIRE(seen);
    CHECK(seen->subject == "CN=K\u00f6ln\\, the host");
    CHECK(seen->issuer == "CN=Test Root");
    CHECK(seen->dns_names == spec.dns_names);
    CHECK(seen->ip_addresses == spec.ip_addresses);
    const auto now = std::chrono::system_clock::now();
    CHECK(seen->not_before < now - std::chrono::hours{1});
    CHECK(seen->not_before > now - std::chrono::hours{3});
    CHECK(seen->not_after > now + std::chrono::hours{1});
    CHECK(seen->not_after < now + std::chrono::hours{3});
    CHECK(seen->serial.size() == 16);
    CHECK(seen->fingerprint_sha256.size() == 64);
    CHECK(seen->serial.find_first_not_of("0123456789abcdef") == std::string::npos);
    CHECK(ferry::BytesView{seen->der}.text() == der_of(identity.cert_pem));
    CHECK(seen->verified);
  };
  check();
  const auto cipher = client.transport->get_extra_info(ferry::cipher);
  close(world, client);
  check();
  CHECK(client.transport->get_extra_info(ferry::cipher) == cipher);
  CHECK(client.transport->get_extra_info(ferry::server_name) == "localhost");
  CHECK(SSL_is_init_finished(client.transport->get_extra_info(ferry::ssl_object)) == 1);
}

TEST_CASE("tls: a connection without TLS has nothing to tell of it", "[S-014][S-015][S-016]") {
  World world;
  Stream stream = open_stream(world);
  CHECK_FALSE(stream.transport->get_extra_info("cipher").has_value());
  CHECK_FALSE(stream.transport->get_extra_info("peercert").has_value());
  CHECK_FALSE(stream.transport->get_extra_info("sslcontext").has_value());
  CHECK_FALSE(stream.transport->get_extra_info("ssl_object").has_value());
  CHECK(stream.transport->get_extra_info(ferry::tls_version, std::string{"none"}) == "none");
  CHECK(stream.transport->get_extra_info(ferry::ssl_object) == nullptr);
  CHECK_FALSE(stream.transport->get_extra_info(ferry::sslcontext));
  stream.transport->abort();
}
