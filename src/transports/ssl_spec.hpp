// TLS as the verbs see it: what was asked for, checked. Nothing of OpenSSL's.
#pragma once

#include <ferry/ssl.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace ferry::internal {

// A copy: the options that it comes from do not outlive the call.
struct SslSpec {
  SslContext context;  // empty: no TLS
  bool server_side = false;
  std::string server_name;  // clients: for SNI and the check of the host; empty: neither
  bool is_address = false;  // server_name is an IP address: no SNI then (T-089)
  Seconds handshake_timeout = default_handshake_timeout;
  Seconds shutdown_timeout = default_shutdown_timeout;
  SslSession session;

  explicit operator bool() const noexcept { return static_cast<bool>(context); }
};

// What the options of a call say; `ssl` may be null. Throw std::invalid_argument, led in by the
// name of the `call`. `host`: where the connection goes, if that is by name or address.
struct SslRequest {
  const char* call;
  const SslContext* ssl;
  std::optional<std::string_view> server_hostname;
  std::optional<Seconds> handshake_timeout, shutdown_timeout;
  const SslSession* session = nullptr;

  template <class Options>
  static SslRequest of(const char* call, const Options& options) {
    SslRequest request{call, options.ssl, {}, options.ssl_handshake_timeout,
                       options.ssl_shutdown_timeout, nullptr};
    if constexpr (requires { options.server_hostname; }) {
      request.server_hostname = options.server_hostname;
      request.session = options.ssl_session;
    }
    return request;
  }
};
SslSpec client_spec(const SslRequest& request, std::optional<std::string_view> host);
SslSpec server_spec(const SslRequest& request);

}  // namespace ferry::internal
