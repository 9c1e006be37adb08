// create_connection() and its kin.
#include "transports/names.hpp"
#include "transports/opening.hpp"
#include "transports/ssl_channel.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/loop.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace ferry {
namespace internal {
namespace {

using Made = Connection<StreamProtocol>;

// Everything that the call was given, copied: the views of the options do not outlive it.
struct ConnectJob {
  LoopCore& core;
  StreamProtocolFactory factory;
  HostPort remote;
  HostPort local;
  Address local_addr;
  bool all_errors = false;
  SslSpec ssl;
};

// "example.com (192.0.2.1:443)"
std::string name_of_peer(const SslSpec& ssl, const Address& peer) {
  const bool by_name = !ssl.server_name.empty() && !ssl.is_address;
  return by_name ? ssl.server_name + " (" + peer.to_string() + ")" : peer.to_string();
}

// The connection is there: the protocol is made, hears of it, and so does who waits. `died`: it is
// known to have been reset since.
Task<Made> hand_over(LoopCore* core, StreamProtocolFactory factory, Socket socket, Error died,
                     std::unique_ptr<SslSpec> ssl) {
  const SocketView view = socket.view();
  const StreamNames names{view.getpeername(), view.getsockname(), factory.where()};
  std::shared_ptr<StreamProtocol> protocol = factory();  // if it throws, the socket closes itself
  auto channel =
      core->network().channel(*core, std::move(socket), names.local.family(), false, died);
  if (*ssl) channel = ssl_channel(*core, channel, *ssl, name_of_peer(*ssl, names.peer));
  ssl.reset();
  Opening<StreamTransport> opening{core->loop()};
  opening.transport =
      StreamTransport::begin(*core, std::move(channel), protocol, names, nullptr, opening.told());
  co_await opening.opened;
  co_return opening.take<Made>(std::move(protocol));
}

struct Attempt {
  Error error;
  Socket socket;  // with an error as well: connected, and reset since
};

Task<Attempt> try_address(LoopCore* core, Address remote, Address local) {
  Network::Started started = core->network().connect(*core, remote, local);
  Attempt attempt;
  if (!started.pending) {
    attempt.error = std::move(started.error);
    if (!attempt.error) attempt.socket = std::move(started.socket);
    co_return attempt;
  }
  auto outcome = std::make_shared<Attempt>();
  Future<void> done = core->loop().create_future<void>();
  started.pending->on_done([outcome, done](Error error, Socket socket) mutable {
    outcome->error = std::move(error);
    outcome->socket = std::move(socket);
    if (!done.done()) done.set_result();
  });
  co_await done;  // cancelled: `started` ends the attempt and closes its socket
  attempt = std::move(*outcome);
  co_return attempt;
}

// One error for many: the only one, the one text they share, or all of them (T-124).
Error combined(const std::vector<Error>& errors, const std::string& target, bool all) {
  if (errors.empty()) return Error{ResolverErrc::no_address, "connect to " + target};
  const bool alike = std::all_of(errors.begin(), errors.end(), [&](const Error& error) {
    return error.what() == errors.front().what();
  });
  if (errors.size() == 1 || (alike && !all)) return errors.front();
  std::string text = "connect to " + target + ": ";
  for (const Error& error : errors) {
    if (&error != &errors.front()) text += "; ";
    text += error.what();
  }
  return Error::worded(errors.front().code(), text);
}

Task<std::vector<Address>> local_addresses(ConnectJob* job) {
  std::vector<Address> found;
  if (job->local_addr) {
    found.push_back(job->local_addr);
  } else if (!job->local.host.empty() || job->local.port != 0) {
    found = co_await resolve(&job->core, job->local, true);
  }
  co_return found;
}

Task<Made> connect(std::unique_ptr<ConnectJob> job) {
  const std::vector<Address> remotes = co_await resolve(&job->core, job->remote, false);
  const std::vector<Address> locals = co_await local_addresses(job.get());
  std::vector<Error> errors;
  for (const Address& remote : remotes) {
    std::vector<Address> froms;
    for (const Address& local : locals) {
      if (local.family() == remote.family()) froms.push_back(local);
    }
    if (locals.empty()) froms.emplace_back();
    for (const Address& from : froms) {
      Attempt attempt = co_await try_address(&job->core, remote, from);
      if (!attempt.socket) {
        errors.push_back(std::move(attempt.error));
        continue;
      }
      co_return co_await hand_over(&job->core, std::move(job->factory),
                                   std::move(attempt.socket), std::move(attempt.error),
                                   std::make_unique<SslSpec>(std::move(job->ssl)));
    }
    if (froms.empty()) {
      errors.push_back(Error{std::make_error_code(std::errc::address_family_not_supported),
                             "bind to connect to " + remote.to_string()});
    }
  }
  combined(errors, job->remote.to_string(), job->all_errors).raise();
  co_return Made{};  // never reached: there is an error
}

Task<Made> connect_to_path(LoopCore* core, StreamProtocolFactory factory, Address path,
                           std::unique_ptr<SslSpec> ssl) {
  Attempt attempt = co_await try_address(core, path, Address{});
  if (!attempt.socket) attempt.error.raise();
  co_return co_await hand_over(core, std::move(factory), std::move(attempt.socket),
                               std::move(attempt.error), std::move(ssl));
}

std::unique_ptr<SslSpec> client_side(const char* call, const SslOptions& options) {
  return std::make_unique<SslSpec>(client_spec(SslRequest::of(call, options), std::nullopt));
}

// Throws std::invalid_argument, and leaves the socket with its caller (T-123).
void check_connected(LoopCore& core, const char* call, const Socket& sock) {
  core.check_usable(call);
  core.check_thread(call);
  const std::string name = std::string{call} + ": socket " + std::to_string(sock.fileno());
  switch (core.network().inspect(sock).kind) {
    case SocketKind::other:
    case SocketKind::datagrams: throw std::invalid_argument{name + " is not a stream socket"};
    case SocketKind::listening: throw std::invalid_argument{name + " is listening"};
    case SocketKind::unconnected: throw std::invalid_argument{name + " is not connected"};
    case SocketKind::connected: break;
  }
}

}  // namespace
}  // namespace internal

