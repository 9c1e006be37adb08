// start_tls(): a connection in mid-stream is upgraded.
#include "support/tls/tls_stream.hpp"

#include <ferry/contract_checker.hpp>

#include <stdexcept>

using namespace test;

namespace {

ferry::StartTlsOptions options_of(Side side) {
  ferry::StartTlsOptions options;
  options.server_side = side == Side::server;
  if (side == Side::client) options.server_hostname = "localhost";
  return options;
}

// A stream in clear, and a raw peer that will speak TLS over its socket.
struct Upgrade {
  World world;
  Side side;
  ferry::SslContext context;
  Stream stream;
  std::optional<RawConnection> raw;

  explicit Upgrade(Side ferrys = any_side())
      : side{ferrys}, context{context_of(side)}, stream{open_stream(world)} {}
  ferry::Future<void> start(ferry::StartTlsOptions options) {
    auto future = world.loop.create_task(
        world.loop.start_tls(*stream.transport, context, options));
    raw.emplace(world, std::move(stream.peer), raw_peer_of(side));
    return future;
  }
  ferry::Future<void> start() { return start(options_of(side)); }
  void finish(ferry::Future<void> future) {
    raw->run_until([&] { return future.done() && raw->peer().is_open(); }, "an upgrade");
    future.take_result();
  }
  void end() {
    stream.transport->abort();
    world.run_until([&] { return stream.protocol->lost; });
  }
};

// Both ends of one connection, by ferry on both sides.
void upgrade_both(World& world, ferry::Transport& server, const ferry::SslContext& context,
                  ferry::Transport& client, const ferry::SslContext& trust) {
  auto there =
      world.loop.create_task(world.loop.start_tls(server, context, {.server_side = true}));
  auto here = world.loop.create_task(
      world.loop.start_tls(client, trust, {.server_hostname = "localhost"}));
  world.run_until([&] { return there.done() && here.done(); });
  here.take_result();
  there.take_result();
}

}  // namespace

TEST_CASE("start_tls() upgrades the same transport, and the protocol hears nothing of it",
          "[A-010][C-21][S-027]") {
  Upgrade up;
  up.stream.peer.send("in clear");
  up.world.run_until([&] { return up.stream.protocol->received == "in clear"; });
  CHECK(up.stream.transport->can_write_eof());
  auto future = up.start();
  CHECK_FALSE(up.stream.transport->can_write_eof());
  up.finish(future);
  up.raw->write(" and sealed");
  up.raw->run_until([&] { return up.stream.protocol->received == "in clear and sealed"; });
  up.stream.transport->write("yes");
  up.raw->run_until([&] { return up.raw->received == "yes"; });
  CHECK(up.stream.transport->get_extra_info(ferry::tls_version) == "TLSv1.3");
  CHECK(up.stream.protocol->story() == "made data:19");
  up.raw->peer().shutdown();
  up.raw->run_to_end();
  CHECK(up.raw->peer().got_close_notify());
  up.world.run_until([&] { return up.stream.protocol->lost; });
  CHECK(up.stream.protocol->story() == "made data:19 eof lost");
}

TEST_CASE("marks that were set stay, defaults become those of TLS", "[C-21][C-20][T-025]") {
  Upgrade up{Side::server};
  const bool set = GENERATE(true, false);
  if (set) up.stream.transport->set_write_buffer_limits({.high = 1000});
  auto future = up.start();
  const ferry::WriteBufferLimits limits = up.stream.transport->get_write_buffer_limits();
  CHECK(limits.high == (set ? 1000 : 512 * 1024));
  CHECK(limits.low == (set ? 250 : 128 * 1024));
  up.finish(future);
  up.end();
}

TEST_CASE("start_tls() after write_eof() or while closing is refused without effect", "[C-21]") {
  Upgrade up{Side::client};
  SECTION("after write_eof()") { up.stream.transport->write_eof(); }
  SECTION("while closing") {
    block_writing(up.stream);
    up.stream.transport->close();
  }
  SECTION("when the peer has ended") {
    up.stream.protocol->keep_open = true;
    up.stream.peer.shut_write();
    up.world.run_until([&] { return up.stream.protocol->eof; });
  }
  const std::string before = up.stream.transport->describe();
  CHECK_THROWS_AS(up.world.loop.start_tls(*up.stream.transport, up.context, options_of(up.side)),
                  ferry::MisuseError);
  CHECK(up.stream.transport->describe() == before);
  up.end();
}

