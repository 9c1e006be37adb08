// Process: a child for coroutines.
#include "reactor/loop_core.hpp"

#include <ferry/loop.hpp>
#include <ferry/process.hpp>

#include <array>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace ferry {
namespace internal {

// Keeps what the child writes until somebody reads it.
class ProcessProtocol final : public SubprocessProtocol {
 public:
  explicit ProcessProtocol(ControlRef loop) noexcept : loop_{std::move(loop)} {}

  static Task<Process> start(Task<Subprocess<ProcessProtocol>> starting) {
    auto made = co_await std::move(starting);
    // The loop keeps the protocol as long as the child lives: who holds a Process holds this.
    ProcessProtocol* const protocol = made.protocol.get();
    std::shared_ptr<ProcessProtocol> held{
        protocol, [owner = std::move(made.protocol)](ProcessProtocol* of) { of->dropped(); }};
    Process process{std::move(made.transport), std::move(held)};
    co_return process;
  }

  // Waits for anything to happen to the child, in whatever order.
  Task<void> change() {
    LoopCore* const core = loop_.core();
    if (core == nullptr || core->closed()) throw MisuseError{"the loop of the process is closed"};
    Future<void> future = core->loop().create_future<void>();
    std::erase_if(waiting_, [](const Future<void>& one) { return one.done(); });
    waiting_.push_back(future);
    co_await future;
  }
  bool exited() const noexcept { return exited_; }
  bool ended(int fd) const noexcept { return stream(fd).ended; }
  const std::string& text(int fd) const noexcept { return stream(fd).text; }
  const Error& stdin_error() const noexcept { return stdin_error_; }
  // What kept us from reading or feeding the child, if it was not the child.
  Error failure() const {
    for (const int fd : {1, 2}) {
      if (stream(fd).error) return stream(fd).error;
    }
    const Error& feeding = stream(0).error;
    const bool child_did_not_take_it =
        feeding == std::errc::broken_pipe || feeding == std::errc::connection_reset;
    return child_did_not_take_it ? Error{} : feeding;
  }
  const Error& error(int fd) const noexcept { return stream(fd).error; }
  bool paused() const noexcept { return paused_; }
  std::string take(int fd) {
    std::string taken = std::exchange(stream(fd).text, {});
    resume(fd);
    return taken;
  }
  // A stream of the child's is read by one at a time: who began keeps this until he is done.
  class Reader {
   public:
    // Throws MisuseError: somebody reads one of these.
    Reader(std::shared_ptr<ProcessProtocol> of, const char* call, std::initializer_list<int> fds)
        : of_{std::move(of)} {
      for (const int fd : fds) {
        if ((of_->read_ & (1 << fd)) != 0) {
          throw MisuseError{std::string{call} + ": somebody reads the child's " +
                            std::to_string(fd) + " already"};
        }
        fds_ |= 1 << fd;
      }
      of_->read_ |= fds_;
    }
    Reader(Reader&&) noexcept = default;
    Reader& operator=(Reader&&) = delete;
    ~Reader() {
      if (of_) of_->read_ &= ~fds_;
    }

   private:
    std::shared_ptr<ProcessProtocol> of_;
    int fds_ = 0;
  };

  // We closed the child's stdin, after what was written.
  void stdin_closed() noexcept { stdin_closed_ = true; }
  bool is_stdin_closed() const noexcept { return stdin_closed_; }

  // Everything is wanted: reading does not pause any more, until it is not.
  void want_all(bool wanted) {
    wants_all_ = wanted;
    for (const int fd : {1, 2}) wanted ? resume(fd) : pause_if_full(fd);
  }
  // Nobody reads any more. The child must not wait for that for ever.
  void dropped() {
    dropped_ = true;
    for (const int fd : {1, 2}) {
      stream(fd).text.clear();
      resume(fd);
    }
  }

 private:
  static constexpr std::size_t limit = 128 * 1024;
  struct Stream {
    std::string text;
    bool ended = false;
    Error error;  // that it ended with
  };

  void connection_made(SubprocessTransport& transport) override {
    transport_ = &transport;
    for (const int fd : {0, 1, 2}) stream(fd).ended = transport.get_pipe_transport(fd) == nullptr;
  }
  void pipe_data_received(int fd, BytesView data) override {
    if (dropped_) return;
    stream(fd).text.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (!wants_all_) pause_if_full(fd);
    changed();
  }
  void pipe_connection_lost(int fd, const Error& exc) override {
    stream(fd).ended = true;
    stream(fd).error = exc;
    if (fd == 0) {
      // It has all, if it was we who closed it.
      stdin_error_ = exc || stdin_closed_ ? exc
                                          : Error{std::make_error_code(std::errc::broken_pipe),
                                                  "write to the child's stdin"};
      paused_ = false;
    }
    changed();
  }
  void process_exited() override {
    exited_ = true;
    changed();
  }
  void pause_writing() override { paused_ = true; }
  void resume_writing() override {
    paused_ = false;
    changed();
  }
  void connection_lost(const Error&) override { transport_ = nullptr; }

