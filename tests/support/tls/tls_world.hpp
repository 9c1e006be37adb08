// A TLS server of ferry's, and clients of ferry's and of OpenSSL's own, over loopback.
#pragma once

#include "support/sockets.hpp"
#include "support/tls/contexts.hpp"
#include "support/tls/raw_connection.hpp"
#include "support/world.hpp"

#include <ferry/ssl.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace test {

inline void speak_only(const ferry::SslContext& context, ferry::TlsVersion version) {
  ferry::SslContext copy = context;                   // it is the same one
  copy.set_maximum_version(ferry::TlsVersion::v1_3);  // so that the range is never empty
  copy.set_minimum_version(version);
  copy.set_maximum_version(version);
}
inline const char* name_of(ferry::TlsVersion version) {
  return version == ferry::TlsVersion::v1_2 ? "TLSv1.2" : "TLSv1.3";
}

// A client of ferry's and its protocol.
struct TlsClient {
  std::shared_ptr<ferry::Transport> transport;
  std::shared_ptr<Recorder> protocol;
};

// Its protocols echo.
class TlsServer {
 public:
  TlsServer(World& world, ferry::SslContext context) : world_{world}, context_{std::move(context)} {
    watch(context_);
    ferry::ServerOptions options;
    options.ssl = &context_;
    auto listening = world.loop.create_server(
        [this] {
          auto protocol = protocols();
          protocol->on_data = [raw = protocol.get()] {
            raw->transport->write(std::exchange(raw->received, {}));
          };
          if (on_protocol) on_protocol(*protocol);
          return protocol;
        },
        "127.0.0.1", 0, options);
    server_ = world.run(std::move(listening));
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;
  ~TlsServer() {
    server_->close();
    server_->close_clients();
    world_.run(server_->wait_closed());
  }

  ferry::Address address() const { return address_of(*server_); }
  // Notes the failed handshakes of another context, too.
  void watch(ferry::SslContext context) {
    context.set_handshake_error_callback(
        [this](const ferry::Error& error, std::string_view) { errors.push_back(error); });
  }

  // Of a client of ferry's. `protocols` has a protocol then, which must not have heard of anything
  // if it failed.
  auto connecting(const Recorders& clients, const ferry::SslContext& context,
                  std::string_view server_hostname = "localhost",
                  const ferry::SslSession* session = nullptr) {
    ferry::ConnectOptions options;
    options.ssl = &context;
    options.server_hostname = server_hostname;
    options.ssl_session = session;
    return world_.loop.create_connection(clients, "127.0.0.1", address().port(), options);
  }
  TlsClient connect(const ferry::SslContext& context,
                    std::string_view server_hostname = "localhost",
                    const ferry::SslSession* session = nullptr) {
    auto made = world_.run(connecting(Recorders{}, context, server_hostname, session));
    return {std::move(made.transport), std::move(made.protocol)};
  }
  // What connecting fails with; the protocol never heard of a connection.
  ferry::Error refusal(const ferry::SslContext& context,
                       std::string_view server_hostname = "localhost") {
    const Recorders clients;
    ferry::Error error = error_of(world_, connecting(clients, context, server_hostname));
    CHECK(clients.made() == 0);
    CHECK(clients.lost() == 0);
    return error;
  }
  // What the server's handshake failed with: the next one of its errors.
  ferry::Error next_error() {
    world_.run_until([&] { return errors.size() > taken_; }, "a failed handshake of the server's");
    return errors[taken_++];
  }
  RawConnection dial_raw(RawPeer peer) {
    return RawConnection{world_, dial(address()), std::move(peer)};
  }
  // The protocol of the newest connection.
  Recorder& newest() {
    world_.run_until([&] { return protocols.size() > 0 && protocols.list->back()->made; },
                     "a connection of the server's");
    return *protocols.list->back();
  }

  Recorders protocols;
  std::vector<ferry::Error> errors;  // of handshakes
  std::function<void(Recorder&)> on_protocol;

 private:
  World& world_;
  ferry::SslContext context_;
  std::shared_ptr<ferry::Server> server_;
  std::size_t taken_ = 0;
};

// There and back again: the connection works. Over TLS 1.3 its tickets have been read then.
inline void check_echo(World& world, const TlsClient& client, std::string_view text = "ping") {
  client.protocol->received.clear();
  client.transport->write(text);
  world.run_until(
      [&] { return client.protocol->received.size() >= text.size() || client.protocol->lost; },
      "an echo");
  CHECK(client.protocol->received == text);
}
inline void close(World& world, const TlsClient& client) {
  client.transport->close();
  world.run_until([&] { return client.protocol->lost; }, "the end of a connection");
  CHECK_FALSE(client.protocol->reason);
}

}  // namespace test