Task<Loop::Erased> Loop::connect_tcp(StreamProtocolFactory factory, std::string_view host,
                                     Port port, const ConnectOptions& options) {
  core_->check_usable("create_connection");
  core_->check_thread("create_connection");
  auto job = std::make_unique<internal::ConnectJob>(internal::ConnectJob{
      *core_, std::move(factory), internal::HostPort::checked(host, port, options.family),
      internal::HostPort::checked(options.local_host, options.local_port, options.family),
      options.local_addr, options.all_errors,
      internal::client_spec(internal::SslRequest::of("create_connection", options), host)});
  return internal::connect(std::move(job));
}

Task<Loop::Erased> Loop::connect_socket(StreamProtocolFactory factory, Socket&& sock,
                                        const SslOptions& options) {
  internal::check_connected(*core_, "create_connection", sock);
  auto ssl = internal::client_side("create_connection", options);
  return internal::hand_over(core_.get(), std::move(factory), std::move(sock), Error{},
                             std::move(ssl));
}

Task<Loop::Erased> Loop::accept_socket(StreamProtocolFactory factory, Socket&& sock,
                                       const SslOptions& options) {
  internal::check_connected(*core_, "connect_accepted_socket", sock);
  auto ssl = std::make_unique<internal::SslSpec>(
      internal::server_spec(internal::SslRequest::of("connect_accepted_socket", options)));
  return internal::hand_over(core_.get(), std::move(factory), std::move(sock), Error{},
                             std::move(ssl));
}

Task<Loop::Erased> Loop::connect_unix(StreamProtocolFactory factory, std::string_view path,
                                      const SslOptions& options) {
  core_->check_usable("create_unix_connection");
  core_->check_thread("create_unix_connection");
  if (path.empty()) throw std::invalid_argument{"create_unix_connection: the path is empty"};
  return internal::connect_to_path(core_.get(), std::move(factory), Address::unix_path(path),
                                   internal::client_side("create_unix_connection", options));
}

}  // namespace ferry
