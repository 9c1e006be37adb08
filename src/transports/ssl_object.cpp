#include "transports/ssl_object.hpp"

#include "transports/ssl_certificate.hpp"

#include <ferry/openssl.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <new>

namespace ferry::internal {
namespace {

// A peer that goes on renegotiating or changing keys without ever sending data is refused.
constexpr std::uint32_t most_bare_messages = 64;
constexpr int alert_offset = SSL_AD_REASON_OFFSET;

int object_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// What somebody else left in the thread's queue would pass for a failure of ours. To look costs
// next to nothing; to clear, even if nothing is there, as much as all our own code of a message.
void forget_errors() noexcept {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

SslErrc verify_code(long error) noexcept {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return SslErrc::certificate_expired;
    case X509_V_ERR_CERT_NOT_YET_VALID: return SslErrc::certificate_not_yet_valid;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return SslErrc::self_signed_certificate;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: return SslErrc::unknown_issuer;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return SslErrc::host_mismatch;
    case X509_V_ERR_INVALID_PURPOSE: return SslErrc::wrong_purpose;
    case X509_V_ERR_CERT_REVOKED: return SslErrc::certificate_revoked;
    default: return SslErrc::certificate_invalid;
  }
}

SslErrc reason_code(int reason) noexcept {
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST: return SslErrc::not_tls;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return SslErrc::no_certificate;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: return SslErrc::no_common_protocol;
    default: return SslErrc::protocol;
  }
}

// OpenSSL 3.0 does not know its youngest ones.
const char* name_of_alert(int alert) noexcept {
  switch (alert) {
    case SSL_AD_MISSING_EXTENSION: return "missing extension";
    case SSL_AD_CERTIFICATE_REQUIRED: return "certificate required";
    case SSL_AD_NO_APPLICATION_PROTOCOL: return "no application protocol";
    default: return SSL_alert_desc_string_long(alert);
  }
}

std::string day_of(std::chrono::system_clock::time_point time) {
  const std::chrono::year_month_day day{std::chrono::floor<std::chrono::days>(time)};
  return fmt::format("{}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

// What a peer sent must not break a line of a log.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

// The certificate that did not pass, as far as that explains why.
std::string in_words(X509& certificate, long error) {
  const Certificate seen = describe(certificate);
  switch (verify_code(error)) {
    case SslErrc::certificate_expired:
      return fmt::format("{} (valid until {})", seen.subject, day_of(seen.not_after));
    case SslErrc::certificate_not_yet_valid:
      return fmt::format("{} (valid from {})", seen.subject, day_of(seen.not_before));
    case SslErrc::unknown_issuer:
      return fmt::format("{} (issued by {})", seen.subject, seen.issuer);
    case SslErrc::host_mismatch: {
      std::vector<std::string> names = seen.dns_names;
      names.insert(names.end(), seen.ip_addresses.begin(), seen.ip_addresses.end());
      return names.empty() ? seen.subject + ", which names no host"
                           : fmt::format("{}", fmt::join(names, ", "));
    }
    default: return seen.subject;
  }
}

}  // namespace

// Memory as OpenSSL sees it: reads come from the input where it lies, writes go into the room.
struct SslObject::Bio {
  static SslObject& object(BIO* bio) noexcept {
    return *static_cast<SslObject*>(BIO_get_data(bio));
  }

  static int read(BIO* bio, char* into, int size) noexcept {
    SslObject& self = object(bio);
    BIO_clear_retry_flags(bio);
    const std::size_t count = std::min(static_cast<std::size_t>(size), self.input_.size());
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(into, self.input_.data(), count);
    self.input_ = self.input_.subview(count);
    return static_cast<int>(count);
  }

  static int write(BIO* bio, const char* from, int size) noexcept {
    SslObject& self = object(bio);
    BIO_clear_retry_flags(bio);
    const std::size_t count = std::min(static_cast<std::size_t>(size), self.room_left());
    if (count == 0) {
      BIO_set_retry_write(bio);
      return -1;
    }
    std::memcpy(self.room_.data() + self.produced_, from, count);
    self.produced_ += count;
    return static_cast<int>(count);
  }

  static long control(BIO*, int command, long, void*) noexcept {
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
  }

  static const BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* const method =
          BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory of ferry");
      if (method == nullptr) throw std::bad_alloc{};
      BIO_meth_set_read(method, read);
      BIO_meth_set_write(method, write);
      BIO_meth_set_ctrl(method, control);
      return method;
    }();
    return made;
  }
};

