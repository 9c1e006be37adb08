// Turns: wait, take in what came, run what is ready.
#include "reactor/loop_core.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal {

void LoopCore::check_can_run(const char* what) const {
  check_usable(what);
  if (running_) throw MisuseError{std::string{what} + ": the loop is running already"};
}

void LoopCore::run_forever() {
  check_can_run("run_forever");
  if (std::exchange(stop_is_due_, false)) stopping_ = true;
  run();
}

void LoopCore::run() {
  if (closed_) return;  // from a destructor while the loop ends
  struct Run {
    LoopCore& core;
    explicit Run(LoopCore& loop) : core{loop} {
      core.thread_ = std::this_thread::get_id();
      core.running_ = true;
    }
    ~Run() {
      core.running_ = false;
      // A stop() that had no part in this run's end is run_forever()'s (T-193).
      const bool completed = std::exchange(core.completed_, false);
      core.stop_is_due_ = std::exchange(core.stopping_, false) && completed;
    }
  } const run{*this};
  do {
    turn();
  } while (!stopping_ && !completed_);
}

void LoopCore::run_until_done(FutureState& future) {
  check_can_run("run_until_complete");
  if (future.loop().core() != this) {
    throw MisuseError{"run_until_complete: the future is another loop's"};
  }
  if (!future.done()) {
    struct Waiting {  // also if the run throws
      std::shared_ptr<bool> on = std::make_shared<bool>(true);
      ~Waiting() { *on = false; }
    } const waiting;
    future.add_done_callback([this, on = waiting.on] {
      if (*on) completed_ = true;
    });
    stop_is_due_ = false;
    run();
  }
  if (!future.done()) throw MisuseError{"the loop was stopped before the future was done"};
}

void LoopCore::turn() {
  events_.clear();
  poll_into(events_, time_to_wait());
  process_events(events_);
  run_ready();
}

std::optional<std::chrono::nanoseconds> LoopCore::time_to_wait() {
  if (!ready_.empty() || stopping_ || remote_.pending()) return std::chrono::nanoseconds::zero();
  if (timers_.empty()) return std::nullopt;
  const TimePoint next = timers_.next();
  if (next == TimePoint::max()) return std::nullopt;
  last_time_ = now();
  if (next <= last_time_) return std::chrono::nanoseconds::zero();
  return std::chrono::nanoseconds{next - last_time_};
}

void LoopCore::poll_into(std::vector<Event>& events,
                         std::optional<std::chrono::nanoseconds> timeout) {
  const bool sleeps = timeout != std::chrono::nanoseconds::zero();
  if (sleeps) {
    if (settings.busy_poll.count() > 0 && poll_busily(events, timeout)) return;
    remote_.about_to_sleep();
    if (remote_.pending_now()) timeout = std::chrono::nanoseconds::zero();
  }
  const Error error = parts_->selector->poll(timeout, events);
  if (sleeps) remote_.awake();
  if (error) error.raise();
}

// Looks without sleeping for a while; true if something came. Else `timeout` is what is left.
bool LoopCore::poll_busily(std::vector<Event>& events,
                           std::optional<std::chrono::nanoseconds>& timeout) {
  const TimePoint began = now();
  const auto limit = timeout ? std::min<std::chrono::nanoseconds>(*timeout, settings.busy_poll)
                             : std::chrono::nanoseconds{settings.busy_poll};
  for (;;) {
    if (Error error = parts_->selector->poll(std::chrono::nanoseconds::zero(), events)) {
      error.raise();
    }
    collect_signals();  // whose wake-up this poll may have taken
    if (!events.empty() || !ready_.empty() || remote_.pending()) return true;
    const auto spent = now() - began;
    if (spent < limit) continue;
    if (timeout) *timeout = std::max(std::chrono::nanoseconds::zero(), *timeout - spent);
    return timeout && timeout->count() == 0;
  }
}

void LoopCore::process_events(const std::vector<Event>& events) {
  for (const Event& event : events) {
    const Ticket ticket{static_cast<std::uint32_t>(event.token),
                        static_cast<std::uint32_t>(event.token >> 32)};
    again(ticket, event.ready);
  }
}

void LoopCore::again(Ticket ticket, std::uint32_t ready) {
  Watch* const watch = find(ticket);
  if (watch == nullptr || ready == 0) return;  // of somebody who has gone
  if (watch->ready == 0) ready_.add({ReadyList::Kind::watch, ticket.index, ticket.generation});
  watch->ready = static_cast<std::uint8_t>(watch->ready | ready);
}

void LoopCore::again_later(Ticket ticket, std::uint32_t ready) {
  call_later(std::chrono::milliseconds{10}, [this, ticket, ready] { again(ticket, ready); }, {});
}

