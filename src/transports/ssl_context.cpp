#include "transports/ssl_context.hpp"

#include "platform/trust_store.hpp"
#include "transports/ssl_certificate.hpp"

#include <ferry/openssl.hpp>

#include <fmt/format.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <new>
#include <stdexcept>

namespace ferry {
namespace internal {
namespace {

using ContextPtr = std::unique_ptr<SSL_CTX, SslFree<SSL_CTX_free>>;

constexpr std::size_t ticket_key_size = 80;

int state_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

[[noreturn]] void bad_setting(const char* call, std::string_view why) {
  throw SslError{SslErrc::bad_setting, fmt::format("{}: {}", call, why)};
}

SSL_CTX* made_context(bool server) {
  ERR_clear_error();
  SSL_CTX* const ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (ctx == nullptr) throw SslError{SslErrc::other, "make an SslContext: " + openssl_reason()};
  return ctx;
}

void key_callback(const SSL* ssl, const char* line) {
  const auto tell = SslContextState::of(SSL_get_SSL_CTX(ssl)).on_key;  // it may replace itself
  try {
    if (tell) tell(line);
  } catch (...) {  // a log must not end the connection
  }
}

int alpn_callback(SSL* ssl, const unsigned char** chosen, unsigned char* size,
                  const unsigned char* offered, unsigned int offered_size, void*) {
  const SslContextState& state = SslContextState::of(SSL_get_SSL_CTX(ssl));
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(
      &found, size, reinterpret_cast<const unsigned char*>(state.alpn.data()),
      static_cast<unsigned int>(state.alpn.size()), offered, offered_size);
  *chosen = found;
  if (result == OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_OK;
  return state.alpn_required ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

int ocsp_callback(SSL* ssl, void*) {
  SslContextState& state = SslContextState::of(SSL_get_SSL_CTX(ssl));
  if (!state.server) return 1;  // what came is kept by the SSL
  const std::lock_guard lock{state.mutex};
  if (state.ocsp_response.empty()) return SSL_TLSEXT_ERR_NOACK;
  void* const copy = OPENSSL_memdup(state.ocsp_response.data(), state.ocsp_response.size());
  if (copy == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(state.ocsp_response.size()));
  return SSL_TLSEXT_ERR_OK;
}

void set_callbacks(SslContextState& state) {
  SSL_CTX* const ctx = state.ctx;
  SSL_CTX_set_info_callback(ctx, info_callback);
  SSL_CTX_set_tlsext_status_cb(ctx, ocsp_callback);
  if (state.server) {
    SSL_CTX_set_tlsext_servername_callback(ctx, server_name_callback);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);  // tickets need no memory of ours
  } else {
    SSL_CTX_set_session_cache_mode(ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(ctx, new_session_callback);
  }
}

// So that a client cannot come with a session from where it was not asked for a certificate.
void set_session_id_context(SslContextState& state) {
  const std::string all = static_cast<char>(state.verify_mode) + state.trusted;
  unsigned int size = 0;
  unsigned char* const digest = state.session_id_context.data();
  if (EVP_Digest(all.data(), all.size(), digest, &size, EVP_sha256(), nullptr) == 1) {
    SSL_CTX_set_session_id_context(state.ctx, digest, size);
  }
}

void apply_verify_mode(SslContextState& state) {
  int mode = SSL_VERIFY_NONE;
  if (state.verify_mode != VerifyMode::none) mode = SSL_VERIFY_PEER;
  if (state.verify_mode == VerifyMode::required) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(state.ctx, mode, mode == SSL_VERIFY_NONE ? nullptr : verify_callback);
  set_session_id_context(state);
}

// Whom we trust has changed.
void note_trusted(SslContextState& state, std::string_view what) {
  state.trusted += what;
  set_session_id_context(state);
}

// How many trusted ones came in. One that is there already is no error.
std::size_t add_trusted(SslContextState& state, const std::vector<X509Ptr>& certificates) {
  X509_STORE* const store = SSL_CTX_get_cert_store(state.ctx);
  for (const X509Ptr& certificate : certificates) {
    if (X509_STORE_add_cert(store, certificate.get()) != 1) {
      set_session_id_context(state);  // some are in
      throw SslError{SslErrc::bad_certificate,
                     fmt::format("trust {}: {}", subject_of(*certificate), openssl_reason())};
    }
    state.trusted += fingerprint_of(*certificate);
    // A server names whom it would accept to those clients that it asks for a certificate.
    if (state.server) SSL_CTX_add_client_CA(state.ctx, certificate.get());
  }
  set_session_id_context(state);
  return certificates.size();
}

// Names like 3513523f.0, which is how OpenSSL finds a certificate in a folder.
bool has_hashed_names(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{folder, ignored}) {
    const std::string name = entry.path().filename().string();
    if (name.size() > 9 && name[8] == '.' && name[9] >= '0' && name[9] <= '9') return true;
  }
  return false;
}

std::string place(const char* variable, const char* otherwise) {
  const char* const set = std::getenv(variable);
  return set != nullptr ? set : otherwise;
}

// A list of ciphers is refused if one of its names is unknown: OpenSSL alone would skip it.
template <class Known>
void check_each(const char* call, std::string_view list, const char* separators, Known known) {
  std::size_t found = 0;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find_first_of(separators, at), list.size());
    std::string name{list.substr(at, end - at)};
    at = end + 1;
    const bool excludes = name.starts_with('!') || name.starts_with('-');
    name.erase(0, name.find_first_not_of("!-+"));
    if (name.empty()) continue;
    ++found;
    if (name[0] == '@' || excludes || known(name)) continue;
    bad_setting(call, "unknown cipher '" + name + "'");
  }
  if (found == 0) bad_setting(call, "the list is empty");
}

// A list of folders, with the system's separator.
bool any_has_hashed_names(std::string_view folders) {
  const char separator = std::filesystem::path::preferred_separator == '\\' ? ';' : ':';
  for (std::size_t at = 0; at <= folders.size();) {
    const std::size_t end = std::min(folders.find(separator, at), folders.size());
    const std::string_view folder = folders.substr(at, end - at);
    if (has_hashed_names(std::u8string{folder.begin(), folder.end()})) return true;
    at = end + 1;
  }
  return false;
}

bool is_ciphersuite(const std::string& name) {
  const ContextPtr probe{made_context(true)};
  if (SSL_CTX_set_ciphersuites(probe.get(), name.c_str()) != 1) return false;
  const STACK_OF(SSL_CIPHER)* const all = SSL_CTX_get_ciphers(probe.get());
  for (int i = 0; i < sk_SSL_CIPHER_num(all); ++i) {
    if (name == SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, i))) return true;
  }
  return false;
}

