// The network port: sockets made, bound, connected, accepted.
#pragma once

#include "platform/channel.hpp"
#include "platform/datagrams.hpp"
#include "platform/io.hpp"

#include <ferry/address.hpp>
#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/socket.hpp>

#include <cstdint>
#include <memory>
#include <optional>

namespace ferry::internal {

inline bool is_ip(Family family) noexcept {
  return family == Family::ipv4 || family == Family::ipv6;
}

struct DatagramSpec {
  Family family = Family::none;
  Address local;   // empty: not bound
  Address remote;  // empty: not connected
  bool reuse_port = false;
  bool broadcast = false;
};
struct DatagramSetup {
  Family family = Family::none;
  bool connected = false;
  bool packet_info = false;
  bool offload = false;
};

struct BindSpec {
  Address address;
  bool reuse_address = false;
  bool reuse_port = false;
};

enum class SocketKind : std::uint8_t { other, datagrams, unconnected, listening, connected };
struct SocketFacts {
  SocketKind kind = SocketKind::other;
  Family family = Family::none;
  bool has_peer = false;  // of datagrams: connected
};

// A connect() that is under way. Destroying it ends the attempt and closes its socket (T-121,
// T-131).
class Connecting {
 public:
  virtual ~Connecting() = default;
  // Called once, from the ready queue: the socket, or why there is none. Both: it was connected,
  // and has been reset since (T-130).
  using Done = Function<void(Error, Socket)>;
  virtual void on_done(Done done) = 0;
};

// A listening socket at work. Destroying it stops and closes.
class Acceptor {
 public:
  class Owner {
   public:
    virtual void accepted(Socket socket, const Address& peer) = 0;
    // `resources`: the process or the system is out of descriptors or memory.
    virtual void accept_failed(const Error& error, bool resources) = 0;

   protected:
    ~Owner() = default;
  };
  virtual ~Acceptor() = default;
  virtual Error start(int backlog) = 0;  // listens
  virtual void pause() = 0;
  virtual void resume() = 0;
  virtual void close() noexcept = 0;  // no accepted() any more, also from inside one
  virtual SocketView socket() const noexcept = 0;
};

// Contract: nothing here blocks; sockets are non-blocking and not inherited from birth (T-116).
class Network {
 public:
  virtual ~Network() = default;

  // A connected socket at once, or an attempt under way, or an error: one of the three.
  struct Started {
    Error error;
    Socket socket;
    std::unique_ptr<Connecting> pending;
  };
  virtual Started connect(IoContext& io, const Address& remote, const Address& local) = 0;

  // Bound, not listening.
  virtual Error bind(const BindSpec& spec, Socket& out) = 0;
  // Throws OsError if the socket cannot be made non-blocking.
  virtual std::unique_ptr<Acceptor> acceptor(IoContext& io, Socket socket,
                                             Acceptor::Owner& owner) = 0;

  virtual SocketFacts inspect(const Socket& socket) const noexcept = 0;
  // A connected stream socket becomes a channel: made non-blocking, TCP_NODELAY set, unless
  // it is fresh from our own acceptor. `died`: what Connecting::Done told beside the socket.
  // Throws OsError if the socket cannot be made non-blocking.
  virtual std::unique_ptr<Channel> channel(IoContext& io, Socket socket, Family family, bool fresh,
                                           const Error& died) = 0;
  // A socket for datagrams, and as a channel; the latter throws OsError if it cannot be set up.
  virtual Error datagram_socket(const DatagramSpec& spec, Socket& out) = 0;
  virtual std::unique_ptr<DatagramChannel> datagrams(IoContext& io, Socket socket,
                                                     const DatagramSetup& setup) = 0;
  virtual void keep_alive(const Socket& socket) noexcept = 0;

  // A Unix path's file: is a stale socket there, and whose is it?
  enum class PathState : std::uint8_t { free, stale_socket, in_use };
  virtual PathState look_at_path(const Address& address, bool datagrams = false) = 0;
  virtual void remove_path(const Address& address) noexcept = 0;
  // Names the file, so that it can be told from one that replaced it; empty if there is none.
  struct FileId {
    std::uint64_t device = 0, inode = 0;
    friend bool operator==(const FileId&, const FileId&) = default;
  };
  virtual std::optional<FileId> file_id(const Address& address) const noexcept = 0;
};

}  // namespace ferry::internal
