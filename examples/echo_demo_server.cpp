// The server of scripts/demo: echoes what many clients send, and stays small while doing so.
//
//   echo_demo_server [PORT]     0, the default, is any free port: the first line says which
#include <ferry/ferry.hpp>
#include <ferry/format.hpp>  // fmt formatters for Address, Error …

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

struct Counters {
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;
};

class EchoProtocol : public ferry::Protocol {
 public:
  explicit EchoProtocol(Counters& counters) : counters_{counters} {}

  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    ++counters_.connections;
  }
  void data_received(ferry::BytesView data) override {
    counters_.bytes += data.size();
    transport_->write(data);
  }
  // A client that sends faster than it reads is made to wait, instead of filling our memory.
  void pause_writing() override { transport_->pause_reading(); }
  void resume_writing() override { transport_->resume_reading(); }

 private:
  Counters& counters_;
  ferry::Transport* transport_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  const int port = argc > 1 ? std::atoi(argv[1]) : 0;
  Counters counters;
  ferry::Loop loop;
  auto factory = [&] { return std::make_shared<EchoProtocol>(counters); };
  auto server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", port));
  fmt::print("listening on {}\n", server->sockets().front().getsockname());
  std::fflush(stdout);  // who started us is waiting for this line

  loop.add_signal_handler(SIGINT, [&] { loop.stop(); });
  loop.run_forever();

  server->close();
  server->close_clients();
  loop.run_until_complete(server->wait_closed());
  fmt::print("served {} connections, {} bytes\n", counters.connections, counters.bytes);
}
