// Sockets made, bound, connected and accepted: the same on every system, and in a simulated world.
#pragma once

#include "platform/network.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/socket_channel_impl.hpp"
#include "platform/sockets/socket_datagrams.hpp"

#include <algorithm>
#include <string>

namespace ferry::internal {
template <class Calls>
bool set_flag(const Calls& calls, const Socket& socket, int level, int option) noexcept {
  const int on = 1;
  return calls.setsockopt(socket.fileno(), level, option, &on, sizeof on) == 0;
}

template <class Calls>
Error open_stream(const Calls& calls, const Address& address, std::string_view doing,
                  Socket& out) {
  out = Socket{calls.stream_socket(system_family(address.family()))};
  return out ? Error{} : last_error(std::string{doing} + " " + address.to_string());
}

// One that blocked would hold up its whole loop.
template <class Calls>
void make_nonblocking(const Calls& calls, const Socket& socket) {
  if (calls.set_nonblocking(socket.fileno()) != 0) {
    last_error("make socket " + std::to_string(socket.fileno()) + " non-blocking").raise();
  }
}

template <class Calls>
class SocketConnecting final : public Connecting, private IoHandler, private Calls {
 public:
  SocketConnecting(const Calls& calls, IoContext& io, Socket socket, const Address& remote)
      : Calls{calls}, io_{io}, socket_{std::move(socket)}, remote_{remote} {}
  ~SocketConnecting() override { io_.unwatch(ticket_, true); }

  Error start() { return io_.watch(socket_.fileno(), want_write, Trigger::level, *this, ticket_); }
  void on_done(Done done) override { done_ = std::move(done); }

 private:
  void handle_ready([[maybe_unused]] std::uint32_t ready) override {
    int error = calls().pending_error(socket_.fileno());
    if constexpr (Calls::selector_tells_resets) {
      if (error == 0 && (ready & ready_reset) != 0) error = ECONNRESET;
    }
    if (error == 0) {
      SocketAddress peer;
      if (calls().getpeername(socket_.fileno(), peer.get(), &peer.length) != 0) {
        if (errno == ENOTCONN) return;  // not yet: a report that meant something else (T-118)
        error = errno;
      }
    }
    io_.unwatch(ticket_, false);
    if (!done_) return;
    if (error == 0) return done_(Error{}, std::move(socket_));
    const bool was_connected = error == ECONNRESET || error == EPIPE;  // else it were refused
    done_(os_error(error, "connect to " + remote_.to_string()),
          was_connected ? std::move(socket_) : Socket{});
  }

  const Calls& calls() const noexcept { return *this; }

