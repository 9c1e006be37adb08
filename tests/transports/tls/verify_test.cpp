// Who is taken for the server, or for the client: certificates, names, and how a refusal is told.
#include "support/tls/tls_world.hpp"

#include <ferry/ssl.hpp>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace test;
using Catch::Matchers::Contains;
using ferry::SslErrc;
using ferry::TlsVersion;
using ferry::VerifyMode;

namespace {

// The client refuses the server, says why, and so does its alert. The server goes on.
struct Refusal {
  SslErrc code;
  std::vector<std::string> words;
  std::string alert;
};
void check_refused(World& world, const ferry::SslContext& server, const ferry::SslContext& client,
                   const Refusal& expected, std::string_view name = "localhost") {
  TlsServer listening{world, server};
  const ferry::Error error = listening.refusal(client, name);
  CHECK(error == make_error_code(expected.code));
  CHECK(ferry::is_certificate_error(error.code()));
  CHECK_THROWS_AS(error.raise(), ferry::SslError);
  for (const std::string& words : expected.words) {
    CHECK_THAT(std::string{error.what()}, Contains(words));
  }
  const ferry::Error alert = listening.next_error();
  CHECK(alert == make_error_code(SslErrc::alert));
  CHECK_THAT(std::string{alert.what()}, Contains("'" + expected.alert + "'"));
  CHECK(listening.protocols.made() == 0);
  const TlsClient next = listening.connect(trusting_anybody());
  check_echo(world, next);
  close(world, next);
}

Identity issued_for(std::vector<std::string> dns_names,
                    std::vector<std::string> ip_addresses = {}) {
  CertificateSpec spec;
  spec.common_name = "names";
  spec.dns_names = std::move(dns_names);
  spec.ip_addresses = std::move(ip_addresses);
  return authority().issue(spec);
}

ferry::Error error_for(World& world, const Identity& identity, std::string_view host) {
  TlsServer server{world, server_context(identity)};
  const Recorders clients;
  const ferry::SslContext context = client_context();
  auto connecting = server.connecting(clients, context, host);
  const ferry::Error error = error_of(world, std::move(connecting));
  if (error) server.next_error();
  return error;
}

}  // namespace

TEST_CASE("tls: a server's certificate that is not good is refused with the reason",
          "[T-088][S-062][C-22]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  const ferry::SslContext client = client_context();
  speak_only(client, version);
  CertificateSpec spec = for_localhost();
  SECTION("expired") {
    spec.not_after = -60;
    check_refused(world, server_context(authority().issue(spec)), client,
                  {SslErrc::certificate_expired,
                   {"certificate has expired", "CN=localhost", "valid until 20"},
                   "certificate expired"});
  }
  SECTION("not yet valid") {
    spec.not_before = 3600;
    check_refused(world, server_context(authority().issue(spec)), client,
                  {SslErrc::certificate_not_yet_valid,
                   {"certificate is not yet valid", "CN=localhost", "valid from 20"},
                   "bad certificate"});
  }
  SECTION("self-signed") {
    check_refused(
        world, server_context(self_signed(spec)), client,
        {SslErrc::self_signed_certificate, {"self-signed", "CN=localhost"}, "unknown CA"});
  }
  SECTION("a root that is not trusted, sent along") {
    const Authority stranger{"A Stranger"};
    check_refused(
        world, server_context(stranger.issue(spec), stranger.pem()), client,
        {SslErrc::self_signed_certificate, {"self-signed", "CN=A Stranger"}, "unknown CA"});
  }
  SECTION("a missing intermediate certificate") {
    const Authority intermediate = authority().intermediate("Not Sent");
    check_refused(world, server_context(intermediate.issue(spec)), client,
                  {SslErrc::unknown_issuer,
                   {"unable to get local issuer certificate", "CN=localhost", "CN=Not Sent"},
                   "unknown CA"});
  }
  SECTION("a client's certificate") {
    spec.purpose = Purpose::client;
    check_refused(world, server_context(authority().issue(spec)), client,
                  {SslErrc::wrong_purpose, {"purpose", "CN=localhost"}, "unsupported certificate"});
  }
  SECTION("another host's") {
    check_refused(world, server_context(), client,
                  {SslErrc::host_mismatch,
                   {"elsewhere.example", "localhost", "127.0.0.1"},
                   "bad certificate"},
                  "elsewhere.example");
  }
}

