#include "world.hpp"

#include <utility>

namespace conformance {

Server::Server(World& world, const ServerDeclared& declared)
    : name{declared.name}, world_{world}, kind_{declared.kind}, idle_{declared.idle} {}

ferry::Task<void> Server::start() {
  auto make = [this] {
    Link& link = *expected.front();
    expected.pop_front();
    return link.factory();
  };
  ferry::ServerOptions tcp_options;
  tcp_options.start_serving = !idle_;
  if (kind_ == "tls") tcp_options.ssl = &server_context();
  ferry::UnixServerOptions unix_options;
  unix_options.start_serving = !idle_;
  auto task = kind_ != "unix"
                  ? world_.loop.create_server(make, "127.0.0.1", 0, tcp_options)
                  : world_.loop.create_unix_server(make, world_.new_path(), unix_options);
  server = co_await std::move(task);
  const auto sockets = server->sockets();
  for (const ferry::SocketView& socket : sockets) small_buffers(socket);
  address = sockets.at(0).getsockname();
}

void Server::soon(const std::string& what, ferry::Task<void> task, bool must) {
  world_.tasks.push_back(world_.loop.create_task(wait(what, std::move(task), must)));
}

ferry::Task<void> Server::wait(std::string what, ferry::Task<void> task, bool must) {
  if (must) ++begun;
  try {
    co_await std::move(task);
    world_.trace.add(name, what + " returned");
  } catch (...) {
    world_.trace.add(name, what + " failed " + word(std::current_exception()));
  }
  if (must) --begun;
  world_.progress();
}

Answer Server::perform(const std::string& verb) {
  if (verb == "start") {
    soon(verb, start());
    return {};
  }
  if (!server) return "no server";
  if (verb == "wait_closed") soon(verb, server->wait_closed(), false);
  if (verb == "start_serving") soon(verb, server->start_serving());
  if (verb == "close") server->close();
  if (verb == "close_clients") server->close_clients();
  if (verb == "abort_clients") server->abort_clients();
  if (verb == "is_serving") return yes(server->is_serving());
  if (verb == "sockets") return std::to_string(server->sockets().size());
  return {};
}

}  // namespace conformance
