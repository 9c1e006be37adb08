// What an SslContext stands for: an SSL_CTX and the user's callbacks.
#pragma once

#include <ferry/ssl.hpp>

#include <openssl/ssl.h>

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace ferry::internal {

class SslContextState {
 public:
  explicit SslContextState(bool server);
  SslContextState(const SslContextState&) = delete;
  SslContextState& operator=(const SslContextState&) = delete;
  ~SslContextState();

  SSL_CTX* const ctx;
  const bool server;
  bool check_hostname = true;
  VerifyMode verify_mode = VerifyMode::none;
  std::string trusted;  // a digest of each that we trust, or where they are; empty: nobody
  // Sessions of one context are good for another one if these are the same: whom it would accept.
  std::array<unsigned char, 32> session_id_context{};
  bool ignore_truncation = false;
  bool request_ocsp = false;
  bool alpn_required = false;
  std::string alpn;  // as on the wire: each led in by its length
  std::vector<unsigned char> ocsp_response;
  SniCallback on_server_name;
  std::function<void(std::string_view)> on_key;
  std::function<void(const Error&, std::string_view)> on_handshake_error;
  // Held by what may change a context in use, and by those who make an SSL of it or look.
  std::mutex mutex;

  // Whose SSL_CTX this is: whoever has an SSL of it keeps that alive.
  static SslContextState& of(const SSL_CTX* ctx) noexcept;
};

class SslSessionState {
 public:
  SslSessionState(SSL_SESSION* owned, const SslContext& by, std::string of)
      : session{owned}, context{by}, host{std::move(of)} {}
  SslSessionState(const SslSessionState&) = delete;
  SslSessionState& operator=(const SslSessionState&) = delete;
  ~SslSessionState() { SSL_SESSION_free(session); }
  SSL_SESSION* const session;
  // What it was made with, and is good for no other (T-092).
  const SslContext context;
  const std::string host;
};

// The one door between the public values and what they stand for.
struct SslAccess {
  static SslContextState& state(const SslContext& context) { return context.state(); }
  static const SslSessionState* state(const SslSession& session) { return session.state_.get(); }
  static SslSession session(std::shared_ptr<SslSessionState> state) {
    SslSession made;
    made.state_ = std::move(state);
    return made;
  }
  static std::pair<const std::string&, bool> source(const Pem& pem) {
    return {pem.text_, pem.is_file_};
  }
  static SslContext make(bool server);
};

// In the middle of OpenSSL's own calls; ssl_object.cpp has it.
int verify_callback(int verified, X509_STORE_CTX* store);
int new_session_callback(SSL* ssl, SSL_SESSION* session);
void info_callback(const SSL* ssl, int where, int value);
int server_name_callback(SSL* ssl, int* alert, void*);

}  // namespace ferry::internal