TEST_CASE("tls: a certificate is good with its intermediate, whatever its usage says at least",
          "[T-088]") {
  World world;
  const Authority intermediate = authority().intermediate();
  CertificateSpec spec = for_localhost();
  spec.purpose = GENERATE(Purpose::server, Purpose::both, Purpose::none);
  TlsServer server{world, server_context(intermediate.issue(spec), intermediate.pem())};
  const TlsClient client = server.connect(client_context());
  check_echo(world, client);
  close(world, client);
  CHECK(server.errors.empty());
}

TEST_CASE("tls: what is checked can be switched off", "[T-088][A-014]") {
  World world;
  TlsServer strangers{world, server_context(self_signed(for_localhost()))};
  const TlsClient anybody = strangers.connect(trusting_anybody(), "elsewhere.example");
  check_echo(world, anybody);
  CHECK_FALSE(anybody.transport->get_extra_info(ferry::peercert)->verified);
  close(world, anybody);

  TlsServer ours{world, server_context()};
  ferry::SslContext any_name = client_context();
  any_name.set_check_hostname(false);
  for (const auto& [context, name] :
       {std::pair{any_name, "elsewhere.example"}, std::pair{client_context(), ""}}) {
    const TlsClient client = ours.connect(context, name);
    check_echo(world, client);
    CHECK(client.transport->get_extra_info(ferry::peercert)->verified);
    CHECK(ours.newest().transport->get_extra_info(ferry::server_name) == name);
    close(world, client);
  }
  CHECK(strangers.refusal(any_name) == make_error_code(SslErrc::self_signed_certificate));
}

TEST_CASE("tls: the certificate must name the host", "[T-088][T-089]") {
  struct Case {
    std::vector<std::string> names;
    std::string host;
    bool fits;
  };
  const Case tried = GENERATE(
      Case{{"www.example.com"}, "www.example.com", true},
      Case{{"other.example.com", "www.example.com"}, "www.example.com", true},
      Case{{"www.example.com"}, "WWW.Example.COM", true},
      Case{{"www.example.com"}, "www.example.com.", true},  // the dot is stripped
      Case{{"www.example.com"}, "example.com", false},
      Case{{"www.example.com"}, "a.www.example.com", false},
      Case{{"www.example.com"}, "www.example.co", false},
      Case{{"*.example.com"}, "www.example.com", true},
      Case{{"*.example.com"}, "example.com", false},
      Case{{"*.example.com"}, "a.b.example.com", false},
      Case{{"w*.example.com"}, "www.example.com", false},
      Case{{"*w.example.com"}, "www.example.com", false},
      Case{{"w*w.example.com"}, "www.example.com", false},
      Case{{"www.*.com"}, "www.example.com", false}, Case{{"*.com"}, "example.com", false},
      Case{{"*"}, "localhost", false},
      Case{{"xn--mnchen-3ya.example"}, "xn--mnchen-3ya.example", true},
      Case{{"xn--*.example"}, "xn--mnchen-3ya.example", false},
      Case{{std::string{"www.example.com\0.evil.org", 25}}, "www.example.com", false},
      Case{{std::string{"www.example.com\0", 16}}, "www.example.com", false},
      Case{{""}, "www.example.com", false});
  CAPTURE(tried.names, tried.host);
  World world;
  const ferry::Error error = error_for(world, issued_for(tried.names), tried.host);
  if (tried.fits) {
    CHECK(error.what() == "");
  } else {
    CHECK(error == make_error_code(SslErrc::host_mismatch));
  }
}

TEST_CASE("tls: the subject's common name is no name of a host", "[T-088]") {
  World world;
  CertificateSpec spec;
  spec.common_name = "www.example.com";
  CHECK(error_for(world, authority().issue(spec), "www.example.com") ==
        make_error_code(SslErrc::host_mismatch));
  spec.common_name = std::string{"www.example.com\0.evil.org", 25};
  CHECK(error_for(world, authority().issue(spec), "www.example.com") ==
        make_error_code(SslErrc::host_mismatch));
}

