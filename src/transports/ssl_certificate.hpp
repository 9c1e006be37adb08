// Certificates and keys: read from PEM, described for people.
#pragma once

#include "transports/ssl_context.hpp"

#include <ferry/address.hpp>
#include <ferry/ssl.hpp>

#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

namespace ferry::internal {

template <auto free_it>
struct SslFree {
  template <class T>
  void operator()(T* object) const noexcept {
    free_it(object);
  }
};
using X509Ptr = std::unique_ptr<X509, SslFree<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, SslFree<EVP_PKEY_free>>;

// The text of a Pem and what to call it in errors.
struct PemText {
  std::string text;
  std::string name;
};
PemText read(const Pem& pem);  // throws OsError

// Throw SslError, which names the file and the line. Certificates: at least one, else `if_none`.
std::vector<X509Ptr> parse_certificates(const PemText& pem, SslErrc if_none);
KeyPtr parse_key(const PemText& pem, const PasswordCallback& password);

Certificate describe(X509& certificate);
std::string fingerprint_of(const X509& certificate);  // SHA-256, hexadecimal
// "CN=example.com,O=Example"
std::string subject_of(const X509& certificate);

// What OpenSSL says went wrong last; takes it from its queue.
std::string openssl_reason();

}  // namespace ferry::internal
