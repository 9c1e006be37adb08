// One side of one TLS connection, without I/O: ciphertext goes in and comes out through memory. No
// loop, no clock, no callback of ours.
#pragma once

#include "platform/channel.hpp"
#include "transports/ssl_context.hpp"
#include "transports/ssl_spec.hpp"

#include <ferry/bytes.hpp>
#include <ferry/error.hpp>

#include <any>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ferry::internal {

// Each step reads the ciphertext that feed() showed and writes into the room of give_room(). It
// ends in one of these:
enum class SslStatus : std::uint8_t {
  done,
  want_input,   // feed() more
  want_output,  // the room is full: take what was produced, give room again, repeat the step
  ended,        // the peer said close_notify
  failed,       // for good; failure() says why
};

class SslObject final : public ChannelInfo {
 public:
  // Room for one record at least, whatever its kind.
  static constexpr std::size_t most_plain = 16 * 1024;
  static constexpr std::size_t most_record = most_plain + 512;

  struct Step {
    SslStatus status = SslStatus::done;
    std::size_t count = 0;
  };

  explicit SslObject(const SslSpec& spec);
  SslObject(const SslObject&) = delete;
  SslObject& operator=(const SslObject&) = delete;
  ~SslObject() override;

  // Stays where it is until the steps have read it; what they left is unread().
  void feed(BytesView ciphertext) noexcept { input_ = ciphertext; }
  BytesView unread() const noexcept { return input_; }
  void give_room(std::span<std::byte> room) noexcept {
    room_ = room;
    produced_ = 0;
  }
  std::size_t produced() const noexcept { return produced_; }
  std::size_t room_left() const noexcept { return room_.size() - produced_; }

  Step handshake();
  // Fills as much of `into` as there is.
  Step read(std::span<std::byte> into);
  // One record at most; its count is what was taken. With less room than a record it may have to be
  // repeated with the same bytes, wherever they lie then (T-086), before any other step.
  Step write(BytesView plaintext);
  Step shutdown();  // says close_notify

  // Whether something may be read without new input: decrypted, or in part, or the end.
  bool has_pending() const noexcept {
    return SSL_has_pending(ssl_) == 1 || (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  Error failure() const { return failure_; }
  // The stream was cut: its session is not to be used again (T-092).
  void forget_session() noexcept;
  bool ignores_truncation() const { return SslAccess::state(context_).ignore_truncation; }
  // get_extra_info() of TLS; empty for a name that is not one of its own.
  std::any info(std::string_view name) const override;
  SSL* ssl() const noexcept { return ssl_; }

 private:
  friend int verify_callback(int verified, X509_STORE_CTX* store);
  friend int new_session_callback(SSL* ssl, SSL_SESSION* session);
  friend void info_callback(const SSL* ssl, int where, int value);
  friend int server_name_callback(SSL* ssl, int* alert, void*);
  struct Bio;

  static SslObject& of(const SSL* ssl) noexcept;
  void make(const SslSpec& spec);
  void expect_host(const SslSpec& spec);
  void switch_to(const SslContext& context);
  SslStatus judge(int result);
  Error explained();
  Error certificate_error() const;
  bool alpn_is_missing() const;

  // OpenSSL's callbacks look at what the SSL_CTX stands for: the one it was made of, and the one
  // that SNI has put in its place.
  SslContext made_of_, context_;
  SSL* ssl_ = nullptr;
  bool open_ = false;  // a handshake was done
  BytesView input_;
  std::span<std::byte> room_;
  std::size_t produced_ = 0;
  std::string server_name_;
  SslSession session_;           // the newest that the server gave us
  Error failure_;
  std::exception_ptr thrown_;    // by a callback of the user's
  std::string refused_;          // the certificate that did not pass, in words
  long verify_error_ = X509_V_OK;
  std::uint32_t bare_messages_ = 0;  // of handshakes, since there was data
};

}  // namespace ferry::internal
