// The other end of a TLS connection, by OpenSSL alone: no code of ferry's is in it. It has no
// socket either: feed() it what came, send what take_output() gives. raw_connection.hpp drives it
// over a test's connection.
#pragma once

#include "support/tls/certificates.hpp"

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

namespace test {

// A context that a test may set up further with OpenSSL's own calls.
using RawContext = std::shared_ptr<SSL_CTX>;
// Verifies the server if there is somebody to trust, else takes any.
RawContext raw_client_context(const std::string& trusted_pem = {});
// `chain_pem`: the intermediate certificates that are sent too.
RawContext raw_server_context(const Identity& identity, const std::string& chain_pem = {});
// A client's certificate at a server, and the other way round.
void use_identity(const RawContext& context, const Identity& identity,
                  const std::string& chain_pem = {});
void require_client(const RawContext& context, const std::string& trusted_pem);
// TLS1_2_VERSION or TLS1_3_VERSION and no other.
void speak_only(const RawContext& context, int version);
// A server's; in the format of the wire: "\x02h2\x08http/1.1".
void prefer_alpn(const RawContext& context, std::string wire);

class RawPeer {
 public:
  // `server_name`: for SNI, and matched with the certificate where it is verified.
  static RawPeer client(const RawContext& context, const std::string& server_name = {});
  static RawPeer server(const RawContext& context);

  // --- Ciphertext ---
  void feed(std::string_view bytes);
  void feed_end();  // the stream has ended, with or without close_notify
  std::string take_output();

  // --- Steps. Each does what can be done with what was fed; none of them waits ---
  // Whether the handshake is done.
  bool handshake();
  // The plaintext that is there; answers what has to be answered (KeyUpdate, renegotiation).
  std::string read();
  // False: not now (in the middle of a renegotiation), or failed.
  bool write(std::string_view text);
  void shutdown();  // our close_notify
  bool key_update(bool ask_the_other_too = false);
  // TLS 1.2, by the client; goes on in read().
  bool renegotiate();

  // --- What happened ---
  bool is_open() const { return done_; }  // the handshake is done
  bool got_close_notify() const;
  bool failed() const { return !error_.empty(); }
  // OpenSSL's words, "sslv3 alert handshake failure"; empty: none.
  const std::string& error() const { return error_; }
  // "TLSv1.3", and what both agreed on; empty: nothing.
  std::string version() const { return SSL_get_version(ssl_.get()); }
  std::string alpn() const;
  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  SSL* ssl() const { return ssl_.get(); }

 private:
  explicit RawPeer(const RawContext& context);
  // Whether the call that answered `result` went well; notes an error.
  bool good(int result);

  RawContext context_;
  std::shared_ptr<SSL> ssl_;
  BIO* in_ = nullptr;   // the SSL's
  BIO* out_ = nullptr;  // the SSL's
  bool done_ = false;
  std::string error_;
};

// Hands what each has written to the other until neither has more.
void join(RawPeer& a, RawPeer& b);

}  // namespace test