TEST_CASE("tls: an IP address is matched with the certificate's addresses and nothing else",
          "[T-089]") {
  struct Case {
    std::vector<std::string> names, addresses;
    std::string host;
    bool fits;
  };
  const Case tried = GENERATE(
      Case{{}, {"127.0.0.1"}, "127.0.0.1", true}, Case{{}, {"::1"}, "::1", true},
      Case{{}, {"::1"}, "0:0:0:0:0:0:0:1", true},
      Case{{}, {"fe80::1"}, "fe80::1%eth0", true},  // without its scope
      Case{{}, {"127.0.0.2"}, "127.0.0.1", false}, Case{{"127.0.0.1"}, {}, "127.0.0.1", false},
      Case{{"*.0.0.1"}, {}, "127.0.0.1", false}, Case{{"::1"}, {"127.0.0.1"}, "::1", false},
      Case{{"localhost"}, {"127.0.0.1"}, "127.0.0.1", true});
  CAPTURE(tried.names, tried.addresses, tried.host);
  World world;
  TlsServer server{world, server_context(issued_for(tried.names, tried.addresses))};
  if (!tried.fits) {
    CHECK(server.refusal(client_context(), tried.host) == make_error_code(SslErrc::host_mismatch));
    return;
  }
  const TlsClient client = server.connect(client_context(), tried.host);
  CHECK(server.newest().transport->get_extra_info(ferry::server_name) == "");  // no SNI for those
  CHECK(client.transport->get_extra_info(ferry::server_name) == "");
  close(world, client);
}

TEST_CASE("tls: the host that is connected to is the name that is expected", "[A-014][T-089]") {
  World world;
  TlsServer server{world, server_context()};
  const ferry::SslContext context = client_context();
  ferry::ConnectOptions options;
  options.ssl = &context;
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    options.family = ferry::Family::ipv4;
    auto connecting =
        world.loop.create_connection(ferry::make<Recorder>, host, server.address().port(), options);
    auto made = world.run(std::move(connecting));
    const TlsClient client{made.transport, made.protocol};
    check_echo(world, client);
    CHECK(server.newest().transport->get_extra_info(ferry::server_name) ==
          (host == "localhost" ? host : ""));
    close(world, client);
  }
}

TEST_CASE("tls: a name that no certificate can have is refused at the call", "[T-089][C-22]") {
  using Wrong = std::invalid_argument;
  World world;
  const ferry::SslContext context = client_context();
  Pair pair = connected_pair(Carrier::tcp);
  ferry::SslOptions options;
  options.ssl = &context;
  const auto connect = [&](std::optional<std::string_view> name) {
    options.server_hostname = name;
    return world.loop.create_connection(ferry::make<Recorder>, std::move(pair.ours), options);
  };
  CHECK_THAT(thrown_by<Wrong>([&] { return connect("m\u00fcnchen.example"); }),
             Contains("A-label") && Contains("m\u00fcnchen.example"));
  CHECK_THAT(thrown_by<Wrong>([&] {
               return connect(std::string_view{"localhost\0.evil", 15});
             }),
             Contains("NUL"));
  CHECK_THAT(thrown_by<Wrong>([&] { return connect({}); }), Contains("server_hostname"));
  // OpenSSL would take it for any host of that domain.
  CHECK_THAT(thrown_by<Wrong>([&] { return connect(".example.com"); }), Contains("dot"));
  CHECK(pair.ours);  // the socket stays the caller's
  ferry::ConnectOptions by_host;
  by_host.ssl = &context;
  CHECK_THAT(thrown_by<Wrong>([&] {
               return world.loop.create_connection(ferry::make<Recorder>, "m\u00fcnchen.example", 1,
                                                   by_host);
             }),
             Contains("A-label"));
}

TEST_CASE("tls: the system's alert reaches a server that is not ferry's", "[T-088]") {
  World world;
  const ferry::Socket listener = listening_socket();
  set_nonblocking(listener.fileno());
  const ferry::SslContext context = client_context();
  ferry::ConnectOptions options;
  options.ssl = &context;
  options.server_hostname = "localhost";
  const Recorders clients;
  auto connecting = world.loop.create_task(world.loop.create_connection(
      clients, "127.0.0.1", listener.view().getsockname().port(), options));
  Peer socket;
  world.run_until([&] {
    if (!socket) {
      if (auto accepted = accept_one(listener)) socket = Peer{std::move(accepted)};
    }
    return static_cast<bool>(socket);
  });
  RawConnection server{world, std::move(socket),
                       RawPeer::server(raw_server_context(self_signed(for_localhost())))};
  server.run_until([&] { return connecting.done() && server.over(); });
  CHECK(ferry::Error{connecting.exception()} == make_error_code(SslErrc::self_signed_certificate));
  CHECK(server.peer().error() == "tlsv1 alert unknown ca");
  CHECK(clients.made() == 0);
}

