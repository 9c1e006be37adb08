// ferry's side of the interoperability tests: a TLS server or client by flags, which prints what
// happens, a line each. check.py drives it.
//
//   tls_tool certificates FOLDER     root, ecdsa, rsa, other (other.example's), client: .pem, .key
//   tls_tool server CONNECTIONS CERT KEY [FLAG…]    echoes; ends after so many
//   tls_tool client PORT ROOTS TEXT [FLAG…]         sends the text, closes when as much came back
//
// Flags, of both: --min V, --max V (1.2, 1.3), --alpn A,B, --name NAME (of the server),
//   --cert CERT KEY
// server: --ca ROOTS (clients must have a certificate), --sni NAME CERT KEY, --renegotiation
// client: --resume (connects a second time, with the session), --wait TEXT (closes when that came)
#include "support/tls/certificates.hpp"

#include <ferry/ferry.hpp>
#include <ferry/format.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print("{}\n", fmt::format(format, std::forward<Args>(args)...));
  std::fflush(stdout);
}

struct Settings {
  ferry::SslContext tls;
  std::string name = "localhost";
  std::string wait;
  bool resume = false;
};

// What both sides tell of a connection.
void tell(const ferry::Transport& transport) {
  const auto peer = transport.get_extra_info(ferry::peercert);
  say("made {} {} alpn={} name={} reused={} peer={}", transport.get_extra_info(ferry::tls_version),
      transport.get_extra_info(ferry::cipher).name, transport.get_extra_info(ferry::alpn_protocol),
      transport.get_extra_info(ferry::server_name), transport.get_extra_info(ferry::session_reused),
      peer ? peer->subject : "none");
}
void tell_end(const ferry::Error& error) {
  say("lost {}", error ? std::string{error.what()} : "clean");
}

class Echo : public ferry::Protocol {
 public:
  explicit Echo(std::function<void()> on_end) : on_end_{std::move(on_end)} {}
  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    tell(transport);
  }
  void data_received(ferry::BytesView data) override { transport_->write(data); }
  bool eof_received() override {
    say("eof");
    return false;
  }
  void pause_writing() override { transport_->pause_reading(); }
  void resume_writing() override { transport_->resume_reading(); }
  void connection_lost(const ferry::Error& error) override {
    tell_end(error);
    on_end_();
  }

 private:
  std::function<void()> on_end_;
  ferry::Transport* transport_ = nullptr;
};

class Client : public ferry::Protocol {
 public:
  Client(std::string text, std::string wait, ferry::Future<void> ended)
      : text_{std::move(text)}, wait_{std::move(wait)}, ended_{std::move(ended)} {}
  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    tell(transport);
    transport.write(text_);
  }
  void data_received(ferry::BytesView data) override {
    received_ += data.text();
    if (!wait_.empty()) say("got {}", data.text());
    const bool all =
        wait_.empty() ? received_.size() >= text_.size() : received_.find(wait_) != received_.npos;
    if (all) transport_->close();
  }
  void connection_lost(const ferry::Error& error) override {
    say("received {}{}", received_.size(), received_ == text_ ? ", the same" : "");
    tell_end(error);
    ended_.set_result();
  }

 private:
  std::string text_, wait_, received_;
  ferry::Future<void> ended_;
  ferry::Transport* transport_ = nullptr;
};

ferry::TlsVersion version(const std::string& text) {
  return text == "1.2" ? ferry::TlsVersion::v1_2 : ferry::TlsVersion::v1_3;
}

void set_alpn(ferry::SslContext& tls, std::string_view list) {
  std::vector<std::string_view> names;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    names.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  tls.set_alpn_protocols(names);
}

