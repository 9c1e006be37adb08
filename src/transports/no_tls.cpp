// In place of ssl_*.cpp in a build without TLS: there is no way to make a context, so nothing else
// can be reached.
#include "transports/ssl_channel.hpp"

#include <ferry/openssl.hpp>

namespace ferry {
namespace {

[[noreturn]] void refuse() {
  throw NotSupported{"TLS: this build of ferry has none (FERRY_TLS=OFF)"};
}

}  // namespace

namespace internal {

std::unique_ptr<Channel> ssl_channel(LoopCore&, std::unique_ptr<Channel>&, const SslSpec&,
                                     std::string, const InMidStream*) {
  refuse();
}

}  // namespace internal

SslContext SslContext::client() { refuse(); }
SslContext SslContext::client(const Pem&) { refuse(); }
SslContext SslContext::server(const Pem&, const Pem&, const PasswordCallback&) { refuse(); }
SslContext SslContext::server() { refuse(); }
bool SslContext::is_server() const noexcept { return false; }
bool SslContext::verifies() const noexcept { return false; }
bool SslContext::checks_hostname() const noexcept { return false; }
bool SslContext::has_certificate() const noexcept { return false; }
bool SslContext::has_trusted() const noexcept { return false; }
void SslContext::load_cert_chain(const Pem&, const Pem&, const PasswordCallback&) { refuse(); }
void SslContext::load_verify_locations(const Pem&) { refuse(); }
void SslContext::load_verify_directory(const std::string&) { refuse(); }
void SslContext::load_default_certs() { refuse(); }
void SslContext::set_verify_mode(VerifyMode) { refuse(); }
void SslContext::set_check_hostname(bool) { refuse(); }
void SslContext::set_minimum_version(TlsVersion) { refuse(); }
void SslContext::set_maximum_version(TlsVersion) { refuse(); }
void SslContext::set_ciphers(std::string_view) { refuse(); }
void SslContext::set_ciphersuites(std::string_view) { refuse(); }
void SslContext::set_alpn_protocols(std::span<const std::string_view>, bool) { refuse(); }
void SslContext::set_sni_callback(SniCallback) { refuse(); }
void SslContext::set_renegotiation(bool) { refuse(); }
void SslContext::set_ignore_truncation(bool) { refuse(); }
void SslContext::set_session_tickets(std::size_t) { refuse(); }
void SslContext::set_ticket_keys(BytesView) { refuse(); }
void SslContext::set_ocsp_response(BytesView) { refuse(); }
void SslContext::set_request_ocsp(bool) { refuse(); }
void SslContext::set_keylog_callback(std::function<void(std::string_view)>) { refuse(); }
void SslContext::set_handshake_error_callback(
    std::function<void(const Error&, std::string_view)>) {
  refuse();
}

SslSession::operator bool() const noexcept { return false; }
ssl_ctx_st* native_handle(const SslContext&) noexcept { return nullptr; }

}  // namespace ferry