// --- Clients' certificates ---

namespace {

// A client's certificate that the server refuses. TLS 1.3's client has sent its last word by then,
// and hears of it as the end of a connection.
void check_client_refused(World& world, TlsServer& server, const ferry::SslContext& client,
                          TlsVersion version, const Refusal& expected) {
  speak_only(client, version);
  ferry::Error heard;
  if (version == TlsVersion::v1_2) {
    heard = server.refusal(client);
  } else {
    const TlsClient made = server.connect(client);
    world.run_until([&] { return made.protocol->lost; });
    CHECK_FALSE(made.protocol->eof);
    heard = made.protocol->reason;
  }
  CHECK(heard == make_error_code(SslErrc::alert));
  CHECK_THAT(std::string{heard.what()}, Contains("'" + expected.alert + "'"));
  const ferry::Error error = server.next_error();
  CHECK(error == make_error_code(expected.code));
  CHECK(ferry::is_certificate_error(error.code()));
  for (const std::string& words : expected.words) {
    CHECK_THAT(std::string{error.what()}, Contains(words));
  }
  CHECK(server.protocols.made() == 0);
}

ferry::SslContext asking_for_clients(VerifyMode mode) {
  ferry::SslContext context = server_context();
  context.load_verify_locations(ferry::Pem::text(authority().pem()));
  context.set_verify_mode(mode);
  return context;
}
ferry::SslContext client_with(const Identity& identity) {
  ferry::SslContext context = client_context();
  context.load_cert_chain(ferry::Pem::text(identity.cert_pem), ferry::Pem::text(identity.key_pem));
  return context;
}

}  // namespace

TEST_CASE("tls: a server that requires clients' certificates refuses bad ones with the reason",
          "[T-088][S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  TlsServer server{world, asking_for_clients(VerifyMode::required)};
  CertificateSpec spec;
  spec.common_name = "a client";
  spec.purpose = Purpose::client;
  SECTION("none") {
    const char* const alert =
        version == TlsVersion::v1_2 ? "handshake failure" : "certificate required";
    check_client_refused(world, server, client_context(), version,
                         {SslErrc::no_certificate, {"certificate"}, alert});
  }
  SECTION("expired") {
    spec.not_after = -60;
    check_client_refused(
        world, server, client_with(authority().issue(spec)), version,
        {SslErrc::certificate_expired, {"has expired", "CN=a client"}, "certificate expired"});
  }
  SECTION("self-signed") {
    check_client_refused(world, server, client_with(self_signed(spec)), version,
                         {SslErrc::self_signed_certificate, {"CN=a client"}, "unknown CA"});
  }
  SECTION("a server's") {
    spec.purpose = Purpose::server;
    check_client_refused(
        world, server, client_with(authority().issue(spec)), version,
        {SslErrc::wrong_purpose, {"purpose", "CN=a client"}, "unsupported certificate"});
  }
}

TEST_CASE("tls: a client's certificate is there if it was asked for and sent", "[S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  const VerifyMode mode = GENERATE(VerifyMode::none, VerifyMode::optional, VerifyMode::required);
  World world;
  CertificateSpec spec;
  spec.common_name = "a client";
  spec.purpose = Purpose::client;
  const ferry::SslContext known = client_with(authority().issue(spec));
  speak_only(known, version);
  TlsServer server{world, asking_for_clients(mode)};
  const TlsClient client = server.connect(known);
  check_echo(world, client);
  const auto seen = server.newest().transport->get_extra_info(ferry::peercert);
  if (mode == VerifyMode::none) {
    CHECK_FALSE(seen);
  } else {
    REQUIRE(seen);
    CHECK(seen->subject == "CN=a client");
    CHECK(seen->verified);
  }
  close(world, client);
  if (mode != VerifyMode::optional) return;
  const TlsClient nobody = server.connect(client_context());
  check_echo(world, nobody);
  CHECK_FALSE(server.newest().transport->get_extra_info(ferry::peercert));
  close(world, nobody);
  spec.not_after = -60;  // none is fine, a bad one is not
  const ferry::SslContext late = client_with(authority().issue(spec));
  const TlsClient refused = server.connect(late);
  world.run_until([&] { return refused.protocol->lost; });
  CHECK(refused.protocol->reason == make_error_code(SslErrc::alert));
  CHECK(server.next_error() == make_error_code(SslErrc::certificate_expired));
}
