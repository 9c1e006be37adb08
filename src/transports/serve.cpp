// create_server() and its kin.
#include "transports/names.hpp"
#include "transports/ssl_channel.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/server.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace ferry {
namespace internal {
namespace {

constexpr Seconds rest_without_resources{1.0};
constexpr int tries_for_a_common_port = 16;

struct ServerSettings {
  StreamProtocolFactory factory;
  int backlog = 100;
  bool keep_alive = false;
  bool cleanup_socket = false;
  std::string target;  // for messages
  SslSpec ssl;
};

class ServerCore;

// One listening socket of a server.
class Listener final : private Acceptor::Owner {
 public:
  Listener(ServerCore& server, LoopCore& core, Socket socket);
  ~Listener() { close(); }

  Error start(int backlog);
  void close() noexcept;
  SocketView socket() const noexcept { return acceptor_->socket(); }

 private:
  void accepted(Socket socket, const Address& peer) override;
  void accept_failed(const Error& error, bool resources) override;

  ServerCore& server_;
  LoopCore& core_;
  Address address_;
  std::unique_ptr<Acceptor> acceptor_;
  TimerHandle rest_;
};

class ServerCore final : public Server,
                         public LoopMember,
                         public ConnectionHome,
                         public std::enable_shared_from_this<ServerCore> {
 public:
  ServerCore(LoopCore& core, ServerSettings settings)
      : core_{&core}, control_{core.control()}, settings_{std::move(settings)} {}

  // Takes the bound sockets; the loop keeps it from now on.
  void begin(std::vector<Socket> sockets, Address path);
  Error listen();

  std::vector<SocketView> sockets() const override;
  bool is_serving() const noexcept override { return serving_; }
  Loop& get_loop() const override;
  Task<void> start_serving() override { return serve(shared_from_this()); }
  Task<void> serve_forever() override;
  void close() override;
  Task<void> wait_closed() override { return wait(shared_from_this()); }
  void close_clients() override;
  void abort_clients() override;

  void accepted(Socket socket, const Address& peer, const Address& local);
  void connection_ended() noexcept override;
  ServerSettings& settings() noexcept { return settings_; }

 private:
  void flush() override {}
  void drop(std::vector<std::shared_ptr<void>>& trash) override;
  std::string describe() const override { return "server on " + settings_.target; }
  static Task<void> serve(std::shared_ptr<ServerCore> self);
  static Task<void> wait(std::shared_ptr<ServerCore> self);
  static Task<void> serve_until_cancelled(std::shared_ptr<ServerCore> self);
  void wake_if_done();
  void stop_listening() noexcept;
  struct LetGo;
  template <class Visit>
  void for_each_client(Visit visit);

  LoopCore* core_;
  ControlRef control_;
  ServerSettings settings_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Listener>> closed_listeners_;  // one may be in its own callback
  Address path_;
  std::optional<Network::FileId> path_id_;
  std::size_t connections_ = 0;
  std::vector<Future<void>> waiters_;
  Future<void> forever_;
  bool serving_ = false;
  bool closed_ = false;
};

// --- Listener ---

Listener::Listener(ServerCore& server, LoopCore& core, Socket socket)
    : server_{server}, core_{core}, address_{socket.view().getsockname()},
      acceptor_{core.network().acceptor(core, std::move(socket), *this)} {}

Error Listener::start(int backlog) { return acceptor_->start(backlog); }

void Listener::close() noexcept {
  rest_.cancel();
  acceptor_->close();
}

void Listener::accepted(Socket socket, const Address& peer) {
  // A connection's own address is the listener's, unless that is every one of this machine's.
  const bool same = !address_.is_wildcard() || address_.family() == Family::unix_socket;
  const Address local = same ? address_ : socket.view().getsockname();
  server_.accepted(std::move(socket), peer, local);
}

void Listener::accept_failed(const Error& error, bool resources) {
  // Whatever it is, it will not be better at once: rest, rather than spin.
  acceptor_->pause();
  rest_ = core_.call_later(rest_without_resources, [this] { acceptor_->resume(); }, {});
  ExceptionContext context;
  context.message = resources ? "accept: out of system resources; trying again in a second"
                              : "accept failed; trying again in a second";
  context.exception = error;
  context.socket = acceptor_->socket();
  core_.call_exception_handler(context);  // which may close the server
}

// --- ServerCore ---

void ServerCore::begin(std::vector<Socket> sockets, Address path) {
  for (Socket& socket : sockets) {
    listeners_.push_back(std::make_unique<Listener>(*this, *core_, std::move(socket)));
  }
  path_ = path;
  if (settings_.cleanup_socket) path_id_ = core_->network().file_id(path);
  core_->enrol(*this, shared_from_this(), settings_.factory.where());
}

Error ServerCore::listen() {
  if (serving_) return {};
  for (const auto& listener : listeners_) {
    if (Error error = listener->start(settings_.backlog)) return error;
  }
  serving_ = true;
  return {};
}

std::vector<SocketView> ServerCore::sockets() const {
  std::vector<SocketView> views;
  for (const auto& listener : listeners_) views.push_back(listener->socket());
  return views;
}

Loop& ServerCore::get_loop() const {
  if (LoopCore* const core = control_.core()) return core->loop();
  throw MisuseError{"get_loop: the server's loop is gone"};
}

void ServerCore::accepted(Socket socket, const Address& peer, const Address& local) {
  try {
    std::shared_ptr<StreamProtocol> protocol = settings_.factory();
    if (closed_) return;  // by the factory (T-106)
    if (settings_.keep_alive) core_->network().keep_alive(socket);
    auto channel =
        core_->network().channel(*core_, std::move(socket), local.family(), true, Error{});
    if (settings_.ssl) channel = ssl_channel(*core_, channel, settings_.ssl, peer.to_string());
    const StreamNames names{peer, local, settings_.factory.where()};
    StreamTransport::begin(*core_, std::move(channel), std::move(protocol), names,
                           shared_from_this(), nullptr);
    ++connections_;
  } catch (...) {
    core_->report("a protocol factory threw for an accepted connection", {});
  }
}

void ServerCore::connection_ended() noexcept {
  --connections_;
  wake_if_done();
}

void ServerCore::wake_if_done() {
  if (!closed_ || connections_ > 0) return;
  for (Future<void>& waiter : std::exchange(waiters_, {})) {
    if (!waiter.done()) waiter.set_result();
  }
}

void ServerCore::stop_listening() noexcept {
  serving_ = false;
  for (const auto& listener : listeners_) listener->close();
  closed_listeners_ = std::move(listeners_);
  listeners_.clear();
  if (path_id_ && core_->network().file_id(path_) == path_id_) core_->network().remove_path(path_);
  path_id_.reset();
}

// Later, or when the loop ends before that.
struct ServerCore::LetGo {
  LetGo(std::shared_ptr<void> alive, ServerCore* of) noexcept
      : self{std::move(alive)}, server{of} {}
  LetGo(LetGo&&) noexcept = default;
  void operator()() const noexcept {}
  ~LetGo() {
    if (!self) return;
    server->closed_listeners_.clear();
    server->settings_.factory.reset();  // which may hold the server
  }
  std::shared_ptr<void> self;
  ServerCore* server;
};

void ServerCore::close() {
  if (closed_) return;
  core_->check_thread("Server::close");
  closed_ = true;
  stop_listening();
  if (forever_ && !forever_.done()) forever_.cancel();
  wake_if_done();
  // The loop lets go in a later turn: a listener may be in the middle of its batch.
  core_->soon(LetGo{core_->leave(*this), this});
}

void ServerCore::drop(std::vector<std::shared_ptr<void>>& trash) {
  closed_ = true;
  stop_listening();
  closed_listeners_.clear();
  forever_ = {};
  trash.push_back(std::make_shared<StreamProtocolFactory>(std::move(settings_.factory)));
}

template <class Visit>
void ServerCore::for_each_client(Visit visit) {
  LoopCore* const core = control_.core();
  if (core == nullptr || core->closed()) return;
  core->check_thread("Server::close_clients");
  std::vector<StreamTransport*> clients;  // a visit may change the loop's list
  core->for_each_member([&](LoopMember& member) {
    const bool ours = member.group() == static_cast<ConnectionHome*>(this);
    if (ours) clients.push_back(static_cast<StreamTransport*>(&member));
  });
  for (StreamTransport* client : clients) visit(*client);
}

void ServerCore::close_clients() {
  for_each_client([](StreamTransport& client) { client.close(); });
}
void ServerCore::abort_clients() {
  for_each_client([](StreamTransport& client) { client.abort(); });
}

Task<void> ServerCore::serve(std::shared_ptr<ServerCore> self) {
  if (self->closed_) throw MisuseError{"start_serving: the server is closed"};
  self->listen().raise();
  co_return;
}

Task<void> ServerCore::wait(std::shared_ptr<ServerCore> self) {
  if ((self->closed_ && self->connections_ == 0) || self->control_.core() == nullptr) co_return;
  // One future each: a waiter that is cancelled disturbs no other (T-107).
  Future<void> mine = self->core_->loop().create_future<void>();
  self->waiters_.push_back(mine);
  co_await mine;
}

Task<void> ServerCore::serve_forever() {
  if (forever_) throw MisuseError{"serve_forever: somebody else waits here already"};
  if (closed_) throw MisuseError{"serve_forever: the server is closed"};
  return serve_until_cancelled(shared_from_this());
}

Task<void> ServerCore::serve_until_cancelled(std::shared_ptr<ServerCore> self) {
  if (self->forever_) throw MisuseError{"serve_forever: somebody else waits here already"};
  if (self->closed_) throw MisuseError{"serve_forever: the server is closed"};
  self->listen().raise();
  self->forever_ = self->core_->loop().create_future<void>();
  Future<void> until = self->forever_;
  try {
    co_await until;
  } catch (const CancelledError&) {  // the only way out: the clean-up waits, so it stands below
  }
  self->forever_ = {};
  self->close();
  co_await wait(self);
  throw CancelledError{};
}

// --- Making one ---

struct ListenJob {
  LoopCore& core;
  ServerSettings settings;
  std::vector<HostPort> names;
  bool reuse_address = true;
  bool reuse_port = false;
  bool start_serving = true;
};

std::shared_ptr<Server> made_server(LoopCore& core, ServerSettings settings,
                                    std::vector<Socket> sockets, const Address& path,
                                    bool start) {
  auto server = std::make_shared<ServerCore>(core, std::move(settings));
  server->begin(std::move(sockets), path);
  const Error error = start ? server->listen() : Error{};
  if (error) server->close();
  error.raise();
  return server;
}

bool not_here(const Error& error) noexcept {  // the address is no address of this machine
  return error == std::errc::address_not_available ||
         error == std::errc::address_family_not_supported;
}

// All on one port, which the first one finds if it is 0 (T-109). Closes all if one cannot be bound.
Error bind_all(ListenJob& job, const std::vector<Address>& addresses,
               std::vector<Socket>& sockets) {
  std::uint16_t shared_port = 0;
  Error unavailable;
  for (const Address& address : addresses) {
    BindSpec spec{address, job.reuse_address, job.reuse_port};
    if (address.port() == 0 && shared_port != 0) spec.address = address.with_port(shared_port);
    Socket socket;
    Error error = job.core.network().bind(spec, socket);
    if (not_here(error)) {
      unavailable = std::move(error);
      continue;
    }
    if (error) {
      sockets.clear();
      return error;
    }
    const bool finds_port = address.port() == 0 && shared_port == 0;
    if (finds_port) shared_port = socket.view().getsockname().port();
    sockets.push_back(std::move(socket));
    if (finds_port && shared_port == 0 && addresses.size() > 1) {
      sockets.clear();
      return Error{std::make_error_code(std::errc::io_error),
                   "find the port of " + address.to_string() + " for the other addresses"};
    }
  }
  return sockets.empty() ? unavailable : Error{};
}

Task<std::shared_ptr<Server>> listen_on_names(std::unique_ptr<ListenJob> job) {
  std::vector<Address> addresses;
  for (const HostPort& name : job->names) {
    const std::vector<Address> found = co_await resolve(&job->core, name, true);
    for (const Address& address : found) {  // the same host twice is bound once
      if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
        addresses.push_back(address);
      }
    }
  }
  std::vector<Socket> sockets;
  Error error;
  const bool any_port = addresses.front().port() == 0 && addresses.size() > 1;
  for (int tries = any_port ? tries_for_a_common_port : 1; tries > 0; --tries) {
    error = bind_all(*job, addresses, sockets);
    if (!(error == std::errc::address_in_use)) break;
  }
  error.raise();
  co_return made_server(job->core, std::move(job->settings), std::move(sockets), Address{},
                        job->start_serving);
}

Task<std::shared_ptr<Server>> listen_on_socket(LoopCore* core, ServerSettings settings,
                                               Socket socket, bool start) {
  std::vector<Socket> sockets;
  sockets.push_back(std::move(socket));
  co_return made_server(*core, std::move(settings), std::move(sockets), Address{}, start);
}

Task<std::shared_ptr<Server>> listen_on_path(LoopCore* core, ServerSettings settings, Address path,
                                             bool start) {
  Network& network = core->network();
  switch (network.look_at_path(path)) {
    case Network::PathState::stale_socket: network.remove_path(path); break;
    case Network::PathState::in_use:
      Error{std::make_error_code(std::errc::address_in_use), "bind to " + path.to_string()}
          .raise();
      break;
    case Network::PathState::free: break;
  }
  std::vector<Socket> sockets(1);
  network.bind({path, false, false}, sockets[0]).raise();
  co_return made_server(*core, std::move(settings), std::move(sockets), path, start);
}

}  // namespace
}  // namespace internal

