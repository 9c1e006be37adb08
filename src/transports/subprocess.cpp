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

[[noreturn]] void refuse(const std::string& why) {
  throw std::invalid_argument{"start a child: " + why};
}

std::string without_nul(std::string_view text, const char* what) {
  if (text.find('\0') != text.npos) refuse(std::string{what} + " has a NUL inside");
  return std::string{text};
}

void take_streams(const SubprocessOptions& options, SpawnSpec& spec) {
  spec.streams = {options.in, options.out, options.err};
  for (std::size_t i = 0; i < spec.streams.size(); ++i) {
    const Stdio& stream = spec.streams[i];
    if (stream.kind() == Stdio::Kind::to_stdout && i != 2) refuse("only err can go to_stdout()");
    if (stream.kind() == Stdio::Kind::handle && stream.handle() == invalid_handle) {
      refuse("the handle of stream " + std::to_string(i) + " is invalid");
    }
  }
}

SpawnSpec take_options(const SubprocessOptions& options) {
  SpawnSpec spec;
  take_streams(options, spec);
  // As it is now: the start is another thread's, who must not look at it while somebody sets it.
  spec.environment = options.env != nullptr ? options.env->entries() : environment_entries();
  spec.directory = without_nul(options.cwd, "the directory");
  spec.handles.assign(options.pass_handles.begin(), options.pass_handles.end());
  for (const NativeHandle handle : spec.handles) {
    if (handle == invalid_handle) refuse("a handle to pass is invalid");
  }
  if (options.process_group && *options.process_group < 0) refuse("the process group is negative");
  if (options.kill_after && !(options.kill_after->count() > 0)) {
    refuse("kill_after must be positive");
  }
  spec.new_session = options.new_session;
  spec.process_group = options.process_group;
  spec.umask = options.umask;
  spec.user = without_nul(options.user, "the user");
  spec.group = without_nul(options.group, "the group");
  return spec;
}

SpawnSpec program_spec(const Arguments& argv, const SubprocessOptions& options) {
  SpawnSpec spec = take_options(options);
  if (argv.size() == 0) refuse("there is no program");
  for (std::size_t i = 0; i < argv.size(); ++i) {
    spec.arguments.push_back(without_nul(argv[i], "an argument"));
  }
  spec.program = options.executable.empty() ? spec.arguments.front()
                                            : without_nul(options.executable, "the program");
  if (spec.program.empty()) refuse("the program's name is empty");
  check_spawn(spec);
  return spec;
}

SpawnSpec shell_spec(std::string_view command, const SubprocessOptions& options) {
  SpawnSpec spec = take_options(options);
  spec.shell_command = without_nul(command, "the command");
  if (spec.shell_command.empty()) refuse("the command is empty");
  check_spawn(spec);
  return spec;
}

Task<Made> start(LoopCore* core, SubprocessProtocolFactory factory, SpawnSpec spec,
                 std::optional<Seconds> kill_after) {
  std::shared_ptr<SubprocessProtocol> protocol = factory();  // if it throws, nothing is started
  ChildTransport::Setup setup{spec.name(), kill_after, factory.where()};
  Spawned spawned = co_await core->spawn(std::move(spec));
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
  return internal::start(core_.get(), std::move(factory), internal::program_spec(argv, options),
                         options.kill_after);
}

Task<Loop::ErasedChild> Loop::start_shell(SubprocessProtocolFactory factory,
                                          std::string_view command,
                                          const SubprocessOptions& options) {
  internal::check_call(*core_, "subprocess_shell");
  return internal::start(core_.get(), std::move(factory), internal::shell_spec(command, options),
                         options.kill_after);
}

}  // namespace ferry
