#include "transports/ssl_certificate.hpp"

#include <fmt/format.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <span>

namespace ferry::internal {
namespace {

using BioPtr = std::unique_ptr<BIO, SslFree<BIO_free_all>>;

// One "-----BEGIN X----- … -----END X-----" and where it stands.
struct PemBlock {
  std::string_view type;
  std::string_view text;
  std::size_t line = 0;
};

[[noreturn]] void broken(SslErrc code, const PemText& pem, std::size_t line, std::string_view why) {
  throw SslError{code, line > 0 ? fmt::format("{}:{}: {}", pem.name, line, why)
                                : fmt::format("{}: {}", pem.name, why)};
}

// Throws with `code` for a block that never ends.
std::vector<PemBlock> blocks_of(const PemText& pem, SslErrc code) {
  constexpr std::string_view begin = "-----BEGIN ", end = "-----END ", dashes = "-----";
  std::vector<PemBlock> blocks;
  const std::string_view all = pem.text;
  std::size_t line = 1, counted = 0;
  for (std::size_t at = all.find(begin); at != all.npos; at = all.find(begin, at)) {
    for (; counted < at; ++counted) line += all[counted] == '\n' ? 1 : 0;
    const std::size_t name = at + begin.size();
    const std::size_t name_end = all.find(dashes, name);
    if (name_end == all.npos) broken(code, pem, line, "a PEM header that does not end");
    const std::string_view type = all.substr(name, name_end - name);
    const std::size_t last = all.find(std::string{end}.append(type).append(dashes), name_end);
    if (last == all.npos) {
      broken(code, pem, line, fmt::format("a PEM block without its END {}", type));
    }
    const std::size_t after = last + end.size() + type.size() + dashes.size();
    blocks.push_back({type, all.substr(at, after - at), line});
    at = after;
  }
  return blocks;
}

BioPtr memory(std::string_view text) {
  BioPtr bio{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
  if (!bio) throw std::bad_alloc{};
  return bio;
}

int give_password(char* into, int size, int, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.empty() || text.size() > static_cast<std::size_t>(size)) return -1;
  text.copy(into, text.size());
  return static_cast<int>(text.size());
}

std::string name_text(const X509_NAME* name) {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  if (!bio || name == nullptr) return {};
  // In UTF-8, escaped where a character is part of the syntax.
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
  std::tm broken_down{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &broken_down) != 1) return {};
  using namespace std::chrono;
  const year_month_day day{year{broken_down.tm_year + 1900},
                           month{static_cast<unsigned>(broken_down.tm_mon + 1)},
                           std::chrono::day{static_cast<unsigned>(broken_down.tm_mday)}};
  return sys_days{day} + hours{broken_down.tm_hour} + minutes{broken_down.tm_min} +
         seconds{broken_down.tm_sec};
}

std::string hexadecimal(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

std::string_view bytes_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

void add_names(X509& certificate, Certificate& into) {
  const std::unique_ptr<GENERAL_NAMES, SslFree<GENERAL_NAMES_free>> names{
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr))};
  if (!names) return;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      into.dns_names.emplace_back(bytes_of(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
      const std::string_view bytes = bytes_of(name->d.iPAddress);
      if (bytes.size() != 4 && bytes.size() != 16) continue;
      const Family family = bytes.size() == 4 ? Family::ipv4 : Family::ipv6;
      into.ip_addresses.push_back(Address::from_ip(family, bytes, 0).host());
    }
  }
}

}  // namespace

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* const reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown reason";
}

PemText read(const Pem& pem) {
  const auto& [text, is_file] = SslAccess::source(pem);
  if (!is_file) return {text, "the PEM text"};
  errno = 0;
  const std::u8string path{text.begin(), text.end()};
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  std::ifstream file{std::filesystem::path{path}, std::ios::binary};
  if (folder || !file.is_open()) {
    const int error = folder ? EISDIR : errno != 0 ? errno : EIO;
    Error{std::error_code{error, std::generic_category()}, "load " + text}.raise();
  }
  std::ostringstream content;
  content << file.rdbuf();
  return {content.str(), text};
}

std::vector<X509Ptr> parse_certificates(const PemText& pem, SslErrc if_none) {
  std::vector<X509Ptr> found;
  for (const PemBlock& block : blocks_of(pem, SslErrc::bad_certificate)) {
    if (block.type.find("CERTIFICATE") == block.type.npos ||
        block.type.find("REQUEST") != block.type.npos) {
      continue;
    }
    found.emplace_back(PEM_read_bio_X509_AUX(memory(block.text).get(), nullptr, nullptr, nullptr));
    if (!found.back()) {
      broken(SslErrc::bad_certificate, pem, block.line,
             "the certificate cannot be read: " + openssl_reason());
    }
  }
  if (found.empty()) broken(if_none, pem, 0, "there is no certificate in it");
  return found;
}

KeyPtr parse_key(const PemText& pem, const PasswordCallback& password) {
  for (const PemBlock& block : blocks_of(pem, SslErrc::bad_key)) {
    if (!block.type.ends_with("PRIVATE KEY")) continue;
    const bool encrypted = block.type.starts_with("ENCRYPTED") ||
                           block.text.find("Proc-Type: 4,ENCRYPTED") != block.text.npos;
    std::string secret;
    if (encrypted) {
      if (password) secret = password();
      if (secret.empty()) {
        broken(SslErrc::bad_key, pem, block.line, "the key is encrypted and there is no password");
      }
    }
    KeyPtr key{
        PEM_read_bio_PrivateKey(memory(block.text).get(), nullptr, give_password, &secret)};
    if (key) return key;
    broken(SslErrc::bad_key, pem, block.line,
           (encrypted ? "the key cannot be read (is the password right?): "
                      : "the key cannot be read: ") +
               openssl_reason());
  }
  broken(SslErrc::bad_key, pem, 0, "there is no private key in it");
}

std::string fingerprint_of(const X509& certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_digest(&certificate, EVP_sha256(), digest, &size) != 1) return {};
  return hexadecimal({digest, size});
}

std::string subject_of(const X509& certificate) {
  return name_text(X509_get_subject_name(&certificate));
}

Certificate describe(X509& certificate) {
  Certificate made;
  made.subject = subject_of(certificate);
  made.issuer = name_text(X509_get_issuer_name(&certificate));
  add_names(certificate, made);
  made.not_before = time_of(X509_get0_notBefore(&certificate));
  made.not_after = time_of(X509_get0_notAfter(&certificate));
  const std::string_view serial = bytes_of(X509_get0_serialNumber(&certificate));
  made.serial = hexadecimal(
      {reinterpret_cast<const unsigned char*>(serial.data()), serial.size()});
  made.fingerprint_sha256 = fingerprint_of(certificate);
  const int length = i2d_X509(&certificate, nullptr);
  if (length > 0) {
    made.der.resize(static_cast<std::size_t>(length));
    auto* into = reinterpret_cast<unsigned char*>(made.der.data());
    i2d_X509(&certificate, &into);
  }
  return made;
}

}  // namespace ferry::internal
