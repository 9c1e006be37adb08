// Unix sockets for datagrams: names and none, queues that block, datagrams larger than UDP's.
#include "support/calls.hpp"
#include "support/datagrams.hpp"
#include "support/posix/descriptors.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

using namespace test;
using ferry::Address;
using ferry::Family;
using Strings = std::vector<std::string>;

namespace {

struct DatagramPair {
  DatagramPair() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    ours = ferry::Socket{ends[0]};
    theirs = ferry::Socket{ends[1]};
    set_nonblocking(theirs.fileno());
  }
  ferry::Socket ours, theirs;
};

Endpoint<> adopt(World& world, ferry::Socket socket) {
  auto protocol = std::make_shared<DatagramRecorder>();
  auto made =
      world.run(world.loop.create_datagram_endpoint([&] { return protocol; }, std::move(socket)));
  return {std::move(made.protocol), std::move(made.transport)};
}

}  // namespace

TEST_CASE("Unix datagrams: by path, with names and without", "[A-026][S-075][C-17]") {
  World world;
  Directory folder;
  const Address path = Address::unix_path(folder / "server");
  auto server = open_endpoint(world, {.local_addr = path});
  auto nameless = open_endpoint(world, {.remote_addr = path});
  auto named = open_endpoint(world, {.local_addr = Address::unix_path(folder / "client"),
                                     .remote_addr = path});
  nameless.transport->sendto("a");
  named.transport->sendto("b");
  named.transport->sendto("");
  world.run_until([&] { return server.protocol->datagrams.size() == 3; });
  CHECK(server.protocol->datagrams == Strings{"a", "b", ""});
  CHECK_FALSE(server.protocol->senders[0]);
  CHECK(server.protocol->senders[1] == Address::unix_path(folder / "client"));
  server.transport->sendto("answer", server.protocol->senders[1]);
  world.run_until([&] { return named.protocol->datagrams.size() == 1; });
  server.transport->sendto("x", Address::unix_path(folder / "nobody"));
  world.run_until([&] { return server.protocol->errors.size() == 1; });
  CHECK(server.protocol->errors[0].code() == std::errc::no_such_file_or_directory);
  for (auto* endpoint : {&server, &nameless, &named}) endpoint->transport->abort();
  world.settle();
}

TEST_CASE("a stale path is taken over, a living one and a file are not", "[A-026]") {
  World world;
  Directory folder;
  const Address path = Address::unix_path(folder / "socket");
  const auto refusal = [&](const Address& address) {
    return error_of(world, world.loop.create_datagram_endpoint(ferry::make<DatagramRecorder>,
                                                               {.local_addr = address}));
  };
  {
    auto first = open_endpoint(world, {.local_addr = path});
    CHECK(refusal(path).code() == std::errc::address_in_use);
    first.transport->sendto("alive", path);
    world.run_until([&] { return first.protocol->datagrams.size() == 1; });
    first.transport->abort();
    world.settle();
  }
  auto second = open_endpoint(world, {.local_addr = path});  // its file was left behind
  second.transport->abort();
  world.settle();
  std::ofstream{folder / "file"} << "mine";
  CHECK(refusal(Address::unix_path(folder / "file")).code() == std::errc::address_in_use);
  CHECK(std::filesystem::exists(folder / "file"));
}

TEST_CASE("a nameless pair: sendto() without an address works, with one it is an error",
          "[C-18][T-147]") {
  World world;
  DatagramPair pair;
  auto endpoint = adopt(world, std::move(pair.ours));
  endpoint.transport->sendto("x");
  CHECK_THROWS_AS(endpoint.transport->sendto("x", Address::unix_path("/nowhere")),
                  std::invalid_argument);
  CHECK(get(pair.theirs) == "x");
  REQUIRE(put(pair.theirs, "y"));
  world.run_until([&] { return endpoint.protocol->datagrams.size() == 1; });
  pair.theirs.close();
  endpoint.transport->sendto("nobody reads");
  world.run_until([&] { return endpoint.protocol->errors.size() == 1; });
  CHECK_FALSE(endpoint.transport->is_closing());
  endpoint.transport->abort();
  world.settle();
}

TEST_CASE("a queue that blocks: all wait in order, pause and resume, three times over",
          "[S-044][T-139][T-144][T-145][C-14]") {
  World world;
  DatagramPair pair;
  auto endpoint = adopt(world, std::move(pair.ours));
  endpoint.transport->set_write_buffer_limits({.high = 1000, .low = 100});
  std::size_t sent = 0, got = 0;
  const auto drain = [&] {
    for (std::string text = get(pair.theirs); !text.empty(); text = get(pair.theirs)) {
      CHECK(text == "datagram " + std::to_string(got++));
    }
  };
  for (int round = 1; round <= 3; ++round) {
    while (endpoint.protocol->pauses < round) {
      endpoint.transport->sendto("datagram " + std::to_string(sent++));
    }
    CHECK(endpoint.transport->get_write_buffer_size() > 1000);
    world.settle();
    CHECK(endpoint.protocol->resumes == round - 1);
    world.run_until([&] {
      drain();
      return endpoint.protocol->resumes == round;
    });
    world.run_until([&] {
      drain();
      return endpoint.transport->get_write_buffer_size() == 0 && got == sent;
    });
  }
  while (endpoint.transport->get_write_buffer_size() == 0) {
    endpoint.transport->sendto("datagram " + std::to_string(sent++));
  }
  endpoint.transport->close();  // sends what is queued
  world.settle();
  CHECK_FALSE(endpoint.protocol->lost);
  world.run_until([&] {
    drain();
    return endpoint.protocol->lost;
  });
  drain();
  CHECK(got == sent);
  CHECK(endpoint.protocol->errors.empty());
}

TEST_CASE("a datagram larger than the place for it is told as cut off, never delivered",
          "[T-148]") {
  World world;
  DatagramPair pair;
  auto endpoint = adopt(world, std::move(pair.ours));
  const std::string large = pattern(100'000);
  REQUIRE(put(pair.theirs, "before"));
  if (!put(pair.theirs, large)) {
    skip("this system has no larger datagrams");
  } else {
    REQUIRE(put(pair.theirs, "after"));
    world.run_until([&] { return endpoint.protocol->datagrams.size() == 2; });
    CHECK(endpoint.protocol->datagrams == Strings{"before", "after"});
    REQUIRE(endpoint.protocol->errors.size() == 1);
    CHECK(endpoint.protocol->errors[0].code() == std::errc::message_size);
    CHECK(std::string{endpoint.protocol->errors[0].what()}.starts_with(
        "receive a datagram from none with more than 65536 bytes: "));
  }
  endpoint.transport->abort();
  world.settle();
}

TEST_CASE("a peer cannot put descriptors into this process", "[A-026]") {
  World world;
  DatagramPair pair;
  auto protocol = std::make_shared<DatagramRecorder>();
  auto made = world.run(world.loop.create_datagram_endpoint(
      [&] { return protocol; }, std::move(pair.ours), {.packet_info = true}));
  const std::size_t before = open_descriptors();
  send_with_descriptor(static_cast<int>(pair.theirs.fileno()), "x");
  world.run_until([&] { return protocol->datagrams.size() == 1; });
  CHECK(open_descriptors() == before);
  made.transport->abort();
  world.settle();
}
