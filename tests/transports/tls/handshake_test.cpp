// Handshakes that fail, stall, or carry more than usual.
#include "support/sockets.hpp"
#include "support/tls/tls_stream.hpp"

#include <stdexcept>

using namespace test;

namespace {

struct Attempt {
  std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>();
  RawConnection raw;
  ferry::Future<ferry::Connection<Recorder>> future;
};

Attempt begin(World& world, Side side, const ferry::SslContext& context,
              ferry::SslOptions options = {}) {
  Pair pair = connected_pair(Carrier::tcp);
  auto protocol = std::make_shared<Recorder>();
  auto future = world.loop.create_task(
      tls_over(world, side, std::move(pair.ours), context, protocol, options));
  return {protocol, RawConnection{world, std::move(pair.peer), raw_peer_of(side)},
          std::move(future)};
}

ferry::Error failure(World& world, Attempt& attempt) {
  world.run_until([&] { return attempt.future.done(); }, "a handshake that fails");
  try {
    attempt.future.take_result();
  } catch (...) {
    return ferry::Error{std::current_exception()};
  }
  return {};
}

std::string records(int type, std::size_t size) {
  std::string record{static_cast<char>(type), 3, 3, static_cast<char>(size >> 8),
                     static_cast<char>(size & 0xff)};
  return record + std::string(size, 'x');
}

}  // namespace

TEST_CASE("the peer's first data in one segment with the end of its handshake", "[T-059]") {
  World world;
  const int version = any_version();
  Pair pair = connected_pair(Carrier::tcp);
  RawPeer peer = raw_peer_of(Side::server, version);
  const ferry::SslContext context = server_context();
  auto protocol = std::make_shared<Recorder>();
  auto future = world.loop.create_task(
      tls_over(world, Side::server, std::move(pair.ours), context, protocol));
  std::string out;
  world.run_until([&] {
    peer.feed(pair.peer.receive());
    peer.handshake();
    if (peer.is_open()) CHECK(peer.write("first"));
    out += peer.take_output();
    if (!peer.is_open() || version == TLS1_3_VERSION) {
      if (!out.empty() && (!peer.is_open() || version == TLS1_3_VERSION)) {
        out.erase(0, pair.peer.send(out));
      }
    }
    return peer.is_open();
  });
  CHECK(pair.peer.send(out) == out.size());
  world.run_until([&] { return future.done() && !protocol->received.empty(); });
  CHECK(protocol->story() == "made data:5");
  future.take_result().transport->abort();
  world.settle();
}

TEST_CASE("a silent or stalling peer: aborted when the time is over",
          "[T-061][A-011][S-062]") {
  World world;
  const Side side = any_side();
  const ferry::SslContext context = context_of(side);
  Attempt attempt = begin(world, side, context, {.ssl_handshake_timeout = ferry::Seconds{0.02}});
  SECTION("silent") {}
  SECTION("in the middle of a record") {
    attempt.raw.socket().send(std::string{"\x16\x03\x01\x02\x00", 5});
  }
  const ferry::Error error = failure(world, attempt);
  CHECK(error == std::errc::connection_aborted);
  CHECK(std::string{error.what()}.find("TLS handshake with") != std::string::npos);
  CHECK(attempt.protocol->events.empty());
}

TEST_CASE("the time for a handshake must be positive", "[T-061]") {
  World world;
  const ferry::SslContext context = client_context();
  const ferry::Seconds wrong{GENERATE(0.0, -1.0)};
  CHECK_THROWS_AS(world.loop.create_connection(ferry::make<Recorder>, "localhost", 1,
                                               {.ssl = &context, .ssl_handshake_timeout = wrong}),
                  std::invalid_argument);
  CHECK_THROWS_AS(world.loop.create_connection(ferry::make<Recorder>, "localhost", 1,
                                               {.ssl = &context, .ssl_shutdown_timeout = wrong}),
                  std::invalid_argument);
}

TEST_CASE("arguments of TLS that are at odds are refused at the call", "[A-014]") {
  World world;
  const ferry::SslContext client = client_context(), server = server_context(), none;
  const ferry::SslContext bare = ferry::SslContext::server();
  const auto connect = [&](ferry::ConnectOptions options) {
    static_cast<void>(
        world.loop.create_connection(ferry::make<Recorder>, "localhost", 1, options));
  };
  CHECK_THROWS_AS(connect({.server_hostname = "x"}), std::invalid_argument);
  CHECK_THROWS_AS(connect({.ssl_handshake_timeout = ferry::Seconds{1}}), std::invalid_argument);
  CHECK_THROWS_AS(connect({.ssl_shutdown_timeout = ferry::Seconds{1}}), std::invalid_argument);
  CHECK_THROWS_AS(connect({.ssl = &server}), std::invalid_argument);
  CHECK_THROWS_AS(connect({.ssl = &none}), std::invalid_argument);
  CHECK_THROWS_AS(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0,
                                           {.ssl = &client}),
                  std::invalid_argument);
  CHECK_THROWS_AS(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0, {.ssl = &bare}),
                  std::invalid_argument);
  Pair pair = connected_pair(Carrier::tcp);  // nobody knows its name
  CHECK_THROWS_AS(
      world.loop.create_connection(ferry::make<Recorder>, std::move(pair.ours), {.ssl = &client}),
      std::invalid_argument);
  CHECK(pair.ours);  // still the caller's
}

