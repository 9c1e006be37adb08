// A process of a simulated world: does the steps of its program.
#pragma once

#include "platform/sim/world.hpp"

#include <ferry/callback.hpp>
#include <ferry/sim_program.hpp>

#include <array>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace ferry::internal::sim {

// Also where there are no such names.
#ifdef SIGSTOP
inline constexpr int signal_stop = SIGSTOP;
#else
inline constexpr int signal_stop = 19;
#endif
inline constexpr int signal_kill = 9, signal_pipe = 13;

// One end of a pipe. Streams may share it.
class SimEnd {
 public:
  SimEnd(World& world, NativeHandle handle) noexcept : world_{world}, handle_{handle} {}
  SimEnd(const SimEnd&) = delete;
  SimEnd& operator=(const SimEnd&) = delete;
  ~SimEnd() { world_.close(handle_); }
  NativeHandle handle() const noexcept { return handle_; }

 private:
  World& world_;
  const NativeHandle handle_;
};

// The world keeps it while it runs. Null streams are nobody's: there is nothing to read, and what
// is written is dropped.
class SimProcess final : public std::enable_shared_from_this<SimProcess> {
 public:
  using Streams = std::array<std::shared_ptr<SimEnd>, 3>;

  SimProcess(World& world, SimProgram program, Streams streams);
  void begin();
  long pid() const noexcept { return pid_; }
  void signal(int number);
  // Called once, when its code can be fetched.
  void when_ended(Function<void(int)> ended);

 private:
  using Step = SimProgram::Step;

  void go_on_soon();
  void run();
  bool done(const Step& step);
  void begin_step(std::size_t number);
  bool slept(const Step& step);
  bool read(const Step& step);
  bool copied(const Step& step);
  bool send_some(int fd, std::string_view text);
  std::optional<std::size_t> receive(std::size_t most);
  void end(int code);

  World& world_;
  const long pid_;
  std::shared_ptr<const SimProgram> program_;
  Streams streams_;
  std::size_t at_ = 0;              // the step
  std::size_t moved_ = 0;           // of its bytes
  std::optional<TimePoint> until_;  // it sleeps
  std::string buffer_;              // what it has read last
  std::map<int, std::shared_ptr<const SimProgram>> taken_;  // null: ignored
  std::optional<TimePoint::duration> outlived_;
  bool about_to_run_ = false;
  bool stopped_ = false;
  std::set<int> pending_;  // signals that came meanwhile
  bool ended_ = false;
  std::optional<int> code_;  // that can be fetched
  Function<void(int)> told_;
};

}  // namespace ferry::internal::sim
