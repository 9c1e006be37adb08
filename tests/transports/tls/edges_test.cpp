// Cases at the edges of TLS in which a first implementation was wrong.
#include "support/tls/tls_stream.hpp"

#include <limits>
#include <stdexcept>

using namespace test;

namespace {

ferry::StartTlsOptions as_server() { return {.server_side = true}; }

struct Pairing {  // a ferry server and a ferry client, both over TCP
  World& world;
  std::shared_ptr<Recorder> ours = std::make_shared<Recorder>();
  std::shared_ptr<ferry::Server> server;
  std::uint16_t port = 0;

  Pairing(World& in, const ferry::SslContext* context) : world{in} {
    server = world.run(world.loop.create_server(
        [this] {
          ours = std::make_shared<Recorder>();
          return ours;
        },
        "127.0.0.1", 0, {.ssl = context}));
    port = server->sockets()[0].getsockname().port();
  }
  ~Pairing() {
    server->abort_clients();
    server->close();
    world.settle();
  }
  ferry::Future<ferry::Connection<Recorder>> connect(ferry::ConnectOptions options) {
    return world.loop.create_task(world.loop.create_connection(
        ferry::make<Recorder>, "127.0.0.1", port, options));
  }
  template <class T>
  ferry::Error outcome(ferry::Future<T> future) {
    world.run_until([&] { return future.done(); }, "an outcome");
    try {
      static_cast<void>(future.take_result());
    } catch (...) {
      return ferry::Error{std::current_exception()};
    }
    return {};
  }
};

}  // namespace

TEST_CASE("start_tls() inside connection_made() is done when the handshake is, not before",
          "[C-21][T-003]") {
  World world;
  const ferry::SslContext context = server_context();
  auto protocol = std::make_shared<Recorder>();
  ferry::Future<void> upgrade;
  protocol->on_made = [&] {
    upgrade = world.loop.create_task(
        world.loop.start_tls(*protocol->transport, context, as_server()));
  };
  Pair pair = connected_pair(Carrier::tcp);
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  auto made = world.run(std::move(task));
  world.settle();
  REQUIRE(upgrade);
  CHECK_FALSE(upgrade.done());
  CHECK(made.transport->get_extra_info(ferry::tls_version).empty());  // nothing agreed on yet
  RawConnection raw{world, std::move(pair.peer), raw_peer_of(Side::server)};
  raw.run_until([&] { return upgrade.done() && raw.peer().is_open(); });
  upgrade.take_result();
  CHECK(made.transport->get_extra_info(ferry::tls_version) == "TLSv1.3");
  made.transport->abort();
  world.settle();
}

