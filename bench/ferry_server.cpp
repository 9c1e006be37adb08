// ferry, by the contract in peers/server.hpp. What a user would write: protocols that answer from
// data_received(), and turn pause_writing() into pause_reading().
// Variants: "spin" looks for events for up to 2 ms before it sleeps, "poll" runs on poll(2),
// "no-offload" has the kernel neither cut nor join datagrams.
#include <ferry/ferry.hpp>

#include <chrono>
#include <exception>
#include <memory>

#include "server.hpp"
#if __has_include(<sys/socket.h>)
#include "listen.hpp"
#endif
#if BENCH_TLS
#include "certificate.hpp"
#endif

namespace {

class Echo : public ferry::Protocol {
 public:
  void connection_made(ferry::Transport& transport) override { transport_ = &transport; }
  void data_received(ferry::BytesView data) override { transport_->write(data); }
  void pause_writing() override { transport_->pause_reading(); }
  void resume_writing() override { transport_->resume_reading(); }

 protected:
  ferry::Transport* transport_ = nullptr;  // valid until connection_lost() returns
};

class Split final : public Echo {
 public:
  void data_received(ferry::BytesView data) override {
    for (std::size_t i = 0; i < data.size(); i += bench::message)
      transport_->write(data.subview(i, bench::message));
  }
};

class Sink final : public ferry::Protocol {};  // what comes is not looked at

std::shared_ptr<ferry::StreamProtocol> make_protocol(bench::Mode mode) {
  switch (mode) {
    case bench::Mode::echo:
      return std::make_shared<Echo>();
    case bench::Mode::split:
      return std::make_shared<Split>();
    case bench::Mode::sink:
      return std::make_shared<Sink>();
    default:
      return nullptr;
  }
}

// `Base`: one of the two protocols of datagrams.
template <class Base>
class Datagrams : public Base {
 public:
  void connection_made(ferry::DatagramTransport& transport) override { transport_ = &transport; }
  void pause_writing() override { transport_->pause_reading(); }
  void resume_writing() override { transport_->resume_reading(); }

 protected:
  ferry::DatagramTransport* transport_ = nullptr;
};

class DatagramEcho final : public Datagrams<ferry::DatagramProtocol> {
 public:
  void datagram_received(ferry::BytesView data, const ferry::Address& addr) override {
    transport_->sendto(data, addr);
  }
};

class BatchEcho final : public Datagrams<ferry::DatagramBatchProtocol> {
 public:
  void datagrams_received(std::span<const ferry::Datagram> datagrams) override {
    transport_->sendto_many(datagrams);
  }
};

#if BENCH_TLS
constexpr auto serves = bench::Serves::both;
ferry::SslContext make_context() {
  const bench::Certificate made;
  return ferry::SslContext::server(ferry::Pem::text(made.certificate_pem()),
                                   ferry::Pem::text(made.key_pem()));
}
#else
constexpr auto serves = bench::Serves::plain;
ferry::SslContext make_context() { return {}; }
#endif

void run(ferry::Loop& loop) {
  loop.add_signal_handler(bench::stop_signal, [&loop] { loop.stop(); });
  bench::ready();
  loop.run_forever();
}

template <class Protocol>
void serve_datagrams(ferry::Loop& loop, const bench::Arguments& arguments) {
  auto opening = loop.create_datagram_endpoint(
      ferry::make<Protocol>, {.local_addr = ferry::Address{"127.0.0.1", arguments.port},
                              .offload = arguments.variant != "no-offload"});
  auto endpoint = loop.run_until_complete(std::move(opening));
#if __has_include(<sys/socket.h>)
  const ferry::SocketView socket = endpoint.transport->get_extra_info(ferry::socket);
  bench::set_datagram_buffers(static_cast<int>(socket.fileno()));
#endif
  run(loop);
}

void serve_streams(ferry::Loop& loop, const bench::Arguments& arguments) {
  const ferry::SslContext tls = arguments.tls ? make_context() : ferry::SslContext{};
  auto listening =
      loop.create_server([mode = arguments.mode] { return make_protocol(mode); }, "127.0.0.1",
                         static_cast<int>(arguments.port),
                         {.backlog = bench::backlog, .ssl = arguments.tls ? &tls : nullptr});
  auto server = loop.run_until_complete(std::move(listening));
  run(loop);
}

void serve(const bench::Arguments& arguments) {
  ferry::Loop loop{arguments.variant == "poll" ? ferry::Backend::poll() : ferry::Backend::native()};
  if (arguments.variant == "spin") loop.set_busy_poll(std::chrono::milliseconds{2});
  if (arguments.mode == bench::Mode::udp) return serve_datagrams<DatagramEcho>(loop, arguments);
  if (arguments.mode == bench::Mode::udp_batch) return serve_datagrams<BatchEcho>(loop, arguments);
  serve_streams(loop, arguments);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments =
      bench::parse(argc, argv, "ferry " FERRY_VERSION, {"spin", "poll", "no-offload"}, serves,
                   {bench::Mode::udp, bench::Mode::udp_batch});
  try {
    serve(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ferry_server: %s\n", error.what());
    return 1;
  }
}
