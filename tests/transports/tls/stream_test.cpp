// A connection that speaks TLS lives the life of every stream.
#include "support/lender.hpp"
#include "support/tls/tls_stream.hpp"

#include <stdexcept>

using namespace test;

TEST_CASE("bytes in both directions, and a clean end by either side",
          "[S-056][S-027][S-062][A-014][A-024][C-08]") {
  World world;
  const Side side = any_side();
  TlsStream stream = open_tls(world, {.side = side, .version = any_version()});
  CHECK(stream.protocol->story() == "made");
  CHECK_FALSE(stream.transport->can_write_eof());
  const std::string there = pattern(300'000), back = pattern(200'000, 7);
  stream.transport->write(there);
  stream.raw.run_until([&] { return stream.raw.received.size() == there.size(); });
  CHECK((stream.raw.received == there));
  for (std::size_t at = 0; at < back.size(); at += 20'000) {
    stream.raw.write(back.substr(at, 20'000));
  }
  stream.raw.run_until([&] { return stream.protocol->received.size() == back.size(); });
  CHECK((stream.protocol->received == back));
  SECTION("ours") {
    stream.transport->close();
    CHECK(stream.transport->is_closing());
    stream.raw.run_until([&] { return stream.raw.peer().got_close_notify(); });
    CHECK_FALSE(stream.protocol->lost);  // the peer has not answered yet
    stream.raw.close();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made data:200000 lost");  // no eof of one's own (C-08)
  }
  SECTION("the peer's") {
    stream.raw.peer().shutdown();
    stream.raw.run_to_end();
    CHECK(stream.raw.peer().got_close_notify());
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made data:200000 eof lost");
  }
}

TEST_CASE("write_eof() is refused over TLS, and nothing changes", "[S-041][S-027]") {
  World world;
  TlsStream stream = open_tls(world);
  CHECK_THROWS_AS(stream.transport->write_eof(), ferry::NotSupported);
  stream.transport->write("still here");
  stream.raw.run_until([&] { return stream.raw.received == "still here"; });
  stream.transport->abort();
  world.run_until([&] { return stream.protocol->lost; });
}

TEST_CASE("a true answer of eof_received() does not keep a TLS connection, and is warned of",
          "[S-072][T-073]") {
  World world;
  auto protocol = std::make_shared<Recorder>();
  protocol->keep_open = true;
  TlsStream stream = open_tls(world, {.version = any_version(), .protocol = protocol});
  stream.raw.peer().shutdown();
  stream.raw.run_to_end();
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->story() == "made eof lost");
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(logs[0].find("eof_received") != std::string::npos);
}

TEST_CASE("the peer says close_notify while we have data: it goes out, then our close_notify",
          "[T-073][T-087]") {
  World world;
  TlsStream stream = open_tls(world, {.side = any_side(), .version = any_version()});
  const std::string all = pattern(3 << 20);
  stream.protocol->on_eof = [&] { stream.transport->write("|last words|"); };
  stream.transport->write(all);
  stream.raw.peer().shutdown();
  stream.raw.run_to_end();
  CHECK((stream.raw.received == all + "|last words|"));
  CHECK(stream.raw.peer().got_close_notify());
  CHECK(stream.raw.socket().error() == 0);
  world.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("a server that answers and closes at once: the client gets all of it and a clean end",
          "[T-087]") {
  World world;
  auto server_side = std::make_shared<Recorder>();
  const std::string answer = pattern(2 << 20);
  const ferry::SslContext context = server_context();
  server_side->on_data = [&] {
    server_side->transport->write(answer);
    server_side->transport->close();
  };
  auto server = world.run(world.loop.create_server([&] { return server_side; }, "127.0.0.1", 0,
                                                   {.ssl = &context}));
  const ferry::SslContext trust = client_context();
  auto task = world.loop.create_connection(ferry::make<Recorder>, "127.0.0.1",
                                           server->sockets()[0].getsockname().port(),
                                           {.ssl = &trust});
  auto client = world.run(std::move(task));
  client.transport->write("?");
  world.run_until([&] { return client.protocol->lost && server_side->lost; });
  CHECK((client.protocol->received == answer));
  CHECK(client.protocol->eof);
  CHECK_FALSE(client.protocol->reason);
  CHECK_FALSE(server_side->reason);
  server->close();
}

TEST_CASE("an end without close_notify is told from a clean one", "[C-09]") {
  World world;
  ferry::SslContext context = server_context();
  SECTION("truncated: lost with that error, and no eof_received()") {
    TlsStream stream = open_tls(world, {.version = any_version(), .context = context});
    stream.raw.write("half of");
    stream.raw.cut();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->received == "half of");
    CHECK_FALSE(stream.protocol->eof);
    CHECK(stream.protocol->reason == ferry::SslErrc::truncated);
  }
  SECTION("by option it is an end like another") {
    context.set_ignore_truncation(true);
    TlsStream stream = open_tls(world, {.context = context});
    stream.raw.cut();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made eof lost");
  }
  SECTION("after our own close() it is the peer's way of saying yes") {
    TlsStream stream = open_tls(world, {.version = any_version(), .context = context});
    stream.transport->close();
    world.settle();
    SECTION("with FIN") { stream.raw.cut(); }
    SECTION("with RST") { stream.raw.socket().reset(); }
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made lost");
  }
}

TEST_CASE("a reset while the connection is open is its own error", "[T-080][A-001]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  stream.protocol->on_lost = [&] { CHECK(stream.transport->is_closing()); };
  stream.raw.socket().reset();
  world.run_until([&] { return stream.transport->is_closing(); });
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::connection_reset);
  stream.transport->write("too late");
  stream.transport->close();
  stream.transport->abort();
  world.settle();
}