SslObject::SslObject(const SslSpec& spec) : made_of_{spec.context}, context_{spec.context} {
  ERR_clear_error();
  SslContextState& state = SslAccess::state(spec.context);
  {
    const std::lock_guard lock{state.mutex};
    ssl_ = SSL_new(state.ctx);
  }
  if (ssl_ == nullptr) throw SslError{SslErrc::other, "make a TLS connection: " + openssl_reason()};
  try {
    make(spec);
  } catch (...) {
    SSL_free(ssl_);
    throw;
  }
}

void SslObject::make(const SslSpec& spec) {
  BIO* const bio = BIO_new(Bio::method());
  if (bio == nullptr) throw std::bad_alloc{};
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);  // which takes it over
  SSL_set_ex_data(ssl_, object_index(), this);
  if (spec.server_side) return SSL_set_accept_state(ssl_);
  SSL_set_connect_state(ssl_);
  server_name_ = spec.server_name;
  expect_host(spec);
  if (SslAccess::state(spec.context).request_ocsp) {
    SSL_set_tlsext_status_type(ssl_, TLSEXT_STATUSTYPE_ocsp);
  }
  if (!spec.session || server_name_.empty()) return;
  const SslSessionState& session = *SslAccess::state(spec.session);
  const bool ours = session.context == spec.context && session.host == server_name_;
  if (ours && SSL_set_session(ssl_, session.session) == 1) session_ = spec.session;
}

void SslObject::expect_host(const SslSpec& spec) {
  if (server_name_.empty()) return;
  bool fits = spec.is_address || SSL_set_tlsext_host_name(ssl_, server_name_.c_str()) == 1;
  if (spec.context.checks_hostname()) {
    // Names by the rules of today: no common name, a wildcard is a whole label.
    SSL_set_hostflags(ssl_,
                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    X509_VERIFY_PARAM* const expected = SSL_get0_param(ssl_);
    fits = fits && (spec.is_address
                        ? X509_VERIFY_PARAM_set1_ip_asc(expected, server_name_.c_str())
                        : X509_VERIFY_PARAM_set1_host(expected, server_name_.data(),
                                                      server_name_.size())) == 1;
  }
  if (fits) return;
  throw SslError{SslErrc::bad_setting, fmt::format("server_hostname '{}': {}", server_name_,
                                                   openssl_reason())};
}

SslObject::~SslObject() { SSL_free(ssl_); }

SslObject& SslObject::of(const SSL* ssl) noexcept {
  return *static_cast<SslObject*>(SSL_get_ex_data(ssl, object_index()));
}

// --- Steps ---

SslStatus SslObject::judge(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_NONE: return SslStatus::done;
    case SSL_ERROR_WANT_READ: return SslStatus::want_input;
    case SSL_ERROR_WANT_WRITE: return SslStatus::want_output;
    case SSL_ERROR_ZERO_RETURN: return SslStatus::ended;
    default: break;
  }
  failure_ = explained();
  ERR_clear_error();
  return SslStatus::failed;
}

SslObject::Step SslObject::handshake() {
  forget_errors();
  Step step{judge(SSL_do_handshake(ssl_)), 0};
  bare_messages_ = 0;
  if (step.status != SslStatus::done) return step;
  if (alpn_is_missing()) {
    failure_ = Error::worded(SslErrc::no_common_protocol, "no application protocol in common");
    step.status = SslStatus::failed;
  }
  open_ = true;
  return step;
}

SslObject::Step SslObject::read(std::span<std::byte> into) {
  Step step;
  while (step.count < into.size()) {
    forget_errors();
    std::size_t count = 0;
    const int result =
        SSL_read_ex(ssl_, into.data() + step.count, into.size() - step.count, &count);
    if (result != 1) {
      step.status = judge(result);
      break;
    }
    step.count += count;
    bare_messages_ = 0;
    if (input_.empty() && !has_pending()) {  // one more call would only say so, and take a buffer
      step.status = SslStatus::want_input;
      break;
    }
  }
  if (bare_messages_ > most_bare_messages && step.status != SslStatus::failed) {
    failure_ = Error::worded(SslErrc::protocol, "too many renegotiations or changes of keys");
    step.status = SslStatus::failed;
  }
  return step;
}

