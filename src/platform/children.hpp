// The children port: programs started, watched and signalled.
#pragma once

#include "platform/io.hpp"

#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/pipe.hpp>
#include <ferry/subprocess.hpp>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ferry::internal {

// How errors name a program or a command line: by its beginning.
inline std::string shown(std::string_view name) {
  constexpr std::size_t most = 200;
  name = name.substr(0, name.find('\0'));
  if (name.size() <= most) return std::string{name};
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;  // of UTF-8
  return std::string{name.substr(0, end)} + "...";
}

// Everything that the start of a child needs, copied and checked: no text has a NUL.
struct SpawnSpec {
  std::string program;                 // the file to run; looked for in PATH if it has no slash
  std::vector<std::string> arguments;  // with its own name first
  std::string shell_command;           // not empty: this instead, by the system's shell
  std::array<Stdio, 3> streams;
  std::vector<std::string> environment;  // "NAME=value"
  std::string directory;                 // empty: this process's
  std::vector<NativeHandle> handles;     // that the child has as well
  bool new_session = false;
  std::optional<long> process_group;
  std::optional<unsigned> umask;
  std::string user, group;  // names or numbers; empty: this process's

  const std::string& name() const noexcept {
    return shell_command.empty() ? program : shell_command;
  }
  // How errors begin: "start ls: ".
  std::string in_start() const { return "start " + shown(name()) + ": "; }
};

// Throws what `spec` cannot be here: NotSupported for what this system does not have.
void check_spawn(const SpawnSpec& spec);

// A child that was started. Destroying it neither ends the child nor leaves a zombie: it is reaped
// in the background.
class Child {
 public:
  struct Exit {
    int code = 0;       // minus the signal's number if a signal ended it
    bool known = true;  // false: another part of the process took the status
  };
  using Exited = Function<void(Exit)>;

  virtual ~Child() = default;
  virtual long pid() const noexcept = 0;
  virtual NativeHandle handle() const noexcept = 0;  // pidfd, process handle; or invalid_handle
  // In the loop's thread from here on. `exited` is called once, in a later turn, when the child has
  // been reaped. An error: it cannot be watched, and nothing has begun.
  virtual Error watch(IoContext& io, Exited exited) = 0;
  // False: it has been reaped, and nobody was signalled (C-06). Throws std::invalid_argument for
  // what is no signal (here), OsError if the system refuses.
  virtual bool send_signal(int signal) = 0;
  // At once and for sure: SIGKILL, TerminateProcess().
  virtual bool kill() = 0;
};

struct Spawned {
  Error error;  // names program and step; then there is nothing else
  std::unique_ptr<Child> child;
  std::array<Pipe, 3> pipes;  // our ends of those streams that are pipes; they do not block
};

class Children {
 public:
  virtual ~Children() = default;
  // Returns at once: a slow start (a file on a network) does not hold up the loop (T-176). `done`
  // is called once, on a thread of the port's, also after the loop has gone. A Spawned that nobody
  // takes ends with its child killed and reaped. What has not begun when `wanted` expires does not.
  virtual void spawn(SpawnSpec spec, std::weak_ptr<const void> wanted,
                     Function<void(Spawned)> done) = 0;
};

}  // namespace ferry::internal
