// Datagram endpoints: their life, sending, receiving.
#include "support/calls.hpp"
#include "support/datagrams.hpp"

#include <type_traits>

using namespace test;
using ferry::Address;
using ferry::DatagramOptions;
using Strings = std::vector<std::string>;

static_assert(!std::is_base_of_v<ferry::WriteTransport, ferry::DatagramTransport>);

TEST_CASE("one endpoint serves all clients, each is answered by its address",
          "[S-004][S-042][S-044][S-057][S-059][S-075][S-077][S-091][S-094][A-026][C-17]") {
  World world;
  auto server = open_endpoint(world, {.local_addr = any_port});
  server.protocol->on_got = [&] {
    server.transport->sendto("to " + server.protocol->datagrams.back(),
                             server.protocol->senders.back());
  };
  Correspondent one, two;
  one.send("one", server.address());
  two.send("two", server.address());
  one.send("", server.address());
  world.run_until([&] { return one.receive().size() == 2 && two.receive().size() == 1; });
  CHECK(one.datagrams == Strings{"to one", "to "});
  CHECK(two.datagrams == Strings{"to two"});
  CHECK(one.senders[0] == server.address());
  CHECK(server.protocol->senders == std::vector{one.address(), two.address(), one.address()});
  server.transport->close();
  CHECK(server.transport->is_closing());
  world.run_until([&] { return server.protocol->lost; });
  CHECK(server.protocol->story() == "made got:3 got:3 got:0 lost");
  CHECK_FALSE(server.protocol->reason);
}

TEST_CASE("an endpoint with a remote address sends there, and hears nobody else",
          "[S-043][S-090][C-18][T-147][A-026]") {
  World world;
  Correspondent server, stranger;
  auto client = open_endpoint(world, {.remote_addr = server.address()});
  CHECK(client.transport->get_extra_info(ferry::peername) == server.address());
  client.transport->sendto("plain");
  client.transport->sendto("named", server.address());
  CHECK_THROWS_AS(client.transport->sendto("no", stranger.address()), std::invalid_argument);
  CHECK(thrown_by<std::invalid_argument>([&] {
          return client.transport->sendto("no", stranger.address()), 0;
        }) == "sendto " + stranger.address().to_string() + ": this endpoint sends to " +
                  server.address().to_string() + " only");
  world.run_until([&] { return server.receive().size() == 2; });
  CHECK(server.datagrams == Strings{"plain", "named"});
  stranger.send("from nobody", client.address());
  server.send("answer", client.address());
  world.run_until([&] { return !client.protocol->datagrams.empty(); });
  world.settle();
  CHECK(client.protocol->datagrams == Strings{"answer"});
  client.transport->close();
  client.transport->close();  // twice does no harm
  world.run_until([&] { return client.protocol->lost; });
  client.transport->close();
  CHECK(client.protocol->story() == "made got:6 lost");
}

