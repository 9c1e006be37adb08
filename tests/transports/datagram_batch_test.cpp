// Many datagrams at once: batches, and what the kernel cuts and joins.
#include "support/calls.hpp"
#include "support/datagrams.hpp"

using namespace test;
using ferry::Address;
using ferry::Datagram;
using Strings = std::vector<std::string>;

namespace {

// Several for one or two addresses, of many sizes: what may be joined, and what may not.
struct Mix {
  std::vector<std::string> texts;
  std::vector<bool> to_first;
  void add(std::size_t size, bool first = true) {
    texts.push_back(pattern(size, static_cast<unsigned>(texts.size())));
    to_first.push_back(first);
  }
};
Mix mixed() {
  Mix mix;
  for (int i = 0; i < 5; ++i) mix.add(100);
  mix.add(60);   // the last of a run may be shorter
  mix.add(60);
  mix.add(100);  // a longer one begins anew
  mix.add(0);
  mix.add(0);
  mix.add(100, false);
  mix.add(100, false);
  mix.add(100);
  for (int i = 0; i < 70; ++i) mix.add(1200);  // more than one call takes
  mix.add(1);
  mix.add(30000);  // too large to be joined
  mix.add(30000);
  return mix;
}

}  // namespace

TEST_CASE("sendto_many() sends each whole, to its own address, in order", "[S-042][C-17]") {
  World world;
  const bool offload = GENERATE(true, false);
  auto first = open_endpoint<BatchRecorder>(world, {.local_addr = any_port, .offload = offload});
  auto second = open_endpoint<BatchRecorder>(world, {.local_addr = any_port, .offload = offload});
  auto sender = open_endpoint(world, {.local_addr = any_port, .offload = offload});
  const Mix mix = mixed();
  std::vector<Datagram> datagrams;
  Strings for_first, for_second;
  for (std::size_t i = 0; i < mix.texts.size(); ++i) {
    (mix.to_first[i] ? for_first : for_second).push_back(mix.texts[i]);
    datagrams.push_back({mix.texts[i], mix.to_first[i] ? first.address() : second.address()});
  }
  const std::size_t half = datagrams.size() / 2;  // so that no receiver's buffer overflows
  const std::span<const Datagram> all{datagrams};
  sender.transport->sendto_many(all.first(half));
  world.run_until([&] {
    return first.protocol->datagrams.size() + second.protocol->datagrams.size() == half;
  });
  sender.transport->sendto_many(all.subspan(half));
  world.run_until([&] {
    return first.protocol->datagrams.size() + second.protocol->datagrams.size() == all.size();
  });
  CHECK(first.protocol->datagrams == for_first);
  CHECK(second.protocol->datagrams == for_second);
  for (const Address& from : first.protocol->senders) CHECK(from == sender.address());
  CHECK(sender.transport->get_write_buffer_size() == 0);
  CHECK(sender.protocol->errors.empty());
  for (auto* endpoint : {&first, &second}) endpoint->transport->abort();
  sender.transport->abort();
  world.settle();
}

TEST_CASE("many go and come by few calls, where the system has such", "[T-150]") {
  World world;
  Calls calls;
  auto receiver = open_endpoint<BatchRecorder>(world, {.local_addr = any_port, .offload = false});
  auto sender = open_endpoint(world, {.remote_addr = receiver.address(), .offload = false});
  calls.reset();
  world.loop.call_soon([&] {
    for (int i = 0; i < 32; ++i) sender.transport->sendto("x" + std::to_string(i));
  });
  world.run_until([&] { return receiver.protocol->datagrams.size() == 32; });
  const bool batches = backend_name() == "epoll" || backend_name() == "poll";
  if (batches) {
    CHECK(calls.count(Call::send_many) == 1);
    CHECK(receiver.protocol->batches.size() < 8);
  } else {
    CHECK(calls.count(Call::send_many) <= 32);
  }
  sender.transport->abort();
  receiver.transport->abort();
  world.settle();
}

TEST_CASE("sendto_many() refuses as a whole what sendto() would refuse", "[C-18][T-147]") {
  World world;
  Correspondent peer, stranger;
  auto endpoint = open_endpoint(world, {.remote_addr = peer.address()});
  const std::vector<Datagram> all{{"one"}, {"two", stranger.address()}};
  CHECK_THROWS_AS(endpoint.transport->sendto_many(all), std::invalid_argument);
  endpoint.transport->sendto_many({});
  world.settle();
  CHECK(peer.receive().empty());
  const std::vector<Datagram> good{{"one"}, {"two", peer.address()}};
  endpoint.transport->sendto_many(good);
  world.run_until([&] { return peer.receive().size() == 2; });
  endpoint.transport->close();
  endpoint.transport->sendto_many(good);  // dropped
  world.run_until([&] { return endpoint.protocol->lost; });
  CHECK(peer.receive().size() == 2);
}

TEST_CASE("a network that does not cut gets each datagram by itself, and none is lost",
          "[S-076][T-144]") {
  World world;
  Calls calls;
  auto receiver = open_endpoint(world, {.local_addr = any_port});
  auto sender = open_endpoint(world, {.remote_addr = receiver.address()});
  world.loop.call_soon([&] {
    for (int i = 0; i < 8; ++i) sender.transport->sendto("datagram" + std::to_string(i));
    calls.fail(Call::send_many, EIO);  // as a device without checksums says
  });
  world.run_until([&] { return receiver.protocol->datagrams.size() == 8; });
  world.settle();
  // Where there is no cutting at all, it is taken for what became of an earlier one.
  const bool cuts = backend_name() == "epoll" || backend_name() == "poll";
  CHECK(sender.protocol->errors.size() == (cuts ? 0u : 1u));
  receiver.transport->abort();
  sender.transport->abort();
  world.settle();
}

