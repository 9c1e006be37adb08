// The other side of connects and servers: sockets of the test's own, made by plain system calls
// (only their close() goes through Calls); and what tests of both have in common.
#pragma once

#include "support/world.hpp"

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace test {

using ferry::internal::SocketAddress;

// Bound, not listening: nobody else gets the port, and connects are refused.
inline ferry::Socket bound_socket(const ferry::Address& address) {
  ferry::Socket socket = new_socket(address.family());
  REQUIRE(bind_to(socket, address));
  return socket;
}
inline ferry::Socket listening_socket(const ferry::Address& address = {"127.0.0.1", 0},
                                      int backlog = 100) {
  ferry::Socket socket = bound_socket(address);
  REQUIRE(listen_on(socket, backlog));
  return socket;
}

// 0, or the errno of connect().
inline int try_connect(const ferry::Socket& socket, const ferry::Address& address) {
  return try_connect(socket.fileno(), address);
}
inline int try_connect(const ferry::Address& address) {
  return try_connect(new_socket(address.family()), address);
}
inline Peer dial(const ferry::Address& address) {
  ferry::Socket socket = new_socket(address.family());
  REQUIRE(try_connect(socket, address) == 0);
  return Peer{std::move(socket)};
}

// A loopback address that no other process uses: every port of it is free.
inline std::string own_host(int which = 1) {
  const int id = process_id();
  return "127." + std::to_string(100 + which) + "." + std::to_string(id / 256 % 256) + "." +
         std::to_string(id % 256);
}

// Whether this machine has `address` (IPv6 may be missing).
inline bool has_address(const ferry::Address& address) {
  const ferry::Socket socket = new_socket(address.family());
  return socket && bind_to(socket, address);
}

// A factory that keeps what it made: one Recorder per connection.
struct Recorders {
  using List = std::vector<std::shared_ptr<Recorder>>;
  std::shared_ptr<List> list = std::make_shared<List>();

  std::shared_ptr<Recorder> operator()() const {
    list->push_back(std::make_shared<Recorder>());
    return list->back();
  }
  std::size_t size() const { return list->size(); }
  Recorder& at(std::size_t i) const { return *list->at(i); }
  // How many were told of a connection, and of its end.
  std::size_t made() const { return count(&Recorder::made); }
  std::size_t lost() const { return count(&Recorder::lost); }

 private:
  std::size_t count(bool Recorder::*what) const {
    std::size_t sum = 0;
    for (const auto& recorder : *list) sum += (*recorder).*what ? 1u : 0u;
    return sum;
  }
};

inline ferry::Address address_of(const ferry::Server& server, std::size_t i = 0) {
  return server.sockets().at(i).getsockname();
}

// What a task ends with; empty: it succeeded.
template <class T>
ferry::Error error_of(World& world, ferry::Task<T> task) {
  try {
    static_cast<void>(world.run(std::move(task)));
    return {};
  } catch (...) {
    return ferry::Error{std::current_exception()};
  }
}
// The text of the E that `call` throws, at the call.
template <class E, class Call>
std::string thrown_by(Call&& call) {
  try {
    static_cast<void>(call());
  } catch (const E& thrown) {
    return thrown.what();
  }
  return "nothing was thrown";
}

// A directory for Unix sockets, gone at the end.
class Directory {
 public:
  Directory() = default;
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = make_directory();
};

}  // namespace test