TEST_CASE("sendto() to nobody, to another family, or too much: an error, and the endpoint lives",
          "[C-18][S-076][T-147][T-148]") {
  World world;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  Correspondent peer;
  CHECK_THROWS_AS(endpoint.transport->sendto("x"), std::invalid_argument);
  CHECK_THROWS_AS((Address{"127.0.0.1", 70000}), std::invalid_argument);
  CHECK_THROWS_AS((Address{"localhost", 80}), std::invalid_argument);
  const std::string huge(65536, 'x'), large(65535, 'x');
  endpoint.transport->sendto("abc", Address{"::1", 80});
  endpoint.transport->sendto(huge, peer.address());
  endpoint.transport->sendto(large, peer.address());  // the system refuses this one
  endpoint.transport->sendto("after", peer.address());
  world.run_until(
      [&] { return peer.receive().size() == 1 && endpoint.protocol->errors.size() == 3; });
  CHECK(peer.datagrams == Strings{"after"});
  const auto& errors = endpoint.protocol->errors;
  CHECK(errors[0].code() == std::errc::address_family_not_supported);
  CHECK(std::string{errors[0].what()}.starts_with("send 3 bytes to [::1]:80: "));
  CHECK(errors[1].code() == std::errc::message_size);
  CHECK(errors[2].code() == std::errc::message_size);
  CHECK(std::string{errors[2].what()}.starts_with("send 65535 bytes to " +
                                                  peer.address().to_string() + ": "));
  CHECK(endpoint.transport->get_write_buffer_size() == 0);
  CHECK_FALSE(endpoint.transport->is_closing());
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("an empty datagram is sent and delivered, in any position", "[C-17][T-138][A-027]") {
  World world;
  auto a = open_endpoint(world, {.local_addr = any_port});
  auto b = open_endpoint(world, {.remote_addr = a.address()});
  world.loop.call_soon([&] {  // together, in one batch
    for (const char* text : {"", "x", "", "", "y", ""}) b.transport->sendto(text);
    CHECK(b.transport->get_write_buffer_size() == 0);  // which sends them
  });
  world.run_until([&] { return a.protocol->datagrams.size() == 6; });
  CHECK(a.protocol->datagrams == Strings{"", "x", "", "", "y", ""});
  a.transport->abort();
  b.transport->abort();
  world.run_until([&] { return a.protocol->lost && b.protocol->lost; });
}

TEST_CASE("the largest datagram arrives whole", "[T-148]") {
  World world;
  auto a = open_endpoint(world, {.local_addr = any_port});
  auto b = open_endpoint(world, {.remote_addr = a.address()});
  const std::string most = pattern(65507);
  b.transport->sendto(most);
  world.run_until([&] { return !a.protocol->datagrams.empty() || !b.protocol->errors.empty(); });
  REQUIRE(b.protocol->errors.empty());
  CHECK(a.protocol->datagrams == Strings{most});
  a.transport->abort();
  b.transport->abort();
  world.run_until([&] { return a.protocol->lost && b.protocol->lost; });
}

TEST_CASE("abort() drops what is queued, close() sends it, later sendto() is dropped",
          "[S-045][T-145][A-007]") {
  const bool closing = GENERATE(true, false);
  if (drops_datagrams()) return skip("this system lets no datagram wait");
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  bool full = true;
  calls.on_call = [&](Call call, ferry::NativeHandle) {
    return full && call == Call::send_many ? ENOBUFS : 0;
  };
  endpoint.transport->sendto("one", peer.address());
  endpoint.transport->sendto("two", peer.address());
  CHECK(endpoint.transport->get_write_buffer_size() == 2 * (3 + 8));
  closing ? endpoint.transport->close() : endpoint.transport->abort();
  endpoint.transport->sendto("late", peer.address());
  if (closing) {
    world.settle();
    CHECK_FALSE(endpoint.protocol->lost);
  }
  full = false;
  world.run_until([&] { return endpoint.protocol->lost; });
  CHECK_FALSE(endpoint.protocol->reason);
  for (int i = 0; i < 6; ++i) endpoint.transport->sendto("lost", peer.address());
  CHECK(world.take_logs() ==
        Strings{"sendto() on an endpoint that is closing or lost",
                "sendto() on an endpoint that is closing or lost",
                "sendto() on an endpoint that is closing or lost"});
  CHECK(endpoint.transport->get_write_buffer_size() == 0);
  CHECK(peer.receive() == (closing ? Strings{"one", "two"} : Strings{}));
  CHECK(endpoint.protocol->story() == "made lost");
}

TEST_CASE("what is pending when a callback aborts has its one try", "[S-045]") {
  World world;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  world.loop.call_soon([&] {
    endpoint.transport->sendto("last words", peer.address());
    endpoint.transport->abort();
  });
  world.run_until([&] { return endpoint.protocol->lost; });
  CHECK(peer.receive() == Strings{"last words"});
}

TEST_CASE("an unreachable port: a connected endpoint is told, an unconnected one is not disturbed",
          "[S-076][T-142][T-143]") {
  World world;
  // A port that no other process gets meanwhile, where there are such addresses.
  const Address own{own_host(), 0};
  Correspondent gone{has_address(own) ? own : any_port};
  const Address nobody = gone.address();
  auto open = open_endpoint(world, {.local_addr = any_port});
  auto connected = open_endpoint(world, {.remote_addr = nobody});
  gone.close();
  for (int i = 0; i < 3; ++i) open.transport->sendto("x", nobody);
  connected.transport->sendto("x");
  if (hears_of_unreachable_ports()) {
    world.run_until([&] { return !connected.protocol->errors.empty(); });
    CHECK(connected.protocol->errors[0].code() == std::errc::connection_refused);
    world.settle();
    CHECK(connected.protocol->errors.size() == 1);
    // The next one is not lost to the error of the last one.
    Correspondent back{nobody};
    connected.transport->sendto("y");
    world.run_until([&] { return !back.receive().empty(); });
    CHECK(back.datagrams == Strings{"y"});
  }
  Correspondent friendly;
  friendly.send("still there?", open.address());
  world.run_until([&] { return !open.protocol->datagrams.empty(); });
  CHECK(open.protocol->errors.empty());
  open.transport->abort();
  connected.transport->abort();
  world.run_until([&] { return open.protocol->lost && connected.protocol->lost; });
}

TEST_CASE("a receive that fails is told, and the next one is made", "[S-076][T-143]") {
  World world;
  Calls calls;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  Correspondent peer;
  calls.fail(Call::recv_many, ENOMEM);
  peer.send("x", endpoint.address());
  world.run_until([&] { return !endpoint.protocol->datagrams.empty(); });
  REQUIRE(endpoint.protocol->errors.size() == 1);
  CHECK(endpoint.protocol->errors[0].code() == std::errc::not_enough_memory);
  CHECK(endpoint.protocol->story().starts_with("made error:receive: "));
  calls.fail(Call::recv_many, EBADF);  // that is the end of it
  peer.send("y", endpoint.address());
  world.run_until([&] { return endpoint.protocol->lost; });
  CHECK(endpoint.protocol->reason);
}

TEST_CASE("one datagram that fails strands none behind it", "[S-076][T-144]") {
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port, .offload = false});
  const int error = GENERATE(EPERM, EHOSTUNREACH, EACCES, ECONNREFUSED);
  world.loop.call_soon([&] {
    calls.fail(Call::send_many, error);
    for (const char* text : {"one", "two", "three"}) {
      endpoint.transport->sendto(text, peer.address());
    }
  });
  world.run_until(
      [&] { return peer.receive().size() == 2 && !endpoint.protocol->errors.empty(); });
  CHECK(peer.datagrams == Strings{"two", "three"});
  CHECK(endpoint.protocol->errors.size() == 1);
  CHECK(endpoint.transport->get_write_buffer_size() == 0);
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("no buffers: the datagram waits for a timer, or on kqueue systems is dropped and told",
          "[S-044][S-082][T-144]") {
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  calls.fail(Call::send_many, ENOBUFS);
  endpoint.transport->sendto("one", peer.address());
  endpoint.transport->sendto("two", peer.address());
  calls.reset();
  if (drops_datagrams()) {
    world.run_until([&] { return !endpoint.protocol->errors.empty() && !peer.receive().empty(); });
    CHECK(endpoint.protocol->errors[0].code() == std::errc::no_buffer_space);
    CHECK(peer.datagrams == Strings{"two"});
  } else {
    world.run_until([&] { return peer.receive().size() == 2; });
    CHECK(peer.datagrams == Strings{"one", "two"});
    CHECK(calls.count(Call::send_many) <= 2);  // no hot loop
    CHECK(endpoint.protocol->errors.empty());
  }
  CHECK_FALSE(endpoint.transport->is_closing());
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("a full queue pauses, each time it drains it is empty and resumes",
          "[T-138][T-139][A-027][A-055][C-14][C-20][S-077]") {
  if (drops_datagrams()) return skip("this system lets no datagram wait");
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  CHECK(endpoint.transport->get_write_buffer_limits() ==
        ferry::WriteBufferLimits{16 * 1024, 64 * 1024});
  endpoint.transport->set_write_buffer_limits({.high = 100, .low = 20});
  bool full = false;
  calls.on_call = [&](Call call, ferry::NativeHandle) {
    return full && call == Call::send_many ? ENOBUFS : 0;
  };
  std::size_t expected = 0;
  for (const std::string text : {"", "0123456789", "x"}) {
    full = true;
    const int pauses = endpoint.protocol->pauses;
    std::size_t size = 0;
    while (endpoint.protocol->pauses == pauses) {
      CHECK(size <= 100);
      endpoint.transport->sendto(text, peer.address());
      size += text.size() + 8;
      ++expected;
      REQUIRE(endpoint.transport->get_write_buffer_size() == size);
    }
    CHECK(size > 100);
    full = false;
    world.run_until([&] { return endpoint.protocol->resumes == endpoint.protocol->pauses; });
    CHECK(endpoint.transport->get_write_buffer_size() == 0);
  }
  world.run_until([&] { return peer.receive().size() == expected; });
  CHECK(endpoint.protocol->errors.empty());
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("a paused endpoint whose send fails resumes", "[A-055][T-139]") {
  if (drops_datagrams()) return skip("this system lets no datagram wait");
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  endpoint.transport->set_write_buffer_limits({.high = 5});
  calls.fail(Call::send_many, ENOBUFS);
  calls.fail(Call::send_many, EPERM);
  endpoint.transport->sendto("0123456789", peer.address());
  CHECK(endpoint.protocol->pauses == 1);
  world.run_until([&] { return endpoint.protocol->resumes == 1; });
  world.run_until([&] { return endpoint.protocol->errors.size() == 1; });
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("a callback that throws is reported, and the endpoint lives", "[C-15][T-149]") {
  World world;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  Correspondent peer;
  endpoint.protocol->on_got = [&] {
    if (endpoint.protocol->datagrams.size() == 2) throw std::runtime_error{"two"};
  };
  endpoint.protocol->on_error = [] { throw std::runtime_error{"error"}; };
  for (const char* text : {"one", "two", "three"}) peer.send(text, endpoint.address());
  endpoint.transport->sendto("x", Address{"::1", 9});
  world.run_until([&] {
    return endpoint.protocol->datagrams.size() == 3 && !endpoint.protocol->errors.empty();
  });
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 2);
  const bool data_first = reports[0].message == "datagram_received() threw";
  CHECK(reports[data_first ? 0 : 1].message == "datagram_received() threw");
  CHECK(reports[data_first ? 1 : 0].message == "error_received() threw");
  CHECK_FALSE(endpoint.transport->is_closing());
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("closed in the midst of a batch: nothing more of it, paused: the rest comes later",
          "[T-149][C-16]") {
  World world;
  const std::string what = GENERATE("close", "abort", "pause");
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  Correspondent peer;
  for (const char* text : {"one", "two", "three", "four"}) peer.send(text, endpoint.address());
  endpoint.protocol->on_got = [&] {
    if (endpoint.protocol->datagrams.size() != 2) return;
    if (what == "close") endpoint.transport->close();
    if (what == "abort") endpoint.transport->abort();
    if (what == "pause") endpoint.transport->pause_reading();
  };
  world.run_until([&] { return endpoint.protocol->datagrams.size() == 2; });
  world.settle();
  CHECK(endpoint.protocol->datagrams.size() == 2);
  CHECK_FALSE(endpoint.transport->is_reading());
  if (what == "pause") {
    peer.send("five", endpoint.address());
    endpoint.protocol->on_got = nullptr;
    endpoint.transport->resume_reading();
    CHECK(endpoint.transport->is_reading());
    world.run_until([&] { return endpoint.protocol->datagrams.size() == 5; });
    CHECK(endpoint.protocol->datagrams == Strings{"one", "two", "three", "four", "five"});
    endpoint.transport->close();
  }
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("what is held while paused stays in order, pause after pause", "[T-149]") {
  World world;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  Correspondent peer;
  const std::size_t count = 40;  // more than a batch
  endpoint.transport->pause_reading();
  for (std::size_t i = 0; i < count; ++i) peer.send(std::to_string(i), endpoint.address());
  endpoint.protocol->on_got = [&] {
    endpoint.transport->pause_reading();
    world.loop.call_soon([&] { endpoint.transport->resume_reading(); });
  };
  world.settle();
  CHECK(endpoint.protocol->datagrams.empty());
  endpoint.transport->resume_reading();
  world.run_until([&] { return endpoint.protocol->datagrams.size() == count; });
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(endpoint.protocol->datagrams[i] == std::to_string(i));
  }
  endpoint.transport->pause_reading();  // and closed while something is held
  for (std::size_t i = 0; i < 4; ++i) peer.send("more", endpoint.address());
  endpoint.protocol->on_got = [&] { endpoint.transport->pause_reading(); };
  endpoint.transport->resume_reading();
  world.run_until([&] { return endpoint.protocol->datagrams.size() == count + 1; });
  endpoint.transport->close();
  world.run_until([&] { return endpoint.protocol->lost; });
  CHECK(endpoint.protocol->datagrams.size() == count + 1);
}

TEST_CASE("a flood brings a bounded number of datagrams a turn, others have theirs", "[T-150]") {
  World world;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  auto other = open_endpoint(world, {.local_addr = any_port});
  const Address to = endpoint.address();
  Correspondent peer, quiet;
  // Each datagram brings a new one: without a bound the turn would never end.
  endpoint.protocol->on_got = [&] { peer.send("again", to); };
  for (int i = 0; i < 4; ++i) peer.send("go", to);
  quiet.send("hello", other.address());
  bool timer = false;
  world.loop.call_later(ferry::Seconds{0.0}, [&] { timer = true; });
  world.run_until([&] { return timer && !other.protocol->datagrams.empty(); });
  endpoint.protocol->on_got = nullptr;
  endpoint.transport->abort();
  other.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost && other.protocol->lost; });
}

TEST_CASE("the bytes leave as they were when sendto() was called", "[T-038]") {
  World world;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.remote_addr = peer.address()});
  world.loop.call_soon([&] {
    std::string text = "before";
    endpoint.transport->sendto(text);
    text = "after!";
  });
  world.run_until([&] { return !peer.receive().empty(); });
  CHECK(peer.datagrams == Strings{"before"});
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("set_protocol() takes datagram protocols of both kinds, in the midst of a batch too",
          "[S-057]") {
  World world;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  CHECK_THROWS_AS(endpoint.transport->set_protocol(std::make_shared<Recorder>()),
                  std::invalid_argument);
  CHECK_THROWS_AS(endpoint.transport->set_protocol(nullptr), std::invalid_argument);
  Correspondent peer;
  for (const char* text : {"one", "two", "three"}) peer.send(text, endpoint.address());
  auto next = std::make_shared<BatchRecorder>();
  endpoint.protocol->on_got = [&] { endpoint.transport->set_protocol(next); };
  world.run_until([&] { return next->datagrams.size() == 2; });
  CHECK(endpoint.protocol->datagrams == Strings{"one"});
  CHECK(next->datagrams == Strings{"two", "three"});
  CHECK(endpoint.transport->get_protocol() == next);
  endpoint.transport->abort();
  world.settle();
  CHECK(endpoint.transport->get_protocol() == nullptr);
}