using internal::ServerSettings;

Task<std::shared_ptr<Server>> Loop::listen_tcp(StreamProtocolFactory factory,
                                               std::span<const std::string_view> hosts, Port port,
                                               const ServerOptions& options) {
  core_->check_usable("create_server");
  core_->check_thread("create_server");
  if (hosts.empty()) throw std::invalid_argument{"create_server: the list of hosts is empty"};
  auto job = std::make_unique<internal::ListenJob>(internal::ListenJob{*core_, {}, {}});
  for (const std::string_view host : hosts) {
    job->names.push_back(internal::HostPort::checked(host, port, options.family));
  }
  job->settings = {std::move(factory), options.backlog, options.keep_alive, false,
                   job->names.front().to_string(),
                   internal::server_spec(internal::SslRequest::of("create_server", options))};
  job->reuse_address = options.reuse_address.value_or(true);
  job->reuse_port = options.reuse_port;
  job->start_serving = options.start_serving;
  return internal::listen_on_names(std::move(job));
}

Task<std::shared_ptr<Server>> Loop::listen_socket(StreamProtocolFactory factory, Socket&& sock,
                                                  const ServerOptions& options) {
  core_->check_usable("create_server");
  core_->check_thread("create_server");
  const auto kind = core_->network().inspect(sock).kind;
  if (kind != internal::SocketKind::unconnected && kind != internal::SocketKind::listening) {
    throw std::invalid_argument{"create_server: socket " + std::to_string(sock.fileno()) +
                                " is not an unconnected stream socket"};
  }
  ServerSettings settings{std::move(factory), options.backlog, options.keep_alive, false,
                          sock.view().getsockname().to_string(),
                          internal::server_spec(
                              internal::SslRequest::of("create_server", options))};
  return internal::listen_on_socket(core_.get(), std::move(settings), std::move(sock),
                                    options.start_serving);
}

Task<std::shared_ptr<Server>> Loop::listen_unix(StreamProtocolFactory factory,
                                                std::string_view path,
                                                const UnixServerOptions& options) {
  core_->check_usable("create_unix_server");
  core_->check_thread("create_unix_server");
  if (path.empty()) throw std::invalid_argument{"create_unix_server: the path is empty"};
  const Address address = Address::unix_path(path);
  ServerSettings settings{std::move(factory), options.backlog, false, options.cleanup_socket,
                          address.to_string(),
                          internal::server_spec(
                              internal::SslRequest::of("create_unix_server", options))};
  return internal::listen_on_path(core_.get(), std::move(settings), address,
                                  options.start_serving);
}

}  // namespace ferry
