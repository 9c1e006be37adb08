#include "support/tls/certificates.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace test {

namespace {

// OpenSSL's answers: none of what is asked for here may fail.
void check(bool good, const char* what) {
  if (good) return;
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  throw std::runtime_error{std::string{what} + ": " + (reason != nullptr ? reason : "no reason")};
}
template <class T>
T* made(T* pointer, const char* what) {
  check(pointer != nullptr, what);
  return pointer;
}

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;
Bio new_bio() { return Bio{made(BIO_new(BIO_s_mem()), "BIO_new")}; }
Bio bio_of(std::string_view text) {
  return Bio{made(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), "BIO")};
}
std::string content(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

Key adopt(EVP_PKEY* key) { return {made(key, "a key"), EVP_PKEY_free}; }
Key new_key(KeyKind kind) {
  switch (kind) {
    case KeyKind::rsa2048:
      return adopt(EVP_RSA_gen(2048));
    case KeyKind::ecdsa_p256:
      return adopt(EVP_EC_gen("P-256"));
    case KeyKind::ed25519:
      return adopt(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  }
  return {};
}
Key key_for(const CertificateSpec& spec) {
  static std::map<int, Key> rsa_keys;  // each takes a tenth of a second, and more under sanitizers
  if (spec.key != KeyKind::rsa2048) return new_key(spec.key);
  Key& key = rsa_keys[spec.rsa_number];
  if (!key) key = new_key(KeyKind::rsa2048);
  return key;
}

std::string pem_of(X509* certificate) {
  const Bio bio = new_bio();
  check(PEM_write_bio_X509(bio.get(), certificate) == 1, "PEM_write_bio_X509");
  return content(bio);
}
std::string pem_of(EVP_PKEY* key) {
  const Bio bio = new_bio();
  check(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
        "PEM_write_bio_PrivateKey");
  return content(bio);
}

void add_to(GENERAL_NAMES* names, int type, ASN1_STRING* value, std::string_view bytes) {
  check(ASN1_STRING_set(value, bytes.data(), static_cast<int>(bytes.size())) == 1, "a name");
  GENERAL_NAME* const name = made(GENERAL_NAME_new(), "GENERAL_NAME_new");
  GENERAL_NAME_set0_value(name, type, value);
  check(sk_GENERAL_NAME_push(names, name) > 0, "a name");
}
void add_names(X509* certificate, const CertificateSpec& spec) {
  if (spec.dns_names.empty() && spec.ip_addresses.empty()) return;
  const std::unique_ptr<GENERAL_NAMES, void (*)(GENERAL_NAMES*)> names{
      made(sk_GENERAL_NAME_new_null(), "names"), GENERAL_NAMES_free};
  for (const std::string& name : spec.dns_names) {
    add_to(names.get(), GEN_DNS, made(ASN1_IA5STRING_new(), "a name"), name);
  }
  for (const std::string& text : spec.ip_addresses) {
    ASN1_OCTET_STRING* const address = made(a2i_IPADDRESS(text.c_str()), "an IP address");
    const std::string bytes{reinterpret_cast<const char*>(ASN1_STRING_get0_data(address)),
                            static_cast<std::size_t>(ASN1_STRING_length(address))};
    add_to(names.get(), GEN_IPADD, address, bytes);
  }
  check(
      X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1,
      "subjectAltName");
}

void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, void (*)(X509_EXTENSION*)> extension{
      made(X509V3_EXT_conf_nid(nullptr, &context, nid, value), value), X509_EXTENSION_free};
  check(X509_add_ext(certificate, extension.get(), -1) == 1, value);
}
void add_padding(X509* certificate, std::size_t size) {
  const std::unique_ptr<ASN1_OBJECT, void (*)(ASN1_OBJECT*)> oid{
      made(OBJ_txt2obj("1.3.6.1.4.1.55555.1", 1), "an OID"), ASN1_OBJECT_free};
  const std::unique_ptr<ASN1_OCTET_STRING, void (*)(ASN1_OCTET_STRING*)> bytes{
      made(ASN1_OCTET_STRING_new(), "bytes"), ASN1_OCTET_STRING_free};
  const std::string text(size, 'p');
  check(ASN1_STRING_set(bytes.get(), text.data(), static_cast<int>(size)) == 1, "bytes");
  const std::unique_ptr<X509_EXTENSION, void (*)(X509_EXTENSION*)> extension{
      made(X509_EXTENSION_create_by_OBJ(nullptr, oid.get(), 0, bytes.get()), "padding"),
      X509_EXTENSION_free};
  check(X509_add_ext(certificate, extension.get(), -1) == 1, "padding");
}

const char* usage_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::server:
      return "serverAuth";
    case Purpose::client:
      return "clientAuth";
    case Purpose::both:
      return "serverAuth,clientAuth";
    case Purpose::none:
      break;
  }
  return nullptr;
}