  std::shared_ptr<ReadTransport> reading(int fd) const {
    const LoopCore* const core = loop_.core();
    if (transport_ == nullptr || core == nullptr || core->closed()) return nullptr;
    return fd == 1 ? transport_->stdout_pipe() : transport_->stderr_pipe();
  }
  void resume(int fd) {
    if (const auto end = reading(fd)) end->resume_reading();
  }
  void pause_if_full(int fd) {
    const auto end = reading(fd);
    if (end && stream(fd).text.size() >= limit) end->pause_reading();
  }
  void changed() {
    for (Future<void>& future : std::exchange(waiting_, {})) {
      if (!future.done()) future.set_result();
    }
  }
  Stream& stream(int fd) noexcept { return streams_[static_cast<std::size_t>(fd)]; }
  const Stream& stream(int fd) const noexcept { return streams_[static_cast<std::size_t>(fd)]; }

  const ControlRef loop_;
  SubprocessTransport* transport_ = nullptr;  // while it lives
  std::array<Stream, 3> streams_;
  std::vector<Future<void>> waiting_;
  Error stdin_error_;
  bool exited_ = false;
  bool paused_ = false;
  bool wants_all_ = false;
  bool dropped_ = false;
  bool stdin_closed_ = false;
  int read_ = 0;  // bits of the streams that have a Reader
};

namespace {

// Each frame keeps the transport, and lets go of it last.
using Transport = std::shared_ptr<SubprocessTransport>;
using Protocol = std::shared_ptr<ProcessProtocol>;

Task<int> wait(Transport transport, Protocol protocol) {
  while (!protocol->exited()) co_await protocol->change();
  co_return *transport->get_returncode();
}

using Reader = ProcessProtocol::Reader;

Task<Process::Output> communicate(Transport transport, Protocol protocol, Reader reader) {
  const Reader until_done = std::move(reader);
  struct Wanting {  // also if it is cancelled
    ProcessProtocol& protocol;
    explicit Wanting(ProcessProtocol& of) : protocol{of} { protocol.want_all(true); }
    ~Wanting() { protocol.want_all(false); }
  } const wanting{*protocol};
  while (!protocol->exited() || !protocol->ended(1) || !protocol->ended(2)) {
    co_await protocol->change();
  }
  protocol->failure().raise();
  Process::Output output;
  output.returncode = *transport->get_returncode();
  output.out = protocol->take(1);
  output.err = protocol->take(2);
  co_return output;
}

Task<void> drain([[maybe_unused]] Transport transport, Protocol protocol) {
  while (protocol->paused()) co_await protocol->change();
  protocol->stdin_error().raise();
}

Task<std::string> read([[maybe_unused]] Transport transport, Protocol protocol, int fd,
                       Reader reader) {
  const Reader until_done = std::move(reader);
  while (protocol->text(fd).empty() && !protocol->ended(fd)) co_await protocol->change();
  if (protocol->text(fd).empty()) protocol->error(fd).raise();
  co_return protocol->take(fd);
}

}  // namespace
}  // namespace internal

Process::Process(std::shared_ptr<SubprocessTransport> transport,
                 std::shared_ptr<internal::ProcessProtocol> protocol) noexcept
    : transport_{std::move(transport)}, protocol_{std::move(protocol)} {}

Task<int> Process::wait() const { return internal::wait(transport_, protocol_); }

Task<Process::Output> Process::communicate(BytesView input) const {
  internal::Reader reader{protocol_, "communicate", {1, 2}};
  const auto end = transport_->stdin_pipe();
  if (end) {
    if (!input.empty()) end->write(input);
    close_stdin();
  } else if (!input.empty()) {
    throw MisuseError{"communicate: the child's stdin is no pipe"};
  }
  return internal::communicate(transport_, protocol_, std::move(reader));
}

Task<void> Process::write(BytesView data) const {
  const auto end = transport_->stdin_pipe();
  if (!end) throw MisuseError{"write: the child's stdin is no pipe"};
  if (protocol_->is_stdin_closed()) throw MisuseError{"write: the child's stdin was closed"};
  end->write(data);
  return internal::drain(transport_, protocol_);
}

void Process::close_stdin() const {
  const auto end = transport_->stdin_pipe();
  if (!end) return;
  if (!end->is_closing()) protocol_->stdin_closed();
  end->close();
}

Task<std::string> Process::read(int fd) const {
  if (fd != 1 && fd != 2) throw std::invalid_argument{"read: a child is read at 1 and 2"};
  return internal::read(transport_, protocol_, fd, {protocol_, "read", {fd}});
}

Task<Process> Loop::create_subprocess_exec(const Arguments& argv, SubprocessOptions options,
                                           Where where) {
  const auto make = [control = control()] {
    return std::make_shared<internal::ProcessProtocol>(control);
  };
  return internal::ProcessProtocol::start(subprocess_exec(make, argv, options, where));
}
Task<Process> Loop::create_subprocess_shell(std::string_view command, SubprocessOptions options,
                                            Where where) {
  const auto make = [control = control()] {
    return std::make_shared<internal::ProcessProtocol>(control);
  };
  return internal::ProcessProtocol::start(subprocess_shell(make, command, options, where));
}

}  // namespace ferry