SslObject::Step SslObject::write(BytesView plaintext) {
  forget_errors();
  Step step;
  plaintext = plaintext.subview(0, most_plain);  // a repeated call goes on with the next record
  // In a renegotiation a write would read on, and fail if data comes or has come: read() first.
  const bool renegotiates = SSL_in_init(ssl_) == 1 && SSL_version(ssl_) < TLS1_3_VERSION;
  if (renegotiates && SSL_has_pending(ssl_) == 1) return {SslStatus::want_input, 0};
  const BytesView input = std::exchange(input_, {});
  const int result = SSL_write_ex(ssl_, plaintext.data(), plaintext.size(), &step.count);
  if (result != 1) step = {judge(result), 0};
  if (step.count > 0) bare_messages_ = 0;
  input_ = input;
  return step;
}

SslObject::Step SslObject::shutdown() {
  forget_errors();
  const int result = SSL_shutdown(ssl_);
  return {result >= 0 ? SslStatus::done : judge(result), 0};
}

void SslObject::forget_session() noexcept {
  SSL_CTX* const ctx = SSL_get_SSL_CTX(ssl_);
  SSL_CTX_remove_session(ctx, SSL_get_session(ssl_));
  if (session_) SSL_CTX_remove_session(ctx, SslAccess::state(session_)->session);
  ERR_clear_error();
}

// --- What went wrong ---

Error SslObject::certificate_error() const {
  const SslErrc code = verify_code(verify_error_);
  std::string text = code == SslErrc::host_mismatch
                         ? fmt::format("the certificate is not for {}, but for {}",
                                       server_name_, refused_)
                         : fmt::format("{}: {}", X509_verify_cert_error_string(verify_error_),
                                       refused_);
  return Error::worded(code, "certificate verify failed: " + text);
}

Error SslObject::explained() {
  if (thrown_) return Error{thrown_};
  const unsigned long code = ERR_peek_error();  // the first one is the cause
  const int reason = ERR_GET_REASON(code);
  if (code == 0) return Error::worded(SslErrc::protocol, "the TLS library failed without a reason");
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return certificate_error();
  }
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > alert_offset) {
    const int alert = reason - alert_offset;
    return Error::worded(SslErrc::alert, fmt::format("the peer gave up with the alert '{}' ({})",
                                                     name_of_alert(alert), alert));
  }
  const char* const words = ERR_reason_error_string(code);
  return Error::worded(
      ERR_GET_LIB(code) == ERR_LIB_SSL ? reason_code(reason) : SslErrc::protocol,
      words != nullptr ? words : "an unknown error of the TLS library");
}

int verify_callback(int verified, X509_STORE_CTX* store) {
  if (verified == 1) return 1;
  const auto* const ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  SslObject& self = SslObject::of(ssl);
  self.verify_error_ = X509_STORE_CTX_get_error(store);
  try {
    X509* const certificate = X509_STORE_CTX_get_current_cert(store);
    if (certificate != nullptr) {
      self.refused_ = printable(in_words(*certificate, self.verify_error_));
    }
  } catch (...) {  // then without the words
  }
  return 0;
}

// --- Callbacks of the TLS library's ---

void info_callback(const SSL* ssl, int where, int) {
  if ((where & SSL_CB_LOOP) != 0) ++SslObject::of(ssl).bare_messages_;
}

