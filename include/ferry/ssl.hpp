// TLS: contexts, certificates, sessions, what a connection can tell of its TLS, and its errors.
//
// A context is made once and used for many connections: create_connection(), create_server() and
// their kin take it as `ssl`, start_tls() upgrades a connection that is open. What is wrong with a
// context (a missing key, a broken PEM, an unknown cipher, an empty range of versions) is thrown by
// the call that makes it so, never at the first handshake.
//
// In a build without TLS (FERRY_TLS=OFF) making a context throws NotSupported.
#pragma once

#include <ferry/bytes.hpp>
#include <ferry/error.hpp>
#include <ferry/export.hpp>
#include <ferry/handle.hpp>
#include <ferry/info.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferry {

namespace internal {
class SslContextState;
class SslSessionState;
struct SslAccess;
}  // namespace internal

// --- Errors ---

// What goes wrong in TLS. An Error's words say more: the certificate it is about, the host that was
// expected, the peer's alert.
enum class SslErrc {
  // The peer's certificate is refused (is_certificate_error()):
  certificate_expired = 1,
  certificate_not_yet_valid,
  self_signed_certificate,   // of the peer's own making, or a root that is not trusted
  unknown_issuer,            // no way to a trusted root: also a missing intermediate certificate
  host_mismatch,             // it is for other names
  wrong_purpose,             // a client's certificate at a server, or the other way round
  certificate_revoked,
  no_certificate,            // none came, and one is required
  certificate_invalid,       // all else: a bad signature, a weak key, a constraint
  // The handshake or the stream:
  alert,                     // the peer gave up; the words name its alert
  not_tls,                   // what came is not TLS; the words show it
  no_common_protocol,        // versions, ciphers or application protocols do not meet
  protocol,                  // the peer broke a rule of TLS
  truncated,                 // the stream ended without close_notify: bytes may be missing (C-09)
  // A context:
  bad_certificate,           // cannot be read
  bad_key,                   // cannot be read, or a wrong password
  key_mismatch,              // key and certificate do not belong together
  no_trusted_certificates,   // nothing to verify a peer with
  bad_setting,               // an unknown cipher, an empty range of versions …
  other,
};
FERRY_API const std::error_category& ssl_category() noexcept;
FERRY_API std::error_code make_error_code(SslErrc code) noexcept;
// Whether the peer's certificate is the reason.
FERRY_API bool is_certificate_error(const std::error_code& code) noexcept;

// --- PEM ---

// Certificates or a key in PEM: in a file or in memory. A path converts to it.
class FERRY_API Pem {
 public:
  Pem(std::string path) : text_{std::move(path)} {}
  Pem(std::string_view path) : text_{path} {}
  Pem(const char* path) : text_{path} {}
  static Pem file(std::string path) { return Pem{std::move(path)}; }
  static Pem text(std::string pem) {
    Pem made{std::move(pem)};
    made.is_file_ = false;
    return made;
  }

 private:
  friend struct internal::SslAccess;
  std::string text_;
  bool is_file_ = true;
};

// Asked for the password of an encrypted key; an empty answer is no password.
using PasswordCallback = std::function<std::string()>;

// --- Contexts ---

enum class TlsVersion : std::uint16_t { v1_2 = 0x0303, v1_3 = 0x0304 };
enum class VerifyMode : std::uint8_t {
  none,      // any certificate will do
  optional,  // of a client: verified if it sends one
  required,
};

class SslContext;
// Given the name that a client asks for, answers with the context to go on with; an empty one:
// stay. Called in the middle of a handshake, in the thread of the connection's loop. Throwing
// refuses the client (alert unrecognized_name). Of the other context everything counts from then on
// but its own callback of handshake errors and its ticket keys; a client of a version that the
// other context does not speak, or with a session from one that verifies otherwise, is refused.
using SniCallback = std::function<SslContext(std::string_view server_name)>;