TEST_CASE("start_tls() with wrong arguments is refused without effect", "[C-21][C-22]") {
  Upgrade up{Side::client};
  ferry::Transport& transport = *up.stream.transport;
  CHECK_THROWS_AS(up.world.loop.start_tls(transport, up.context, {.server_side = true}),
                  std::invalid_argument);
  CHECK_THROWS_AS(up.world.loop.start_tls(transport, up.context), std::invalid_argument);
  CHECK_THROWS_AS(up.world.loop.start_tls(transport, ferry::SslContext{}, {}),
                  std::invalid_argument);
  ferry::StartTlsOptions options = options_of(up.side);
  options.ssl_handshake_timeout = ferry::Seconds{0};
  CHECK_THROWS_AS(up.world.loop.start_tls(transport, up.context, options), std::invalid_argument);
  CHECK(transport.can_write_eof());
  up.end();
}

TEST_CASE("bytes of the handshake that the protocol has already can be handed over", "[T-093]") {
  Upgrade up{Side::server};
  RawPeer peer = raw_peer_of(up.side);
  peer.handshake();
  const std::string hello = peer.take_output();
  const std::string header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
  ferry::Future<void> future;
  up.stream.protocol->on_data = [&] {
    if (up.stream.protocol->received.size() < header.size() + hello.size()) return;
    ferry::StartTlsOptions options = options_of(up.side);
    const std::string rest = up.stream.protocol->received.substr(header.size());
    options.received = rest;
    future = up.world.loop.create_task(
        up.world.loop.start_tls(*up.stream.transport, up.context, options));
  };
  up.stream.peer.send(header + hello);
  up.world.run_until([&] { return static_cast<bool>(future); });
  up.stream.protocol->on_data = {};
  up.raw.emplace(up.world, std::move(up.stream.peer), std::move(peer));
  up.finish(future);
  up.raw->write("sealed");
  up.raw->run_until([&] { return up.stream.protocol->received.ends_with("sealed"); });
  up.end();
}

TEST_CASE("what came in clear behind the last command is never delivered after the upgrade",
          "[T-094]") {
  Upgrade up{Side::server};
  ferry::Future<void> future;
  const std::string injected = "RCPT TO: somebody\r\n";
  bool late = false;
  up.stream.protocol->on_data = [&] {
    CHECK_FALSE(late);
    late = true;
    ferry::StartTlsOptions options = options_of(up.side);
    const std::string rest = up.stream.protocol->received.substr(10);
    options.received = rest;
    future = up.world.loop.create_task(
        up.world.loop.start_tls(*up.stream.transport, up.context, options));
  };
  SECTION("in the same segment") { up.stream.peer.send("STARTTLS\r\n" + injected); }
  SECTION("in one that comes later") {
    up.stream.peer.send("STARTTLS\r\n");
    up.world.run_until([&] { return static_cast<bool>(future); });
    up.stream.peer.send(injected);
  }
  up.world.run_until([&] { return up.stream.protocol->lost && future.done(); });
  CHECK_THROWS_AS(future.take_result(), ferry::SslError);
  CHECK(up.stream.protocol->reason == ferry::SslErrc::not_tls);
}