void set_versions(SslContextState& state, const char* call, long minimum, long maximum) {
  if (maximum != 0 && minimum > maximum) bad_setting(call, "no version of TLS is left");
  SSL_CTX_set_min_proto_version(state.ctx, minimum);
  SSL_CTX_set_max_proto_version(state.ctx, maximum);
}

}  // namespace

SslContextState::SslContextState(bool is_server) : ctx{made_context(is_server)}, server{is_server} {
  SSL_CTX_set_ex_data(ctx, state_index(), this);
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  set_callbacks(*this);
  verify_mode = server ? VerifyMode::none : VerifyMode::required;
  apply_verify_mode(*this);
}

SslContextState::~SslContextState() { SSL_CTX_free(ctx); }

SslContextState& SslContextState::of(const SSL_CTX* ctx) noexcept {
  return *static_cast<SslContextState*>(SSL_CTX_get_ex_data(ctx, state_index()));
}

SslContext SslAccess::make(bool server) {
  SslContext made;
  made.state_ = std::make_shared<SslContextState>(server);
  return made;
}


}  // namespace internal

using internal::SslAccess;

internal::SslContextState& SslContext::state() const {
  if (!state_) throw MisuseError{"the SslContext is empty"};
  return *state_;
}

SslContext SslContext::client() {
  SslContext made = SslAccess::make(false);
  made.load_default_certs();
  return made;
}

SslContext SslContext::client(const Pem& trusted) {
  SslContext made = SslAccess::make(false);
  made.load_verify_locations(trusted);
  return made;
}

SslContext SslContext::server() { return SslAccess::make(true); }

SslContext SslContext::server(const Pem& certificate_chain, const Pem& key,
                              const PasswordCallback& password) {
  SslContext made = server();
  made.load_cert_chain(certificate_chain, key, password);
  return made;
}

bool SslContext::is_server() const noexcept { return state_ && state_->server; }

bool SslContext::verifies() const noexcept {
  return state_ && state_->verify_mode != VerifyMode::none;
}

bool SslContext::checks_hostname() const noexcept { return verifies() && state_->check_hostname; }