// The settings of TLS for many connections; a cheap handle, copies share them. The empty one is no
// context.
//
// Set it up before it is used: the setters are not for contexts that loops in other threads are
// using, with two exceptions that any thread may call at any time: load_cert_chain() and
// set_ocsp_response() take effect for handshakes that begin after them. On the empty context they
// throw MisuseError.
class FERRY_API SslContext {
 public:
  SslContext() noexcept = default;
  // For clients: TLS 1.2 or newer; the peer's certificate is required, verified with the system's
  // trust store and matched with the host's name. Throws SslError if that store is empty.
  static SslContext client();
  // The same, trusting these certificates and no others.
  static SslContext client(const Pem& trusted);
  // For servers: TLS 1.2 or newer, no certificate of the client's.
  static SslContext server(const Pem& certificate_chain, const Pem& key,
                           const PasswordCallback& password = {});
  // A server's that has no certificate yet: load_cert_chain() before it serves.
  static SslContext server();

  explicit operator bool() const noexcept { return state_ != nullptr; }
  bool is_server() const noexcept;
  bool verifies() const noexcept;
  bool checks_hostname() const noexcept;  // set_check_hostname(), and it verifies
  bool has_certificate() const noexcept;
  bool has_trusted() const noexcept;

  // --- Who we are ---
  // The certificate, then its intermediates; the key must be the certificate's. One of each kind of
  // key (RSA and ECDSA) may be loaded; the same kind replaces. On an error nothing has changed.
  void load_cert_chain(const Pem& chain, const Pem& key, const PasswordCallback& password = {});

  // --- Whom we trust ---
  void load_verify_locations(const Pem& trusted);       // adds; throws if there is none in it
  void load_verify_directory(const std::string& path);  // hashed names, as c_rehash makes them
  void load_default_certs();                            // the system's
  void set_verify_mode(VerifyMode mode);
  void set_check_hostname(bool on);  // clients: on by default

  // --- What we speak ---
  // Throws if no version is left.
  void set_minimum_version(TlsVersion version);
  void set_maximum_version(TlsVersion version);
  void set_ciphers(std::string_view list);        // TLS 1.2, in OpenSSL's format
  void set_ciphersuites(std::string_view list);   // TLS 1.3
  // In the order of preference. A server picks the first of its own that the client has, too; with
  // no overlap the handshake goes on with none. If `required`, the handshake fails without one, on
  // this side at the latest.
  void set_alpn_protocols(std::span<const std::string_view> protocols, bool required = false);
  void set_alpn_protocols(std::initializer_list<std::string_view> protocols,
                          bool required = false) {
    set_alpn_protocols(std::span{protocols.begin(), protocols.size()}, required);
  }
  void set_sni_callback(SniCallback callback);  // servers
  // TLS 1.2 renegotiation, which is refused by default (T-084).
  void set_renegotiation(bool allowed);
  // Take an end without close_notify as a clean one (C-09). Off by default.
  void set_ignore_truncation(bool on);

  // --- Sessions ---
  // Servers: how many tickets a client gets after a full handshake; 0: no resumption. Default: 2.
  void set_session_tickets(std::size_t count);
  // 80 secret bytes, the same in every process that shares the clients; else they are random.
  void set_ticket_keys(BytesView keys);

  // --- OCSP stapling ---
  void set_ocsp_response(BytesView der);  // servers: sent to clients that ask
  void set_request_ocsp(bool on);         // clients: ask; see ferry::ocsp_response

  // --- For debugging ---
  // Gets lines in the format of SSLKEYLOGFILE, with which the traffic can be decrypted.
  void set_keylog_callback(std::function<void(std::string_view line)> callback);
  // Hears of every handshake that failed on the server's side, where mostly no caller waits for the
  // error. `peer` is its name, for logs. In the thread of the connection's loop.
  void set_handshake_error_callback(
      std::function<void(const Error& error, std::string_view peer)> callback);