TEST_CASE("a write that fails inside connection_made() is the reason of the loss", "[T-041]") {
  World world;
  auto protocol = std::make_shared<Recorder>();
  Calls calls;
  protocol->on_made = [&] {
    fail_sends(calls, EPIPE);
    protocol->transport->write(pattern(20'000));
  };
  Pair pair = connected_pair(Carrier::tcp);
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  auto made = world.run(std::move(task));
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("a connection keeps its context alive", "[S-017]") {
  World world;
  Pairing pairing{world, [] {
                    static const ferry::SslContext context = server_context();
                    return &context;
                  }()};
  ferry::Future<ferry::Connection<Recorder>> future;
  {
    const ferry::SslContext context = client_context();
    future = pairing.connect({.ssl = &context});
  }
  world.run_until([&] { return future.done(); });
  auto client = future.take_result();
  CHECK(client.transport->get_extra_info(ferry::sslcontext).checks_hostname());
  client.transport->abort();
  world.settle();
}

TEST_CASE("the SNI callback may answer with a context that nobody else has", "[T-091]") {
  World world;
  ferry::SslContext context = server_context();
  context.set_sni_callback([](std::string_view) {
    ferry::SslContext made = server_context();
    made.set_alpn_protocols({"h2"});
    return made;
  });
  Pairing pairing{world, &context};
  ferry::SslContext trust = client_context();
  trust.set_alpn_protocols({"h2"});
  auto future = pairing.connect({.ssl = &trust, .server_hostname = "localhost"});
  world.run_until([&] { return future.done(); });
  auto client = future.take_result();
  CHECK(client.transport->get_extra_info(ferry::alpn_protocol) == "h2");
  client.transport->abort();
  world.settle();
}

TEST_CASE("a session does not lead past the certificate that another name requires",
          "[T-092]") {
  World world;
  ferry::SslContext context = server_context();
  ferry::SslContext strict = server_context();
  strict.load_verify_locations(ferry::Pem::text(authority().pem()));
  strict.set_verify_mode(ferry::VerifyMode::required);
  bool is_strict = false;
  context.set_sni_callback([&](std::string_view) {
    return is_strict ? strict : ferry::SslContext{};
  });
  Pairing pairing{world, &context};
  const ferry::SslContext trust = client_context();
  auto future = pairing.connect({.ssl = &trust, .server_hostname = "localhost"});
  world.run_until([&] { return future.done() && pairing.ours->made; });
  auto first = future.take_result();
  pairing.ours->transport->write("a ticket comes before this");
  world.run_until([&] { return !first.protocol->received.empty(); });
  const ferry::SslSession session = first.transport->get_extra_info(ferry::ssl_session);
  REQUIRE(session);
  first.transport->abort();
  world.settle();
  is_strict = true;
  auto again = pairing.connect(
      {.ssl = &trust, .server_hostname = "localhost", .ssl_session = &session});
  // With TLS 1.3 a client learns of its refusal when it reads.
  world.run_until([&] { return again.done(); });
  try {
    auto second = again.take_result();
    world.run_until([&] { return second.protocol->lost; });
    CHECK(second.protocol->reason);
  } catch (const ferry::OsError&) {
  }
  CHECK_FALSE(pairing.ours->made);
}

TEST_CASE("a name's context that does not speak the client's version refuses it", "[T-089]") {
  World world;
  ferry::SslContext context = server_context();
  context.set_sni_callback([](std::string_view) {
    ferry::SslContext made = server_context();
    made.set_minimum_version(ferry::TlsVersion::v1_3);
    return made;
  });
  Pairing pairing{world, &context};
  ferry::SslContext old = client_context();
  old.set_maximum_version(ferry::TlsVersion::v1_2);
  const auto error =
      pairing.outcome(pairing.connect({.ssl = &old, .server_hostname = "localhost"}));
  CHECK(error == make_error_code(ferry::SslErrc::alert));
  CHECK_FALSE(pairing.ours->made);
}

TEST_CASE("the check of the host is never off unasked", "[T-089][A-014]") {
  World world;
  const ferry::SslContext context = client_context();
  const auto connect = [&](std::string_view host, std::optional<std::string_view> name) {
    static_cast<void>(world.loop.create_connection(
        ferry::make<Recorder>, host, 1, {.ssl = &context, .server_hostname = name}));
  };
  CHECK_THROWS_AS(connect("", std::nullopt), std::invalid_argument);
  CHECK_THROWS_AS(connect("localhost", "."), std::invalid_argument);
  CHECK_THROWS_AS(connect("localhost", ".example.com"), std::invalid_argument);
  CHECK_THROWS_AS(connect("localhost", "x\ny"), std::invalid_argument);
  CHECK_NOTHROW(connect("localhost", ""));  // asked for
}

TEST_CASE("a peer that goes on sending after our close() does not put its end off",
          "[T-076][A-012]") {
  World world;
  TlsStream stream =
      open_tls(world, {.options = {.ssl_shutdown_timeout = ferry::Seconds{0.05}}});
  stream.transport->close();
  stream.raw.run_until([&] {
    if (!stream.protocol->lost) stream.raw.write_if_sent(pattern(16'000));
    return stream.protocol->lost;
  });
  CHECK(stream.protocol->reason == std::errc::timed_out);
}

TEST_CASE("a time-out may be infinite", "[T-076][T-061]") {
  World world;
  constexpr ferry::Seconds never{std::numeric_limits<double>::infinity()};
  TlsStream stream = open_tls(
      world, {.options = {.ssl_handshake_timeout = never, .ssl_shutdown_timeout = never}});
  stream.transport->close();
  stream.raw.run_until([&] { return stream.raw.peer().got_close_notify(); });
  world.settle();
  CHECK_FALSE(stream.protocol->lost);
  stream.raw.close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("a pause in data_received() holds back a close_notify of the same segment",
          "[T-071][T-017]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  stream.protocol->on_data = [&] { stream.transport->pause_reading(); };
  CHECK(stream.raw.peer().write("the last words"));
  stream.raw.peer().shutdown();
  stream.raw.step();
  world.run_until([&] { return !stream.protocol->received.empty(); });
  world.settle();
  CHECK_FALSE(stream.protocol->eof);
  CHECK_FALSE(stream.transport->is_closing());
  SECTION("and gives it after resume_reading()") {
    stream.transport->resume_reading();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made data:14 eof lost");
  }
  SECTION("and close() needs no resume_reading()") {
    stream.transport->close();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made data:14 lost");
  }
}

TEST_CASE("a beginning of the handshake that is handed over in part is TLS", "[T-093]") {
  World world;
  const ferry::SslContext context = server_context();
  Stream stream = open_stream(world);
  RawPeer peer = raw_peer_of(Side::server);
  peer.handshake();
  const std::string hello = peer.take_output();
  ferry::StartTlsOptions options = as_server();
  options.received = ferry::BytesView{hello}.subview(0, 50);
  options.ssl_handshake_timeout = ferry::Seconds{0.05};
  auto future = world.loop.create_task(
      world.loop.start_tls(*stream.transport, context, options));
  stream.peer.send(hello.substr(50));
  world.run_until([&] { return future.done() && stream.protocol->lost; });
  CHECK_THROWS_AS(future.take_result(), ferry::OsError);
  CHECK(stream.protocol->reason == std::errc::connection_aborted);
}

TEST_CASE("dropping the task of an upgrade that is done changes nothing", "[T-096]") {
  World world;
  const ferry::SslContext context = server_context();
  Stream stream = open_stream(world);
  {
    auto task = world.loop.start_tls(*stream.transport, context, as_server());
    RawConnection raw{world, std::move(stream.peer), raw_peer_of(Side::server)};
    raw.run_until([&] { return raw.peer().is_open(); });
    raw.write("sealed");
    raw.run_until([&] { return stream.protocol->received == "sealed"; });
    stream.peer = std::move(raw.socket());
  }
  world.settle();
  CHECK_FALSE(stream.transport->is_closing());
  stream.transport->abort();
  world.settle();
}

TEST_CASE("bytes in clear still wait: the peer's end and its floods wait, too",
          "[T-095][T-070]") {
  World world;
  const ferry::SslContext context = server_context();
  Stream stream = open_stream(world);
  block_writing(stream, 100'000);
  auto future = world.loop.create_task(
      world.loop.start_tls(*stream.transport, context, as_server()));
  std::size_t sent = 0;
  const std::string part = pattern(64'000);
  for (int still = 0; still < 20;) {
    const std::size_t went = stream.peer.send(part);
    sent += went;
    still = went > 0 ? 0 : still + 1;
    world.turn();
    REQUIRE(sent < (std::size_t{64} << 20));
  }
  stream.peer.shut_write();
  world.settle();  // nothing spins
  CHECK_FALSE(future.done());
  read_until(world, stream.peer, [&] { return future.done(); });
  CHECK_THROWS_AS(future.take_result(), ferry::SslError);
  world.run_until([&] { return stream.protocol->lost; });
}

TEST_CASE("a protocol that is required fails the handshake of whoever offers none", "[T-091]") {
  World world;
  const Side requires_it = any_side();
  ferry::SslContext server = server_context(), client = client_context();
  (requires_it == Side::server ? server : client).set_alpn_protocols({"h2"}, true);
  std::string told;
  server.set_handshake_error_callback(
      [&](const ferry::Error& error, std::string_view) { told = error.what(); });
  Pairing pairing{world, &server};
  auto future = pairing.connect({.ssl = &client});
  world.run_until([&] { return future.done(); });
  if (requires_it == Side::client) {
    const auto error = pairing.outcome(future);
    CHECK(error == make_error_code(ferry::SslErrc::no_common_protocol));
  } else {
    world.run_until([&] { return !told.empty(); });
    CHECK(told.find("no application protocol in common") != std::string::npos);
    CHECK_FALSE(pairing.ours->made);
    try {
      auto made = future.take_result();
      world.run_until([&] { return made.protocol->lost; });
    } catch (const ferry::OsError&) {
    }
  }
}

TEST_CASE("lists of ciphers that are in use everywhere are taken", "[A-014]") {
  ferry::SslContext context = ferry::SslContext::server();
  for (const char* list : {"HIGH:!aNULL:!RC4", "ECDHE+AESGCM:!EXPORT", "DEFAULT:!SEED:@STRENGTH",
                           "HIGH:!3DES:!MD5"}) {
    CAPTURE(list);
    CHECK_NOTHROW(context.set_ciphers(list));
  }
}

TEST_CASE("many tickets are no flood", "[T-092]") {
  World world;
  ferry::SslContext context = server_context();
  context.set_session_tickets(100);
  Pairing pairing{world, &context};
  const ferry::SslContext trust = client_context();
  auto future = pairing.connect({.ssl = &trust});
  world.run_until([&] { return future.done() && pairing.ours->made; });
  auto client = future.take_result();
  pairing.ours->transport->write("after all tickets");
  world.run_until([&] { return !client.protocol->received.empty(); });
  CHECK_FALSE(client.protocol->lost);
  client.transport->abort();
  world.settle();
}

TEST_CASE("a callback of failed handshakes may replace itself", "[T-062]") {
  World world;
  ferry::SslContext context = server_context();
  std::string told;
  context.set_handshake_error_callback([&](const ferry::Error& error, std::string_view) {
    const std::string words{error.what()};
    context.set_handshake_error_callback({});
    told = words;
  });
  Pair pair = connected_pair(Carrier::tcp);
  auto future = world.loop.create_task(
      tls_over(world, Side::server, std::move(pair.ours), context));
  pair.peer.send("nonsense");
  world.run_until([&] { return future.done(); });
  CHECK_THROWS_AS(future.take_result(), ferry::SslError);
  CHECK(told.find("it sent: nonsense") != std::string::npos);
}

TEST_CASE("a setter on the empty context is refused", "[C-22]") {
  ferry::SslContext none;
  CHECK_THROWS_AS(none.set_check_hostname(false), ferry::MisuseError);
  CHECK_THROWS_AS(none.load_default_certs(), ferry::MisuseError);
  CHECK_THROWS_AS(none.set_alpn_protocols({"h2"}), ferry::MisuseError);
}

TEST_CASE("a server that verifies clients and trusts nobody is refused at the call",
          "[A-014]") {
  World world;
  ferry::SslContext context = server_context();
  context.set_verify_mode(ferry::VerifyMode::required);
  CHECK_THROWS_AS(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0,
                                           {.ssl = &context}),
                  std::invalid_argument);
}
