#include "transports/child_transport.hpp"

#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>

#ifndef SIGKILL
#define SIGKILL 9  // as asyncio has it on Windows
#endif

namespace ferry::internal {

// The protocol of one of the child's pipes: passes on what it hears.
class ChildTransport::PipeEnd final : public Protocol {
 public:
  PipeEnd(ChildTransport& child, int fd) noexcept : child_{child}, fd_{fd} {}

  void data_received(BytesView data) override {
    child_.caller_.pipe_data_received(child_.site(), fd_, data);
  }
  void connection_lost(const Error& exc) override { child_.pipe_lost(fd_, exc); }
  void pause_writing() override { child_.caller_.pause_writing(child_.site()); }
  void resume_writing() override { child_.caller_.resume_writing(child_.site()); }

 private:
  ChildTransport& child_;  // ends after its pipes
  const int fd_;
};

ChildTransport::ChildTransport(LoopCore& core, std::unique_ptr<Child> child,
                               std::shared_ptr<SubprocessProtocol> protocol, Setup setup)
    : control_{core.control()},
      child_{std::move(child)},
      caller_{std::move(protocol)},
      setup_{std::move(setup)},
      pid_{child_->pid()} {}

ChildTransport::~ChildTransport() { kill_timer_.cancel(); }

namespace {

// Whatever failed: it was the start of this program.
Error in_start(const std::string& name, const Error& error) {
  return Error::worded(error.code(), "start " + name + ": " + std::string{error.what()});
}

}  // namespace

std::shared_ptr<ChildTransport> ChildTransport::begin(LoopCore& core, Spawned spawned,
                                                      std::shared_ptr<SubprocessProtocol> protocol,
                                                      Setup setup, Opened opened) {
  Channels channels;  // first what may throw: a child that nobody watches ends by itself
  try {
    for (std::size_t i = 0; i < stream_count; ++i) {
      if (!spawned.pipes[i]) continue;
      const Direction direction = i == 0 ? Direction::write : Direction::read;
      channels[i] = core.pipes().channel_to_child(core, std::move(spawned.pipes[i]), direction);
    }
  } catch (const OsError&) {
    in_start(setup.name, Error{std::current_exception()}).raise();
  }
  auto made = std::make_shared<ChildTransport>(core, std::move(spawned.child),
                                               std::move(protocol), std::move(setup));
  const Error error =
      made->child_->watch(core, [child = made.get()](Child::Exit exit) { child->exited(exit); });
  if (error) in_start(made->setup_.name, error).raise();
  made->take_pipes(std::move(channels));
  core.enrol(*made, made, made->setup_.made_at);
  made->opened_ = std::move(opened);
  core.soon([transport = made] { transport->open(); });
  return made;
}

void ChildTransport::take_pipes(Channels channels) {
  for (std::size_t i = 0; i < stream_count; ++i) {
    if (!channels[i]) continue;
    StreamNames names;
    names.made_at = setup_.made_at;
    auto opened = [this, i](const Error& error) {
      if (error) pipe_failed(i, error);
    };
    pipes_[i] = StreamTransport::prepare(core(), std::move(channels[i]),
                                         std::make_shared<PipeEnd>(*this, static_cast<int>(i)),
                                         names, std::move(opened));
    pipes_[i]->keep_protocol();
    pipe_open_[i] = true;
  }
}

// Everything is connected before the protocol hears of it, and it hears before anything comes:
// what comes is told in later calls of the loop's.
void ChildTransport::open() {
  if (lost_ || closing_) return;  // the loop has ended, or nobody waits
  for (const auto& end : pipes_) {
    if (!end) continue;
    end->open();
    if (end->is_closing()) return give_up();
  }
  caller_.connection_made(site());
  if (Opened waiting = std::move(opened_)) waiting({});
}

// It could not be watched. The protocol never hears of the child, which has to go.
void ChildTransport::pipe_failed(std::size_t i, const Error& error) {
  pipe_open_[i] = false;
  if (!failure_) failure_ = in_start(setup_.name, error);
  end_if_over();
}

void ChildTransport::give_up() {
  if (lost_) return;
  closing_ = true;
  ask_to_end(SIGKILL);
  for (const auto& end : pipes_) {
    if (end) end->abort();
  }
  end_if_over();
}

// --- The child ---

void ChildTransport::check_thread(const char* what) const {
  if (control_.core() != nullptr && !lost_) core().check_thread(what);
}

bool ChildTransport::send_signal(int signal) {
  check_thread("send_signal");
  return child_ != nullptr && !returncode_ && child_->send_signal(signal);
}
bool ChildTransport::terminate() { return send_signal(SIGTERM); }
bool ChildTransport::kill() { return send_signal(SIGKILL); }

void ChildTransport::exited(Child::Exit exit) {
  kill_timer_.cancel();
  returncode_ = exit.code;
  if (!exit.known) {
    core().log(LogLevel::warning, "the exit status of process " + std::to_string(pid_) +
                                      " was taken by another part of this program; it is told as " +
                                      std::to_string(exit.code));
  }
  if (caller_.started()) caller_.process_exited(site());
  end_if_over();
}

// --- The pipes ---

std::shared_ptr<BaseTransport> ChildTransport::get_pipe_transport(int fd) const {
  const bool known = fd >= 0 && fd < static_cast<int>(stream_count);
  return known ? pipes_[static_cast<std::size_t>(fd)] : nullptr;
}

void ChildTransport::pipe_lost(int fd, const Error& error) {
  pipe_open_[static_cast<std::size_t>(fd)] = false;
  if (caller_.started()) {
    caller_.pipe_connection_lost(site(), fd, error);
  } else if (error && !failure_) {
    failure_ = in_start(setup_.name, error);
  }
  end_if_over();
}

// --- Closing ---

void ChildTransport::close() {
  check_thread("close");
  if (lost_ || std::exchange(closing_, true)) return;
  ask_to_end(SIGTERM);
  if (!returncode_ && setup_.kill_after) kill_later();
  for (const auto& end : pipes_) {
    if (end) end->close();
  }
}

// A child that has become another user's may not be signalled: the end of its pipes has to do.
void ChildTransport::ask_to_end(int signal) noexcept {
  if (child_ == nullptr || returncode_) return;
  try {
    child_->send_signal(signal);
  } catch (const std::exception&) {
  }
}

void ChildTransport::kill_later() {
  kill_timer_ = core().call_later(*setup_.kill_after, [this] { kill(); }, {});
}

// The call of connection_lost(); if the loop ends first, the protocol is let go of all the same.
struct ChildTransport::End {
  void operator()() const { transport->end(); }
  ~End() {
    if (self) transport->let_go();
  }
  End(std::shared_ptr<void> alive, ChildTransport* of) noexcept
      : self{std::move(alive)}, transport{of} {}
  End(End&&) noexcept = default;
  std::shared_ptr<void> self;
  ChildTransport* transport;
};

void ChildTransport::end_if_over() {
  if (!returncode_ || pipe_open_[0] || pipe_open_[1] || pipe_open_[2]) return;
  if (lost_ || core().tearing_down()) return;
  lost_ = closing_ = true;
  if (auto self = core().leave(*this)) core().soon(End{std::move(self), this});
}

void ChildTransport::end() {
  if (caller_.started()) caller_.connection_lost(site());
  if (Opened waiting = std::move(opened_)) {
    waiting(failure_ ? failure_
                     : Error{std::make_error_code(std::errc::operation_canceled),
                             "start " + setup_.name});
  }
  let_go();
}

void ChildTransport::let_go() noexcept {
  const auto protocol = caller_.release();
  child_.reset();
}

void ChildTransport::drop(std::vector<std::shared_ptr<void>>& trash) {
  kill_timer_.cancel();
  lost_ = closing_ = true;
  ask_to_end(SIGTERM);
  child_.reset();  // which has it reaped
  trash.push_back(caller_.release());
  if (opened_) trash.push_back(std::make_shared<Opened>(std::move(opened_)));
  for (auto& end : pipes_) trash.push_back(end);
}

// --- The rest ---

void ChildTransport::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
  if (caller_.protocol() == nullptr || control_.core() == nullptr) return;
  core().check_thread("set_protocol");
  caller_.set(std::move(protocol));
}

std::any ChildTransport::extra_info(std::string_view name) const {
  if (name != ferry::subprocess.name) return {};
  return ProcessView{pid_, returncode_, child_ && !returncode_ ? child_->handle() : invalid_handle};
}

std::string ChildTransport::describe() const {
  std::string text = "process " + std::to_string(pid_) + " " + setup_.name + " ";
  if (returncode_) return text + "exited " + std::to_string(*returncode_);
  return text + (closing_ ? "closing" : "running");
}

}  // namespace ferry::internal