TEST_CASE("what is sent while a batch is delivered leaves when it is done", "[S-044]") {
  World world;
  Calls calls;
  auto echo = open_endpoint(world, {.local_addr = any_port});
  echo.protocol->on_got = [&] {
    echo.transport->sendto(echo.protocol->datagrams.back(), echo.protocol->senders.back());
  };
  Correspondent peer;
  for (int i = 0; i < 16; ++i) peer.send(std::to_string(i), echo.address());
  world.run_until([&] { return peer.receive().size() == 16; });
  for (std::size_t i = 0; i < 16; ++i) CHECK(peer.datagrams[i] == std::to_string(i));
  echo.transport->abort();
  world.settle();
}

TEST_CASE("packet_info tells the address and interface, what is sent may choose them", "[A-026]") {
  World world;
  const Address host{own_host(), 0};
  if (!has_address(host)) return skip("this system has one loopback address only");
  auto server = open_endpoint<BatchRecorder>(
      world, {.local_addr = Address{"0.0.0.0", 0}, .packet_info = true});
  const std::uint16_t port = server.address().port();
  Correspondent client;
  client.send("x", host.with_port(port));
  world.run_until([&] { return !server.protocol->infos.empty(); });
  const ferry::PacketInfo info = server.protocol->infos[0];
  CHECK(info.local == host);
  CHECK(info.interface_index != 0);
  const std::vector<Datagram> answer{{"y", client.address(), info}};
  server.transport->sendto_many(answer);
  world.run_until([&] { return !client.receive().empty(); });
  // And not from 127.0.0.1.
  if (can_choose_source()) CHECK(client.senders[0] == host.with_port(port));
  server.transport->abort();
  world.settle();
}

TEST_CASE("the traffic class goes with a datagram, and is told", "[A-026]") {
  if (backend_name() == "iocp") return skip("Windows does neither");
  World world;
  const std::string ip = GENERATE("127.0.0.1", "::1");
  if (!has_address(Address{ip, 0})) {
    return skip("there is no " + ip);
  }
  auto server = open_endpoint<BatchRecorder>(world, {.local_addr = {ip, 0}, .packet_info = true});
  auto client = open_endpoint(world, {.local_addr = {ip, 0}});
  std::vector<Datagram> some{{"a", server.address()}, {"b", server.address()}};
  some[0].info.traffic_class = std::uint8_t{0xb8 | 2};  // expedited forwarding, ECT(0)
  client.transport->sendto_many(some);
  world.run_until([&] { return server.protocol->infos.size() == 2; });
  CHECK(server.protocol->infos[0].traffic_class == std::uint8_t{0xb8 | 2});
  CHECK(server.protocol->infos[1].traffic_class == std::uint8_t{0});
  auto connected = open_endpoint(world, {.remote_addr = server.address()});
  some[0].addr = {};
  connected.transport->sendto_many({some.data(), 1});
  world.run_until([&] { return server.protocol->infos.size() == 3; });
  CHECK(server.protocol->infos[2].traffic_class == std::uint8_t{0xb8 | 2});
  connected.transport->abort();
  client.transport->get_extra_info(ferry::socket).set_traffic_class(0x20);
  client.transport->sendto("c", server.address());
  world.run_until([&] { return server.protocol->infos.size() == 4; });
  CHECK(server.protocol->infos[3].traffic_class == std::uint8_t{0x20});
  client.transport->abort();
  server.transport->abort();
  world.settle();
}

TEST_CASE("a way of another family is refused for its datagram only", "[T-147][S-076]") {
  World world;
  Correspondent peer;
  auto endpoint = open_endpoint(world, {.local_addr = any_port});
  std::vector<Datagram> some{{"bad", peer.address()}, {"good", peer.address()}};
  some[0].info.local = Address{"::1", 0};
  endpoint.transport->sendto_many(some);
  world.run_until([&] { return peer.receive().size() == 1 && !endpoint.protocol->errors.empty(); });
  CHECK(peer.datagrams == Strings{"good"});
  CHECK(endpoint.protocol->errors[0].code() == std::errc::address_family_not_supported);
  endpoint.transport->abort();
  world.settle();
}

TEST_CASE("an error of joined datagrams is told of the one that has it, the joining goes on",
          "[S-076][T-144]") {
  World world;
  Calls calls;
  Correspondent peer;
  auto sender = open_endpoint(world, {.local_addr = any_port});
  world.loop.call_soon([&] {
    calls.fail(Call::send_many, EPERM, 2);  // all of them, then the first
    for (int i = 0; i < 4; ++i) sender.transport->sendto(std::to_string(i), peer.address());
  });
  const bool cuts = backend_name() == "epoll" || backend_name() == "poll";
  const std::size_t arrive = cuts ? 3 : 2;
  world.run_until(
      [&] { return peer.receive().size() + sender.protocol->errors.size() == 4; });
  CHECK(peer.datagrams.back() == "3");
  calls.reset();
  world.loop.call_soon([&] {
    for (int i = 0; i < 4; ++i) sender.transport->sendto(std::to_string(i), peer.address());
  });
  world.run_until([&] { return peer.receive().size() == arrive + 4; });
  if (cuts) CHECK(calls.count(Call::send_many) == 1);
  sender.transport->abort();
  world.settle();
}
