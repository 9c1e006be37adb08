// The simulated network of datagrams: that each of its faults does what its name says.
#include "sim/datagram_lives.hpp"
#include "support/catch.hpp"

#include <ferry/ferry.hpp>
#include <ferry/sim.hpp>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

using Catch::Matchers::Contains;
using ferry::Address;
using ferry::Seconds;
using ferry::SimWorld;

namespace {

// Remembers what it is told.
class Ear : public ferry::DatagramProtocol {
 public:
  void datagram_received(ferry::BytesView data, const Address& addr) override {
    came.emplace_back(data.text());
    from = addr;
  }
  void error_received(const ferry::Error& error) override { errors.push_back(error); }
  std::vector<std::string> came;
  std::vector<ferry::Error> errors;
  Address from;
};

using Endpoint = ferry::DatagramEndpoint<Ear>;

Endpoint open(SimWorld& world, const ferry::DatagramOptions& options) {
  auto& loop = world.loop();
  return loop.run_until_complete(loop.create_datagram_endpoint(ferry::make<Ear>, options));
}
Endpoint bound(SimWorld& world, std::string_view host = "10.0.0.2", int port = 53) {
  return open(world, {.local_addr = Address{host, port}});
}
Endpoint connected(SimWorld& world, std::string_view host = "10.0.0.2", int port = 53) {
  return open(world, {.remote_addr = Address{host, port}});
}

void wait(SimWorld& world, double seconds = 1) {
  world.loop().run_until_complete(world.loop().sleep(Seconds{seconds}));
}

// The numbers that arrived, of 0 … count - 1 that were sent one by one.
std::vector<int> sent_and_come(SimWorld& world, int count) {
  const Endpoint ear = bound(world);
  const Endpoint mouth = connected(world);
  for (int i = 0; i < count; ++i) mouth.transport->sendto(std::to_string(i));
  wait(world);
  std::vector<int> numbers;
  for (const std::string& one : ear.protocol->came) numbers.push_back(std::stoi(one));
  CHECK(mouth.protocol->errors.empty());
  CHECK(ear.protocol->errors.empty());
  ear.transport->abort();
  mouth.transport->abort();
  wait(world);
  return numbers;
}

std::vector<int> all(int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  return numbers;
}

}  // namespace

