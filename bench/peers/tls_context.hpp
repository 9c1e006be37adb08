// The settings of TLS of those peers that use OpenSSL themselves.
#pragma once

#include <openssl/ssl.h>

#include "certificate.hpp"

namespace bench {

inline SSL_CTX* server_context() {
  const Certificate made;
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  check_certificate(context != nullptr && SSL_CTX_use_certificate(context, made.x509) == 1 &&
                    SSL_CTX_use_PrivateKey(context, made.key) == 1 &&
                    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
  // No buffers while a connection rests: 15 KiB less of each, and nothing to be measured in CPU.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  return context;
}

// Whether SSL_read() or SSL_write() only wants to be called again later.
inline bool may_go_on(SSL* ssl, int result) {
  const int error = SSL_get_error(ssl, result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

inline std::string with_openssl(const std::string& name) {
  return name + ", " + OpenSSL_version(OPENSSL_VERSION);
}

}  // namespace bench