int new_session_callback(SSL* ssl, SSL_SESSION* session) {
  SslObject& self = SslObject::of(ssl);
  try {
    self.session_ =
        SslAccess::session(std::make_shared<SslSessionState>(session, self.context_,
                                                             self.server_name_));
    self.bare_messages_ = 0;  // a ticket is something, too
    return 1;                 // it is ours now
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

int server_name_callback(SSL* ssl, int* alert, void*) {
  const SslContextState& state = SslContextState::of(SSL_get_SSL_CTX(ssl));
  if (!state.on_server_name) return SSL_TLSEXT_ERR_OK;
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  SslObject& self = SslObject::of(ssl);
  try {
    const SniCallback callback = state.on_server_name;  // it may replace itself
    const SslContext other = callback(name != nullptr ? name : "");
    if (other) self.switch_to(other);
    return SSL_TLSEXT_ERR_OK;
  } catch (...) {
    self.thrown_ = std::current_exception();
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
}

// All of the other context, not its certificate alone. OpenSSL has looked at the versions and at
// the client's session before it asked for the name, so both are judged here.
void SslObject::switch_to(const SslContext& context) {
  if (!context.has_certificate() || !context.is_server()) {
    throw SslError{SslErrc::bad_setting,
                   "the SNI callback's context is not a server's with a certificate"};
  }
  SslContextState& state = SslAccess::state(context);
  const long minimum = SSL_CTX_get_min_proto_version(state.ctx);
  const long maximum = SSL_CTX_get_max_proto_version(state.ctx);
  const long version = SSL_version(ssl_);
  if (version < minimum || (maximum != 0 && version > maximum)) {
    throw SslError{SslErrc::no_common_protocol,
                   "the name's context does not speak the client's version of TLS"};
  }
  const bool verifies_alike =
      state.session_id_context == SslAccess::state(context_).session_id_context;
  if (SSL_session_reused(ssl_) == 1 && !verifies_alike) {
    throw SslError{SslErrc::protocol, "a session of a name that verifies clients otherwise"};
  }
  const std::lock_guard lock{state.mutex};
  context_ = context;
  SSL_set_SSL_CTX(ssl_, state.ctx);
  SSL_set_verify(ssl_, SSL_CTX_get_verify_mode(state.ctx),
                 SSL_CTX_get_verify_callback(state.ctx));
  SSL_clear_options(ssl_, SSL_get_options(ssl_));
  SSL_set_options(ssl_, SSL_CTX_get_options(state.ctx));
  SSL_set_num_tickets(ssl_, SSL_CTX_get_num_tickets(state.ctx));
}

// --- What it can tell ---

bool SslObject::alpn_is_missing() const {
  if (!SslAccess::state(context_).alpn_required) return false;
  const unsigned char* chosen = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_, &chosen, &size);
  return size == 0;
}

std::any SslObject::info(std::string_view name) const {
  if (!open_) return {};  // nothing is agreed on, and nobody verified
  if (name == cipher.name) {
    const SSL_CIPHER* const used = SSL_get_current_cipher(ssl_);
    if (used == nullptr) return {};
    return SslCipher{SSL_CIPHER_get_name(used), SSL_CIPHER_get_version(used),
                     SSL_CIPHER_get_bits(used, nullptr)};
  }
  if (name == peercert.name) {
    const X509Ptr certificate{SSL_get1_peer_certificate(ssl_)};
    if (!certificate) return std::optional<Certificate>{};
    Certificate described = describe(*certificate);
    described.verified = (SSL_get_verify_mode(ssl_) & SSL_VERIFY_PEER) != 0 &&
                         SSL_get_verify_result(ssl_) == X509_V_OK;
    return std::optional{std::move(described)};
  }
  if (name == compression.name) {
    const COMP_METHOD* const method = SSL_get_current_compression(ssl_);
    return std::string{method != nullptr ? SSL_COMP_get_name(method) : ""};
  }
  if (name == sslcontext.name) return context_;
  if (name == tls_version.name) return std::string{SSL_get_version(ssl_)};
  if (name == ferry::server_name.name) {
    const char* const asked = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
    return std::string{asked != nullptr ? asked : ""};
  }
  if (name == alpn_protocol.name) {
    const unsigned char* chosen = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(ssl_, &chosen, &size);
    return std::string{reinterpret_cast<const char*>(chosen), size};
  }
  if (name == session_reused.name) return SSL_session_reused(ssl_) == 1;
  if (name == ssl_session.name) return session_;
  if (name == ssl_object.name) return ssl_;
  if (name == ocsp_response.name) {
    const unsigned char* der = nullptr;
    const long size = SSL_get_tlsext_status_ocsp_resp(ssl_, &der);
    const auto* const bytes = reinterpret_cast<const std::byte*>(der);
    return std::vector<std::byte>(bytes, bytes + (size > 0 ? size : 0));
  }
  return {};
}

}  // namespace ferry::internal