TEST_CASE("plaintext that waits goes out in clear before the handshake", "[T-095][T-066]") {
  Upgrade up;
  block_writing(up.stream, 100'000);
  const std::size_t queued = up.stream.transport->get_write_buffer_size();
  CHECK(up.stream.protocol->pauses == 1);
  std::string clear;
  ferry::Future<void> future = up.world.loop.create_task(
      up.world.loop.start_tls(*up.stream.transport, up.context, options_of(up.side)));
  CHECK(up.stream.transport->get_write_buffer_size() == queued);
  up.stream.transport->write("for TLS");
  CHECK(up.stream.transport->get_write_buffer_size() == queued + 7);
  // All that is in clear is whole pieces of the pattern; then TLS begins, or the server waits.
  const std::string chunk = pattern(65536);
  std::string came;
  up.world.run_until([&] {
    came += up.stream.peer.receive();
    return up.stream.transport->get_write_buffer_size() <= 7 && came.size() >= queued;
  });
  came += up.stream.peer.receive();
  const std::size_t in_clear = came.size() / chunk.size() * chunk.size();
  for (std::size_t at = 0; at < in_clear; at += chunk.size()) {
    REQUIRE((came.compare(at, chunk.size(), chunk) == 0));
  }
  CHECK(up.stream.protocol->resumes == 1);
  RawPeer peer = raw_peer_of(up.side);
  peer.feed(came.substr(in_clear));
  up.raw.emplace(up.world, std::move(up.stream.peer), std::move(peer));
  up.finish(future);
  up.raw->run_until([&] { return up.raw->received == "for TLS"; });
  up.end();
}

TEST_CASE("writes before the handshake is over are kept, counted, and sent in order",
          "[T-066]") {
  Upgrade up;
  auto future = up.start();
  up.stream.transport->write("one ");
  const std::vector<std::string> more{"two ", "", "three"};
  up.stream.transport->writelines(more);
  CHECK(up.stream.transport->get_write_buffer_size() == 13);
  SECTION("and then the stream goes on") {
    up.finish(future);
    up.raw->run_until([&] { return up.raw->received == "one two three"; });
    CHECK(up.stream.transport->get_write_buffer_size() == 0);
    up.end();
  }
  SECTION("also if it is closed meanwhile") {
    up.stream.transport->close();
    up.raw->run_until([&] { return up.raw->peer().got_close_notify(); });
    CHECK(up.raw->received == "one two three");
    up.raw->close();
    up.world.run_until([&] { return up.stream.protocol->lost && future.done(); });
    CHECK_FALSE(up.stream.protocol->reason);
    CHECK_NOTHROW(future.take_result());
  }
}

TEST_CASE("an upgrade that fails: error to the caller, one lost(error), the socket closed",
          "[T-096][C-21]") {
  Upgrade up;
  ferry::StartTlsOptions options = options_of(up.side);
  std::error_condition expected;
  ferry::Future<void> future;
  SECTION("garbage") {
    future = up.start(options);
    up.raw->socket().send("this is not TLS\r\n");
    expected = condition(ferry::SslErrc::not_tls);
  }
  SECTION("time-out") {
    options.ssl_handshake_timeout = ferry::Seconds{0.02};
    future = up.start(options);
    expected = std::errc::connection_aborted;
  }
  SECTION("the peer goes") {
    future = up.start(options);
    up.raw->cut();
    expected = std::errc::connection_reset;
  }
  up.world.run_until([&] { return future.done() && up.stream.protocol->lost; });
  ferry::Error error;
  try {
    future.take_result();
  } catch (...) {
    error = ferry::Error{std::current_exception()};
  }
  CHECK(error.code() == expected);
  CHECK(up.stream.protocol->reason.code() == expected);
  CHECK(up.stream.protocol->story() ==
        "made lost:" + std::string{up.stream.protocol->reason.what()});
}

TEST_CASE("an upgrade that nobody waits for any more closes the connection", "[T-096]") {
  Upgrade up;
  SECTION("cancelled") {
    auto future = up.start();
    up.world.settle();
    future.cancel();
    up.world.run_until([&] { return up.stream.protocol->lost; });
  }
  SECTION("dropped") {
    {
      auto task = up.world.loop.start_tls(*up.stream.transport, up.context, options_of(up.side));
    }
    CHECK(up.stream.transport->is_closing());
    up.world.run_until([&] { return up.stream.protocol->lost; });
  }
  CHECK_FALSE(up.stream.protocol->reason);
}

TEST_CASE("a server's connection that is upgraded still belongs to the server", "[T-098]") {
  World world;
  const ferry::SslContext context = server_context(), trust = client_context();
  auto ours = std::make_shared<Recorder>();
  auto server = world.run(
      world.loop.create_server([&] { return ours; }, "127.0.0.1", 0));
  auto task = world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1",
                                           server->sockets()[0].getsockname().port());
  auto client = world.run(std::move(task));
  world.run_until([&] { return ours->made; });
  upgrade_both(world, *ours->transport, context, *client.transport, trust);
  server->close();
  auto closed = world.loop.create_task(server->wait_closed());
  world.settle();
  CHECK_FALSE(closed.done());
  SECTION("closed") { server->close_clients(); }
  SECTION("aborted") { server->abort_clients(); }
  world.run_until([&] { return closed.done() && client.protocol->lost; });
  CHECK(ours->story() == "made lost");
}

