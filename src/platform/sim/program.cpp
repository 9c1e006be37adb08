#include <ferry/sim_program.hpp>

#include "platform/sim/process.hpp"

#include <stdexcept>
#include <utility>

namespace ferry {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw std::invalid_argument{"a simulated program: " + why};
}

void check_stream(int fd, int first) {
  if (fd >= first && fd <= 2) return;
  refuse("stream " + std::to_string(fd) + " is " + (first == 0 ? "not one of 0, 1 and 2"
                                                               : "neither 1 nor 2"));
}
void check_time(Seconds time) {
  if (internal::sim::is_time(time)) return;
  refuse(std::to_string(time.count()) + " is no duration of 0 or more seconds");
}
void check_signal(int signal, bool taken) {
  using internal::sim::signal_kill, internal::sim::signal_stop;
  if (!internal::sim::World::is_signal(signal)) refuse(std::to_string(signal) + " is no signal");
  if (taken && (signal == signal_kill || signal == signal_stop)) {
    refuse(std::string{signal == signal_kill ? "SIGKILL" : "SIGSTOP"} + " cannot be taken");
  }
}

}  // namespace

SimProgram& SimProgram::add(Step step) {
  steps_.push_back(std::move(step));
  return *this;
}

SimProgram& SimProgram::sleep(Seconds time) {
  check_time(time);
  return add({.kind = Step::Kind::sleep, .time = time});
}
SimProgram& SimProgram::write(int fd, std::string_view text) {
  check_stream(fd, 1);
  return add({.kind = Step::Kind::write, .number = fd, .text = std::string{text}});
}
SimProgram& SimProgram::read(std::size_t bytes) {
  return add({.kind = Step::Kind::read, .bytes = bytes});
}
SimProgram& SimProgram::read_all() { return read(static_cast<std::size_t>(-1)); }
SimProgram& SimProgram::copy(int fd) {
  check_stream(fd, 1);
  return add({.kind = Step::Kind::copy, .number = fd});
}
SimProgram& SimProgram::close(int fd) {
  check_stream(fd, 0);
  return add({.kind = Step::Kind::close, .number = fd});
}
SimProgram& SimProgram::wait() { return add({.kind = Step::Kind::wait}); }
SimProgram& SimProgram::exit(int code) {
  if (code < 0 || code > 255) refuse("exit code " + std::to_string(code) + " is not from 0 to 255");
  return add({.kind = Step::Kind::exit, .number = code});
}
SimProgram& SimProgram::die(int signal) {
  check_signal(signal, false);
  return add({.kind = Step::Kind::die, .number = signal});
}
SimProgram& SimProgram::on_signal(int signal, const SimProgram& then) {
  check_signal(signal, true);
  if (then.cannot_start_) refuse("cannot_start() of what is begun by a signal");
  return add({.kind = Step::Kind::take_signal,
              .number = signal,
              .then = std::make_shared<const SimProgram>(then)});
}
SimProgram& SimProgram::ignore(int signal) {
  check_signal(signal, true);
  return add({.kind = Step::Kind::take_signal, .number = signal});
}
SimProgram& SimProgram::outlived(Seconds time) {
  check_time(time);
  return add({.kind = Step::Kind::outlived, .time = time});
}
SimProgram& SimProgram::starts_after(Seconds time) {
  check_time(time);
  start_time_ = time;
  return *this;
}
SimProgram& SimProgram::cannot_start(std::errc why) {
  cannot_start_ = why;
  return *this;
}

}  // namespace ferry
