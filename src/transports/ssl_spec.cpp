#include "transports/ssl_spec.hpp"

#include <ferry/address.hpp>

#include <algorithm>
#include <stdexcept>

namespace ferry::internal {
namespace {

[[noreturn]] void refuse(const SslRequest& request, const std::string& why) {
  throw std::invalid_argument{std::string{request.call} + ": " + why};
}

void check_positive(const SslRequest& request, const std::optional<Seconds>& timeout,
                    const char* name) {
  if (timeout && !(timeout->count() > 0)) {
    refuse(request, std::string{name} + " must be positive");  // T-061
  }
}

// What both sides have in common; empty if there is no TLS.
SslSpec checked(const SslRequest& request, bool server_side) {
  SslSpec spec;
  if (request.ssl == nullptr) {
    const bool stray = request.server_hostname || request.handshake_timeout ||
                       request.shutdown_timeout || request.session != nullptr;
    if (stray) refuse(request, "settings of TLS without ssl");
    return spec;
  }
  if (!*request.ssl) refuse(request, "the SslContext is empty");
  if (request.ssl->is_server() != server_side) {
    refuse(request, server_side ? "the SslContext is one for clients"
                                : "the SslContext is one for servers");
  }
  check_positive(request, request.handshake_timeout, "ssl_handshake_timeout");
  check_positive(request, request.shutdown_timeout, "ssl_shutdown_timeout");
  spec.context = *request.ssl;
  spec.server_side = server_side;
  spec.handshake_timeout = request.handshake_timeout.value_or(default_handshake_timeout);
  spec.shutdown_timeout = request.shutdown_timeout.value_or(default_shutdown_timeout);
  if (request.session != nullptr) spec.session = *request.session;
  return spec;
}

bool is_ip(std::string_view name) {
  try {
    return static_cast<bool>(Address{name, 0});
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// As a certificate has it: without a scope, without the final dot (T-089).
void set_name(const SslRequest& request, SslSpec& spec, std::string_view name) {
  if (name.find('\0') != name.npos) refuse(request, "server_hostname contains a NUL");
  const bool ascii = std::all_of(name.begin(), name.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!ascii) {
    refuse(request, "server_hostname '" + std::string{name} +
                        "' is not in ASCII: give its A-label form (xn--…)");
  }
  const bool control = std::any_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f;
  });
  if (control) refuse(request, "server_hostname contains a space or a control character");
  const std::string_view without_scope = name.substr(0, name.find('%'));
  spec.is_address = is_ip(without_scope);
  if (spec.is_address) {
    name = without_scope;
  } else if (name.ends_with('.')) {
    name.remove_suffix(1);
  }
  if (name.empty() || name.starts_with('.')) {
    refuse(request, "server_hostname is no name: it is empty or starts with a dot");
  }
  spec.server_name = name;
}

}  // namespace

SslSpec client_spec(const SslRequest& request, std::optional<std::string_view> host) {
  SslSpec spec = checked(request, false);
  if (!spec) return spec;
  if (request.server_hostname) {  // an empty one asks for neither SNI nor check
    if (!request.server_hostname->empty()) set_name(request, spec, *request.server_hostname);
  } else if (host && !host->empty()) {
    set_name(request, spec, *host);
  } else if (spec.context.checks_hostname()) {
    refuse(request, "server_hostname must be given: it cannot be told from the connection");
  }
  return spec;
}

SslSpec server_spec(const SslRequest& request) {
  SslSpec spec = checked(request, true);
  if (!spec) return spec;
  if (request.server_hostname && !request.server_hostname->empty()) {
    refuse(request, "server_hostname is for clients");
  }
  if (!spec.context.has_certificate()) refuse(request, "the SslContext has no certificate");
  if (spec.context.verifies() && !spec.context.has_trusted()) {
    refuse(request, "the SslContext verifies clients and trusts nobody");
  }
  return spec;
}

}  // namespace ferry::internal