TEST_CASE("a send that fails below ends the TLS stream once", "[T-080]") {
  World world;
  TlsStream stream = open_tls(world);
  {
    Calls calls;
    fail_sends(calls, EPIPE);
    stream.transport->write("into nothing");
  }
  CHECK(stream.transport->is_closing());
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason == std::errc::broken_pipe);
}

TEST_CASE("data after close_notify, the peer's or ours, is nobody's", "[C-07][T-074]") {
  World world;
  TlsStream stream = open_tls(world, {.side = any_side(), .version = any_version()});
  SECTION("after ours: thrown away, and the end is clean") {
    stream.transport->close();
    CHECK(stream.raw.peer().write("on its way already"));
    stream.raw.write(pattern(100'000));
    stream.raw.close();
    world.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made lost");
  }
  SECTION("after the peer's own") {
    stream.raw.peer().shutdown();
    stream.raw.step();
    stream.raw.socket().send("this is no record at all, and comes too late");
    stream.raw.run_until([&] { return stream.protocol->lost; });
    CHECK(stream.protocol->story() == "made eof lost");
  }
}

TEST_CASE("close() while reading is paused and input is pending completes", "[T-078][C-07]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  stream.protocol->on_data = [&] { stream.transport->pause_reading(); };
  for (int i = 0; i < 16; ++i) stream.raw.write(pattern(16'000));
  world.run_until([&] { return !stream.protocol->received.empty(); });
  world.settle();
  const std::string story = stream.protocol->story();
  SECTION("with nothing to flush") {}
  SECTION("with more to flush than the system takes") {
    stream.transport->write(pattern(4 << 20));
  }
  stream.transport->close();
  stream.raw.run_until([&] { return stream.raw.peer().got_close_notify(); });
  stream.raw.close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->events.back() == "lost");
  CHECK(stream.protocol->story().starts_with(story));
}

TEST_CASE("a peer that does not answer close_notify ends in a time-out", "[T-076][A-012]") {
  World world;
  TlsStream stream =
      open_tls(world, {.version = any_version(),
                       .options = {.ssl_shutdown_timeout = ferry::Seconds{0.02}}});
  SECTION("everything was flushed") {
    stream.transport->close();
    world.run_until([&] { return stream.protocol->lost; });
  }
  SECTION("the peer does not even read") {
    stream.transport->write(pattern(8 << 20));
    stream.transport->close();
    world.run_until([&] { return stream.protocol->lost; });
  }
  CHECK(stream.protocol->story().ends_with("lost:" + std::string{stream.protocol->reason.what()}));
  CHECK(stream.protocol->reason == std::errc::timed_out);
}

TEST_CASE("abort() ends TLS at once in any state, without a close_notify", "[T-079][S-025]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  SECTION("idle") {}
  SECTION("with full buffers") { stream.transport->write(pattern(8 << 20)); }
  SECTION("in the middle of close()") { stream.transport->close(); }
  SECTION("flushing") {
    stream.transport->write(pattern(8 << 20));
    stream.transport->close();
  }
  const bool closed = stream.transport->is_closing();
  stream.transport->abort();
  CHECK_FALSE(stream.protocol->lost);
  world.settle();
  CHECK(stream.protocol->lost);
  CHECK_FALSE(stream.protocol->reason);
  stream.raw.run_to_end();
  if (!closed) CHECK_FALSE(stream.raw.peer().got_close_notify());
}

TEST_CASE("reading is paused with records left: they come after resume_reading(), unasked",
          "[T-069][T-071][T-017]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  stream.protocol->on_data = [&] { stream.transport->pause_reading(); };
  std::string all;
  for (int i = 0; i < 24; ++i) {
    const std::string part = pattern(16'000, static_cast<unsigned>(i));
    all += part;
    CHECK(stream.raw.peer().write(part));
  }
  stream.raw.peer().shutdown();
  stream.raw.step();
  stream.raw.run_until([&] { return !stream.protocol->received.empty(); });
  world.settle();
  CHECK(stream.protocol->received.size() < all.size());
  CHECK_FALSE(stream.protocol->eof);
  int pauses = 1;
  while (!stream.protocol->eof) {
    const std::size_t before = stream.protocol->received.size();
    stream.transport->resume_reading();
    stream.raw.run_until([&] { return stream.protocol->received.size() > before ||
                                      stream.protocol->eof; });
    ++pauses;
  }
  CHECK(pauses > 2);
  CHECK((stream.protocol->received == all));
  stream.raw.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
}

TEST_CASE("reading is paused by the data that the end came with: the end waits, too",
          "[S-022][T-071]") {
  World world;
  ferry::SslContext context = server_context();
  context.set_ignore_truncation(true);
  TlsStream stream = open_tls(world, {.version = any_version(), .context = context});
  stream.protocol->on_data = [&] { stream.transport->pause_reading(); };
  CHECK(stream.raw.peer().write("the last words"));
  SECTION("close_notify") {
    stream.raw.peer().shutdown();
    stream.raw.step();
  }
  SECTION("a bare end, taken as one") {
    stream.raw.step();
    stream.raw.cut();
  }
  world.run_until([&] { return !stream.protocol->received.empty(); });
  world.settle();
  CHECK(stream.protocol->story() == "made data:14");
  stream.transport->resume_reading();
  stream.raw.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made data:14 eof lost");
}

TEST_CASE("a paused reader stops the peer, not the loop", "[T-070][A-013]") {
  World world;
  TlsStream stream = open_tls(world);
  stream.transport->pause_reading();
  std::size_t sent = 0;
  const std::string part = pattern(16'000);
  for (int still = 0; still < 20;) {
    stream.raw.step();
    const bool went = stream.raw.write_if_sent(part);
    sent += went ? part.size() : 0;
    still = went ? 0 : still + 1;
    world.turn();
    REQUIRE(sent < (std::size_t{64} << 20));  // what the system's buffers hold is less
  }
  CHECK(stream.protocol->received.empty());
  stream.raw.cut();
  world.settle();  // and its end causes no spinning: World looks for that, too
  CHECK_FALSE(stream.protocol->lost);
  stream.transport->abort();
  world.settle();
}

TEST_CASE("input in pieces of any size gives the same plaintext", "[T-060]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  std::string all, cipher;
  for (int i = 0; i < 40; ++i) {
    const std::string part = pattern(static_cast<std::size_t>(i * 7 + 1),
                                     static_cast<unsigned>(i));
    all += part;
    CHECK(stream.raw.peer().write(part));
  }
  cipher = stream.raw.peer().take_output();
  const std::size_t piece = GENERATE(as<std::size_t>{}, 1, 2, 5, 6, 21, 1000, 100'000);
  for (std::size_t at = 0; at < cipher.size(); at += piece) {
    REQUIRE(stream.raw.socket().send(std::string_view{cipher}.substr(at, piece)) > 0);
    if (piece < 100) world.turn();
  }
  world.run_until([&] { return stream.protocol->received.size() >= all.size(); });
  CHECK((stream.protocol->received == all));
  stream.transport->abort();
  world.settle();
}

TEST_CASE("a protocol that lends its memory gets plaintext there", "[A-005][T-014]") {
  World world;
  const ferry::SslContext context = server_context();
  Pair pair = connected_pair(Carrier::tcp);
  RawConnection raw{world, std::move(pair.peer), raw_peer_of(Side::server)};
  auto lender = std::make_shared<Lender>();
  lender->memory.resize(100);  // less than a record
  auto future = world.loop.create_task(world.loop.connect_accepted_socket(
      [&] { return lender; }, std::move(pair.ours), {.ssl = &context}));
  raw.run_until([&] { return future.done() && raw.peer().is_open(); });
  auto made = future.take_result();
  const std::string all = pattern(50'000);
  for (std::size_t at = 0; at < all.size(); at += 10'000) raw.write(all.substr(at, 10'000));
  raw.run_until([&] { return lender->received.size() == all.size(); });
  CHECK((lender->received == all));
  made.transport->abort();
  world.settle();
}

TEST_CASE("calls from inside data_received(), in the midst of decrypting",
          "[T-081][T-004][T-003]") {
  World world;
  TlsStream stream = open_tls(world, {.version = any_version()});
  int calls = 0;
  std::function<void()> act;
  SECTION("write") {
    act = [&] { stream.transport->write("answer"); };
  }
  SECTION("close") {
    act = [&] { stream.transport->close(); };
  }
  SECTION("abort") {
    act = [&] { stream.transport->abort(); };
  }
  SECTION("pause and resume") {
    act = [&] {
      stream.transport->pause_reading();
      stream.transport->resume_reading();
    };
  }
  bool over = false;
  stream.protocol->on_data = [&] {
    CHECK_FALSE(over);
    ++calls;
    act();
    over = stream.transport->is_closing();
  };
  for (int i = 0; i < 200; ++i) CHECK(stream.raw.peer().write(pattern(2'000)));
  stream.raw.peer().shutdown();
  stream.raw.run_until([&] { return stream.protocol->lost; });
  CHECK_FALSE(stream.protocol->reason);
  CHECK(calls >= 1);
  if (over) CHECK(calls == 1);
  if (!over) CHECK(stream.protocol->received.size() == 400'000);
}

TEST_CASE("what a callback throws ends a TLS connection as it does on TCP", "[C-15]") {
  World world;
  TlsStream stream = open_tls(world);
  stream.protocol->on_data = [] { throw std::runtime_error{"data is too much"}; };
  stream.raw.write("x");
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason.what() == "data is too much");
  CHECK(world.take_reports().size() == 1);
}

TEST_CASE("close() or abort() inside connection_made(): the connect succeeds all the same",
          "[T-003]") {
  World world;
  const Side side = any_side();
  auto protocol = std::make_shared<Recorder>();
  const bool abort = GENERATE(true, false);
  protocol->on_made = [&] {
    abort ? protocol->transport->abort() : protocol->transport->close();
  };
  Pair pair = connected_pair(Carrier::tcp);
  const ferry::SslContext context = context_of(side);
  RawConnection raw{world, std::move(pair.peer), raw_peer_of(side)};
  auto future = world.loop.create_task(
      tls_over(world, side, std::move(pair.ours), context, protocol));
  raw.run_until([&] { return future.done(); });
  auto made = future.take_result();
  CHECK(made.transport->is_closing());
  if (abort) {
    raw.run_to_end();
  } else {
    raw.run_until([&] { return raw.peer().got_close_notify(); });
    raw.close();
  }
  world.run_until([&] { return protocol->lost; });
  CHECK(protocol->story() == "made lost");
}

TEST_CASE("over a Unix socket, by the same rules", "[A-025][C-09]") {
  World world;
  TlsStream stream = open_tls(world, {.side = any_side(), .carrier = Carrier::unix_pair});
  stream.transport->write("local");
  stream.raw.run_until([&] { return stream.raw.received == "local"; });
  stream.raw.peer().shutdown();
  stream.raw.run_to_end();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made eof lost");
}

TEST_CASE("get_extra_info() answers after close() and after the end", "[T-023]") {
  World world;
  TlsStream stream = open_tls(world, {.side = Side::client});
  const auto before = stream.transport->get_extra_info(ferry::peercert);
  REQUIRE(before);
  stream.transport->close();
  stream.raw.run_until([&] { return stream.raw.peer().got_close_notify(); });
  stream.raw.close();
  world.run_until([&] { return stream.protocol->lost; });
  const auto after = stream.transport->get_extra_info(ferry::peercert);
  REQUIRE(after);
  CHECK((before->der == after->der));
  CHECK(stream.transport->get_extra_info(ferry::tls_version) == "TLSv1.3");
}