TEST_CASE("an end, a reset or garbage during the handshake", "[T-062][S-062]") {
  World world;
  const Side side = any_side();
  const ferry::SslContext context = context_of(side);
  Attempt attempt = begin(world, side, context);
  std::error_condition expected;
  std::string words = "TLS handshake with";
  SECTION("the end") {
    attempt.raw.cut();
    expected = std::errc::connection_reset;
  }
  SECTION("a reset") {
    attempt.raw.socket().reset();
    expected = std::errc::connection_reset;
  }
  SECTION("plain HTTP") {
    attempt.raw.socket().send("HTTP/1.0 400 Bad Request\r\n\r\n");
    expected = condition(ferry::SslErrc::not_tls);
    words = "the peer does not speak TLS (it sent: HTTP/1.0 400 Bad Request)";
  }
  SECTION("a record that is too large") {
    attempt.raw.socket().send(records(22, 0x7000));
    expected = condition(ferry::SslErrc::protocol);
  }
  SECTION("close_notify, in clear") {
    attempt.raw.socket().send(std::string_view{"\x15\x03\x03\x00\x02\x01\x00", 7});
    expected = std::errc::connection_reset;
    if (side == Side::server) expected = condition(ferry::SslErrc::protocol);
  }
  SECTION("a record of nonsense") {
    attempt.raw.socket().send(records(22, 100));
    expected = condition(ferry::SslErrc::protocol);
  }
  const ferry::Error error = failure(world, attempt);
  CAPTURE(error.what());
  CHECK(error.code() == expected);
  CHECK(std::string{error.what()}.find(words) != std::string::npos);
  CHECK(attempt.protocol->events.empty());
}

TEST_CASE("a server's failed handshakes: nobody is called but who asked, and it serves on",
          "[T-062][T-088][S-062]") {
  World world;
  ferry::SslContext context = server_context();
  std::vector<std::string> errors;
  context.set_handshake_error_callback([&](const ferry::Error& error, std::string_view peer) {
    CHECK(peer.starts_with("127.0.0.1:"));
    errors.emplace_back(error.what());
  });
  std::vector<std::shared_ptr<Recorder>> made;
  auto server = world.run(world.loop.create_server(
      [&] {
        made.push_back(std::make_shared<Recorder>());
        return made.back();
      },
      "127.0.0.1", 0, {.ssl = &context}));
  const ferry::Address address = server->sockets()[0].getsockname();
  for (const char* text : {"GET / HTTP/1.1\r\n", ""}) {
    Peer peer{new_socket(ferry::Family::ipv4)};
    static_cast<void>(try_connect(peer.socket().fileno(), address));
    world.settle();
    world.run_until([&, sent = false]() mutable {
      sent = sent || *text == '\0' || peer.send(text) > 0;
      return sent;
    });
    peer.shut_write();
    const std::size_t before = errors.size();
    world.run_until([&] { return errors.size() > before; });
  }
  CHECK(errors[0].find("it sent: GET / HTTP/1.1") != std::string::npos);
  const ferry::SslContext trust = client_context();
  auto task = world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1", address.port(),
                                           {.ssl = &trust});
  auto client = world.run(std::move(task));
  client.transport->close();
  world.run_until([&] { return client.protocol->lost && made.back()->lost; });
  REQUIRE(made.size() == 3);
  CHECK(made[0]->events.empty());
  CHECK(made[1]->events.empty());
  CHECK(made[2]->story() == "made eof lost");
  server->close();
  world.run(server->wait_closed());
}

TEST_CASE("clients in their handshake belong to the server", "[T-098][T-108][T-063]") {
  World world;
  const ferry::SslContext context = server_context();
  auto server = world.run(world.loop.create_server(ferry::make<Recorder>, "127.0.0.1", 0,
                                                   {.ssl = &context}));
  Peer peer{new_socket(ferry::Family::ipv4)};
  static_cast<void>(try_connect(peer.socket().fileno(), server->sockets()[0].getsockname()));
  world.run_until([&] { return world.loop.describe().find("opening") != std::string::npos; });
  server->close();
  auto closed = world.loop.create_task(server->wait_closed());
  world.settle();
  CHECK_FALSE(closed.done());
  SECTION("aborted") { server->abort_clients(); }
  SECTION("closed") { server->close_clients(); }
  world.run_until([&] { return closed.done(); });
  world.run_until([&] {
    peer.receive();
    return peer.ended() || peer.error() != 0;
  });
}

