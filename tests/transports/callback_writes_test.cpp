// What is written inside a callback, and what becomes of it.
#include "support/calls.hpp"
#include "support/lender.hpp"
#include "support/world.hpp"

#include <cerrno>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

using namespace test;

namespace {

Carrier any_carrier() { return GENERATE(Carrier::tcp, Carrier::unix_pair); }

void expect_answer_and_loss(World& world, Peer& peer, const std::function<bool()>& lost) {
  std::string got;
  world.run_until([&] {
    got += peer.receive();
    return lost() && peer.ended();
  });
  CHECK(got == "the reason");
  CHECK(world.take_reports().size() == 1);
}

}  // namespace

TEST_CASE("what a callback wrote before it threw reaches the peer", "[C-15][T-007][T-009]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  const auto answer_and_throw = [&] {
    stream.transport->write("the reason");
    throw std::runtime_error{"oops"};
  };
  SECTION("data_received") {
    stream.protocol->on_data = answer_and_throw;
    stream.peer.send("data");
  }
  SECTION("eof_received") {
    stream.protocol->on_eof = answer_and_throw;
    stream.peer.shut_write();
  }
  expect_answer_and_loss(world, stream.peer, [&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason.what() == "oops");
}

TEST_CASE("what a callback of a BufferedProtocol wrote before it threw reaches the peer",
          "[C-15][T-014]") {
  World world;
  const bool before_reading = GENERATE(true, false);
  const Carrier carrier = any_carrier();
  // What is unread makes TCP reset the connection, and the peer may lose what it has not read yet.
  if (before_reading && (carrier == Carrier::tcp || !has_unix_pairs())) return;
  auto stream = open_as(world, carrier, std::make_shared<Lender>());
  const auto answer_and_throw = [&] {
    stream.transport->write("the reason");
    throw std::runtime_error{"oops"};
  };
  (before_reading ? stream.protocol->on_get : stream.protocol->on_updated) = answer_and_throw;
  stream.peer.send("data");
  expect_answer_and_loss(world, stream.peer, [&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason.what() == "oops");
}

TEST_CASE("what a callback throws is the reason, though what it wrote could not be sent",
          "[C-15][T-007]") {
  World world;
  Stream stream = open_stream(world, Carrier::unix_pair);
  stream.peer.send("data");
  stream.peer.close();
  stream.protocol->on_data = [&] {
    stream.transport->write("to nobody");
    throw std::runtime_error{"oops"};
  };
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->reason.what() == "oops");
  CHECK(world.take_reports().size() == 1);
}

TEST_CASE("with a high mark of zero, a write inside resume_writing that the system takes does not "
          "pause",
          "[T-026][S-035][S-038]") {
  World world;
  Stream stream = open_stream(world, any_carrier());
  stream.transport->set_write_buffer_limits({.high = 0, .low = {}});
  stream.protocol->on_resume = [&] {
    stream.protocol->on_resume = nullptr;
    stream.transport->write("more");
  };
  Calls calls;
  calls.fail(Call::send, EAGAIN);
  stream.transport->write("first ");
  CHECK(stream.protocol->pauses == 1);
  // An event, in case that the backend reports edges: there was none for a refusal of ours.
  stream.peer.send("wake up");
  std::string got;
  world.run_until([&] {
    got += stream.peer.receive();
    return got.size() == 10;
  });
  CHECK(got == "first more");
  world.settle();
  CHECK(stream.protocol->pauses == 1);
  CHECK(stream.protocol->resumes == 1);
}
