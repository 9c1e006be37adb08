// A ferry transport that speaks TLS with a RawPeer, over a pair of sockets.
#pragma once

#include "support/tls/contexts.hpp"
#include "support/tls/raw_connection.hpp"
#include "support/traffic.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace test {

enum class Side { client, server };  // ferry's

inline ferry::SslContext context_of(Side side) {
  return side == Side::client ? client_context() : server_context();
}
// The raw peer of a ferry of this side.
inline RawPeer raw_peer_of(Side side, int version = TLS1_3_VERSION) {
  RawContext context = side == Side::client ? raw_server_context(localhost_identity())
                                            : raw_client_context(authority().pem());
  speak_only(context, version);
  return side == Side::client ? RawPeer::server(context) : RawPeer::client(context, "localhost");
}

using Connecting = ferry::Task<ferry::Connection<Recorder>>;
// The call that puts ferry's TLS over the socket.
inline Connecting tls_over(World& world, Side side, ferry::Socket socket,
                           const ferry::SslContext& context,
                           std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>(),
                           ferry::SslOptions options = {}) {
  options.ssl = &context;
  auto factory = [protocol] { return protocol; };
  if (side == Side::server) {
    return world.loop.connect_accepted_socket(factory, std::move(socket), options);
  }
  if (!options.server_hostname) options.server_hostname = "localhost";
  return world.loop.create_connection(factory, std::move(socket), options);
}

struct TlsStream {
  std::shared_ptr<Recorder> protocol;
  std::shared_ptr<ferry::Transport> transport;
  RawConnection raw;
};

struct TlsSetting {
  Side side = Side::server;
  int version = TLS1_3_VERSION;
  std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>();
  ferry::SslOptions options = {};
  std::optional<ferry::SslContext> context = {};
  std::optional<RawPeer> peer = {};
  Carrier carrier = Carrier::tcp;
};

// With the handshake done on both sides.
inline TlsStream open_tls(World& world, TlsSetting setting = {}) {
  Pair pair = connected_pair(setting.carrier);
  const ferry::SslContext context = setting.context ? *setting.context : context_of(setting.side);
  RawConnection raw{
      world, std::move(pair.peer),
      setting.peer ? std::move(*setting.peer) : raw_peer_of(setting.side, setting.version)};
  auto future = world.loop.create_task(tls_over(world, setting.side, std::move(pair.ours), context,
                                                setting.protocol, setting.options));
  raw.run_until([&] { return future.done() && raw.peer().is_open(); }, "a TLS handshake");
  auto made = future.take_result();
  return {std::move(made.protocol), std::move(made.transport), std::move(raw)};
}

// What the task ends with; the peer goes on meanwhile.
template <class T>
ferry::Error error_of(RawConnection& raw, ferry::Future<T> future) {
  raw.run_until([&] { return future.done(); }, "the end of a task");
  try {
    static_cast<void>(future.take_result());
  } catch (...) {
    return ferry::Error{std::current_exception()};
  }
  return {};
}
// To compare with: the same errno comes by the system's category or by the generic one.
inline std::error_condition condition(ferry::SslErrc code) {
  return make_error_code(code).default_error_condition();
}
inline Side any_side() { return GENERATE(Side::client, Side::server); }
inline int any_version() { return GENERATE(TLS1_2_VERSION, TLS1_3_VERSION); }

}  // namespace test
