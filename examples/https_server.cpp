// An HTTPS server for curl and browsers: it says how they came.
//
//   https_server CERTIFICATE KEY [PORT]     two PEM files; port 0, the default, is any free one
//
//   openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem
//           -subj /CN=localhost -addext subjectAltName=DNS:localhost
//   https_server cert.pem key.pem 8443 & curl --cacert cert.pem https://localhost:8443/
#include <ferry/ferry.hpp>
#include <ferry/format.hpp>  // fmt formatters for Address, Error …

#include <cstdio>
#include <cstdlib>

namespace {

class Http : public ferry::Protocol {
 public:
  void connection_made(ferry::Transport& transport) override { transport_ = &transport; }
  void data_received(ferry::BytesView data) override {
    received_ += data.text();
    for (std::size_t end; (end = received_.find("\r\n\r\n")) != received_.npos;) {
      answer(std::string_view{received_}.substr(0, end));
      received_.erase(0, end + 4);
    }
    if (received_.size() > 16 * 1024) transport_->close();  // no request is that long
  }
  // A client that asks faster than it reads is made to wait.
  void pause_writing() override { transport_->pause_reading(); }
  void resume_writing() override { transport_->resume_reading(); }

 private:
  void answer(std::string_view request) {
    if (transport_->is_closing()) return;
    const std::string_view line = request.substr(0, request.find("\r\n"));
    const bool head = line.starts_with("HEAD "), known = head || line.starts_with("GET ");
    const auto body =
        fmt::format("{}\n{} with {}\n", line, transport_->get_extra_info(ferry::tls_version),
                    transport_->get_extra_info(ferry::cipher).name);
    transport_->write(
        fmt::format("HTTP/1.1 {}\r\nContent-Type: text/plain\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    known ? "200 OK" : "405 Method Not Allowed", body.size(), head ? "" : body));
    const bool last = request.find("\r\nConnection: close") != request.npos;
    if (last || !known || line.ends_with("HTTP/1.0")) transport_->close();
  }

  ferry::Transport* transport_ = nullptr;
  std::string received_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return fmt::print(stderr, "usage: {} CERTIFICATE KEY [PORT]\n", argv[0]), 2;
  auto tls = ferry::SslContext::server(argv[1], argv[2]);
  tls.set_alpn_protocols({"http/1.1"});
  tls.set_handshake_error_callback(
      [](const ferry::Error& error, std::string_view) { fmt::print(stderr, "{}\n", error); });

  ferry::Loop loop;
  auto server = loop.run_until_complete(loop.create_server(
      ferry::make<Http>, "localhost", argc > 3 ? std::atoi(argv[3]) : 0, {.ssl = &tls}));
  fmt::print("Serving on https://localhost:{}/\n", server->sockets().front().getsockname().port());
  std::fflush(stdout);  // who started us may wait for this line

  loop.add_signal_handler(SIGINT, [&] { loop.stop(); });
  loop.run_forever();  // until Ctrl+C

  server->close();
  server->close_clients();
  loop.run_until_complete(server->wait_closed());
} catch (const ferry::OsError& error) {  // a certificate that cannot be read, a port that is taken
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
