// What TLS has queued is counted in plaintext, exactly, and sealed only as it leaves.
#include "support/fake_channel.hpp"
#include "support/tls/tls_stream.hpp"
#include "transports/ssl_channel.hpp"

using namespace test;

namespace {

// A server's TLS over a Wire: the test says how many bytes of ciphertext the system takes.
struct TlsWire {
  RawPeer peer = raw_peer_of(Side::server);
  FakeStream stream;
  std::size_t fed = 0;  // of what was taken from us
  std::string received;

  TlsWire() : stream{std::make_shared<Recorder>(), true, layer} {
    for (int i = 0; i < 3; ++i) step();
    REQUIRE(stream.protocol->made);
    REQUIRE(peer.is_open());
  }
  static std::unique_ptr<ferry::internal::Channel> layer(
      ferry::internal::LoopCore& core, std::unique_ptr<ferry::internal::Channel> below) {
    static const ferry::SslContext context = server_context();
    ferry::internal::SslSpec spec;
    spec.context = context;
    spec.server_side = true;
    return ferry::internal::ssl_channel(core, below, spec, "the test");
  }
  // Everything to the peer and back.
  void step() {
    peer.feed(std::string_view{stream.wire->taken}.substr(fed));
    fed = stream.wire->taken.size();
    peer.handshake();
    received += peer.read();
    const std::string back = peer.take_output();
    stream.inside([&] { stream.wire->arrive(back); });
    stream.settle();
  }
  // The system takes no more.
  void block() { stream.wire->room = 0; }
};

}  // namespace

TEST_CASE("the buffer's size is the plaintext whose records have not left", "[S-028][C-14]") {
  TlsWire tls;
  FakeStream& stream = tls.stream;
  tls.block();
  const std::string all = pattern(100'000);
  stream.write(all);
  CHECK(stream.size() == 100'000);
  stream.give(16'000);  // most of the first record
  CHECK(stream.size() == 100'000);
  stream.give(1'000);  // the rest of it
  CHECK(stream.size() == 100'000 - 16'384);
  stream.write("more");
  CHECK(stream.size() == 100'004 - 16'384);
  stream.give();
  CHECK(stream.size() == 0);
  tls.step();
  CHECK((tls.received == all + "more"));
}

TEST_CASE("the marks of TLS are 512 and 128 KiB, and judged as on TCP", "[C-01][C-20][T-025]"
          "[T-027]") {
  TlsWire tls;
  FakeStream& stream = tls.stream;
  CHECK(stream.transport->get_write_buffer_limits() ==
        ferry::WriteBufferLimits{128 * 1024, 512 * 1024});
  tls.block();
  SECTION("at the high mark there is no pause, above it there is one") {
    stream.write(pattern(512 * 1024));
    CHECK(stream.protocol->pauses == 0);
    stream.write("x");
    CHECK(stream.protocol->pauses == 1);
    stream.give(300 * 1024);
    CHECK(stream.protocol->resumes == 0);
    stream.give();
    CHECK(stream.protocol->resumes == 1);
  }
  SECTION("a high mark of zero pauses above zero and resumes at zero") {
    stream.limits({.high = 0});
    CHECK(stream.protocol->pauses == 0);
    stream.write("x");
    CHECK(stream.protocol->pauses == 1);
    stream.give(10);
    CHECK(stream.protocol->resumes == 0);
    stream.give();
    CHECK(stream.protocol->resumes == 1);
  }
  SECTION("only one of them given, or none") {
    stream.limits({.high = 1000});
    CHECK(stream.transport->get_write_buffer_limits() == ferry::WriteBufferLimits{250, 1000});
    stream.limits({});
    CHECK(stream.transport->get_write_buffer_limits() ==
          ferry::WriteBufferLimits{128 * 1024, 512 * 1024});
  }
}

TEST_CASE("an empty write makes no record", "[T-033]") {
  TlsWire tls;
  const std::size_t before = tls.stream.wire->taken.size();
  tls.stream.write("");
  const std::vector<std::string> nothing{"", ""};
  tls.stream.call([&] { tls.stream.transport->writelines(nothing); });
  tls.stream.settle();
  CHECK(tls.stream.wire->taken.size() == before);
}

TEST_CASE("the peer gets the bytes as they were when write() was called", "[T-038]") {
  TlsWire tls;
  tls.block();
  std::string text = GENERATE(pattern(10), pattern(100'000));
  const std::string as_it_was = text;
  tls.stream.write(text);
  std::fill(text.begin(), text.end(), 'X');
  tls.stream.give();
  tls.step();
  CHECK((tls.received == as_it_was));
}

TEST_CASE("sending in pieces while the queue grows and moves", "[T-086][T-081]") {
  TlsWire tls;
  FakeStream& stream = tls.stream;
  tls.block();
  std::string all;
  std::size_t number = 0;
  const std::size_t piece = GENERATE(as<std::size_t>{}, 1, 37, 5'000, 70'000);
  stream.limits({.high = 3'000});
  stream.protocol->on_resume = [&] {
    if (all.size() > 400'000) return;
    const std::string more = pattern(5'000, 5);
    all += more;
    stream.transport->write(more);
  };
  while (all.size() < 200'000) {
    ++number;
    const std::string more = pattern(number * 97 % 30'000, static_cast<unsigned>(number));
    all += more;
    stream.write(more);
    for (int i = 0; i < 20; ++i) stream.give(piece);
  }
  for (int i = 0; i < 10; ++i) stream.give();
  CHECK(stream.size() == 0);
  tls.step();
  CHECK((tls.received == all));
}

TEST_CASE("small pieces share a record, in one send", "[S-039][A-056]") {
  TlsWire tls;
  FakeStream& stream = tls.stream;
  const std::size_t before = stream.wire->taken.size();
  const int tries = stream.wire->tries;
  std::vector<std::string> pieces(200, std::string(20, 'x'));
  SECTION("written one by one in a callback") {
    stream.inside([&] {
      for (const std::string& piece : pieces) stream.transport->write(piece);
    });
  }
  SECTION("as lines that are sent from where they lie") {
    pieces.assign(200, std::string(60, 'x'));
    stream.call([&] { stream.transport->writelines(pieces); });
  }
  stream.settle();
  const std::size_t plain = pieces.size() * pieces[0].size();
  CHECK(stream.wire->tries - tries <= 4);  // a list of 200 goes down in parts of 64
  CHECK(stream.wire->taken.size() - before < plain + 200);
  tls.step();
  CHECK(tls.received == std::string(plain, 'x'));
}

TEST_CASE("a writer that ignores pause_writing(): plaintext piles up once, no ciphertext",
          "[T-068]") {
  TlsWire tls;
  FakeStream& stream = tls.stream;
  tls.block();
  const std::string part = pattern(1 << 20);
  const std::size_t parts = sanitized ? 8 : 100;
  const std::size_t before = resident_bytes();
  for (std::size_t i = 0; i < parts; ++i) stream.write(part);
  CHECK(stream.size() == parts << 20);
  if (!sanitized) CHECK(resident_bytes() - before < (parts + 12) << 20);
  // And the peer gets all of it, as the system takes it.
  for (std::size_t i = 0; i < 3 * parts && stream.size() > 0; ++i) {
    stream.give(1 << 20);
    tls.step();
  }
  CHECK(stream.size() == 0);
  CHECK(tls.received.size() == parts << 20);
}