void add_extensions(X509* certificate, X509* issuer, const CertificateSpec& spec) {
  add_extension(certificate, issuer, NID_basic_constraints,
                spec.is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  add_extension(certificate, issuer, NID_key_usage,
                spec.is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  const char* const usage = usage_of(spec.purpose);
  if (!spec.is_ca && usage != nullptr) add_extension(certificate, issuer, NID_ext_key_usage, usage);
  add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
  add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
  add_names(certificate, spec);
  if (spec.padding > 0) add_padding(certificate, spec.padding);
}

// Signed by itself if there is no issuer.
X509Ref new_certificate(const CertificateSpec& spec, EVP_PKEY* key, X509* issuer,
                        EVP_PKEY* issuer_key) {
  X509Ref certificate{made(X509_new(), "X509_new"), X509_free};
  X509* const x509 = certificate.get();
  check(X509_set_version(x509, X509_VERSION_3) == 1, "X509_set_version");
  unsigned char serial[8];
  check(RAND_bytes(serial, sizeof serial) == 1, "RAND_bytes");
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, of one length
  const std::unique_ptr<BIGNUM, void (*)(BIGNUM*)> number{
      made(BN_bin2bn(serial, sizeof serial, nullptr), "BN_bin2bn"), BN_free};
  made(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509)), "a serial number");
  made(X509_gmtime_adj(X509_getm_notBefore(x509), spec.not_before), "notBefore");
  made(X509_gmtime_adj(X509_getm_notAfter(x509), spec.not_after), "notAfter");
  X509_NAME* const subject = X509_get_subject_name(x509);
  check(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(spec.common_name.data()),
                                   static_cast<int>(spec.common_name.size()), -1, 0) == 1,
        "the subject");
  check(
      X509_set_issuer_name(x509, issuer != nullptr ? X509_get_subject_name(issuer) : subject) == 1,
      "the issuer");
  check(X509_set_pubkey(x509, key) == 1, "the public key");
  add_extensions(x509, issuer != nullptr ? issuer : x509, spec);
  EVP_PKEY* const signer = issuer_key != nullptr ? issuer_key : key;
  const EVP_MD* const digest = EVP_PKEY_is_a(signer, "ED25519") == 1 ? nullptr : EVP_sha256();
  check(X509_sign(x509, signer, digest) > 0, "X509_sign");
  return certificate;
}

CertificateSpec authority_spec(const std::string& common_name) {
  CertificateSpec spec;
  spec.common_name = common_name;
  spec.is_ca = true;
  return spec;
}

}  // namespace

CertificateSpec for_localhost(KeyKind key) {
  CertificateSpec spec;
  spec.common_name = "localhost";
  spec.dns_names = {"localhost"};
  spec.ip_addresses = {"127.0.0.1", "::1"};
  spec.key = key;
  return spec;
}

Authority::Authority(Key key, X509Ref certificate)
    : key_{std::move(key)},
      certificate_{std::move(certificate)},
      pem_{pem_of(certificate_.get())} {}

Authority::Authority(const std::string& common_name) : key_{new_key(KeyKind::ecdsa_p256)} {
  certificate_ = new_certificate(authority_spec(common_name), key_.get(), nullptr, nullptr);
  pem_ = pem_of(certificate_.get());
}

Identity Authority::issue(const CertificateSpec& spec) const {
  const Key key = key_for(spec);
  const X509Ref certificate = new_certificate(spec, key.get(), certificate_.get(), key_.get());
  return {pem_of(certificate.get()), pem_of(key.get())};
}

Authority Authority::intermediate(const std::string& common_name) const {
  Key key = new_key(KeyKind::ecdsa_p256);
  X509Ref certificate =
      new_certificate(authority_spec(common_name), key.get(), certificate_.get(), key_.get());
  return {std::move(key), std::move(certificate)};
}

const Authority& authority() {
  static const Authority root;
  return root;
}

Identity self_signed(const CertificateSpec& spec) {
  const Key key = key_for(spec);
  return {pem_of(new_certificate(spec, key.get(), nullptr, nullptr).get()), pem_of(key.get())};
}

std::string encrypted_key(const Identity& identity, const std::string& password) {
  const Key key =
      adopt(PEM_read_bio_PrivateKey(bio_of(identity.key_pem).get(), nullptr, nullptr, nullptr));
  const Bio bio = new_bio();
  check(PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), EVP_aes_256_cbc(), password.data(),
                                      static_cast<int>(password.size()), nullptr, nullptr) == 1,
        "PEM_write_bio_PKCS8PrivateKey");
  return content(bio);
}

std::string der_of(const std::string& cert_pem) {
  const X509Ref certificate{
      made(PEM_read_bio_X509(bio_of(cert_pem).get(), nullptr, nullptr, nullptr), "a certificate"),
      X509_free};
  const Bio bio = new_bio();
  check(i2d_X509_bio(bio.get(), certificate.get()) == 1, "i2d_X509_bio");
  return content(bio);
}

}  // namespace test