TEST_CASE("what became of an earlier datagram is told, and costs the next one nothing",
          "[S-076][T-144]") {
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.remote_addr = peer.address()});
  calls.fail(Call::send_many, EHOSTUNREACH);
  endpoint.transport->sendto("one");
  world.run_until([&] { return peer.receive().size() == 1; });
  world.run_until([&] { return endpoint.protocol->errors.size() == 1; });
  CHECK(endpoint.protocol->errors[0].code() == std::errc::host_unreachable);
  calls.fail(Call::send_many, EHOSTUNREACH, 2);  // its own: told once
  endpoint.transport->sendto("two");
  endpoint.transport->sendto("three");
  world.run_until([&] { return peer.receive().size() == 2; });
  world.settle();
  CHECK(peer.datagrams == Strings{"one", "three"});
  CHECK(endpoint.protocol->errors.size() == 2);
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}

TEST_CASE("a datagram for which there are never buffers holds up the others for a while only",
          "[T-144][S-076]") {
  if (drops_datagrams()) return skip("this system lets no datagram wait");
  World world;
  Calls calls;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  bool never = true;
  calls.on_call = [&](Call call, ferry::NativeHandle) {
    return never && call == Call::send_many ? ENOBUFS : 0;
  };
  endpoint.protocol->on_error = [&] { never = false; };
  endpoint.transport->sendto("never", peer.address());
  endpoint.transport->sendto("later", peer.address());
  world.run_until([&] { return peer.receive().size() == 1; });
  CHECK(peer.datagrams == Strings{"later"});
  REQUIRE(endpoint.protocol->errors.size() == 1);
  CHECK(endpoint.protocol->errors[0].code() == std::errc::no_buffer_space);
  endpoint.transport->abort();
  world.run_until([&] { return endpoint.protocol->lost; });
}
