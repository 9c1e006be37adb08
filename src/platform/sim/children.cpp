// Children of a simulated world: the programs that it was given, as processes of its own.
#include "platform/children.hpp"

#include "platform/sim/parts.hpp"
#include "platform/sim/process.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal::sim {

namespace {

class SimChild final : public Child {
 public:
  explicit SimChild(std::shared_ptr<SimProcess> process) noexcept : process_{std::move(process)} {}
  SimChild(const SimChild&) = delete;
  SimChild& operator=(const SimChild&) = delete;
  // One that nobody has begun to watch was never handed to anybody.
  ~SimChild() {
    if (heard_) {
      *heard_ = nullptr;
    } else {
      process_->signal(signal_kill);
    }
  }

  long pid() const noexcept override { return process_->pid(); }
  NativeHandle handle() const noexcept override { return invalid_handle; }
  Error watch(IoContext& io, Exited exited) override {
    exited_ = std::move(exited);
    heard_ = std::make_shared<SimChild*>(this);
    process_->when_ended([heard = heard_, post = io.poster()](int code) mutable {
      post([heard, code] {
        if (*heard != nullptr) (*heard)->ended(code);
      });
    });
    return {};
  }
  bool send_signal(int number) override {
    if (!running_) return false;
    if (number != 0 && !World::is_signal(number)) {
      throw std::invalid_argument{"send_signal: " + std::to_string(number) + " is no signal"};
    }
    process_->signal(number);
    return true;
  }
  bool kill() override { return send_signal(signal_kill); }

 private:
  void ended(int code) {
    running_ = false;
    Exited exited = std::move(exited_);
    exited({code, true});
  }

  const std::shared_ptr<SimProcess> process_;
  std::shared_ptr<SimChild*> heard_;  // what the world knows of us
  Exited exited_;
  bool running_ = true;
};

}  // namespace

class SimChildren final : public Children {
 public:
  explicit SimChildren(World& world) noexcept : world_{world} {}

  // In a virtual thread, as names are resolved.
  void spawn(SpawnSpec spec, std::weak_ptr<const void>, Function<void(Spawned)> done) override {
    Spawned failed;
    std::shared_ptr<const SimProgram> program;
    try {
      program = std::make_shared<const SimProgram>(program_of(spec));
    } catch (...) {  // also of the user's function, that makes the program
      failed.error = Error{std::current_exception()};
    }
    const auto takes = program ? in_ticks(program->start_time_) : TimePoint::duration{};
    world_.after(takes + world_.moment(), [&world = world_, spec = std::move(spec), program,
                                           failed = std::move(failed),
                                           done = std::move(done)]() mutable {
      done(program ? start(world, spec, *program) : std::move(failed));
    });
  }

 private:
  SimProgram program_of(const SpawnSpec& spec) const {
    bool handles = !spec.handles.empty();
    for (const Stdio& stream : spec.streams) handles |= stream.kind() == Stdio::Kind::handle;
    if (handles) throw NotSupported{spec.in_start() + "its handles are not simulated"};
    const bool shell = !spec.shell_command.empty();
    const auto found = world_.programs.find(spec.name());
    if (found != world_.programs.end()) {
      const World::Program make = found->second;  // which may give this name to another one
      return make({spec.name(), spec.arguments, spec.environment, spec.directory});
    }
    if (shell) return SimProgram{}.write(2, "sh: " + spec.name() + ": not found\n").exit(127);
    return SimProgram{}.cannot_start(std::errc::no_such_file_or_directory);
  }

  static Spawned start(World& world, const SpawnSpec& spec, const SimProgram& program) {
    Spawned spawned;
    if (program.cannot_start_) {
      const bool shell = !spec.shell_command.empty();
      spawned.error = Error{std::make_error_code(*program.cannot_start_),
                            "exec " + (shell ? "/bin/sh" : spec.name())};
      return spawned;
    }
    const auto process = std::make_shared<SimProcess>(world, program,
                                                      make_streams(world, spec, spawned.pipes));
    std::string line = "process " + std::to_string(process->pid()) + " is " + spec.name();
    for (std::size_t i = 1; i < spec.arguments.size(); ++i) line += " " + spec.arguments[i];
    world.note(line);
    process->begin();
    spawned.child = std::make_unique<SimChild>(process);
    return spawned;
  }

  static SimProcess::Streams make_streams(World& world, const SpawnSpec& spec,
                                          std::array<Pipe, 3>& ours) {
    SimProcess::Streams theirs;
    for (std::size_t i = 0; i < theirs.size(); ++i) {
      if (spec.streams[i].kind() == Stdio::Kind::to_stdout) theirs[i] = theirs[1];
      if (spec.streams[i].kind() != Stdio::Kind::piped) continue;
      const auto [read, write] = world.pipe();
      ours[i] = Pipe{i == 0 ? write : read};
      theirs[i] = std::make_shared<SimEnd>(world, i == 0 ? read : write);
    }
    return theirs;
  }

  World& world_;
};

std::unique_ptr<Children> make_children(World& world) {
  return std::make_unique<SimChildren>(world);
}

}  // namespace ferry::internal::sim
