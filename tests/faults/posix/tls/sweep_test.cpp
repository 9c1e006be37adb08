// The fault sweep over TLS. Both ends are ferry's, so each call of either side fails in its turn.
// What fails once a side has closed is told to nobody (C-09): then the outcome must be as ever.
#include "faults/posix/scenes.hpp"
#include "support/tls/contexts.hpp"

using namespace test;

namespace {

// Tells of the handshakes that nobody waits for.
ferry::SslContext telling_server(Stage& stage) {
  ferry::SslContext context = server_context();
  context.set_handshake_error_callback([&stage](const ferry::Error& error, std::string_view) {
    stage.tell(opener, error.code(), std::string{error.what()});
  });
  return context;
}

auto connect_by_tls(Stage& stage, const std::shared_ptr<Actor>& client, int port) {
  static const ferry::SslContext trust = client_context();
  return connect_to(stage, client, "127.0.0.1", port, {.ssl = &trust});
}

std::string tls_echo(Stage& stage) {
  const ferry::SslContext context = telling_server(stage);
  const auto server = serve_tcp(stage, "127.0.0.1", echo_server, {.ssl = &context});
  const auto client = stage.actor();
  echo_and_close(stage, client, connect_by_tls(stage, client, port_of(*server)));
  stage.end(server);
  return stage.outcome();
}

// The server says the first word, and the last.
std::string tls_answer(Stage& stage) {
  const ferry::SslContext context = telling_server(stage);
  const auto server = serve_tcp(stage, "127.0.0.1", [&](Actor& one) {
    one.on_data = [&](Actor& self, ferry::BytesView data) {
      self.transport->write(data);
      stage.closing = true;
      self.transport->close();
    };
  }, {.ssl = &context});
  const auto client = stage.actor();
  const auto transport = connect_by_tls(stage, client, port_of(*server));
  transport->write(some_text);
  stage.until([&] { return stage.all_lost(); }, "the answer and the end");
  stage.end(server);
  return stage.outcome();
}

// More than the system keeps, to one who reads late.
std::string tls_bulk(Stage& stage) {
  const ferry::SslContext context = telling_server(stage);
  const auto server = serve_tcp(stage, "127.0.0.1", [](Actor&) {}, {.ssl = &context});
  const auto client = stage.actor();
  const auto transport = connect_by_tls(stage, client, port_of(*server));
  stage.until([&] { return stage.served.size() == 1 && stage.served[0]->transport != nullptr; },
              "the server's side");
  Actor& reader = *stage.served[0];
  reader.transport->pause_reading();
  static const std::string text = pattern(1 << 20);
  transport->writelines(std::vector{std::string_view{text}.substr(0, 300'000),
                                    std::string_view{text}.substr(300'000)});
  if (reader.transport != nullptr) reader.transport->resume_reading();
  stage.closing = true;
  transport->close();
  stage.until([&] { return stage.all_lost(); }, "the end after all has come");
  stage.end(server);
  return client->outcome() + reader.outcome() + (reader.received == text ? " all" : " not all");
}

ferry::Task<void> telling(Stage& stage, ferry::Task<void> upgrade) {
  try {
    co_await std::move(upgrade);
  } catch (const std::system_error& error) {
    stage.tell(opener, error.code(), error.what());
  }
}

// A word in clear, and the beginning of TLS right behind it.
std::string upgraded_echo(Stage& stage) {
  const ferry::SslContext context = server_context();
  static const ferry::SslContext trust = client_context();
  const std::string word = "STARTTLS";
  const auto server = serve_tcp(stage, "127.0.0.1", [&](Actor& one) {
    one.echoes = true;
    one.on_data = [&](Actor& self, ferry::BytesView data) {
      CHECK(data.text().starts_with(word));
      stage.loop.create_task(telling(
          stage, stage.loop.start_tls(*self.transport, context,
                                      {.server_side = true,
                                       .received = data.subview(word.size())})));
    };
  });
  const auto client = stage.actor();
  const auto transport = connect_to(stage, client, "127.0.0.1", port_of(*server));
  transport->write(word);
  if (!transport->is_closing()) {
    stage.await(stage.loop.start_tls(*client->transport, trust, {.server_hostname = "localhost"}),
                "the upgrade");
  }
  echo_and_close(stage, client, transport);
  stage.end(server);
  return stage.outcome();
}

void sweep_tls(const char* name, std::string (*run)(Stage&)) {
  FaultSweep{{name, run, true, true}}.run();
}

}  // namespace

TEST_CASE("faults: an echo over TLS", "[S-062][T-062][T-080][C-09]") {
  sweep_tls("tls echo", tls_echo);
}
TEST_CASE("faults: an answer over TLS, and its end", "[T-087][C-09]") {
  sweep_tls("tls answer", tls_answer);
}
TEST_CASE("faults: bulk over TLS", "[T-068][T-086]") { sweep_tls("tls bulk", tls_bulk); }
TEST_CASE("faults: start_tls()", "[A-010][T-093][T-096]") {
  sweep_tls("start_tls", upgraded_echo);
}
