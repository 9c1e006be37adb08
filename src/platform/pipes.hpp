// The pipes port: handles of pipes as channels, and pipes that have names.
#pragma once

#include "platform/channel.hpp"
#include "platform/io.hpp"

#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/pipe.hpp>

#include <memory>
#include <string>
#include <utility>

namespace ferry::internal {

class Pipes {
 public:
  virtual ~Pipes() = default;

  // What keeps the handle from being the pipe of a transport for this direction; empty: nothing.
  // std::errc::invalid_argument: it is no such thing (a file, a directory). Leaves it as it was.
  virtual Error check(IoContext& io, const Pipe& end, Direction direction) = 0;
  // Throws OsError if the handle cannot be made non-blocking; it is closed then.
  virtual std::unique_ptr<Channel> channel(IoContext& io, Pipe end, Direction direction,
                                           const PipeOptions& options) = 0;

  // The same for our end of a child's pipe, as Children made it: nothing of it has to be asked.
  virtual std::unique_ptr<Channel> channel_to_child(IoContext& io, Pipe end, Direction direction) {
    return channel(io, std::move(end), direction, {});
  }

  // --- Pipes by name ---

  virtual void check_named() const = 0;  // throws NotSupported where there are none

  // Waits at its name for clients. Destroying it stops.
  class Listener {
   public:
    class Owner {
     public:
      virtual void accepted(std::unique_ptr<Channel> channel) = 0;
      virtual void accept_failed(const Error& error) = 0;

     protected:
      ~Owner() = default;
    };
    virtual ~Listener() = default;
    virtual Error start() = 0;
  };
  virtual std::unique_ptr<Listener> listener(IoContext& io, const std::string& name,
                                             Listener::Owner& owner) = 0;
  // Never blocks. std::errc::device_or_resource_busy: all of its instances are taken just now.
  virtual Error connect(const std::string& name, Pipe& out) = 0;
};

// The system's, not a simulated one.
void close_pipe(NativeHandle handle) noexcept;

}  // namespace ferry::internal
