// What tests of datagrams stand on.
#pragma once

#include "support/sockets.hpp"

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace test {

// As Recorder: what happened, and what the test does inside each callback.
class DatagramRecorder : public ferry::DatagramProtocol {
 public:
  // "made", "got:3", "error:<what>", "pause", "resume", "lost" or "lost:<what>".
  std::vector<std::string> events;
  std::vector<std::string> datagrams;
  std::vector<ferry::Address> senders;
  std::vector<ferry::Error> errors;
  ferry::DatagramTransport* transport = nullptr;
  ferry::Error reason;
  bool made = false, lost = false;
  int pauses = 0, resumes = 0;
  std::function<void()> on_made, on_got, on_error, on_pause, on_resume, on_lost;

  void connection_made(ferry::DatagramTransport& made_with) override {
    CHECK_FALSE(made);
    made = true;
    transport = &made_with;
    note("made", on_made);
  }
  void datagram_received(ferry::BytesView data, const ferry::Address& addr) override {
    CHECK(made);
    CHECK_FALSE(lost);
    datagrams.push_back(data.str());
    senders.push_back(addr);
    note("got:" + std::to_string(data.size()), on_got);
  }
  void error_received(const ferry::Error& exc) override {
    CHECK(made);
    CHECK_FALSE(lost);
    errors.push_back(exc);
    note("error:" + std::string{exc.what()}, on_error);
  }
  void pause_writing() override {
    CHECK(pauses == resumes);
    ++pauses;
    note("pause", on_pause);
  }
  void resume_writing() override {
    CHECK(pauses == resumes + 1);
    ++resumes;
    note("resume", on_resume);
  }
  void connection_lost(const ferry::Error& exc) override {
    CHECK(made);
    CHECK_FALSE(lost);
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
  void note(std::string event, const std::function<void()>& then) {
    events.push_back(std::move(event));
    if (then) then();
  }
};

// Datagrams in batches: how many came in each.
class BatchRecorder : public ferry::DatagramBatchProtocol {
 public:
  std::vector<std::size_t> batches;
  std::vector<std::string> datagrams;
  std::vector<ferry::Address> senders;
  std::vector<ferry::PacketInfo> infos;
  std::vector<ferry::Error> errors;
  ferry::DatagramTransport* transport = nullptr;
  std::function<void()> on_got;

  void connection_made(ferry::DatagramTransport& made_with) override { transport = &made_with; }
  void datagrams_received(std::span<const ferry::Datagram> all) override {
    batches.push_back(all.size());
    for (const ferry::Datagram& one : all) {
      datagrams.push_back(one.data.str());
      senders.push_back(one.addr);
      infos.push_back(one.info);
    }
    if (on_got) on_got();
  }
  void error_received(const ferry::Error& exc) override { errors.push_back(exc); }
};

template <class P = DatagramRecorder>
struct Endpoint {
  std::shared_ptr<P> protocol;
  std::shared_ptr<ferry::DatagramTransport> transport;
  ferry::Address address() const { return transport->get_extra_info(ferry::sockname); }
};

template <class P = DatagramRecorder>
Endpoint<P> open_endpoint(World& world, const ferry::DatagramOptions& options,
                          std::shared_ptr<P> protocol = std::make_shared<P>()) {
  auto made = world.run(world.loop.create_datagram_endpoint([&] { return protocol; }, options));
  return {std::move(made.protocol), std::move(made.transport)};
}
inline const ferry::Address any_port{"127.0.0.1", 0};

// The other side: a socket of the test's own.
class Correspondent {
 public:
  explicit Correspondent(const ferry::Address& local = any_port, int type = SOCK_DGRAM)
      : socket_{new_socket(local.family(), type)} {
    REQUIRE(bind_to(socket_, local));
    set_nonblocking(socket_.fileno());
  }
  ferry::Address address() const { return socket_.view().getsockname(); }
  void send(ferry::BytesView data, const ferry::Address& to) {
    REQUIRE(send_datagram(socket_.fileno(), data, to) ==
            static_cast<std::ptrdiff_t>(data.size()));
  }
  // What has come since the last time.
  const std::vector<std::string>& receive() {
    std::string into(70000, '\0');
    for (;;) {
      ferry::Address from;
      const auto size = receive_datagram(socket_.fileno(), into.data(), into.size(), from);
      if (size < 0) return datagrams;
      datagrams.push_back(into.substr(0, static_cast<std::size_t>(size)));
      senders.push_back(from);
    }
  }
  void close() { socket_.close(); }

  std::vector<std::string> datagrams;
  std::vector<ferry::Address> senders;

 private:
  ferry::Socket socket_;
};

}  // namespace test