bool SslContext::has_trusted() const noexcept { return state_ && !state_->trusted.empty(); }

bool SslContext::has_certificate() const noexcept {
  if (!state_) return false;
  const std::lock_guard lock{state_->mutex};
  return SSL_CTX_set_current_cert(state_->ctx, SSL_CERT_SET_FIRST) == 1;
}

void SslContext::load_cert_chain(const Pem& chain, const Pem& key,
                                 const PasswordCallback& password) {
  ERR_clear_error();
  const internal::PemText chain_text = internal::read(chain);
  const internal::PemText key_text = internal::read(key);
  const std::vector<internal::X509Ptr> certificates =
      internal::parse_certificates(chain_text, SslErrc::bad_certificate);
  const internal::KeyPtr secret = internal::parse_key(key_text, password);
  if (X509_check_private_key(certificates[0].get(), secret.get()) != 1) {
    ERR_clear_error();
    throw SslError{SslErrc::key_mismatch,
                   fmt::format("{}: the key is not that of the certificate {} in {}",
                               key_text.name, internal::subject_of(*certificates[0]),
                               chain_text.name)};
  }
  const auto free_list = [](STACK_OF(X509)* list) { sk_X509_free(list); };
  const std::unique_ptr<STACK_OF(X509), decltype(free_list)> others{sk_X509_new_null()};
  for (std::size_t i = 1; i < certificates.size(); ++i) {
    sk_X509_push(others.get(), certificates[i].get());  // which does not take it over
  }
  const std::lock_guard lock{state().mutex};
  if (SSL_CTX_use_cert_and_key(state().ctx, certificates[0].get(), secret.get(), others.get(), 1) !=
      1) {
    throw SslError{SslErrc::bad_certificate,
                   fmt::format("{}: {}", chain_text.name, internal::openssl_reason())};
  }
}

void SslContext::load_verify_locations(const Pem& trusted) {
  ERR_clear_error();
  internal::add_trusted(state(), internal::parse_certificates(internal::read(trusted),
                                                              SslErrc::no_trusted_certificates));
}

void SslContext::load_verify_directory(const std::string& path) {
  if (!internal::any_has_hashed_names(path)) {
    throw SslError{SslErrc::no_trusted_certificates,
                   path + ": there is no certificate under a hashed name in it"};
  }
  if (SSL_CTX_load_verify_dir(state().ctx, path.c_str()) != 1) {
    throw SslError{SslErrc::no_trusted_certificates, path + ": " + internal::openssl_reason()};
  }
  internal::note_trusted(state(), path);
}

void SslContext::load_default_certs() {
  ERR_clear_error();
  std::vector<internal::X509Ptr> roots;
  for (const std::string& der : internal::system_trust_store()) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    internal::X509Ptr root{d2i_X509(nullptr, &bytes, static_cast<long>(der.size()))};
    if (root) roots.push_back(std::move(root));
  }
  // Where the system has a store of its own, the paths that OpenSSL was built with are nobody's;
  // those that somebody has set count.
  if (internal::add_trusted(state(), roots) > 0) {
    const char* const set_file = std::getenv(X509_get_default_cert_file_env());
    const char* const set_folder = std::getenv(X509_get_default_cert_dir_env());
    if (set_file != nullptr) SSL_CTX_load_verify_file(state().ctx, set_file);
    if (set_folder != nullptr) SSL_CTX_load_verify_dir(state().ctx, set_folder);
    ERR_clear_error();
    return;
  }
  SSL_CTX_set_default_verify_paths(state().ctx);
  ERR_clear_error();
  X509_STORE* const store = SSL_CTX_get_cert_store(state().ctx);
  const bool found = sk_X509_OBJECT_num(X509_STORE_get0_objects(store)) > 0;
  const std::string file = internal::place(X509_get_default_cert_file_env(),
                                           X509_get_default_cert_file());
  const std::string folder = internal::place(X509_get_default_cert_dir_env(),
                                             X509_get_default_cert_dir());
  if (!found && !internal::any_has_hashed_names(folder)) {
    throw SslError{SslErrc::no_trusted_certificates,
                   fmt::format("the system's trust store is empty: nothing in {} and {}", file,
                               folder)};
  }
  internal::note_trusted(state(), "the system's");
}

void SslContext::set_verify_mode(VerifyMode mode) {
  state().verify_mode = mode;
  internal::apply_verify_mode(state());
}

