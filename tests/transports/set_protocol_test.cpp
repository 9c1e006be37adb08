// Protocols that are replaced, from anywhere, by protocols of any kind.
#include "support/lender.hpp"
#include "support/world.hpp"


#include <memory>
#include <stdexcept>
#include <string>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

// A protocol that comes into a connection which is there already.
template <class P>
std::shared_ptr<P> successor(std::shared_ptr<P> protocol = std::make_shared<P>()) {
  protocol->made = true;  // it would complain of a connection_made()
  return protocol;
}

// Makes the factory's protocol and forgets it, so that only the transport keeps it.
template <class P>
std::shared_ptr<ferry::Transport> open_unheld(World& world, Pair& pair, P*& made) {
  auto task = world.loop.create_connection(
      [&] {
        auto protocol = std::make_shared<P>();
        made = protocol.get();
        return protocol;
      },
      std::move(pair.ours));
  return world.run(std::move(task)).transport;
}

}  // namespace

TEST_CASE("a transport has one protocol at any time, which may call it", "[S-003][A-002]") {
  const Carrier carrier = any_carrier();
  World world;
  auto protocol = std::make_shared<Recorder>();
  int calls = 0;
  const auto check = [&] {
    CHECK(protocol->transport->get_protocol() == protocol);
    protocol->transport->write("x");
    ++calls;
  };
  protocol->on_made = protocol->on_data = protocol->on_eof = protocol->on_lost = check;
  auto stream = open_as(world, carrier, protocol);
  stream.peer.send("x");
  stream.peer.shut_write();
  world.run_until([&] { return protocol->lost; });
  world.settle();
  CHECK(calls == 4);
  CHECK(stream.peer.receive() == "xxx");
  CHECK(stream.transport->get_protocol() == nullptr);
  CHECK_NOTHROW(stream.transport->set_protocol(protocol));
  CHECK(stream.transport->get_protocol() == nullptr);
}

TEST_CASE("the next event goes to the new protocol, which gets no connection_made()",
          "[A-002][T-013]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  const auto second = successor<Recorder>();
  const auto third = successor<Lender>();
  stream.peer.send("one");
  world.settle();
  stream.peer.send("two");  // there already, and nobody's yet
  stream.transport->set_protocol(second);
  CHECK(stream.transport->get_protocol() == second);
  CHECK(stream.protocol.use_count() == 1);
  world.settle();
  stream.peer.send("three");
  stream.transport->set_protocol(third);
  CHECK(stream.transport->get_protocol() == third);
  world.settle();
  stream.peer.shut_write();
  world.settle();
  CHECK(stream.protocol->story() == "made data:3");
  CHECK(second->story() == "data:3");
  CHECK(third->story() == "data:5 eof lost");
}

TEST_CASE("set_protocol() inside connection_made()", "[T-013][A-002]") {
  const Carrier carrier = any_carrier();
  World world;
  const auto plain = successor<Recorder>();
  const auto lender = successor<Lender>();
  const bool buffered = GENERATE(false, true);
  auto first = std::make_shared<Recorder>();
  first->on_made = [&] {
    buffered ? first->transport->set_protocol(lender) : first->transport->set_protocol(plain);
  };
  Pair pair = connected_pair(carrier);
  pair.peer.send("there already");
  auto stream = open_as(world, std::move(pair), first);
  stream.peer.shut_write();
  world.settle();
  CHECK(first->story() == "made");
  CHECK((buffered ? lender->story() : plain->story()) == "data:13 eof lost");
}

TEST_CASE("set_protocol() inside data_received(), with more data waiting", "[T-013][A-002]") {
  const Carrier carrier = any_carrier();
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  const auto lender = successor(std::make_shared<Lender>(1000));
  const auto plain = successor<Recorder>();
  const std::string data = pattern(300000);
  stream.protocol->on_data = [&] { stream.transport->set_protocol(lender); };
  lender->on_updated = [&] {
    if (lender->received.size() == 5000) stream.transport->set_protocol(plain);
  };
  std::size_t sent = 0;
  world.run_until([&] {
    sent += stream.peer.send(ferry::BytesView{data}.subview(sent));
    return sent == data.size();
  });
  stream.peer.shut_write();
  world.run_until([&] { return plain->lost; });
  CHECK(stream.protocol->received.size() <= 65536);
  CHECK(lender->received.size() == 5000);
  CHECK(stream.protocol->received + lender->received + plain->received == data);
  CHECK(stream.protocol->events.size() == 2);
  CHECK(plain->story().ends_with(" eof lost"));
}

TEST_CASE("set_protocol() inside get_buffer(): the new one is asked, or given the data",
          "[T-013][T-014][A-005]") {
  const Carrier carrier = any_carrier();
  const bool buffered = GENERATE(false, true);
  World world;
  Pair pair = connected_pair(carrier);
  Lender* first = nullptr;  // let go of, and its memory with it, as soon as get_buffer() returns
  const auto transport = open_unheld(world, pair, first);
  const std::weak_ptr<ferry::BaseProtocol> old = transport->get_protocol();
  const auto lender = successor<Lender>();
  const auto plain = successor<Recorder>();
  int gets = 0;
  first->on_get = [&] {
    ++gets;
    buffered ? transport->set_protocol(lender) : transport->set_protocol(plain);
  };
  pair.peer.send("for the new one");
  world.settle();
  CHECK(gets == 1);
  CHECK(old.expired());
  CHECK((buffered ? lender->received : plain->received) == "for the new one");
  transport->close();
}