void LoopCore::collect_signals() {
  std::uint64_t came = parts_->signals->fetch();
  for (int signal = 1; came != 0; ++signal, came >>= 1) {
    const auto handler = (came & 1) != 0 ? signal_handlers_.find(signal) : signal_handlers_.end();
    if (handler == signal_handlers_.end()) continue;
    if (std::exchange(handler->second.pending, true)) continue;  // one call is enough for both
    schedule([this, signal] { run_signal(signal); }, handler->second.where);
  }
}

void LoopCore::run_signal(int signal) {
  const auto handler = signal_handlers_.find(signal);
  if (handler == signal_handlers_.end()) return;  // removed meanwhile
  if (!std::exchange(handler->second.pending, false)) return;  // removed, and added again
  const auto callback = handler->second.callback;  // may remove itself
  (*callback)();
}

template <class Call>
inline void LoopCore::run_call(Call& callback, const std::source_location& where) noexcept {
  if (settings.debug) [[unlikely]] return run_call_timed(callback, where);
  try {
    callback();
  } catch (...) {
    report("a callback threw", where);
  }
}

void LoopCore::run_ready() {
  collect_signals();
  if (!timers_.empty()) {
    last_time_ = now();
    due_.clear();
    timers_.take_due(last_time_, due_);
    for (const std::uint32_t slot : due_) {
      slots_.facts(slot).state = SlotState::due;
      ready_.add({ReadyList::Kind::timer, slot, 0});
    }
  }
  if (remote_.pending()) {
    if (const std::error_code error = remote_.fetch()) {
      soon([this, error] { report_waker(error); });
    }
    ready_.add({ReadyList::Kind::remote, 0, 0});
  }
  gathering_ = true;
  ready_.run_all(
      [this](ReadyList::Call& call) {
        run_call(call, call.where);
        flush_now();
      },
      [this](ReadyList::Mark mark) {
        run_mark(mark);
        flush_now();
      });
  gathering_ = false;
}

void LoopCore::report_waker(std::error_code error) noexcept {
  ExceptionContext context;
  context.message = "another thread could not wake the loop; what it posted runs late";
  context.exception = Error{error, "wake the loop"};
  call_exception_handler(context);
}

// What lives elsewhere.
void LoopCore::run_mark(ReadyList::Mark mark) noexcept {
  switch (mark.kind) {
    case ReadyList::Kind::timer: return run_timer(mark.index);
    case ReadyList::Kind::watch: return run_watch({mark.index, mark.generation});
    case ReadyList::Kind::remote: return run_remote();
  }
}

template <class Call>
void LoopCore::run_call_timed(Call& callback, const std::source_location& where) noexcept {
  const TimePoint began = now();
  try {
    callback();
  } catch (...) {
    report("a callback threw", where);
  }
  note_slow(began, "a callback", where);
}

void LoopCore::run_timer(std::uint32_t index) noexcept {
  if (slots_.facts(index).state == SlotState::due) {
    slots_.facts(index).state = SlotState::running;
    CallSlot& slot = slots_[index];  // keeps its place whatever the callback adds
    run_call(slot.callback, slot.where);
    slot.callback.reset();
  }
  slots_.give_back(index);
}

void LoopCore::run_watch(Ticket ticket) noexcept {
  Watch* const watch = find(ticket);
  if (watch == nullptr) return;  // closed by an earlier item of this turn
  const std::uint32_t ready = std::exchange(watch->ready, std::uint8_t{0});
  const NativeHandle handle = watch->handle;
  const bool timed = settings.debug && !user_watches_.contains(handle);  // those time themselves
  const TimePoint began = timed ? now() : TimePoint{};
  try {
    watch->handler->handle_ready(ready);
  } catch (...) {
    report("handling an event threw", std::source_location{});
  }
  if (timed) note_slow(began, "I/O on handle " + std::to_string(handle), {});
}

void LoopCore::run_remote() noexcept {
  remote_.run([this](ReadyList::Call& call) {
    run_call(call, call.where);
    flush_now();
  });
}

void LoopCore::flush_dirty() noexcept {
  // flush() calls nobody, so nothing is added meanwhile; members outlive the item that wrote.
  for (LoopMember* member : dirty_) member->flush();
  dirty_.clear();
}

Loop::Events LoopCore::poll_events(std::optional<Seconds> timeout) {
  check_usable("poll_events");
  if (timeout && std::isnan(timeout->count())) {
    throw std::invalid_argument{"poll_events: the time-out is NaN"};
  }
  Loop::Events events;
  if (closed_) return events;
  events.batch_ = std::make_unique<PolledBatch>();
  auto wait = time_to_wait();
  if (timeout) {
    const auto most = std::chrono::ceil<std::chrono::nanoseconds>(
        std::clamp(*timeout, Seconds::zero(), Seconds{86400.0}));
    wait = wait ? std::min(*wait, most) : most;
  }
  poll_into(events.batch_->events, wait);
  return events;
}

void LoopCore::process_ready() {
  check_can_run("process_ready");
  if (closed_) return;
  thread_ = std::this_thread::get_id();
  running_ = true;
  run_ready();
  running_ = false;
  stopping_ = false;
}

}  // namespace ferry::internal