  friend bool operator==(const SslContext& a, const SslContext& b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  friend struct internal::SslAccess;
  internal::SslContextState& state() const;  // throws MisuseError
  std::shared_ptr<internal::SslContextState> state_;
};

// What makes the next handshake with the same server short. Empty: none. A copy is the same one. It
// is offered by the context only that it was made with, and to the same host: a resumed handshake
// verifies nothing anew.
class FERRY_API SslSession {
 public:
  SslSession() noexcept = default;
  // Whether it would be offered: it is there, has not timed out, and no stream of it was truncated.
  explicit operator bool() const noexcept;

 private:
  friend struct internal::SslAccess;
  std::shared_ptr<internal::SslSessionState> state_;
};

// --- Options ---

inline constexpr Seconds default_handshake_timeout{60};
inline constexpr Seconds default_shutdown_timeout{30};

// For connections that are made otherwise than by host name; ConnectOptions and ServerOptions have
// members of the same names.
struct SslOptions {
  const SslContext* ssl = nullptr;  // null: no TLS; copied when the call is made
  // Clients: for SNI, and what the certificate is matched with. Must be given if the context checks
  // the name of the host; empty: neither. A name outside of ASCII in its A-label form (xn--…).
  std::optional<std::string_view> server_hostname = {};
  std::optional<Seconds> ssl_handshake_timeout = {};  // 60 s
  std::optional<Seconds> ssl_shutdown_timeout = {};   // 30 s without progress
  const SslSession* ssl_session = nullptr;  // clients: offered, if context and host are its own
};
struct StartTlsOptions {
  bool server_side = false;
  std::optional<std::string_view> server_hostname = {};
  std::optional<Seconds> ssl_handshake_timeout = {};
  std::optional<Seconds> ssl_shutdown_timeout = {};
  const SslSession* ssl_session = nullptr;
  // What the protocol was given already and is the beginning of the peer's TLS (T-093).
  BytesView received = {};
};

// --- What a connection tells (get_extra_info) ---

struct SslCipher {
  std::string name;      // TLS_AES_256_GCM_SHA384
  std::string protocol;  // that defines it: TLSv1.3
  int bits = 0;          // secret ones
  friend bool operator==(const SslCipher&, const SslCipher&) = default;
};

struct Certificate {
  std::string subject;  // CN=example.com,O=Example,C=DE
  std::string issuer;
  std::vector<std::string> dns_names;     // of its subjectAltName
  std::vector<std::string> ip_addresses;  // of the same
  std::chrono::system_clock::time_point not_before, not_after;
  std::string serial;              // hexadecimal
  std::string fingerprint_sha256;  // hexadecimal
  std::vector<std::byte> der;
  bool verified = false;  // by this connection's handshake
};

// These have a value on TLS transports only, once connection_made() is called (S-014 … S-018).
inline constexpr InfoKey<std::string> compression{"compression"};  // empty: none
inline constexpr InfoKey<SslCipher> cipher{"cipher"};
// The peer's; none if it sent none.
inline constexpr InfoKey<std::optional<Certificate>> peercert{"peercert"};
inline constexpr InfoKey<SslContext> sslcontext{"sslcontext"};
inline constexpr InfoKey<std::string> tls_version{"tls_version"};          // TLSv1.3
inline constexpr InfoKey<std::string> alpn_protocol{"alpn_protocol"};      // empty: none
inline constexpr InfoKey<std::string> server_name{"server_name"};          // SNI, on both sides
inline constexpr InfoKey<bool> session_reused{"session_reused"};
// Clients: for SslOptions::ssl_session. With TLS 1.3 it comes after the handshake, with the first
// bytes that are read: ask when the connection is done (T-092).
inline constexpr InfoKey<SslSession> ssl_session{"ssl_session"};
inline constexpr InfoKey<std::vector<std::byte>> ocsp_response{"ocsp_response"};  // DER

}  // namespace ferry

template <>
struct std::is_error_code_enum<ferry::SslErrc> : std::true_type {};