Settings parse(ferry::SslContext tls, const std::vector<std::string>& flags) {
  Settings settings;
  settings.tls = std::move(tls);
  ferry::SslContext& context = settings.tls;
  std::size_t at = 0;
  const auto next = [&]() -> const std::string& { return flags.at(at++); };
  while (at < flags.size()) {
    const std::string flag = next();
    if (flag == "--min") {
      context.set_minimum_version(version(next()));
    } else if (flag == "--max") {
      context.set_maximum_version(version(next()));
    } else if (flag == "--alpn") {
      set_alpn(context, next());
    } else if (flag == "--name") {
      settings.name = next();
    } else if (flag == "--wait") {
      settings.wait = next();
    } else if (flag == "--resume") {
      settings.resume = true;
    } else if (flag == "--renegotiation") {
      context.set_renegotiation(true);
    } else if (flag == "--ca") {
      context.load_verify_locations(next());
      context.set_verify_mode(ferry::VerifyMode::required);
    } else if (flag == "--cert") {
      const std::string cert = next();
      context.load_cert_chain(cert, next());
    } else if (flag == "--sni") {
      const std::string name = next(), cert = next();
      context.set_sni_callback(
          [name, other = ferry::SslContext::server(cert, next())](std::string_view asked) {
            return asked == name ? other : ferry::SslContext{};
          });
    } else {
      throw std::invalid_argument{"what is " + flag + "?"};
    }
  }
  return settings;
}

void serve(int connections, Settings settings) {
  ferry::Loop loop;
  const auto ended = [&] {
    if (--connections == 0) loop.stop();
  };
  settings.tls.set_handshake_error_callback([&](const ferry::Error& error, std::string_view) {
    say("refused {}", error.what());
    ended();
  });
  auto task = loop.create_server([&] { return std::make_shared<Echo>(ended); }, "127.0.0.1", 0,
                                 {.ssl = &settings.tls});
  const auto server = loop.run_until_complete(std::move(task));
  say("port {}", server->sockets().front().getsockname().port());
  loop.run_forever();
  server->close();
  server->close_clients();
  loop.run_until_complete(server->wait_closed());
}

// The session for the next one.
ferry::SslSession connect(ferry::Loop& loop, int port, const std::string& text,
                          const Settings& settings, const ferry::SslSession& session) {
  auto ended = loop.create_future<void>();
  auto task = loop.create_connection(
      [&] { return std::make_shared<Client>(text, settings.wait, ended); }, "127.0.0.1", port,
      {.ssl = &settings.tls, .server_hostname = settings.name, .ssl_session = &session});
  const auto made = loop.run_until_complete(std::move(task));
  loop.run_until_complete(ended);
  return made.transport->get_extra_info(ferry::ssl_session);
}

void write(const std::string& path, const std::string& content) {
  std::ofstream{path, std::ios::binary} << content;
}
void write(const std::string& path, const test::Identity& identity) {
  write(path + ".pem", identity.cert_pem);
  write(path + ".key", identity.key_pem);
}

// The servers' with the intermediate certificate that has signed them.
void make_certificates(const std::string& folder) {
  const test::Authority intermediate = test::authority().intermediate();
  const auto issue = [&](const test::CertificateSpec& spec) {
    test::Identity identity = intermediate.issue(spec);
    identity.cert_pem += intermediate.pem();
    return identity;
  };
  write(folder + "/root.pem", test::authority().pem());
  write(folder + "/ecdsa", issue(test::for_localhost()));
  write(folder + "/rsa", issue(test::for_localhost(test::KeyKind::rsa2048)));
  test::CertificateSpec other;
  other.common_name = "other";
  other.dns_names = {"other.example"};
  write(folder + "/other", issue(other));
  test::CertificateSpec client;
  client.common_name = "a client";
  client.purpose = test::Purpose::client;
  write(folder + "/client", test::authority().issue(client));
  write(folder + "/stranger", test::self_signed(client));
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> words{argv + 1, argv + argc};
  const auto flags = [&](std::ptrdiff_t from) {
    return std::vector<std::string>{words.begin() + from, words.end()};
  };
  if (words.at(0) == "certificates") {
    make_certificates(words.at(1));
  } else if (words.at(0) == "server") {
    auto tls = ferry::SslContext::server(words.at(2), words.at(3));
    serve(std::atoi(words[1].c_str()), parse(std::move(tls), flags(4)));
  } else {
    const Settings settings = parse(ferry::SslContext::client(words.at(2)), flags(4));
    ferry::Loop loop;
    const int port = std::atoi(words[1].c_str());
    const ferry::SslSession session = connect(loop, port, words[3], settings, {});
    if (settings.resume) connect(loop, port, words[3], settings, session);
  }
  return 0;
} catch (const std::exception& error) {
  say("failed {}", error.what());
  return 1;
}
