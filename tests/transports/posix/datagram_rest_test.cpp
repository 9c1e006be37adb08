// Sends that cannot be made now, and of which no report will tell when they can: never a hot loop.
#include "support/calls.hpp"
#include "support/sockets.hpp"

#include <ferry/ferry.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using ferry::Address;
using ferry::internal::calls::Call;

namespace {

class Listener : public ferry::DatagramProtocol {
 public:
  void datagram_received(ferry::BytesView data, const Address&) override {
    came.emplace_back(data.text());
  }
  void error_received(const ferry::Error& error) override { errors.push_back(error); }
  std::vector<std::string> came;
  std::vector<ferry::Error> errors;
};

// Without ferry, and never blocking.
class PlainUnix {
 public:
  PlainUnix() : socket_{::socket(AF_UNIX, SOCK_DGRAM, 0)} {}
  ~PlainUnix() { ::close(socket_); }
  PlainUnix(const PlainUnix&) = delete;
  PlainUnix& operator=(const PlainUnix&) = delete;
  void bind(const std::string& path) {
    const sockaddr_un name = named(path);
    REQUIRE(::bind(socket_, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
  }
  bool send(const std::string& path) {
    const sockaddr_un name = named(path);
    return ::sendto(socket_, "x", 1, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&name),
                    sizeof name) == 1;
  }
  std::string receive() {
    char bytes[100];
    const ssize_t size = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
    return size < 0 ? "none" : std::string(bytes, static_cast<std::size_t>(size));
  }

 private:
  static sockaddr_un named(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    return name;
  }
  int socket_;
};

}  // namespace

TEST_CASE("a Unix receiver whose room nobody reports is tried now and then", "[T-144]") {
  const test::Directory folder;
  PlainUnix receiver, other;
  receiver.bind(folder / "receiver");
  while (other.send(folder / "receiver")) {
  }
  test::World world;
  const Address to = Address::unix_path(folder / "receiver");
  auto [transport, protocol] = world.run(world.loop.create_datagram_endpoint(
      ferry::make<Listener>, {.local_addr = Address::unix_path(folder / "sender")}));
  transport->sendto("hello", to);
  REQUIRE(transport->get_write_buffer_size() > 0);
  {
    test::Calls calls;
    bool over = false;
    world.loop.call_later(200ms, [&] { over = true; });
    world.run_until([&] { return over; }, "a while");
    CHECK(calls.count(Call::send_many) <= 40);
    CHECK(calls.count(test::waiting_call(test::backend_name())) <= 200);
  }
  while (receiver.receive() == "x") {
  }
  world.run_until([&] { return transport->get_write_buffer_size() == 0; }, "the queue to leave");
  CHECK(receiver.receive() == "hello");
  transport->close();
}

TEST_CASE("datagrams without buffers are tried again by a timer, each time", "[T-144]") {
  test::World world;
  if (world.loop.backend() == "kqueue") return;  // it tells of it instead (S-082)
  auto [receiver, listener] = world.run(world.loop.create_datagram_endpoint(
      ferry::make<Listener>, {.local_addr = Address{"127.0.0.1", 0}}));
  auto [sender, protocol] = world.run(world.loop.create_datagram_endpoint(
      ferry::make<Listener>,
      {.remote_addr = receiver->get_extra_info(ferry::sockname)}));
  test::Calls calls;
  calls.fail(Call::send_many, ENOBUFS, 5);
  const auto began = world.loop.time();
  sender->sendto("hello");
  CHECK(sender->get_write_buffer_size() > 0);
  world.run_until([&heard = listener] { return !heard->came.empty(); }, "the datagram");
  CHECK(listener->came == std::vector<std::string>{"hello"});
  CHECK(protocol->errors.empty());
  CHECK(calls.count(Call::send_many) <= 7);
  CHECK((world.loop.time() - began >= 50ms));  // five rests
  receiver->close();
  sender->close();
}

TEST_CASE("what became of an earlier datagram is told, and harms no later one", "[S-076][T-143]") {
  test::World world;
  auto [receiver, listener] = world.run(world.loop.create_datagram_endpoint(
      ferry::make<Listener>, {.local_addr = Address{"127.0.0.1", 0}}));
  auto [sender, protocol] = world.run(world.loop.create_datagram_endpoint(
      ferry::make<Listener>, {.remote_addr = receiver->get_extra_info(ferry::sockname)}));
  test::Calls calls;
  calls.fail(Call::send_many, ECONNREFUSED);
  // Of one size and in one turn: the system may be given them as one.
  world.loop.call_soon([&to = sender] {
    to->sendto("one");
    to->sendto("two");
  });
  world.run_until([&heard = listener] { return heard->came.size() == 2; }, "both");
  CHECK(listener->came == std::vector<std::string>{"one", "two"});
  REQUIRE(protocol->errors.size() == 1);
  CHECK(protocol->errors[0] == std::errc::connection_refused);
  receiver->close();
  sender->close();
}
