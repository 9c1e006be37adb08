#include "platform/sim/process.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

namespace ferry::internal::sim {
namespace {

constexpr std::size_t read_size = 64 * 1024;

bool stops(int signal) noexcept {
#ifdef SIGSTOP
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
#else
  return signal == signal_stop;
#endif
}
bool continues(int signal) noexcept {
#ifdef SIGCONT
  return signal == SIGCONT;
#else
  return signal == 18;
#endif
}
bool does_nothing(int signal) noexcept {
#ifdef SIGCHLD
  return signal == SIGCHLD || signal == SIGURG || signal == SIGWINCH;
#else
  return signal == 17;
#endif
}

}  // namespace

SimProcess::SimProcess(World& world, SimProgram program, Streams streams)
    : world_{world},
      pid_{++world.last_pid},
      program_{std::make_shared<const SimProgram>(std::move(program))},
      streams_{std::move(streams)} {}

void SimProcess::begin() {
  world_.processes.push_back(shared_from_this());
  for (const auto& stream : streams_) {
    if (!stream) continue;
    world_.find(stream->handle())->changed = [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->go_on_soon();
    };
  }
  go_on_soon();
}

void SimProcess::when_ended(Function<void(int)> ended) {
  if (code_) return ended(*code_);
  told_ = std::move(ended);
}

void SimProcess::go_on_soon() {
  if (ended_ || std::exchange(about_to_run_, true)) return;
  world_.after(world_.moment(), [self = shared_from_this()] {
    self->about_to_run_ = false;
    self->run();
  });
}

void SimProcess::run() {
  while (!ended_ && !stopped_) {
    const auto program = program_;  // a signal may replace it
    if (at_ == program->steps_.size()) return end(0);
    if (!done(program->steps_[at_])) return;
    begin_step(at_ + 1);
  }
}

void SimProcess::begin_step(std::size_t number) {
  at_ = number;
  moved_ = 0;
  until_.reset();
  buffer_.clear();
}

// --- Signals ---

void SimProcess::signal(int number) {
  if (ended_ || number == 0) return;
  world_.note("process " + std::to_string(pid_) + " gets signal " + std::to_string(number));
  if (stopped_ && !continues(number) && number != signal_kill) {
    pending_.insert(number);
    return;
  }
  if (continues(number) && std::exchange(stopped_, false)) {
    go_on_soon();
    for (const int waiting : std::exchange(pending_, {})) signal(waiting);
    if (ended_) return;
  }
  const auto taken = taken_.find(number);
  if (taken != taken_.end()) {
    if (taken->second == nullptr) return;
    program_ = std::exchange(taken->second, nullptr);  // another one shall not begin it anew
    begin_step(0);
    return go_on_soon();
  }
  if (stops(number)) {
    stopped_ = true;
  } else if (!continues(number) && !does_nothing(number)) {
    end(-number);
  }
}

void SimProcess::end(int code) {
  ended_ = true;
  world_.note("process " + std::to_string(pid_) +
              (code < 0 ? " ends by signal " + std::to_string(-code)
                        : " exits with " + std::to_string(code)));
  const auto self = shared_from_this();
  std::erase(world_.processes, self);
  if (outlived_) {
    world_.after(*outlived_, [streams = std::move(streams_)] {});
  }
  streams_ = {};
  world_.after(world_.moment(), [self, code] {
    self->code_ = code;
    if (auto told = std::move(self->told_)) told(code);
  });
}

// --- Steps ---

// False: it waits, or something else is to be done instead.
bool SimProcess::done(const Step& step) {
  const auto stream = static_cast<std::size_t>(step.number);
  switch (step.kind) {
    case Step::Kind::sleep: return slept(step);
    case Step::Kind::write: return send_some(step.number, step.text);
    case Step::Kind::read: return read(step);
    case Step::Kind::copy: return copied(step);
    case Step::Kind::close: streams_[stream].reset(); return true;
    case Step::Kind::wait: return false;
    case Step::Kind::exit: end(step.number); return false;
    case Step::Kind::die: end(-step.number); return false;
    case Step::Kind::take_signal: taken_[step.number] = step.then; return true;
    case Step::Kind::outlived: outlived_ = in_ticks(step.time); return true;
  }
  return true;
}

bool SimProcess::slept(const Step& step) {
  if (!until_) {
    until_ = world_.now() + in_ticks(step.time);
    world_.after(in_ticks(step.time), [self = shared_from_this()] { self->go_on_soon(); });
  }
  return world_.now() >= *until_;
}

// From moved_ on. True: all of it, or nobody wants it.
bool SimProcess::send_some(int fd, std::string_view text) {
  const auto stream = streams_[static_cast<std::size_t>(fd)];
  if (!stream) return true;
  while (moved_ < text.size()) {
    const std::string_view rest = text.substr(moved_);
    const std::ptrdiff_t sent = world_.send(stream->handle(), rest.data(), rest.size());
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent < 0) {
      const auto taken = taken_.find(signal_pipe);
      const bool ignored = taken != taken_.end() && taken->second == nullptr;
      signal(signal_pipe);
      return ignored;
    }
    moved_ += static_cast<std::size_t>(sent);
  }
  return true;
}

// How many bytes are in the buffer now, 0: the end; nothing: there are none just now.
std::optional<std::size_t> SimProcess::receive(std::size_t most) {
  buffer_.clear();
  if (!streams_[0]) return 0;
  buffer_.resize(std::min(most, read_size));
  const std::ptrdiff_t count =
      world_.recv(streams_[0]->handle(), buffer_.data(), buffer_.size());
  const bool waits = count < 0 && errno == EAGAIN;
  buffer_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  if (waits) return std::nullopt;
  return buffer_.size();
}

bool SimProcess::read(const Step& step) {
  while (moved_ < step.bytes) {
    const auto count = receive(step.bytes - moved_);
    if (!count) return false;
    if (*count == 0) return true;
    moved_ += *count;
  }
  return true;
}

bool SimProcess::copied(const Step& step) {
  for (;;) {
    if (!send_some(step.number, buffer_)) return false;
    moved_ = 0;
    const auto count = receive(read_size);
    if (!count) return false;
    if (*count == 0) return true;
  }
}

}  // namespace ferry::internal::sim
