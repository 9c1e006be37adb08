#include "support/tls/raw_peer.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <array>
#include <stdexcept>
#include <utility>

namespace test {

namespace {

std::string take_error(const char* otherwise) {
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  std::string text = reason != nullptr ? reason : otherwise;
  ERR_clear_error();
  return text;
}
void check(bool good, const char* what) {
  if (!good) throw std::runtime_error{std::string{what} + ": " + take_error("no reason")};
}

using Bio = std::unique_ptr<BIO, int (*)(BIO*)>;
Bio bio_of(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

// Every certificate of a PEM text.
template <class Take>
void for_each_certificate(const std::string& pem, const Take& take) {
  const Bio bio = bio_of(pem);
  while (X509* const certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const X509Ref owner{certificate, X509_free};
    take(certificate);
  }
  ERR_clear_error();  // that there are no more
}
void trust(SSL_CTX* context, const std::string& pem) {
  for_each_certificate(pem, [&](X509* certificate) {
    check(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1, "trust");
  });
}

RawContext new_context(const SSL_METHOD* method) {
  RawContext context{SSL_CTX_new(method), SSL_CTX_free};
  check(context != nullptr, "SSL_CTX_new");
  check(SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) == 1, "versions");
  return context;
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void* wire) {
  const auto& ours = *static_cast<std::string*>(wire);
  unsigned char* selected = nullptr;
  const int found = SSL_select_next_proto(&selected, out_size,
                                          reinterpret_cast<const unsigned char*>(ours.data()),
                                          static_cast<unsigned>(ours.size()), in, in_size);
  *out = selected;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

RawContext raw_client_context(const std::string& trusted_pem) {
  RawContext context = new_context(TLS_client_method());
  if (!trusted_pem.empty()) {
    trust(context.get(), trusted_pem);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  return context;
}

RawContext raw_server_context(const Identity& identity, const std::string& chain_pem) {
  RawContext context = new_context(TLS_server_method());
  use_identity(context, identity, chain_pem);
  return context;
}

void use_identity(const RawContext& context, const Identity& identity,
                  const std::string& chain_pem) {
  for_each_certificate(identity.cert_pem, [&](X509* certificate) {
    check(SSL_CTX_use_certificate(context.get(), certificate) == 1, "certificate");
  });
  const Key key{PEM_read_bio_PrivateKey(bio_of(identity.key_pem).get(), nullptr, nullptr, nullptr),
                EVP_PKEY_free};
  check(SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1, "key");
  for_each_certificate(chain_pem, [&](X509* certificate) {
    check(SSL_CTX_add1_chain_cert(context.get(), certificate) == 1, "chain");
  });
}

void require_client(const RawContext& context, const std::string& trusted_pem) {
  trust(context.get(), trusted_pem);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

void speak_only(const RawContext& context, int version) {
  check(SSL_CTX_set_min_proto_version(context.get(), version) == 1, "versions");
  check(SSL_CTX_set_max_proto_version(context.get(), version) == 1, "versions");
}

void prefer_alpn(const RawContext& context, std::string wire) {
  // As long as the context.
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* kept, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<std::string*>(kept);
      });
  auto* const kept = new std::string{std::move(wire)};
  SSL_CTX_set_ex_data(context.get(), index, kept);
  SSL_CTX_set_alpn_select_cb(context.get(), select_alpn, kept);
}

RawPeer::RawPeer(const RawContext& context)
    : context_{context},
      ssl_{SSL_new(context.get()), SSL_free},
      in_{BIO_new(BIO_s_mem())},
      out_{BIO_new(BIO_s_mem())} {
  check(ssl_ != nullptr, "SSL_new");
  SSL_set_bio(ssl_.get(), in_, out_);
}

RawPeer RawPeer::client(const RawContext& context, const std::string& server_name) {
  RawPeer peer{context};
  SSL_set_connect_state(peer.ssl());
  if (!server_name.empty()) {
    check(SSL_set_tlsext_host_name(peer.ssl(), server_name.c_str()) == 1, "server name");
    check(SSL_set1_host(peer.ssl(), server_name.c_str()) == 1, "server name");
  }
  return peer;
}

RawPeer RawPeer::server(const RawContext& context) {
  RawPeer peer{context};
  SSL_set_accept_state(peer.ssl());
  return peer;
}

void RawPeer::feed(std::string_view bytes) {
  if (bytes.empty()) return;
  check(BIO_write(in_, bytes.data(), static_cast<int>(bytes.size())) ==
            static_cast<int>(bytes.size()),
        "BIO_write");
}

void RawPeer::feed_end() { BIO_set_mem_eof_return(in_, 0); }

std::string RawPeer::take_output() {
  std::string output(BIO_ctrl_pending(out_), '\0');
  if (!output.empty()) BIO_read(out_, output.data(), static_cast<int>(output.size()));
  return output;
}

bool RawPeer::good(int result) {
  if (result > 0) return true;
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) {
    if (error_.empty()) error_ = take_error("the stream ended");
  }
  ERR_clear_error();
  return false;
}

bool RawPeer::handshake() {
  if (done_ || failed()) return done_;
  ERR_clear_error();
  done_ = good(SSL_do_handshake(ssl_.get()));
  return done_;
}

std::string RawPeer::read() {
  std::string all;
  std::array<char, 16384> buffer;
  if (!done_ || failed()) return all;
  for (;;) {
    ERR_clear_error();
    const int count = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (!good(count)) return all;
    all.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

bool RawPeer::write(std::string_view text) {
  if (!done_ || failed()) return false;
  ERR_clear_error();
  return text.empty() || good(SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size())));
}

void RawPeer::shutdown() {
  ERR_clear_error();
  if (SSL_shutdown(ssl_.get()) < 0) good(-1);
}

bool RawPeer::key_update(bool ask_the_other_too) {
  ERR_clear_error();
  const int kind = ask_the_other_too ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
  return good(SSL_key_update(ssl_.get(), kind)) && good(SSL_do_handshake(ssl_.get()));
}

bool RawPeer::renegotiate() {
  ERR_clear_error();
  if (!good(SSL_renegotiate(ssl_.get()))) return false;
  good(SSL_do_handshake(ssl_.get()));  // sends a ClientHello; the rest is read()'s
  return !failed();
}

bool RawPeer::got_close_notify() const {
  return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

std::string RawPeer::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

void join(RawPeer& a, RawPeer& b) {
  for (int quiet = 0; quiet < 2;) {
    a.handshake();
    b.handshake();
    const std::string from_a = a.take_output();
    const std::string from_b = b.take_output();
    b.feed(from_a);
    a.feed(from_b);
    quiet = from_a.empty() && from_b.empty() ? quiet + 1 : 0;
  }
}

}  // namespace test