TEST_CASE("a protocol that replaces itself lives until its callback has returned",
          "[T-013][A-002]") {
  const Carrier carrier = any_carrier();
  const auto where = GENERATE(as<std::string>{}, "made", "data", "eof", "pause", "resume");
  World world;
  Pair pair = connected_pair(carrier);
  pair.ours.view().setsockopt(SOL_SOCKET, SO_SNDBUF, 65536);
  const auto second = successor<Recorder>();
  second->keep_open = true;
  Recorder* first = nullptr;
  std::weak_ptr<ferry::BaseProtocol> old;
  int calls = 0;
  const auto replace = [&] {
    ++calls;
    ferry::Transport& transport = *first->transport;
    old = transport.get_protocol();
    transport.set_protocol(second);
    CHECK_FALSE(old.expired());
    CHECK(first->made);
  };
  auto task = world.loop.create_connection(
      [&] {
        auto protocol = std::make_shared<Recorder>();
        first = protocol.get();
        first->keep_open = true;
        auto& hook = where == "made"    ? first->on_made
                     : where == "data"  ? first->on_data
                     : where == "eof"   ? first->on_eof
                     : where == "pause" ? first->on_pause
                                        : first->on_resume;
        hook = replace;
        return protocol;
      },
      std::move(pair.ours));
  const auto transport = world.run(std::move(task)).transport;
  pair.peer.send("data");
  world.settle();
  if (where == "pause") second->pauses = 1;
  transport->write(pattern(1 << 20));
  world.run_until([&] {
    pair.peer.receive();
    return transport->get_write_buffer_size() == 0;
  });
  pair.peer.shut_write();
  world.settle();
  CHECK(calls == 1);
  CHECK(old.expired());
  CHECK(second->story() == (where == "made"     ? "data:4 pause resume eof"
                            : where == "data"   ? "pause resume eof"
                            : where == "pause"  ? "resume eof"
                            : where == "resume" ? "eof"
                                                : ""));
  transport->close();
  world.run_until([&] { return second->lost; });
}

TEST_CASE("a protocol that is replaced by another connection's callback gets no more of the batch",
          "[T-013][T-006][A-002]") {
  const Carrier carrier = any_carrier();
  World world;
  auto a = open_as(world, carrier, std::make_shared<Recorder>());
  auto b = open_as(world, carrier, std::make_shared<Recorder>());
  const auto heir = successor<Lender>();
  a.protocol->on_data = [&] { b.transport->set_protocol(heir); };
  b.protocol->on_data = [&] { a.transport->set_protocol(heir); };
  a.peer.send("x");
  b.peer.send("x");
  world.settle();
  CHECK(a.protocol->received.size() + b.protocol->received.size() == 1);
  CHECK(heir->story() == "data:1");
  a.transport->abort();
  b.transport->abort();
  world.settle();
  CHECK(heir->story() == "data:1 lost");
}

TEST_CASE("the old protocol's answer to the end stands, and the new one hears the rest",
          "[T-013][S-070][S-071]") {
  const Carrier carrier = any_carrier();
  const bool keep_open = GENERATE(false, true);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  const auto second = successor<Recorder>();
  second->keep_open = !keep_open;
  stream.protocol->keep_open = keep_open;
  stream.protocol->on_eof = [&] { stream.transport->set_protocol(second); };
  stream.peer.shut_write();
  world.settle();
  CHECK(stream.protocol->story() == "made eof");
  CHECK(second->lost == !keep_open);
  stream.transport->close();
  world.settle();
  CHECK(second->story() == "lost");
}

TEST_CASE("between the end of a connection and connection_lost(), the new protocol gets it",
          "[A-002][T-013][S-062]") {
  const Carrier carrier = any_carrier();
  const Way way = GENERATE(Way::close, Way::abort);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<Recorder>());
  const auto second = successor<Recorder>();
  end(*stream.transport, way);
  stream.transport->set_protocol(second);
  CHECK(stream.transport->get_protocol() == second);
  second->on_lost = [&] { stream.transport->set_protocol(stream.protocol); };
  world.settle();
  CHECK(stream.protocol->story() == "made");
  CHECK(second->story() == "lost");
  CHECK(stream.transport->get_protocol() == nullptr);
}

TEST_CASE("set_protocol() refuses what it cannot call, and nothing has changed", "[A-002][S-003]") {
  class Bare : public ferry::BaseProtocol {};
  World world;
  auto stream = open_as(world, Carrier::tcp, std::make_shared<Recorder>());
  CHECK_THROWS_AS(stream.transport->set_protocol(nullptr), std::invalid_argument);
  CHECK_THROWS_AS(stream.transport->set_protocol(std::make_shared<Bare>()),
                  std::invalid_argument);
  CHECK(stream.transport->get_protocol() == stream.protocol);
  stream.peer.send("x");
  stream.peer.shut_write();
  world.settle();
  CHECK(stream.protocol->story() == "made data:1 eof lost");
}