TEST_CASE("TLS in TLS: each level ends by its own close_notify and is lost once",
          "[T-097][A-010]") {
  World world;
  const ferry::SslContext context = server_context(), trust = client_context();
  auto ours = std::make_shared<Recorder>();
  auto server = world.run(
      world.loop.create_server([&] { return ours; }, "127.0.0.1", 0, {.ssl = &context}));
  auto task = world.loop.create_connection(
      ferry::make<Recorder>, "127.0.0.1", server->sockets()[0].getsockname().port(),
      {.ssl = &trust});
  auto client = world.run(std::move(task));
  world.run_until([&] { return ours->made; });
  upgrade_both(world, *ours->transport, context, *client.transport, trust);
  const std::string all = pattern(2 << 20), back = pattern(1 << 20, 3);
  client.transport->write(all);
  ours->transport->write(back);
  world.run_until([&] { return ours->received.size() == all.size() &&
                               client.protocol->received.size() == back.size(); });
  CHECK((ours->received == all));
  CHECK((client.protocol->received == back));
  SECTION("closed by the client") { client.transport->close(); }
  SECTION("closed by both") {
    client.transport->close();
    ours->transport->close();
  }
  SECTION("aborted") { client.transport->abort(); }
  world.run_until([&] { return ours->lost && client.protocol->lost; });
  CHECK_FALSE(client.protocol->reason);
  server->close();
}

TEST_CASE("what failed after the bytes that were handed over is told as it is", "[T-093][T-096]") {
  Upgrade up{Side::server};
  RawPeer peer = raw_peer_of(up.side);
  peer.handshake();
  const std::string hello = peer.take_output();
  ferry::StartTlsOptions options = options_of(up.side);
  options.received = std::string_view{hello}.substr(0, 20);
  auto future = up.start(options);
  REQUIRE(up.raw->socket().send(std::string_view{hello}.substr(20, 20)) == 20);
  up.world.settle();
  up.raw->cut();
  CHECK(error_of(*up.raw, future) == std::errc::connection_reset);
  up.world.run_until([&] { return up.stream.protocol->lost; });
}

TEST_CASE("start_tls() inside connection_made()", "[A-010]") {
  World world;
  const Side side = any_side();
  const ferry::SslContext context = context_of(side);
  Pair pair = connected_pair(Carrier::tcp);
  auto protocol = std::make_shared<Recorder>();
  ferry::Future<void> upgraded;
  ferry::ContractChecker checker;
  const bool checked = GENERATE(false, true);  // then the transport is the checker's
  protocol->on_made = [&] {
    upgraded = world.loop.create_task(
        world.loop.start_tls(*protocol->transport, context, options_of(side)));
  };
  auto factory = [&]() -> std::shared_ptr<ferry::StreamProtocol> {
    return checked ? checker.protocol(protocol) : protocol;
  };
  auto made = world.run(world.loop.create_connection(factory, std::move(pair.ours)));
  RawConnection raw{world, std::move(pair.peer), raw_peer_of(side)};
  raw.run_until([&] { return upgraded.done() && raw.peer().is_open(); }, "an upgrade");
  upgraded.take_result();
  raw.write("sealed");
  raw.run_until([&] { return protocol->received == "sealed"; });
  protocol->transport->close();
  raw.run_until([&] { return raw.peer().got_close_notify(); });
  raw.close();
  world.run_until([&] { return protocol->lost; });
  CHECK_FALSE(protocol->reason);
  checker.finish();
}
