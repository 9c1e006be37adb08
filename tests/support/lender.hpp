// A protocol that lends its own memory, and streams with protocols of any kind.
#pragma once

#include "support/world.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace test {

// The Recorder among the BufferedProtocols; its memory is of the size that the test wants.
class Lender : public ferry::BufferedProtocol {
 public:
  explicit Lender(std::size_t size = 65536) : memory(size) {}

  std::vector<std::byte> memory;
  std::vector<std::string> events;  // as the Recorder's; get_buffer() is counted only
  std::string received;
  ferry::Transport* transport = nullptr;
  ferry::Error reason;
  bool made = false, lost = false, eof = false;
  bool keep_open = false;
  int gets = 0;
  bool lent = false;  // get_buffer() was called, and nothing has come since
  std::function<void()> on_made, on_get, on_updated, on_eof, on_lost;

  void connection_made(ferry::Transport& made_transport) override {
    CHECK_FALSE(made);
    transport = &made_transport;
    made = true;
    note("made", on_made);
  }
  std::span<std::byte> get_buffer(std::size_t) override {
    CHECK((made && !eof && !lost));
    ++gets;
    lent = true;
    call(on_get);
    return memory;
  }
  void buffer_updated(std::size_t count) override {
    CHECK((made && !eof && !lost));
    CHECK(std::exchange(lent, false));
    CHECK((count > 0 && count <= memory.size()));
    received.append(reinterpret_cast<const char*>(memory.data()), count);
    std::fill(memory.begin(), memory.end(), std::byte{'?'});
    const bool joined = !events.empty() && events.back().starts_with("data:");
    last_data_ = joined ? last_data_ + count : count;
    if (joined) events.pop_back();
    note("data:" + std::to_string(last_data_), on_updated);
  }
  bool eof_received() override {
    CHECK((made && !eof && !lost));
    CHECK(std::exchange(lent, false));  // the end costs a get_buffer() as well
    eof = true;
    note("eof", on_eof);
    return keep_open;
  }
  void connection_lost(const ferry::Error& exc) override {
    CHECK((made && !lost));
    lost = true;
    reason = exc;
    note(exc ? "lost:" + std::string{exc.what()} : "lost", on_lost);
  }

  std::string story() const {
    std::string all;
    for (const std::string& event : events) all += (all.empty() ? "" : " ") + event;
    return all;
  }

 private:
  static void call(const std::function<void()>& then) {
    if (!then) return;
    const auto copy = then;  // it may replace itself
    copy();
  }
  void note(std::string event, const std::function<void()>& then) {
    events.push_back(std::move(event));
    call(then);
  }
  std::size_t last_data_ = 0;
};

// A ferry transport over one end of a pair, with a protocol of the test's.
template <class P>
struct StreamOf {
  std::shared_ptr<P> protocol;
  std::shared_ptr<ferry::Transport> transport;
  Peer peer;
};
template <class P>
StreamOf<P> open_as(World& world, Pair pair, std::shared_ptr<P> protocol) {
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  auto made = world.run(std::move(task));
  return {std::move(protocol), std::move(made.transport), std::move(pair.peer)};
}
template <class P>
StreamOf<P> open_as(World& world, Carrier carrier, std::shared_ptr<P> protocol) {
  return open_as(world, connected_pair(carrier), std::move(protocol));
}

// The two ways to end a connection from this side.
enum class Way { close, abort };
inline void end(ferry::Transport& transport, Way way) {
  way == Way::close ? transport.close() : transport.abort();
}

}  // namespace test
