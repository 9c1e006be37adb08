// Certificates and keys for tests, made in this process by OpenSSL's own API: no files, no key in
// the tree, nothing that expires.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

struct evp_pkey_st;
struct x509_st;

namespace test {

// As PEM. `cert_pem` is one certificate; a chain is made with `+`.
struct Identity {
  std::string cert_pem;
  std::string key_pem;
};

enum class KeyKind { rsa2048, ecdsa_p256, ed25519 };
enum class Purpose { server, client, both, none };  // none: no extendedKeyUsage at all

struct CertificateSpec {
  std::string common_name = "test";  // may have a NUL inside
  // subjectAltName; names are written as they are, whatever is in them. Empty: no extension.
  std::vector<std::string> dns_names = {};
  std::vector<std::string> ip_addresses = {};
  KeyKind key = KeyKind::ecdsa_p256;
  // RSA keys are made once per process and used again: another number, another key.
  int rsa_number = 0;
  long not_before = -3600;  // seconds from now
  long not_after = 24 * 3600;
  bool is_ca = false;
  Purpose purpose = Purpose::server;
  std::size_t padding = 0;  // bytes of an extension that nobody knows
};
// For "localhost", 127.0.0.1 and ::1.
CertificateSpec for_localhost(KeyKind key = KeyKind::ecdsa_p256);

using Key = std::shared_ptr<evp_pkey_st>;
using X509Ref = std::shared_ptr<x509_st>;

class Authority {
 public:
  explicit Authority(const std::string& common_name = "Test Root");
  // What this one has signed.
  Identity issue(const CertificateSpec& spec) const;
  Authority intermediate(const std::string& common_name = "Test Intermediate") const;
  // Its own certificate.
  const std::string& pem() const { return pem_; }

 private:
  Authority(Key key, X509Ref certificate);
  Key key_;
  X509Ref certificate_;
  std::string pem_;
};
// The authority that most tests trust: one per process.
const Authority& authority();

Identity self_signed(const CertificateSpec& spec);
// The identity's key, as PEM under a password.
std::string encrypted_key(const Identity& identity, const std::string& password);
// The certificate in DER.
std::string der_of(const std::string& cert_pem);

}  // namespace test
