#include "tls.hpp"

#include "support/tls/raw_peer.hpp"

#include <utility>

namespace conformance {
namespace {

const test::Identity& identity() {
  static const test::Identity made =
      test::authority().issue(test::for_localhost(test::KeyKind::ed25519));
  return made;
}

class RawEnd final : public SecretEnd {
 public:
  explicit RawEnd(test::RawPeer peer) : peer_{std::move(peer)} { peer_.handshake(); }
  bool is_open() const override { return peer_.is_open(); }
  std::string open(std::string_view cipher) override {
    peer_.feed(cipher);
    if (peer_.handshake() && !early_.empty()) peer_.write(std::exchange(early_, {}));
    return peer_.read();
  }
  void seal(std::string_view plain) override {
    if (peer_.is_open()) {
      peer_.write(plain);
    } else {
      early_ += plain;
    }
  }
  void say_goodbye() override { peer_.shutdown(); }
  bool heard_goodbye() const override { return peer_.got_close_notify(); }
  std::string take() override { return peer_.take_output(); }

 private:
  test::RawPeer peer_;
  std::string early_;
};

}  // namespace

std::unique_ptr<SecretEnd> new_end(bool server_side) {
  static const test::RawContext client = test::raw_client_context(test::authority().pem());
  static const test::RawContext server = test::raw_server_context(identity());
  return std::make_unique<RawEnd>(server_side ? test::RawPeer::server(server)
                                              : test::RawPeer::client(client, "localhost"));
}

const ferry::SslContext& client_context() {
  static const auto made = ferry::SslContext::client(ferry::Pem::text(test::authority().pem()));
  return made;
}
const ferry::SslContext& server_context() {
  static const auto made = ferry::SslContext::server(ferry::Pem::text(identity().cert_pem),
                                                     ferry::Pem::text(identity().key_pem));
  return made;
}

}  // namespace conformance
