// One round trip over loopback through an embedded ferry: prints "embedded: ok".
#include <ferry/ferry.hpp>

#include <cstdio>
#include <memory>
#include <string>

bool included_twice();  // second.cpp

namespace {

class Echo : public ferry::Protocol {
 public:
  void connection_made(ferry::Transport& transport) override { transport_ = &transport; }
  void data_received(ferry::BytesView data) override { transport_->write(data); }

 private:
  ferry::Transport* transport_ = nullptr;
};

class Client : public ferry::Protocol {
 public:
  explicit Client(ferry::Loop& loop) : loop_{loop} {}

  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    transport.write("embedded");
  }
  void data_received(ferry::BytesView data) override {
    received_ += data.text();
    if (received_.size() >= 8) transport_->close();
  }
  void connection_lost(const ferry::Error& exc) override {
    if (exc) std::fprintf(stderr, "lost: %s\n", std::string{exc.what()}.c_str());
    loop_.stop();
  }
  const std::string& received() const { return received_; }

 private:
  ferry::Loop& loop_;
  ferry::Transport* transport_ = nullptr;
  std::string received_;
};

// What is thrown inside the library must be caught by its type outside of it.
bool refused_by_type(ferry::Loop& loop) {
  const ferry::Address path = ferry::Address::unix_path("/nonexistent/ferry-embed");
  try {
    loop.run_until_complete(loop.create_unix_connection(ferry::make<Echo>, path.path()));
  } catch (const ferry::OsError& error) {
    return error.code() == std::errc::no_such_file_or_directory ||
           error.code() == std::errc::address_family_not_supported;  // no Unix sockets at all
  }
  return false;
}

// What TLS needs comes along; or ferry was built without, and says so.
bool has_tls_or_says_so() {
  try {
    return ferry::SslContext::server().is_server();
  } catch (const ferry::NotSupported&) {
    return true;
  }
}

}  // namespace

int main() {
  ferry::Loop loop;
  auto server = loop.run_until_complete(loop.create_server(ferry::make<Echo>, "127.0.0.1", 0));
  const int port = server->sockets().front().getsockname().port();
  auto connection = loop.run_until_complete(
      loop.create_connection([&] { return std::make_shared<Client>(loop); }, "127.0.0.1", port));
  loop.run_forever();
  server->close();
  loop.run_until_complete(server->wait_closed());

  const bool ok = connection.protocol->received() == "embedded" && refused_by_type(loop) &&
                  has_tls_or_says_so() && included_twice();
  std::puts(ok ? "embedded: ok" : "embedded: wrong");
  return ok ? 0 : 1;
}
