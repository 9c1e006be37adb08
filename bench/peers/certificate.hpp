// The certificate of all servers that speak TLS: ECDSA P-256, signed by itself, made by each when
// it starts, so that no key lies about in files.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace bench {

struct Certificate {
  Certificate();
  std::string certificate_pem() const;
  std::string key_pem() const;

  EVP_PKEY* key;  // both live as long as the program
  X509* x509;
};

inline void check_certificate(bool ok) {
  if (ok) return;
  std::fputs("cannot make a certificate\n", stderr);
  std::exit(1);
}

inline Certificate::Certificate() : key{EVP_EC_gen("P-256")}, x509{X509_new()} {
  check_certificate(key != nullptr && x509 != nullptr);
  X509_NAME* name = X509_get_subject_name(x509);
  const auto* host = reinterpret_cast<const unsigned char*>("localhost");
  const long day = 24L * 60 * 60;
  check_certificate(X509_set_version(x509, X509_VERSION_3) == 1 &&
                    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) == 1 &&
                    X509_gmtime_adj(X509_getm_notBefore(x509), -day) != nullptr &&
                    X509_gmtime_adj(X509_getm_notAfter(x509), day) != nullptr &&
                    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0) == 1 &&
                    X509_set_issuer_name(x509, name) == 1 && X509_set_pubkey(x509, key) == 1 &&
                    X509_sign(x509, key, EVP_sha256()) > 0);
}

// What was written to a memory BIO, which it frees.
inline std::string text_of(BIO* memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory, &bytes);
  std::string text(bytes, static_cast<std::size_t>(size));
  BIO_free(memory);
  return text;
}

inline std::string Certificate::certificate_pem() const {
  BIO* memory = BIO_new(BIO_s_mem());
  check_certificate(PEM_write_bio_X509(memory, x509) == 1);
  return text_of(memory);
}

inline std::string Certificate::key_pem() const {
  BIO* memory = BIO_new(BIO_s_mem());
  check_certificate(PEM_write_bio_PrivateKey(memory, key, nullptr, nullptr, 0, nullptr, nullptr) ==
                    1);
  return text_of(memory);
}

}  // namespace bench