TEST_CASE("a connect that is cancelled in its handshake closes the socket", "[T-063]") {
  World world;
  const ferry::SslContext context = client_context();
  Attempt attempt = begin(world, Side::client, context);
  world.settle();
  attempt.future.cancel();
  world.run_until([&] { return attempt.future.done(); });
  attempt.raw.run_to_end();
  CHECK(attempt.protocol->events.empty());
}

TEST_CASE("a loop that ends in the middle of a handshake calls nobody", "[T-024]") {
  World world;
  const ferry::SslContext context = client_context();
  Attempt attempt = begin(world, Side::client, context);
  world.settle();
  world.loop.close();
  CHECK(attempt.protocol->events.empty());
}

TEST_CASE("many failed handshakes leave memory where it was", "[T-064]") {
  World world;
  const ferry::SslContext context = server_context();
  const int rounds = sanitized ? 300 : 10'000;
  std::size_t after_some = 0;
  for (int i = 0; i < rounds; ++i) {
    Pair pair = connected_pair(Carrier::unix_pair);
    auto protocol = std::make_shared<Recorder>();
    auto future = world.loop.create_task(
        tls_over(world, Side::server, std::move(pair.ours), context, protocol));
    pair.peer.send("\x15\x03\x03\x00\x02\x02\x28");
    world.run_until([&] { return future.done(); });
    CHECK_THROWS_AS(future.take_result(), ferry::SslError);
    if (i == rounds / 10) after_some = resident_bytes();
  }
  if (!sanitized) CHECK(resident_bytes() < after_some + (std::size_t{2} << 20));
}

TEST_CASE("a large flight to a slow reader waits for room and goes on", "[T-065]") {
  World world;
  CertificateSpec spec = for_localhost();
  spec.padding = 90'000;
  const Identity large = authority().issue(spec);
  const ferry::SslContext context = ferry::SslContext::server(
      ferry::Pem::text(large.cert_pem), ferry::Pem::text(large.key_pem));
  Pair pair = connected_pair(Carrier::unix_pair);
  pair.peer.small_buffers();
  pair.ours.view().setsockopt(SOL_SOCKET, SO_SNDBUF, 4096);
  auto protocol = std::make_shared<Recorder>();
  auto future = world.loop.create_task(
      tls_over(world, Side::server, std::move(pair.ours), context, protocol));
  RawContext trusting = raw_client_context(authority().pem());
  SSL_CTX_set_max_cert_list(trusting.get(), 200'000);
  RawConnection raw{world, std::move(pair.peer), RawPeer::client(trusting, "localhost")};
  raw.run_until([&] { return future.done() && raw.peer().is_open(); });
  raw.write("through");
  raw.run_until([&] { return protocol->received == "through"; });
  future.take_result().transport->abort();
  world.settle();
}

TEST_CASE("a flood of empty records or of changes of keys ends the connection", "[T-062]") {
  World world;
  TlsStream stream = open_tls(world, {.side = any_side()});
  for (int i = 0; i < 100 && !stream.protocol->lost; ++i) {
    if (!stream.raw.peer().key_update()) break;
    stream.raw.step();
  }
  stream.raw.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == ferry::SslErrc::protocol);
}

TEST_CASE("some changes of keys are no flood, whoever asks for them", "[T-060]") {
  World world;
  TlsStream stream = open_tls(world, {.side = any_side()});
  std::string all;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(stream.raw.peer().key_update(true));
    stream.raw.write("x");
    all += "x";
    stream.transport->write("y");
    stream.raw.run_until([&] { return stream.protocol->received.size() == all.size() &&
                                      stream.raw.received.size() == all.size(); });
  }
  stream.transport->abort();
  world.settle();
}

TEST_CASE("renegotiation is refused by default, and by option goes on under traffic",
          "[T-084]") {
  World world;
  ferry::SslContext context = server_context();
  SECTION("refused: the connection goes on without") {
    TlsStream stream = open_tls(world, {.version = TLS1_2_VERSION, .context = context});
    stream.raw.peer().renegotiate();
    stream.raw.step();
    stream.raw.run_until([&] { return stream.raw.peer().failed() || stream.protocol->lost; });
    CHECK(stream.raw.peer().error().find("no renegotiation") != std::string::npos);
    stream.transport->abort();
    world.settle();
  }
  SECTION("allowed") {
    context.set_renegotiation(true);
    TlsStream stream = open_tls(world, {.version = TLS1_2_VERSION, .context = context});
    std::string there, back;
    for (int round = 0; round < 5; ++round) {
      there += pattern(400'000, static_cast<unsigned>(round));
      stream.transport->write(pattern(400'000, static_cast<unsigned>(round)));
      REQUIRE(stream.raw.peer().renegotiate());
      stream.raw.run_until([&] { return stream.raw.received.size() == there.size(); });
      const std::string text = pattern(1'000, static_cast<unsigned>(round));
      stream.raw.run_until([&] { return stream.raw.peer().write(text); });
      back += text;
      stream.raw.run_until([&] { return stream.protocol->received.size() == back.size(); });
    }
    CHECK((stream.raw.received == there));
    CHECK((stream.protocol->received == back));
    stream.transport->abort();
    world.settle();
  }
}
