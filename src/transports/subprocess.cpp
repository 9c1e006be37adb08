// subprocess_exec() and subprocess_shell().
#include "transports/child_transport.hpp"
#include "transports/opening.hpp"
#include "values/system_text.hpp"

#include <ferry/loop.hpp>

#include <stdexcept>
#include <string>

namespace ferry {
namespace internal {
namespace {

using Made = Subprocess<SubprocessProtocol>;

// Copies what a child is started with, and refuses what it cannot be, by the program's name.
class SpecMaker {
 public:
  SpawnSpec program(const Arguments& argv, const SubprocessOptions& options) {
    name_ = !options.executable.empty() ? options.executable
            : argv.size() > 0           ? argv[0]
                                        : std::string_view{};
    if (argv.size() == 0) refuse("there is no program");
    if (name_.empty()) refuse("the program's name is empty");
    spec_.program = without_nul(name_, "the program");
    for (std::size_t i = 0; i < argv.size(); ++i) {
      spec_.arguments.push_back(without_nul(argv[i], "an argument"));
    }
    return finish(options);
  }

  SpawnSpec shell(std::string_view command, const SubprocessOptions& options) {
    name_ = command;
    if (command.empty()) refuse("the command is empty");
    spec_.shell_command = without_nul(command, "the command");
    return finish(options);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    const std::string name = shown(name_);
    throw std::invalid_argument{"start " + (name.empty() ? "a child" : name) + ": " + why};
  }
  std::string without_nul(std::string_view text, const char* what) const {
    if (text.find('\0') != text.npos) refuse(std::string{what} + " has a NUL inside");
    return std::string{text};
  }

  SpawnSpec finish(const SubprocessOptions& options) {
    take_streams(options);
    // As it is now: the start is another thread's, who must not look at it while somebody sets it.
    spec_.environment = options.env != nullptr ? options.env->entries() : environment_entries();
    spec_.directory = without_nul(options.cwd, "the directory");
    spec_.handles.assign(options.pass_handles.begin(), options.pass_handles.end());
    for (const NativeHandle handle : spec_.handles) {
      if (handle == invalid_handle) refuse("a handle to pass is invalid");
    }
    if (options.process_group && *options.process_group < 0) {
      refuse("the process group is negative");
    }
    if (options.kill_after && !(options.kill_after->count() > 0)) {
      refuse("kill_after must be positive");
    }
    spec_.new_session = options.new_session;
    spec_.process_group = options.process_group;
    spec_.umask = options.umask;
    spec_.user = without_nul(options.user, "the user");
    spec_.group = without_nul(options.group, "the group");
    check_spawn(spec_);
    return std::move(spec_);
  }

  void take_streams(const SubprocessOptions& options) {
    spec_.streams = {options.in, options.out, options.err};
    for (std::size_t i = 0; i < spec_.streams.size(); ++i) {
      const Stdio& stream = spec_.streams[i];
      if (stream.kind() == Stdio::Kind::to_stdout && i != 2) {
        refuse("only err can go to_stdout()");
      }
      if (stream.kind() == Stdio::Kind::handle && stream.handle() == invalid_handle) {
        refuse("the handle of stream " + std::to_string(i) + " is invalid");
      }
    }
  }

  std::string_view name_;
  SpawnSpec spec_;
};

Task<Made> start(LoopCore* core, SubprocessProtocolFactory factory, SpawnSpec spec,
                 std::optional<Seconds> kill_after) {
  std::shared_ptr<SubprocessProtocol> protocol = factory();  // if it throws, nothing is started
  if (!protocol) throw std::invalid_argument{spec.in_start() + "the protocol is null"};
  ChildTransport::Setup setup{shown(spec.name()), kill_after, factory.where()};
  const auto wanted = std::make_shared<char>();  // as long as this frame lives
  Spawned spawned = co_await core->spawn(std::move(spec), wanted);
  spawned.error.raise();
  Opening<ChildTransport> opening{core->loop()};
  opening.transport =
      ChildTransport::begin(*core, std::move(spawned), protocol, std::move(setup), opening.told());
  co_await opening.opened;
  co_return opening.take<Made>(std::move(protocol));
}

void check_call(const LoopCore& core, const char* call) {
  core.check_usable(call);
  core.check_thread(call);
}

}  // namespace
}  // namespace internal

Task<Loop::ErasedChild> Loop::start_program(SubprocessProtocolFactory factory,
                                            const Arguments& argv,
                                            const SubprocessOptions& options) {
  internal::check_call(*core_, "subprocess_exec");
  return internal::start(core_.get(), std::move(factory),
                         internal::SpecMaker{}.program(argv, options), options.kill_after);
}

Task<Loop::ErasedChild> Loop::start_shell(SubprocessProtocolFactory factory,
                                          std::string_view command,
                                          const SubprocessOptions& options) {
  internal::check_call(*core_, "subprocess_shell");
  return internal::start(core_.get(), std::move(factory),
                         internal::SpecMaker{}.shell(command, options), options.kill_after);
}

}  // namespace ferry
