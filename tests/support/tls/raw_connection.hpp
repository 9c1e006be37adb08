// A RawPeer at the other end of a test's connection, moved on with the World's loop.
#pragma once

#include "support/tls/raw_peer.hpp"
#include "support/world.hpp"

#include <functional>
#include <string>
#include <utility>

namespace test {

class RawConnection {
 public:
  RawConnection(World& world, Peer socket, RawPeer peer)
      : world_{world}, socket_{std::move(socket)}, peer_{std::move(peer)} {}

  // Moves what there is, in both directions.
  void step() {
    if (!socket_) return;
    peer_.feed(socket_.receive());
    if (socket_.ended() && !std::exchange(end_fed_, true)) peer_.feed_end();
    peer_.handshake();
    received += peer_.read();
    pending_ += peer_.take_output();
    if (!pending_.empty()) pending_.erase(0, socket_.send(pending_));
  }
  void run_until(const std::function<bool()>& done, const char* what = "a raw TLS peer") {
    world_.run_until(
        [&] {
          step();
          return done();
        },
        what);
  }
  void run_handshake() {
    run_until([&] { return peer_.is_open() || peer_.failed(); }, "a raw peer's handshake");
  }
  // Until the peer sees the end of the stream, with close_notify or without.
  void run_to_end() {
    run_until([&] { return over(); }, "the end of a raw peer's stream");
  }
  bool over() const { return socket_.ended() || socket_.error() != 0; }
  void write(std::string_view text) {
    CHECK(peer_.write(text));
    step();
  }
  // False, and nothing is written: what was written before has not left yet.
  bool write_if_sent(std::string_view text) {
    if (!pending_.empty()) return false;
    write(text);
    return true;
  }
  void close() {  // in good order: close_notify, then the socket
    peer_.shutdown();
    step();
    socket_.close();
  }
  // The socket alone: the stream is truncated.
  void cut() { socket_.close(); }

  RawPeer& peer() { return peer_; }
  Peer& socket() { return socket_; }
  std::string received;  // plaintext

 private:
  World& world_;
  Peer socket_;
  RawPeer peer_;
  std::string pending_;
  bool end_fed_ = false;
};

}  // namespace test
