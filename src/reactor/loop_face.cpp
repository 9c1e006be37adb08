// ferry::Loop, Handle and Backend: the public face of the core.
#include "reactor/loop_core.hpp"

#include <ferry/loop.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace ferry {
namespace {

// As the clock counts; what is longer than a century is a century.
TimePoint::duration checked(Seconds duration, const char* what) {
  if (std::isnan(duration.count())) {
    throw std::invalid_argument{std::string{what} + ": the duration is NaN"};
  }
  constexpr Seconds most = std::chrono::hours{24 * 365 * 100};
  return std::chrono::ceil<TimePoint::duration>(std::clamp(duration, Seconds::zero(), most));
}

}  // namespace

Backend::Backend(std::unique_ptr<internal::BackendParts> parts) noexcept
    : parts_{std::move(parts)} {}
Backend::Backend(Backend&&) noexcept = default;
Backend& Backend::operator=(Backend&&) noexcept = default;
Backend::~Backend() = default;
std::string_view Backend::name() const noexcept { return parts_->name; }

void Handle::cancel() noexcept {
  const std::uint64_t word = word_;
  word_ = word | cancelled_bit;
  if (internal::LoopCore* const core = loop_.core()) core->cancel(word & ~cancelled_bit);
}

Loop::Events::Events() noexcept = default;
Loop::Events::Events(Events&&) noexcept = default;
Loop::Events& Loop::Events::operator=(Events&&) noexcept = default;
Loop::Events::~Events() = default;
std::size_t Loop::Events::size() const noexcept { return batch_ ? batch_->events.size() : 0; }

Loop::Loop() : Loop{Backend::native()} {}
Loop::Loop(Backend backend)
    : core_{std::make_unique<internal::LoopCore>(*this, std::move(backend.parts_))} {}
Loop::~Loop() = default;

Handle Loop::call_soon(Callback callback, Where where) {
  return core_->call_soon(std::move(callback), where);
}
TimerHandle Loop::call_later(Seconds delay, Callback callback, Where where) {
  return core_->call_later(delay, std::move(callback), where);
}
TimerHandle Loop::call_at(TimePoint when, Callback callback, Where where) {
  return core_->call_at(when, std::move(callback), where);
}
ThreadsafeHandle Loop::call_soon_threadsafe(Callback callback, Where where) {
  internal::LoopCore::check_callback(callback, "call_soon_threadsafe");
  ThreadsafeHandle handle;
  if (!core_->post(std::move(callback), where, &handle) && !core_->tearing_down()) {
    throw MisuseError{"call_soon_threadsafe: the loop is closed"};
  }
  return handle;
}
TimePoint Loop::time() const noexcept { return core_->now(); }

void Loop::run_forever() { core_->run_forever(); }
void Loop::check_can_run() const { core_->check_can_run("run_until_complete"); }
void Loop::run_until_done(internal::FutureState& future) { core_->run_until_done(future); }
void Loop::stop() {
  core_->check_thread("stop");
  core_->stop();
}
bool Loop::is_running() const noexcept { return core_->running(); }
void Loop::close() { core_->close(); }
bool Loop::is_closed() const noexcept { return core_->closed(); }

Loop::Events Loop::poll_events(std::optional<Seconds> timeout) {
  return core_->poll_events(timeout);
}
void Loop::process_events(Events events) {
  if (events.batch_) core_->process_events(events.batch_->events);
}
void Loop::process_ready() { core_->process_ready(); }
void Loop::set_busy_poll(Seconds duration) {
  core_->check_thread("set_busy_poll");
  core_->settings.busy_poll = checked(duration, "set_busy_poll");
}

void Loop::start_task(std::shared_ptr<internal::RootTask> task) {
  core_->start_task(std::move(task));
}
internal::ControlRef Loop::control() const noexcept { return core_->control(); }

void Loop::add_reader(NativeHandle handle, Callback callback, Where where) {
  core_->add_reader(handle, internal::want_read, std::move(callback), where);
}
void Loop::add_writer(NativeHandle handle, Callback callback, Where where) {
  core_->add_reader(handle, internal::want_write, std::move(callback), where);
}
bool Loop::remove_reader(NativeHandle handle) {
  return core_->remove_reader(handle, internal::want_read);
}
bool Loop::remove_writer(NativeHandle handle) {
  return core_->remove_reader(handle, internal::want_write);
}

void Loop::add_signal_handler(int signal, Callback callback, Where where) {
  core_->add_signal_handler(signal, std::move(callback), where);
}
bool Loop::remove_signal_handler(int signal) { return core_->remove_signal_handler(signal); }

void Loop::set_exception_handler(ExceptionHandler handler) {
  core_->check_thread("set_exception_handler");
  core_->settings.exception_handler = std::move(handler);
}
ExceptionHandler Loop::get_exception_handler() const { return core_->settings.exception_handler; }
void Loop::call_exception_handler(const ExceptionContext& context) noexcept {
  core_->call_exception_handler(context);
}
void Loop::default_exception_handler(const ExceptionContext& context) {
  core_->default_exception_handler(context);
}
void Loop::set_log_sink(LogSink sink) {
  core_->check_thread("set_log_sink");
  core_->settings.log_sink = std::move(sink);
}
void Loop::log(LogLevel level, std::string_view text) noexcept { core_->log(level, text); }
void Loop::set_debug(bool on) { core_->set_debug(on); }
bool Loop::get_debug() const noexcept { return core_->settings.debug; }
void Loop::set_slow_callback_duration(Seconds duration) {
  core_->check_thread("set_slow_callback_duration");
  core_->settings.slow = checked(duration, "set_slow_callback_duration");
}
std::string Loop::describe() const { return core_->describe(); }
std::string_view Loop::backend() const noexcept { return core_->parts().name; }

}  // namespace ferry
