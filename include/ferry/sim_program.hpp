// A program of a simulated machine: what it does, step by step.
#pragma once

#include <ferry/export.hpp>
#include <ferry/handle.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace ferry {

namespace internal::sim {
class SimChildren;
class SimProcess;
}  // namespace internal::sim

// What a child of a SimWorld runs: SimWorld::set_program(). Its steps are done in order, in virtual
// time; after the last one it exits with 0. A step that cannot go on waits: for input, or for room
// in a pipe. A signal ends it as on POSIX, in whatever step it is.
//
//   ferry::SimProgram{}.write(1, "ready\n").read_all().sleep(ferry::Seconds{0.5}).exit(3)
//
// A value: each call adds to it and returns it. Throws std::invalid_argument for what cannot be: a
// stream, a signal, a time, an exit code.
class FERRY_API SimProgram {
 public:
  SimProgram& sleep(Seconds time);
  // To 1 or 2. Where nobody reads any more, that is a SIGPIPE; if it ignores those, the rest of the
  // text is dropped.
  SimProgram& write(int fd, std::string_view text);
  SimProgram& read(std::size_t bytes);  // of stdin, or to its end if that comes first
  SimProgram& read_all();               // to the end of stdin
  SimProgram& copy(int fd = 1);         // what comes on stdin, to its end, as cat
  SimProgram& close(int fd);            // 0, 1 or 2
  SimProgram& wait();                   // until a signal ends it
  SimProgram& exit(int code);           // 0 … 255
  SimProgram& die(int signal);

  // From this step on the signal makes it do those steps instead of what it does, and then it exits
  // with 0; if the signal comes once more, it is ignored. SIGKILL and SIGSTOP cannot be taken.
  SimProgram& on_signal(int signal, const SimProgram& then);
  SimProgram& ignore(int signal);
  // From this step on: somebody whom it has started holds its streams for so long after its end.
  SimProgram& outlived(Seconds time);

  // No steps: of its start. How long that takes, besides the moment that it always takes; that it
  // fails, and with what: `exec NAME: permission denied`.
  SimProgram& starts_after(Seconds time);
  SimProgram& cannot_start(std::errc why);

 private:
  friend class internal::sim::SimChildren;
  friend class internal::sim::SimProcess;
  struct Step {
    enum class Kind : std::uint8_t {
      sleep, write, read, copy, close, wait, exit, die, take_signal, outlived,
    };
    Kind kind = Kind::wait;
    int number = 0;  // a stream, a code, a signal
    std::size_t bytes = 0;
    Seconds time{};
    std::string text{};
    std::shared_ptr<const SimProgram> then{};  // null: nothing
  };
  SimProgram& add(Step step);

  std::vector<Step> steps_;
  Seconds start_time_{};
  std::optional<std::errc> cannot_start_;
};

// How a child of a SimWorld was started.
struct SimStart {
  std::string name;                      // that set_program() was given
  std::vector<std::string> arguments;    // with its own name first; empty: by the shell
  std::vector<std::string> environment;  // "NAME=value"; of this process if none was given
  std::string directory;                 // empty: the parent's
};

}  // namespace ferry