void SslContext::set_check_hostname(bool on) { state().check_hostname = on; }

void SslContext::set_minimum_version(TlsVersion version) {
  internal::set_versions(state(), "set_minimum_version", static_cast<long>(version),
                         SSL_CTX_get_max_proto_version(state().ctx));
}

void SslContext::set_maximum_version(TlsVersion version) {
  internal::set_versions(state(), "set_maximum_version",
                         SSL_CTX_get_min_proto_version(state().ctx), static_cast<long>(version));
}

void SslContext::set_ciphers(std::string_view list) {
  internal::check_each("set_ciphers", list, ": ,", [](const std::string& name) {
    const internal::ContextPtr probe{internal::made_context(true)};
    return SSL_CTX_set_cipher_list(probe.get(), name.c_str()) == 1;
  });
  const bool some = SSL_CTX_set_cipher_list(state().ctx, std::string{list}.c_str()) == 1;
  ERR_clear_error();
  if (!some) internal::bad_setting("set_ciphers", "no cipher is left");
}

void SslContext::set_ciphersuites(std::string_view list) {
  internal::check_each("set_ciphersuites", list, ":", internal::is_ciphersuite);
  SSL_CTX_set_ciphersuites(state().ctx, std::string{list}.c_str());
}

void SslContext::set_alpn_protocols(std::span<const std::string_view> protocols, bool required) {
  std::string wire;
  for (const std::string_view protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) {
      internal::bad_setting("set_alpn_protocols", "a name has 1 to 255 bytes");
    }
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  state().alpn = wire;
  state().alpn_required = required && !wire.empty();
  if (state().server) {
    SSL_CTX_set_alpn_select_cb(state().ctx, wire.empty() ? nullptr : internal::alpn_callback,
                               nullptr);
  } else {
    SSL_CTX_set_alpn_protos(state().ctx, reinterpret_cast<const unsigned char*>(wire.data()),
                            static_cast<unsigned int>(wire.size()));
  }
}

void SslContext::set_sni_callback(SniCallback callback) {
  state().on_server_name = std::move(callback);
}

void SslContext::set_renegotiation(bool allowed) {
  if (allowed) {
    SSL_CTX_clear_options(state().ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_options(state().ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
  } else {
    SSL_CTX_clear_options(state().ctx, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
    SSL_CTX_set_options(state().ctx, SSL_OP_NO_RENEGOTIATION);
  }
}

void SslContext::set_ignore_truncation(bool on) { state().ignore_truncation = on; }

void SslContext::set_session_tickets(std::size_t count) {
  SSL_CTX_set_num_tickets(state().ctx, count);
  if (count == 0) {
    SSL_CTX_set_options(state().ctx, SSL_OP_NO_TICKET);
  } else {
    SSL_CTX_clear_options(state().ctx, SSL_OP_NO_TICKET);
  }
}

void SslContext::set_ticket_keys(BytesView keys) {
  if (keys.size() != internal::ticket_key_size) {
    internal::bad_setting("set_ticket_keys", "they are 80 bytes");
  }
  unsigned char copy[internal::ticket_key_size];
  std::memcpy(copy, keys.data(), sizeof copy);
  const std::lock_guard lock{state().mutex};
  SSL_CTX_set_tlsext_ticket_keys(state().ctx, copy, sizeof copy);
}

void SslContext::set_ocsp_response(BytesView der) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(der.data());
  const std::lock_guard lock{state().mutex};
  state().ocsp_response.assign(bytes, bytes + der.size());
}

void SslContext::set_request_ocsp(bool on) { state().request_ocsp = on; }

void SslContext::set_keylog_callback(std::function<void(std::string_view)> callback) {
  state().on_key = std::move(callback);
  SSL_CTX_set_keylog_callback(state().ctx, state().on_key ? internal::key_callback : nullptr);
}

void SslContext::set_handshake_error_callback(
    std::function<void(const Error&, std::string_view)> callback) {
  state().on_handshake_error = std::move(callback);
}

SslSession::operator bool() const noexcept {
  if (!state_ || SSL_SESSION_is_resumable(state_->session) != 1) return false;
  const long age = static_cast<long>(std::time(nullptr)) - SSL_SESSION_get_time(state_->session);
  return age < SSL_SESSION_get_timeout(state_->session);
}

ssl_ctx_st* native_handle(const SslContext& context) noexcept {
  return context ? SslAccess::state(context).ctx : nullptr;
}

}  // namespace ferry
