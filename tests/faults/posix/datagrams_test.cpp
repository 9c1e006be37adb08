// The fault sweep over datagram endpoints: as sweep_test.cpp.
#include "faults/posix/scenes.hpp"

#include <filesystem>

#include <sys/socket.h>

using namespace test;
using ferry::Address;

namespace {

using Made = std::shared_ptr<ferry::DatagramTransport>;

Made open(Stage& stage, const std::shared_ptr<Receiver>& receiver,
          const ferry::DatagramOptions& options) {
  auto task = stage.attempt([&] {
    return stage.loop.create_datagram_endpoint([receiver] { return receiver; }, options);
  });
  return stage.await(std::move(task), "an endpoint").transport;
}

// Not through the table.
Address name_of(const Made& endpoint) {
  ferry::internal::SocketAddress name;
  const auto handle = static_cast<int>(endpoint->get_extra_info(ferry::socket).fileno());
  ::getsockname(handle, name.get(), &name.length);
  return name.address();
}

std::string outcome(const Stage& stage) {
  std::string all;
  for (const auto& one : stage.receivers) {
    std::size_t bytes = 0;
    for (const std::string& text : one->received) bytes += text.size();
    all += std::to_string(one->received.size()) + ":" + std::to_string(bytes) + " ";
  }
  return all;
}

std::string end_all(Stage& stage, const std::vector<Made>& endpoints) {
  for (const Made& one : endpoints) one->close();
  stage.until([&] { return stage.all_lost(); }, "the end of all");
  return outcome(stage);
}

// Datagrams of several sizes, and their echoes.
std::string talk(Stage& stage, const Made& server, const Made& client, const Address& to) {
  const auto& heard = stage.receivers[1]->received;
  client->sendto(some_text, to);
  stage.until([&] { return heard.size() == 1; }, "the echo");
  for (std::size_t i = 0; i < 8; ++i) client->sendto(std::string(i < 4 ? 100 : 10 * i, 'x'), to);
  stage.until([&] { return heard.size() == 9; }, "the echoes");
  return end_all(stage, {server, client});
}

std::string udp_echo(Stage& stage) {
  const auto one = stage.receive(true);
  const auto other = stage.receive();
  const Made server = open(stage, one, {.local_addr = Address{"127.0.0.1", 0}});
  const Made client = open(stage, other, {.remote_addr = name_of(server)});
  return talk(stage, server, client, {});
}

// Nobody is connected, and the system tells each datagram's way.
std::string udp_many(Stage& stage) {
  const auto one = stage.receive(true);
  const auto other = stage.receive();
  const Made server =
      open(stage, one, {.local_addr = Address{"127.0.0.1", 0}, .packet_info = true});
  const Made client = open(stage, other,
                           {.family = ferry::Family::ipv4, .reuse_port = true,
                            .allow_broadcast = true, .offload = false});
  return talk(stage, server, client, name_of(server));
}

std::string udp_names(Stage& stage) {
  const auto one = stage.receive(true);
  const auto other = stage.receive();
  const Made server = open(stage, one, {.local_host = "both.test"});
  const Made client =
      open(stage, other, {.remote_addr = name_of(server), .local_host = "both.test"});
  return talk(stage, server, client, {});
}

std::string fresh_directory() {
  static const std::string directory = make_directory();
  for (const char* name : {"/server", "/client"}) ::unlink((directory + name).c_str());
  return directory;
}

std::string unix_echo(Stage& stage) {
  const std::string directory = fresh_directory();
  const auto one = stage.receive(true);
  const auto other = stage.receive();
  const Address name = Address::unix_path(directory + "/server");
  const Made server = open(stage, one, {.local_addr = name});
  const Made client = open(stage, other, {.local_addr = Address::unix_path(directory + "/client"),
                                          .remote_addr = name});
  return talk(stage, server, client, {});
}

std::string stale_path(Stage& stage) {
  const std::string directory = fresh_directory();
  const Address name = Address::unix_path(directory + "/server");
  {
    const int dead = ::socket(AF_UNIX, SOCK_DGRAM, 0);
    const ferry::Socket socket{dead};
    CHECK(bind_to(socket, name));
    close_plainly(ferry::Socket{dup(dead)}.detach());
  }
  const auto one = stage.receive();
  return end_all(stage, {open(stage, one, {.local_addr = name})});
}

// More than a Unix socket keeps, to one who reads late.
std::string unix_bulk(Stage& stage) {
  const std::string directory = fresh_directory();
  const auto one = stage.receive();
  const auto other = stage.receive();
  const Address name = Address::unix_path(directory + "/server");
  const Made server = open(stage, one, {.local_addr = name});
  const Made client = open(stage, other, {.local_addr = Address::unix_path(directory + "/client"),
                                          .remote_addr = name});
  server->pause_reading();
  for (int i = 0; i < 100; ++i) client->sendto(std::string(1000, 'x'));
  client->close();
  server->resume_reading();
  stage.until([&] { return one->received.size() == 100 && other->transport == nullptr; },
              "all of it");
  return end_all(stage, {server}) + "paused " + std::to_string(other->pauses);
}

std::string adopted(Stage& stage) {
  ferry::Socket socket{::socket(AF_INET, SOCK_DGRAM, 0)};
  CHECK(bind_to(socket, {"127.0.0.1", 0}));
  const auto one = stage.receive(true);
  const auto other = stage.receive();
  auto task = stage.attempt([&] {
    return stage.loop.create_datagram_endpoint([one] { return one; }, std::move(socket));
  });
  const Made server = stage.await(std::move(task), "an endpoint").transport;
  const Made client = open(stage, other, {.remote_addr = name_of(server)});
  return talk(stage, server, client, {});
}

}  // namespace

TEST_CASE("faults: an echo over UDP", "[S-076][T-143][T-144]") { sweep("udp echo", udp_echo); }
TEST_CASE("faults: many datagrams and nobody connected", "[S-042][T-142]") {
  sweep("udp many", udp_many);
}
// (Another address does.)
TEST_CASE("faults: datagram endpoints by name", "[A-026]") { sweep("udp names", udp_names, true); }
TEST_CASE("faults: an echo by Unix datagrams", "[A-026][T-144]") {
  sweep("unix datagrams", unix_echo);
}
TEST_CASE("faults: a stale socket file of datagrams", "[A-026]") {
  sweep("stale datagrams", stale_path, true);
}
TEST_CASE("faults: datagrams that wait", "[S-044][S-079][T-144][T-145]") {
  sweep("bulk of datagrams", unix_bulk);
}
TEST_CASE("faults: an adopted datagram socket", "[A-026]") { sweep("adopted datagrams", adopted); }