TEST_CASE("simulated datagrams come whole, once and in order, empty ones too",
          "[S-042][S-043][S-075][C-17]") {
  SimWorld world{1};
  const Endpoint ear = bound(world);
  const Endpoint mouth = connected(world);
  const std::vector<std::string> sent{"one", "", std::string(65507, 'x'), "four", ""};
  for (const std::string& one : sent) mouth.transport->sendto(one);
  world.set_network({.buffer = 200'000});
  wait(world);
  CHECK(ear.protocol->came == sent);
  CHECK(ear.protocol->from == mouth.transport->get_extra_info(ferry::sockname));
  ear.transport->sendto("and back", ear.protocol->from);
  wait(world);
  CHECK(mouth.protocol->came == std::vector<std::string>{"and back"});
}

TEST_CASE("simulated datagrams need their time") {
  SimWorld world{1};
  world.set_network({.latency = Seconds{2.0}});
  const Endpoint ear = bound(world);
  connected(world).transport->sendto("hello");
  wait(world, 1.9);
  CHECK(ear.protocol->came.empty());
  wait(world, 0.2);
  CHECK(ear.protocol->came.size() == 1);
}

TEST_CASE("a network that loses datagrams tells nobody", "[S-076]") {
  SimWorld world{1};
  CHECK(sent_and_come(world, 200) == all(200));
  world.set_network({.lost = 1});
  CHECK(sent_and_come(world, 200).empty());
  world.set_network({.lost = 0.3});
  const std::vector<int> some = sent_and_come(world, 200);
  CHECK(some.size() > 100);
  CHECK(some.size() < 180);
  CHECK(std::is_sorted(some.begin(), some.end()));
  CHECK(std::set<int>{some.begin(), some.end()}.size() == some.size());
}

TEST_CASE("a network that doubles datagrams brings no third one") {
  SimWorld world{1};
  world.set_network({.duplicated = 1});
  const std::vector<int> twice = sent_and_come(world, 100);
  CHECK(twice.size() == 200);
  for (int i : all(100)) CHECK(std::count(twice.begin(), twice.end(), i) == 2);
  world.set_network({.duplicated = 0.3});
  const std::size_t some = sent_and_come(world, 200).size();
  CHECK(some > 220);
  CHECK(some < 300);
}

TEST_CASE("a network that reorders datagrams loses none") {
  SimWorld world{1};
  world.set_network({.reordered = 0.3});
  std::vector<int> numbers = sent_and_come(world, 200);
  CHECK_FALSE(std::is_sorted(numbers.begin(), numbers.end()));
  std::sort(numbers.begin(), numbers.end());
  CHECK(numbers == all(200));
  // Jitter alone keeps them in order.
  world.set_network({.jitter = Seconds{0.1}});
  CHECK(sent_and_come(world, 200) == all(200));
}

TEST_CASE("a datagram that is too large is told, and harms no other", "[S-076][T-148]") {
  SimWorld world{1};
  world.set_network({.mtu = 1200});
  const Endpoint ear = bound(world);
  const Endpoint mouth = connected(world);
  mouth.transport->sendto("before");
  mouth.transport->sendto(std::string(1201, 'x'));
  mouth.transport->sendto(std::string(1200, 'x'));
  CHECK(mouth.protocol->errors.empty());  // in a later turn
  wait(world);
  REQUIRE(mouth.protocol->errors.size() == 1);
  CHECK(mouth.protocol->errors[0] == std::errc::message_size);
  CHECK(ear.protocol->came == std::vector<std::string>{"before", std::string(1200, 'x')});
  CHECK_FALSE(mouth.transport->is_closing());
}

TEST_CASE("a flood overruns who does not receive, and tells nobody", "[S-076]") {
  SimWorld world{1};
  world.set_network({.buffer = 1000});
  const Endpoint ear = bound(world);
  const Endpoint mouth = connected(world);
  ear.transport->pause_reading();
  for (int i = 0; i < 100; ++i) mouth.transport->sendto(std::string(100, 'x'));
  for (int i = 0; i < 100; ++i) mouth.transport->sendto("");
  wait(world);
  CHECK(ear.protocol->came.empty());
  CHECK(mouth.transport->get_write_buffer_size() == 0);
  ear.transport->resume_reading();
  wait(world);
  CHECK(ear.protocol->came.size() == 6);  // each needs some bytes more than it has
  CHECK(mouth.protocol->errors.empty());
  mouth.transport->sendto("there is room again");
  wait(world);
  CHECK(ear.protocol->came.size() == 7);
}

TEST_CASE("an unreachable port is heard of by a connected endpoint only", "[S-076][T-142]") {
  SimWorld world{1};
  const Endpoint told = connected(world, "10.0.0.2", 9);
  const Endpoint untold = bound(world);
  told.transport->sendto("hello?");
  untold.transport->sendto("hello?", Address{"10.0.0.2", 9});
  wait(world);
  REQUIRE(told.protocol->errors.size() == 1);
  CHECK(told.protocol->errors[0] == std::errc::connection_refused);
  CHECK(untold.protocol->errors.empty());
  CHECK_FALSE(told.transport->is_closing());
  const Endpoint late = bound(world, "10.0.0.2", 9);
  told.transport->sendto("now?");
  wait(world);
  CHECK(late.protocol->came == std::vector<std::string>{"now?"});
  CHECK(told.protocol->errors.size() == 1);
}

TEST_CASE("a host that is lost swallows datagrams") {
  SimWorld world{1};
  const Endpoint ear = bound(world);
  const Endpoint mouth = connected(world);
  world.lose_host("10.0.0.2");
  mouth.transport->sendto("hello?");
  wait(world);
  CHECK(ear.protocol->came.empty());
  CHECK(mouth.protocol->errors.empty());
}

TEST_CASE("a connected endpoint hears its peer only, and nobody a closed one") {
  SimWorld world{1};
  const Endpoint peer = bound(world);
  const Endpoint other = bound(world, "10.0.0.3", 53);
  const Endpoint mouth = connected(world);
  const Address name = mouth.transport->get_extra_info(ferry::sockname);
  peer.transport->sendto("from the peer", name);
  other.transport->sendto("from another", name);
  wait(world);
  CHECK(mouth.protocol->came == std::vector<std::string>{"from the peer"});
  peer.transport->sendto("too late", name);
  mouth.transport->abort();
  wait(world);
  CHECK(mouth.protocol->came.size() == 1);
}

TEST_CASE("a multicast reaches who has joined, a broadcast all of its port", "[T-151]") {
  SimWorld world{1};
  const Address group{"224.1.2.3", 53};
  std::vector<Endpoint> ears;
  for (const char* host : {"0.0.0.0", "10.0.0.2", "10.0.0.3"}) {
    ears.push_back(open(world, {.local_addr = Address{host, 53}, .reuse_port = true}));
  }
  const Endpoint deaf = bound(world, "10.0.0.2", 54);
  const auto join = [&](std::size_t i) {
    ears[i].transport->get_extra_info(ferry::socket).join_multicast({.group = group});
  };
  join(0);
  join(1);
  const Endpoint mouth = open(world, {.family = ferry::Family::ipv4});
  mouth.transport->sendto("to the group", group);
  wait(world);
  CHECK(ears[0].protocol->came == std::vector<std::string>{"to the group"});
  CHECK(ears[1].protocol->came == ears[0].protocol->came);
  CHECK(ears[2].protocol->came.empty());
  ears[1].transport->get_extra_info(ferry::socket).leave_multicast({.group = group});
  mouth.transport->sendto("once more", group);
  wait(world);
  CHECK(ears[0].protocol->came.size() == 2);
  CHECK(ears[1].protocol->came.size() == 1);

  const Address everybody{"255.255.255.255", 53};
  mouth.transport->sendto("without leave", everybody);
  wait(world);
  REQUIRE(mouth.protocol->errors.size() == 1);
  CHECK(mouth.protocol->errors[0] == std::errc::permission_denied);
  const Endpoint caller = open(world, {.family = ferry::Family::ipv4, .allow_broadcast = true});
  caller.transport->sendto("to all", everybody);
  wait(world);
  for (const Endpoint& ear : ears) CHECK(ear.protocol->came.back() == "to all");
  CHECK(deaf.protocol->came.empty());
  CHECK(caller.protocol->errors.empty());
}

TEST_CASE("the same seed gives the same datagrams, another one others") {
  const auto story = [](std::uint64_t seed) {
    SimWorld world{seed};
    world.set_network({.jitter = Seconds{0.01},
                       .would_block = 0.2,
                       .spurious_event = 0.1,
                       .lost = 0.2,
                       .duplicated = 0.2,
                       .reordered = 0.2});
    sent_and_come(world, 50);
    return world.trace();
  };
  CHECK(story(3) == story(3));
  CHECK(story(3) != story(4));
}

TEST_CASE("a network of datagrams that cannot be is refused") {
  SimWorld world{1};
  CHECK_THROWS_WITH(world.set_network({.lost = 1.5}), Contains("lost is 1.5"));
  CHECK_THROWS_WITH(world.set_network({.duplicated = -1}), Contains("duplicated is -1"));
  CHECK_THROWS_WITH(world.set_network({.reordered = 2}), Contains("reordered is 2"));
}

// --- Production endpoints under every network ---

TEST_CASE("random lives of datagram endpoints keep the contract and alter no datagram",
          "[S-044][S-045][S-075][S-078][S-079][C-10][C-11][C-12][C-14][T-139][T-145][T-149]") {
  sim_lives::DatagramCounts all;
  const std::uint64_t seeds = ferry::for_each_seed({.count = 1000}, [&](SimWorld& world) {
    sim_lives::DatagramLives lives{world};
    lives.run();
    all += lives.counts();
  });
  // A seed is worth little if hardly anything happens in it.
  if (seeds >= 100) {
    CHECK(all.endpoints >= seeds * 4);
    CHECK(all.received >= seeds * 50);
    CHECK(all.pauses >= seeds);
    CHECK(all.errors >= seeds);
    CHECK(all.doubled >= seeds);
    CHECK(all.required >= seeds);
  }
  WARN(seeds << " seeds: " << all.endpoints << " endpoints, " << all.sent << " datagrams sent, "
             << all.received << " received, " << all.required << " of them had to be, "
             << all.doubled << " twice, " << all.pauses << " pauses, " << all.errors
             << " errors");
}
