// Sessions: a second handshake with the same server is short, and with no other one.
#include "support/tls/tls_world.hpp"

#include <ferry/openssl.hpp>
#include <ferry/ssl.hpp>

#include <string>

using namespace test;
using ferry::SslContext;
using ferry::SslErrc;
using ferry::SslSession;
using ferry::TlsVersion;

namespace {

SslContext client_of(TlsVersion version) {
  SslContext context = client_context();
  speak_only(context, version);
  return context;
}
bool resumed(const TlsClient& client) {
  return client.transport->get_extra_info(ferry::session_reused);
}
SslSession session_of(const TlsClient& client) {
  return client.transport->get_extra_info(ferry::ssl_session);
}
// The session of a connection that ended well.
SslSession session_with(World& world, TlsServer& server, const SslContext& context,
                        std::string_view name = "localhost") {
  const TlsClient client = server.connect(context, name);
  check_echo(world, client);
  close(world, client);
  return session_of(client);
}
// Whether a connection with this session, which works in any case, resumes it: both sides say so.
bool resumes(World& world, TlsServer& server, const SslContext& context, const SslSession& session,
             std::string_view name = "localhost") {
  const TlsClient client = server.connect(context, name, &session);
  check_echo(world, client);
  CHECK(server.newest().transport->get_extra_info(ferry::session_reused) == resumed(client));
  close(world, client);
  return resumed(client);
}

}  // namespace

TEST_CASE("tls: a session is resumed, again and again", "[T-092]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  TlsServer server{world, server_context()};
  const SslContext context = client_of(version);
  const SslSession none;
  CHECK_FALSE(none);
  CHECK_FALSE(resumes(world, server, context, none));
  SslSession session = session_with(world, server, context);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(session);
    const TlsClient client = server.connect(context, "localhost", &session);
    CHECK(resumed(client));
    const auto seen = client.transport->get_extra_info(ferry::peercert);
    REQUIRE(seen);  // of the handshake that was resumed
    CHECK(ferry::BytesView{seen->der}.text() == der_of(localhost_identity().cert_pem));
    CHECK(seen->verified);
    check_echo(world, client);
    close(world, client);
    session = session_of(client);
  }
}

TEST_CASE("tls: TLS 1.3 has no session before its ticket is read", "[T-092]") {
  World world;
  const ferry::Socket listener = listening_socket();
  set_nonblocking(listener.fileno());
  const SslContext context = client_of(TlsVersion::v1_3);
  ferry::ConnectOptions options;
  options.ssl = &context;
  options.server_hostname = "localhost";
  auto connecting = world.loop.create_task(world.loop.create_connection(
      ferry::make<Recorder>, "127.0.0.1", listener.view().getsockname().port(), options));
  Peer socket;
  world.run_until([&] {
    if (auto accepted = accept_one(listener)) socket = Peer{std::move(accepted)};
    return static_cast<bool>(socket);
  });
  const RawContext theirs = raw_server_context(localhost_identity());
  SSL_CTX_set_num_tickets(theirs.get(), 0);  // none by itself
  RawConnection server{world, std::move(socket), RawPeer::server(theirs)};
  server.run_until([&] { return connecting.done() && server.peer().is_open(); });
  const auto made = connecting.result();
  CHECK_FALSE(made.transport->get_extra_info(ferry::ssl_session));
  server.write("without a ticket");
  server.run_until([&] { return made.protocol->received == "without a ticket"; });
  CHECK_FALSE(made.transport->get_extra_info(ferry::ssl_session));
  REQUIRE(SSL_new_session_ticket(server.peer().ssl()) == 1);
  server.write(", with one");
  server.run_until([&] { return made.protocol->received == "without a ticket, with one"; });
  CHECK(made.transport->get_extra_info(ferry::ssl_session));
  made.transport->close();
  server.run_until([&] { return server.peer().got_close_notify(); });
  server.close();
  world.run_until([&] { return made.protocol->lost; });
}

TEST_CASE("tls: a session is for the host that it was made with and no other", "[T-092]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  CertificateSpec spec = for_localhost();
  spec.dns_names.push_back("other.example");
  TlsServer server{world, server_context(authority().issue(spec))};
  const SslContext context = client_of(version);
  const SslSession session = session_with(world, server, context);
  CHECK_FALSE(resumes(world, server, context, session, "other.example"));
  CHECK_FALSE(resumes(world, server, context, session, "127.0.0.1"));
  CHECK(resumes(world, server, context, session));
}

TEST_CASE("tls: a session does not carry trust into a context that has none", "[T-092][T-088]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  TlsServer server{world, server_context(self_signed(for_localhost()))};
  SslContext careless = trusting_anybody();
  speak_only(careless, version);
  const SslSession session = session_with(world, server, careless);
  const SslContext careful = client_of(version);
  const Recorders clients;
  auto connecting = server.connecting(clients, careful, "localhost", &session);
  CHECK(error_of(world, std::move(connecting)) ==
        make_error_code(SslErrc::self_signed_certificate));
  CHECK(clients.made() == 0);
  server.next_error();
}

