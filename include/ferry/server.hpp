// A listening server and its connections.
#pragma once

#include <ferry/export.hpp>
#include <ferry/socket.hpp>
#include <ferry/task.hpp>

#include <memory>
#include <string>
#include <vector>

namespace ferry {

class Loop;

// What create_server() gives. Belongs to the loop's thread; may outlive the loop. Dropping it
// closes nothing: the loop keeps a server that serves.
class FERRY_API Server {
 public:
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  virtual ~Server();

  // One per address, in the resolver's order; empty after close().
  virtual std::vector<SocketView> sockets() const = 0;
  virtual bool is_serving() const noexcept = 0;
  // Throws MisuseError after the loop is gone.
  virtual Loop& get_loop() const = 0;

  // Listens, if create_server() was told not to. Does nothing if it serves already.
  virtual Task<void> start_serving() = 0;
  // Serves until the task is cancelled, then closes and waits; close() from elsewhere ends it with
  // CancelledError. Throws MisuseError if the server is closed or somebody else waits here (T-107).
  virtual Task<void> serve_forever() = 0;

  // Stops listening at once: no connection is made after it returned. Open ones live on (T-106).
  virtual void close() = 0;
  // Until the server is closed and its last connection is lost.
  virtual Task<void> wait_closed() = 0;
  // close() or abort() on every open connection of this server.
  virtual void close_clients() = 0;
  virtual void abort_clients() = 0;

 protected:
  Server() = default;
};

// What start_serving_pipe() gives: serves at a name until it is closed. Belongs to the loop's
// thread; dropping it closes nothing.
class FERRY_API PipeServer {
 public:
  PipeServer(const PipeServer&) = delete;
  PipeServer& operator=(const PipeServer&) = delete;
  virtual ~PipeServer();

  virtual const std::string& name() const noexcept = 0;
  virtual bool is_serving() const noexcept = 0;
  // Takes no client any more. Those that are connected live on.
  virtual void close() = 0;

 protected:
  PipeServer() = default;
};

}  // namespace ferry
