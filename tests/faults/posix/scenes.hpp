// What scenarios of the fault sweep are made of.
#pragma once

#include "faults/posix/sweep.hpp"

namespace test {

inline const std::string some_text = "hello";

inline int port_of(const ferry::Server& server) {
  ferry::internal::SocketAddress name;
  const auto handle = static_cast<int>(server.sockets().front().fileno());
  ::getsockname(handle, name.get(), &name.length);  // not through the table
  return name.address().port();
}

inline void echo_server(Actor& actor) { actor.echoes = true; }

inline auto connected(Stage& stage, const std::shared_ptr<Actor>& client,
                      ferry::Task<ferry::Connection<>> task) {
  auto made = stage.checker.connection(stage.await(std::move(task), "a connection"));
  CHECK((client->transport == nullptr || client->transport == made.transport.get()));
  return made.transport;
}

inline auto connect_to(Stage& stage, const std::shared_ptr<Actor>& client,
                       const std::string& host, int port,
                       const ferry::ConnectOptions& options = {}) {
  return connected(stage, client, stage.attempt([&] {
    return stage.loop.create_connection(stage.checker.factory([client] { return client; }), host,
                                        port, options);
  }));
}

inline std::shared_ptr<ferry::Server> serve_tcp(Stage& stage, const std::string& host,
                                                std::function<void(Actor&)> prepare,
                                                const ferry::ServerOptions& options = {}) {
  return stage.keep(stage.await(stage.attempt([&] {
    return stage.loop.create_server(stage.serve(std::move(prepare)), host, 0, options);
  }), "a server"));
}

// An echo, then close() from this side.
inline void echo_and_close(Stage& stage, const std::shared_ptr<Actor>& client,
                           const std::shared_ptr<ferry::Transport>& transport) {
  transport->write(some_text);
  stage.until([&] { return client->received == some_text; }, "the echo");
  stage.closing = true;
  transport->close();
  stage.until([&] { return stage.all_lost(); }, "the end of both");
}

inline void sweep(const char* name, std::string (*run)(Stage&), bool makes_good = false) {
  FaultSweep{{name, run, makes_good}}.run();
}

}  // namespace test
