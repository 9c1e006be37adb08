// Bytes from a ferry transport to a peer of the test's, and calls counted on their way.
#pragma once

#include "support/calls.hpp"
#include "support/world.hpp"

namespace test {

// Turns the loop while the peer reads, until `done` holds; what the peer got.
inline std::string read_until(World& world, Peer& peer, const std::function<bool()>& done) {
  std::string all;
  world.run_until([&] {
    all += peer.receive();
    return done();
  });
  return all + peer.receive();
}
inline std::string read_to_end(World& world, Peer& peer) {
  return read_until(world, peer, [&] { return peer.ended() || peer.error() != 0; });
}
inline std::string read_size(World& world, Peer& peer, std::size_t size) {
  std::string all;
  world.run_until([&] {
    all += peer.receive();
    return all.size() >= size;
  });
  return all;
}

// Runs `call` in a callback of the loop; the turn is over when this returns.
inline void inside(World& world, std::function<void()> call) {
  world.loop.call_soon(std::move(call));
  world.turn();
}

// A pair in which the system takes little at a time.
inline Stream open_small_stream(World& world,
                                std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>()) {
  Stream stream = open_stream(world, Carrier::unix_pair, std::move(protocol));
  stream.transport->get_extra_info(ferry::socket).setsockopt(SOL_SOCKET, SO_SNDBUF, 4096);
  return stream;
}

// How often ferry asked the system to send.
inline long sends(const Calls& calls) {
  return calls.count(Call::send) + calls.count(Call::sendmsg);
}
inline void fail_sends(Calls& calls, int error, int times = 1) {
  calls.fail(Call::send, error, times);
  calls.fail(Call::sendmsg, error, times);
}

// Writes a pattern until the system takes no more and `at_least` is queued; how much that was.
inline std::size_t fill(Stream& stream, std::size_t at_least = 1) {
  static std::string all = pattern(1 << 20);
  std::size_t written = 0;
  while (stream.transport->get_write_buffer_size() < at_least) {
    if (written == all.size()) all = pattern(2 * all.size());
    stream.transport->write(ferry::BytesView{all}.subview(written, 65536));
    written += 65536;
    REQUIRE(written < (std::size_t{64} << 20));
  }
  return written;
}

}  // namespace test