  IoContext& io_;
  Socket socket_;
  Address remote_;
  Ticket ticket_;
  Done done_;
};

// What a connection in the queue may have died of before we came: the next one is not to wait
// (T-101).
inline bool only_this_connection(int error) noexcept {
  switch (error) {
    case EINTR: case ECONNABORTED: case EPROTO: case EPERM: case ENETDOWN: case ENETUNREACH:
    case EHOSTDOWN: case EHOSTUNREACH: case ENOPROTOOPT: case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

template <class Calls>
class SocketAcceptor final : public Acceptor, private IoHandler, private Calls {
 public:
  SocketAcceptor(const Calls& calls, IoContext& io, Socket socket, Owner& owner)
      : Calls{calls}, io_{io}, socket_{std::move(socket)}, owner_{owner},
        listened_before_{calls.listens(socket_.fileno())} {}
  ~SocketAcceptor() override { close(); }

  Error start(int backlog) override {
    share_ = std::clamp(backlog, 1, 1000);
    const std::string name = SocketView{socket_.fileno()}.getsockname().to_string();
    // Before listen(), so that every connection inherits it; no matter if not TCP. A
    // listener that was passed in may have connections that do not (T-116).
    set_flag(calls(), socket_, IPPROTO_TCP, TCP_NODELAY);
    if (calls().listen(socket_.fileno(), std::max(backlog, 0)) != 0) {
      return last_error("listen on " + name);
    }
    return io_.watch(socket_.fileno(), want_read, Trigger::level, *this, ticket_);
  }
  void pause() override {
    if (ticket_) io_.rewatch(ticket_, want_none);
  }
  void resume() override {
    const Error error = ticket_ ? io_.rewatch(ticket_, want_read) : Error{};
    if (error) owner_.accept_failed(error, true);  // else it would be deaf for ever
  }
  void close() noexcept override {
    if (ticket_) io_.unwatch(ticket_, true);
    socket_.close();
  }
  SocketView socket() const noexcept override { return socket_.view(); }

 private:
  void handle_ready(std::uint32_t) override {
    for (int i = 0; i < share_ && socket_; ++i) {
      SocketAddress peer;
      Socket connection{calls().accept(socket_.fileno(), peer.get(), &peer.length)};
      if (connection) {
        if (listened_before_) set_flag(calls(), connection, IPPROTO_TCP, TCP_NODELAY);
        owner_.accepted(std::move(connection), peer.address());
        continue;
      }
      const int error = errno;
      if (calls::would_block(error)) return;
      if (only_this_connection(error)) continue;
      const bool resources =
          error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
      return owner_.accept_failed(os_error(error, "accept a connection"), resources);
    }
  }

  const Calls& calls() const noexcept { return *this; }

  IoContext& io_;
  Socket socket_;
  Owner& owner_;
  const bool listened_before_;
  Ticket ticket_;
  int share_ = 1;
};

template <class Calls>
class SocketNetwork final : public Network, private Calls {
 public:
  explicit SocketNetwork(const Calls& calls = {}) : Calls{calls} {}

  Started connect(IoContext& io, const Address& remote, const Address& local) override {
    Started started;
    started.error = open_stream(calls(), remote, "connect to", started.socket);
    if (started.error) return started;
    if (local) {
      const SocketAddress name{local};
      if (is_ip(local.family())) calls().claim_address(started.socket.fileno(), true);
      if (calls().bind(started.socket.fileno(), name.get(), name.length) != 0) {
        return {last_error("bind to " + local.to_string() + " to connect to " +
                           remote.to_string()), {}, {}};
      }
    }
    const SocketAddress name{remote};
    if (calls().connect(started.socket.fileno(), name.get(), name.length) == 0) return started;
    // Interrupted means under way as well: calling again would be wrong (T-117).
    if (errno != EINPROGRESS && errno != EINTR) {
      return {last_error("connect to " + remote.to_string()), {}, {}};
    }
    auto pending = std::make_unique<SocketConnecting<Calls>>(
        calls(), io, std::move(started.socket), remote);
    started.error = pending->start();
    if (!started.error) started.pending = std::move(pending);
    return started;
  }

  Error bind(const BindSpec& spec, Socket& out) override {
    const std::string doing = "bind to " + spec.address.to_string();
    if (Error error = open_stream(calls(), spec.address, "bind to", out)) return error;
    if (is_ip(spec.address.family())) {
      if (calls().claim_address(out.fileno(), spec.reuse_address) != 0) return last_error(doing);
      if (spec.reuse_port && calls().share_port(out.fileno()) != 0) return last_error(doing);
    }
    if (spec.address.family() == Family::ipv6) {
      set_flag(calls(), out, IPPROTO_IPV6, IPV6_V6ONLY);  // T-111
    }
    const SocketAddress name{spec.address};
    return calls().bind(out.fileno(), name.get(), name.length) == 0 ? Error{} : last_error(doing);
  }

  std::unique_ptr<Acceptor> acceptor(IoContext& io, Socket socket,
                                     Acceptor::Owner& owner) override {
    make_nonblocking(calls(), socket);
    calls().no_sigpipe(socket.fileno());  // what it accepts inherits that
    return std::make_unique<SocketAcceptor<Calls>>(calls(), io, std::move(socket), owner);
  }

  SocketFacts inspect(const Socket& socket) const noexcept override {
    SocketFacts facts;
    int type = 0;
    socklen_t length = sizeof type;
    if (calls().getsockopt(socket.fileno(), SOL_SOCKET, SO_TYPE, &type, &length) != 0 ||
        (type != SOCK_STREAM && type != SOCK_DGRAM)) {
      return facts;
    }
    SocketAddress name;
    if (calls().getsockname(socket.fileno(), name.get(), &name.length) == 0) {
      const bool unnamed = name.storage.ss_family == AF_UNIX;
      facts.family = unnamed ? Family::unix_socket : name.address().family();
    }
    SocketAddress peer;
    if (type == SOCK_DGRAM) {
      facts.kind = SocketKind::datagrams;
      facts.has_peer = calls().getpeername(socket.fileno(), peer.get(), &peer.length) == 0;
    } else if (calls().listens(socket.fileno())) {
      facts.kind = SocketKind::listening;
    } else if (calls().getpeername(socket.fileno(), peer.get(), &peer.length) == 0) {
      facts.kind = SocketKind::connected;
    } else {
      // A peer that reset before we looked is a connection all the same (T-023): what has an end to
      // be read was connected.
      const bool unknown = errno != ENOTCONN;
      const bool was = unknown || calls().has_ended(socket.fileno());
      facts.kind = was ? SocketKind::connected : SocketKind::unconnected;
    }
    return facts;
  }

  std::unique_ptr<Channel> channel(IoContext& io, Socket socket, Family family, bool fresh,
                                   const Error& died) override {
    if (!fresh) {  // those from our own accept() have both already
      make_nonblocking(calls(), socket);
      calls().no_sigpipe(socket.fileno());
      if (is_ip(family)) set_flag(calls(), socket, IPPROTO_TCP, TCP_NODELAY);
    }
    return std::make_unique<SocketChannel<Calls>>(calls(), io, std::move(socket), is_ip(family),
                                                  died ? errno_of(died.code()) : 0);
  }

  Error datagram_socket(const DatagramSpec& spec, Socket& out) override {
    const std::string doing = spec.local    ? "bind to " + spec.local.to_string()
                              : spec.remote ? "make a socket for " + spec.remote.to_string()
                                            : "make a datagram socket";
    out = Socket{calls().datagram_socket(system_family(spec.family))};
    if (!out) return last_error(doing);
    if (spec.reuse_port && !is_ip(spec.family)) return os_error(EOPNOTSUPP, doing);
    if (spec.reuse_port && calls().share_port(out.fileno()) != 0) return last_error(doing);
    if (spec.broadcast && !set_flag(calls(), out, SOL_SOCKET, SO_BROADCAST)) {
      return last_error("allow to broadcast");
    }
    if (spec.local) {
      if (is_ip(spec.family) && !spec.reuse_port &&
          calls().claim_address(out.fileno(), false) != 0) {
        return last_error(doing);
      }
      const SocketAddress name{spec.local};
      if (calls().bind(out.fileno(), name.get(), name.length) != 0) return last_error(doing);
    }
    if (!spec.remote || spec.broadcast) return name_itself(spec, out);
    const SocketAddress name{spec.remote};
    const int answer = calls().connect(out.fileno(), name.get(), name.length);
    return answer == 0 ? Error{} : last_error("connect to " + spec.remote.to_string());
  }

  std::unique_ptr<DatagramChannel> datagrams(IoContext& io, Socket socket,
                                             const DatagramSetup& setup) override {
    make_nonblocking(calls(), socket);
    calls().no_sigpipe(socket.fileno());
    if (!setup.connected) calls().ignore_unreachable(socket.fileno());
    if (setup.packet_info && is_ip(setup.family) &&
        calls().tell_packet_ways(socket.fileno(), system_family(setup.family)) != 0) {
      last_error("ask for packet information").raise();
    }
    return std::make_unique<SocketDatagrams<Calls>>(calls(), io, std::move(socket), setup);
  }

  void keep_alive(const Socket& socket) noexcept override {
    set_flag(calls(), socket, SOL_SOCKET, SO_KEEPALIVE);
  }

  PathState look_at_path(const Address& address, bool datagrams) override {
    calls::FileFacts facts;
    const std::string path{address.path()};
    if (path.empty() || path[0] == '\0') return PathState::free;
    if (calls().stat(path.c_str(), facts) != 0) return PathState::free;
    if (!facts.is_socket) return PathState::in_use;
    Socket probe;
    probe = Socket{datagrams ? calls().datagram_socket(AF_UNIX) : calls().stream_socket(AF_UNIX)};
    if (!probe) return PathState::in_use;
    const SocketAddress name{address};
    const bool refused = calls().connect(probe.fileno(), name.get(), name.length) != 0 &&
                         errno == ECONNREFUSED;
    return refused ? PathState::stale_socket : PathState::in_use;
  }

  void remove_path(const Address& address) noexcept override {
    calls().unlink(std::string{address.path()}.c_str());
  }

  std::optional<FileId> file_id(const Address& address) const noexcept override {
    calls::FileFacts facts;
    const std::string path{address.path()};
    if (path.empty() || path[0] == '\0') return std::nullopt;
    if (calls().stat(path.c_str(), facts) != 0) return std::nullopt;
    return FileId{facts.device, facts.inode};
  }

 private:
  // As the first sendto() would, on systems where nothing can be received before.
  Error name_itself(const DatagramSpec& spec, const Socket& socket) {
    if (Calls::receives_without_a_name || spec.local || !is_ip(spec.family)) return {};
    const SocketAddress any{Address{spec.family == Family::ipv4 ? "0.0.0.0" : "::", 0}};
    const int answer = calls().bind(socket.fileno(), any.get(), any.length);
    return answer == 0 ? Error{} : last_error("bind to any port");
  }

  const Calls& calls() const noexcept { return *this; }
};

}  // namespace ferry::internal