TEST_CASE("tls: the session of a truncated stream is not resumed", "[T-092][C-09]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  TlsServer server{world, server_context()};
  const SslContext context = client_of(version);
  const TlsClient client = server.connect(context);
  check_echo(world, client);
  const SslSession session = session_of(client);
  CHECK(session);
  // The server's socket ends under its TLS.
  shut_write(server.newest().transport->get_extra_info(ferry::socket).fileno());
  world.run_until([&] { return client.protocol->lost; });
  CHECK(client.protocol->reason == make_error_code(SslErrc::truncated));
  CHECK_FALSE(client.protocol->eof);
  CHECK_FALSE(session);  // also for those who have it already
  CHECK_FALSE(session_of(client));
  CHECK_FALSE(resumes(world, server, context, session));
}

TEST_CASE("tls: a server without tickets resumes nothing", "[T-092]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext theirs = server_context();
  theirs.set_session_tickets(0);
  TlsServer server{world, theirs};
  const SslContext context = client_of(version);
  const SslSession session = session_with(world, server, context);
  CHECK_FALSE(session);
  CHECK_FALSE(resumes(world, server, context, session));
}

TEST_CASE("tls: servers with the same ticket keys resume each other's sessions", "[T-092]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext one = server_context(), same = server_context(), other = server_context();
  one.set_ticket_keys(pattern(80));
  same.set_ticket_keys(pattern(80));
  TlsServer first{world, one}, second{world, same}, stranger{world, other};
  const SslContext context = client_of(version);
  const SslSession session = session_with(world, first, context);
  CHECK(resumes(world, second, context, session));
  CHECK_FALSE(resumes(world, stranger, context, session));
  one.set_ticket_keys(pattern(80, 2));  // in use; older tickets are void
  CHECK_FALSE(resumes(world, first, context, session));
  CHECK(resumes(world, first, context, session_with(world, first, context)));
}

TEST_CASE("tls: a client's certificate is known after resumption, too", "[T-092][S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext theirs = server_context();
  theirs.load_verify_locations(ferry::Pem::text(authority().pem()));
  theirs.set_verify_mode(ferry::VerifyMode::required);
  TlsServer server{world, theirs};
  CertificateSpec spec;
  spec.common_name = "a client";
  spec.purpose = Purpose::client;
  const Identity identity = authority().issue(spec);
  SslContext context = client_of(version);
  context.load_cert_chain(ferry::Pem::text(identity.cert_pem), ferry::Pem::text(identity.key_pem));
  const SslSession session = session_with(world, server, context);
  const TlsClient client = server.connect(context, "localhost", &session);
  CHECK(resumed(client));
  check_echo(world, client);
  const auto seen = server.newest().transport->get_extra_info(ferry::peercert);
  REQUIRE(seen);
  CHECK(seen->subject == "CN=a client");
  CHECK(seen->verified);
  close(world, client);
}

TEST_CASE("tls: a session from where nobody asks for a certificate is none where one is required",
          "[T-092][S-016]") {
  const TlsVersion version = GENERATE(TlsVersion::v1_2, TlsVersion::v1_3);
  World world;
  SslContext open = server_context(), strict = server_context();
  strict.load_verify_locations(ferry::Pem::text(authority().pem()));
  strict.set_verify_mode(ferry::VerifyMode::required);
  open.set_ticket_keys(pattern(80));
  strict.set_ticket_keys(pattern(80));
  open.set_sni_callback(
      [&](std::string_view name) { return name == "strict.example" ? strict : SslContext{}; });
  TlsServer server{world, open}, other{world, strict};
  server.watch(strict);
  other.watch(strict);

  // ferry's own clients do not even offer a session to another host.
  const RawContext context = raw_client_context();
  test::speak_only(context, static_cast<int>(version));
  RawConnection first = server.dial_raw(RawPeer::client(context, "localhost"));
  first.run_handshake();
  first.write("ping");
  first.run_until([&] { return first.received == "ping"; });
  const std::shared_ptr<SSL_SESSION> session{SSL_get1_session(first.peer().ssl()),
                                             SSL_SESSION_free};
  REQUIRE(SSL_SESSION_is_resumable(session.get()) == 1);
  first.close();
  const auto check_refused = [&](TlsServer& at, const char* name) {
    const std::size_t before = at.protocols.made();
    RawPeer peer = RawPeer::client(context, name);
    REQUIRE(SSL_set_session(peer.ssl(), session.get()) == 1);
    RawConnection second = at.dial_raw(std::move(peer));
    second.run_until([&] { return second.over() || at.protocols.made() > before; });
    if (at.protocols.made() == before) {
      CHECK(second.peer().failed());
      return;
    }
    // OpenSSL takes the name of a session of TLS 1.2 for the one that is asked for: then this is
    // one more connection to where no certificate is asked for.
    CHECK(version == TlsVersion::v1_2);
    const ferry::Transport& transport = *at.protocols.list->back()->transport;
    CHECK(transport.get_extra_info(ferry::server_name) == "localhost");
    CHECK(transport.get_extra_info(ferry::sslcontext) == open);
  };
  check_refused(server, "strict.example");  // by its name
  check_refused(other, "localhost");        // another server with the same ticket keys
}
