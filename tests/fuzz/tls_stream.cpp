// A stream over TLS, from its beginning or by start_tls(), and OpenSSL alone at the other end.
#include "fuzz/stream.hpp"
#include "support/tls/fixed_random.hpp"
#include "support/tls/raw_peer.hpp"

namespace {

class RawEnd final : public fuzz::SecretPeer {
 public:
  explicit RawEnd(test::RawPeer peer) : peer_{std::move(peer)} { go_on(); }
  std::string open(ferry::BytesView cipher) override {
    peer_.feed(cipher.text());
    return go_on();
  }
  bool seal(std::string_view plain) override {
    const bool done = !over_ && peer_.write(plain);
    go_on();
    return done;
  }
  void say_goodbye() override {
    if (!peer_.is_open() || std::exchange(over_, true)) return;
    peer_.shutdown();
    go_on();
  }
  std::string& wire() override { return wire_; }

 private:
  std::string go_on() {
    peer_.handshake();
    std::string plain = peer_.read();
    fuzz::require(!peer_.failed(), "what is sent is TLS");
    // As it does that has nothing more to say.
    if (peer_.got_close_notify() && !std::exchange(over_, true)) peer_.shutdown();
    wire_ += peer_.take_output();
    return plain;
  }

  test::RawPeer peer_;
  std::string wire_;
  bool over_ = false;
};

struct Kit {
  test::Identity identity = test::authority().issue(test::for_localhost(test::KeyKind::ed25519));
  ferry::SslContext client = ferry::SslContext::client(ferry::Pem::text(test::authority().pem()));
  ferry::SslContext server = ferry::SslContext::server(ferry::Pem::text(identity.cert_pem),
                                                       ferry::Pem::text(identity.key_pem));
  test::RawContext raw_client = test::raw_client_context(test::authority().pem());
  test::RawContext raw_server = test::raw_server_context(identity);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  test::seed_openssl(0);
  static const Kit kit;
  test::seed_openssl(1);  // whether the kit was made now or before
  fuzz::Tls tls;
  tls.spec.server_side = size > 0 && data[0] >= 128;
  tls.spec.context = tls.spec.server_side ? kit.server : kit.client;
  if (tls.spec.server_side) {
    tls.peer = std::make_unique<RawEnd>(test::RawPeer::client(kit.raw_client, "localhost"));
  } else {
    tls.spec.server_name = "localhost";
    tls.peer = std::make_unique<RawEnd>(test::RawPeer::server(kit.raw_server));
  }
  fuzz::live({data, size}, &tls);
  return 0;
}
