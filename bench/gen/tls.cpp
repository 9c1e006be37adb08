#include "tls.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>

#include "gen.hpp"

namespace gen::tls {
namespace {

constexpr std::size_t read_ahead = std::size_t{64} * 1024;  // a recv for several records
SSL_SESSION* newest_session = nullptr;                      // of all connections

[[noreturn]] void fail(const char* what) {
  char reason[256] = "";
  ERR_error_string_n(ERR_peek_error(), reason, sizeof reason);
  die("TLS %s: %s", what, reason);
}

int keep_session(SSL*, SSL_SESSION* session) {
  SSL_SESSION_free(newest_session);
  newest_session = session;
  return 1;  // it is ours now
}

SSL_CTX* make_context() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set1_groups_list(context, "X25519") != 1)
    fail("context");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_AUTO_RETRY);
  // Bytes are counted: whether the end of a server says goodbye proves nothing here.
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, read_ahead);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, keep_session);
  return context;
}

// -1 with errno, or 0 at the end: what a socket would have answered.
ssize_t as_socket(SSL* ssl, int result, const char* what) {
  switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_SYSCALL:
      return -1;
    default:
      errno = 0;
      fail(what);
  }
}

}  // namespace

ssl_st* start(int fd, bool resume) {
  static SSL_CTX* const context = make_context();
  SSL* ssl = SSL_new(context);
  if (ssl == nullptr || SSL_set_fd(ssl, fd) != 1) fail("connection");
  SSL_set_connect_state(ssl);
  if (resume) {
    if (newest_session == nullptr) die("no session ticket came");
    SSL_SESSION* copy = SSL_SESSION_dup(newest_session);  // one of TLS 1.3 is used up by its use
    if (copy == nullptr || SSL_set_session(ssl, copy) != 1) fail("session");
    SSL_SESSION_free(copy);
  }
  return ssl;
}

void handshake(ssl_st* ssl) {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl);
  if (result != 1 && as_socket(ssl, result, "handshake") <= 0) die("TLS handshake");
}

ssize_t send(ssl_st* ssl, const std::byte* data, std::size_t size) {
  std::size_t sent = 0;
  while (sent < size) {  // a record at a time
    std::size_t n = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(ssl, data + sent, size - sent, &n);
    if (result != 1) {
      const ssize_t answer = as_socket(ssl, result, "write");
      const bool full = answer < 0 && errno == EAGAIN;
      return full && sent > 0 ? static_cast<ssize_t>(sent) : answer;
    }
    sent += n;
  }
  return static_cast<ssize_t>(sent);
}

ssize_t receive(ssl_st* ssl, std::byte* data, std::size_t size) {
  std::size_t n = 0;
  ERR_clear_error();
  const int result = SSL_read_ex(ssl, data, size, &n);
  return result == 1 ? static_cast<ssize_t>(n) : as_socket(ssl, result, "read");
}

bool resumed(ssl_st* ssl) { return SSL_session_reused(ssl) == 1; }

void end(ssl_st* ssl) {
  ERR_clear_error();
  if (SSL_shutdown(ssl) < 0) fail("shutdown");
}

void free(ssl_st* ssl) { SSL_free(ssl); }

}  // namespace gen::tls
