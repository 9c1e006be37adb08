// connect_read_pipe() and its kin.
#include "transports/opening.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/loop.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry {
namespace internal {
namespace {

using Made = Connection<StreamProtocol>;

// From the call on, a handle is one transport's: it is watched only turns later (T-159).
class Claim {
 public:
  Claim() noexcept = default;
  Claim(LoopCore& core, NativeHandle handle)
      : control_{core.control()}, identity_{std::make_unique<char>()} {
    core.claim(handle, identity_.get());
  }
  Claim(Claim&& other) noexcept = default;
  Claim& operator=(Claim&&) = delete;
  ~Claim() {
    if (!identity_) return;
    if (LoopCore* const core = control_.core()) core->unclaim(identity_.get());
  }

 private:
  ControlRef control_;
  std::unique_ptr<char> identity_;
};

Task<Made> hand_over(LoopCore* core, StreamProtocolFactory factory, Pipe end, Direction direction,
                     PipeOptions options, Claim claim) {
  const Claim until_it_is_watched = std::move(claim);  // or never will be
  StreamNames names;
  names.made_at = factory.where();
  std::shared_ptr<StreamProtocol> protocol = factory();  // if it throws, the pipe closes itself
  auto channel = core->pipes().channel(*core, std::move(end), direction, options);
  Opening<StreamTransport> opening{core->loop()};
  opening.transport =
      StreamTransport::begin(*core, std::move(channel), protocol, names, nullptr, opening.told());
  co_await opening.opened;
  co_return opening.take<Made>(std::move(protocol));
}

// Throws, and leaves the pipe with its caller.
[[nodiscard]] Claim check_pipe(LoopCore& core, const char* call, const Pipe& end,
                               Direction direction) {
  core.check_usable(call);
  core.check_thread(call);
  if (!end) throw std::invalid_argument{std::string{call} + ": the pipe is empty"};
  const Error error = core.pipes().check(core, end, direction);
  const std::string told = std::string{call} + ": " + std::string{error.what()};
  if (error == std::errc::invalid_argument) throw std::invalid_argument{told};
  if (error) Error::worded(error.code(), told).raise();
  return Claim{core, end.fileno()};
}

// --- Pipes by name ---

constexpr Seconds first_retry{0.001}, last_retry{0.1};

Task<Made> connect_by_name(LoopCore* core, StreamProtocolFactory factory, std::string name) {
  Pipe end;
  for (Seconds wait = first_retry;; wait = std::min(wait * 2, last_retry)) {
    const Error error = core->pipes().connect(name, end);
    if (!error) break;
    if (error != std::errc::device_or_resource_busy) error.raise();
    co_await core->loop().sleep(wait);  // nobody tells when an instance is free
  }
  auto handing = hand_over(core, std::move(factory), std::move(end), Direction::both, {}, {});
  co_return co_await std::move(handing);
}

class NamedPipeServer final : public PipeServer, public LoopMember, private Pipes::Listener::Owner {
 public:
  NamedPipeServer(LoopCore& core, StreamProtocolFactory factory, std::string name)
      : control_{core.control()}, factory_{std::move(factory)}, name_{std::move(name)} {}

  static std::shared_ptr<PipeServer> begin(LoopCore& core, StreamProtocolFactory factory,
                                           std::string name) {
    auto made = std::make_shared<NamedPipeServer>(core, std::move(factory), std::move(name));
    made->listener_ = core.pipes().listener(core, made->name_, *made);
    made->listener_->start().raise();
    core.enrol(*made, made, made->factory_.where());
    return made;
  }

  const std::string& name() const noexcept override { return name_; }
  bool is_serving() const noexcept override { return serving_; }
  void close() override {
    if (!serving_) return;
    core().check_thread("close");
    serving_ = false;
    // Not from inside a call of the listener's own.
    core().soon([self = core().leave(*this), listener = std::move(listener_)] {});
  }
  std::string describe() const override { return "pipe server " + name_; }

 private:
  LoopCore& core() const noexcept { return *control_.core(); }
  void flush() override {}
  void drop(std::vector<std::shared_ptr<void>>& trash) override {
    serving_ = false;
    listener_.reset();
    trash.push_back(std::make_shared<StreamProtocolFactory>(std::move(factory_)));
  }

  void accepted(std::unique_ptr<Channel> channel) override {
    if (!serving_) return;
    StreamNames names;
    names.made_at = factory_.where();
    try {
      auto protocol = factory_();
      StreamTransport::begin(core(), std::move(channel), std::move(protocol), names, nullptr, {});
    } catch (...) {
      report("a client of the pipe " + name_ + " was turned away",
             Error{std::current_exception()});
    }
  }
  void accept_failed(const Error& error) override {
    report("the pipe server " + name_ + " failed", error);
  }
  void report(const std::string& message, const Error& error) {
    ExceptionContext context;
    context.message = message;
    context.exception = error;
    core().call_exception_handler(context);
  }

  ControlRef control_;
  StreamProtocolFactory factory_;
  const std::string name_;
  std::unique_ptr<Pipes::Listener> listener_;
  bool serving_ = true;
};

Task<std::shared_ptr<PipeServer>> serve(LoopCore* core, StreamProtocolFactory factory,
                                        std::string name) {
  co_return NamedPipeServer::begin(*core, std::move(factory), std::move(name));
}

std::string checked_name(LoopCore& core, const char* call, std::string_view name) {
  core.check_usable(call);
  core.check_thread(call);
  if (name.empty() || name.find('\0') != name.npos) {
    throw std::invalid_argument{std::string{call} + ": the name is empty or has a NUL inside"};
  }
  core.pipes().check_named();
  return std::string{name};
}

}  // namespace
}  // namespace internal

Task<Loop::Erased> Loop::connect_named_pipe(StreamProtocolFactory factory, std::string_view name) {
  std::string text = internal::checked_name(*core_, "create_pipe_connection", name);
  return internal::connect_by_name(core_.get(), std::move(factory), std::move(text));
}

Task<std::shared_ptr<PipeServer>> Loop::serve_named_pipe(StreamProtocolFactory factory,
                                                         std::string_view name) {
  std::string text = internal::checked_name(*core_, "start_serving_pipe", name);
  return internal::serve(core_.get(), std::move(factory), std::move(text));
}

Task<Loop::Erased> Loop::open_read_pipe(StreamProtocolFactory factory, Pipe&& end,
                                        const PipeOptions& options) {
  constexpr auto way = internal::Direction::read;
  auto claim = internal::check_pipe(*core_, "connect_read_pipe", end, way);
  return internal::hand_over(core_.get(), std::move(factory), std::move(end), way, options,
                             std::move(claim));
}

Task<Loop::Erased> Loop::open_write_pipe(StreamProtocolFactory factory, Pipe&& end,
                                         const PipeOptions& options) {
  constexpr auto way = internal::Direction::write;
  if (options.outlive_writers) {
    throw std::invalid_argument{"connect_write_pipe: outlive_writers is for pipes that are read"};
  }
  auto claim = internal::check_pipe(*core_, "connect_write_pipe", end, way);
  return internal::hand_over(core_.get(), std::move(factory), std::move(end), way, options,
                             std::move(claim));
}

}  // namespace ferry
