// The errors of TLS as values. Compiled also into a build without TLS.
#include <ferry/ssl.hpp>

namespace ferry {
namespace {

class SslCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "ssl"; }
  std::string message(int code) const override {
    switch (static_cast<SslErrc>(code)) {
      case SslErrc::certificate_expired: return "the certificate has expired";
      case SslErrc::certificate_not_yet_valid: return "the certificate is not yet valid";
      case SslErrc::self_signed_certificate: return "a self-signed certificate is not trusted";
      case SslErrc::unknown_issuer: return "the certificate's issuer is unknown";
      case SslErrc::host_mismatch: return "the certificate is for other names";
      case SslErrc::wrong_purpose: return "the certificate is for another purpose";
      case SslErrc::certificate_revoked: return "the certificate is revoked";
      case SslErrc::no_certificate: return "the peer sent no certificate";
      case SslErrc::certificate_invalid: return "the certificate is invalid";
      case SslErrc::alert: return "the peer gave up with an alert";
      case SslErrc::not_tls: return "the peer does not speak TLS";
      case SslErrc::no_common_protocol: return "no version or protocol in common";
      case SslErrc::protocol: return "the peer broke the TLS protocol";
      case SslErrc::truncated: return "the stream ended without close_notify";
      case SslErrc::bad_certificate: return "the certificate cannot be read";
      case SslErrc::bad_key: return "the key cannot be read";
      case SslErrc::key_mismatch: return "key and certificate do not belong together";
      case SslErrc::no_trusted_certificates: return "no trusted certificates";
      case SslErrc::bad_setting: return "a setting is not possible";
      case SslErrc::other: break;
    }
    return "TLS error";
  }
};

}  // namespace

const std::error_category& ssl_category() noexcept {
  static const SslCategory category;
  return category;
}

std::error_code make_error_code(SslErrc code) noexcept {
  return {static_cast<int>(code), ssl_category()};
}

bool is_certificate_error(const std::error_code& code) noexcept {
  return code.category() == ssl_category() &&
         code.value() >= static_cast<int>(SslErrc::certificate_expired) &&
         code.value() <= static_cast<int>(SslErrc::certificate_invalid);
}

}  // namespace ferry
