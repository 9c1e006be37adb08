// Turns: wait, take in what came, run what is ready.
#include "reactor/loop_core.hpp"

#include <algorithm>
#include <string>

namespace ferry::internal {

void LoopCore::run_forever() {
  check_usable("run_forever");
  if (running_) throw MisuseError{"the loop is running already"};
  struct Run {
    LoopCore& core;
    explicit Run(LoopCore& loop) : core{loop} {
      core.thread_ = std::this_thread::get_id();
      core.running_ = true;
    }
    ~Run() {
      core.running_ = false;
      core.stopping_ = false;
    }
  } const run{*this};
  do {
    turn();
  } while (!stopping_);
}

void LoopCore::run_until_done(FutureState& future) {
  check_usable("run_until_complete");
  if (running_) throw MisuseError{"the loop is running already"};
  if (!future.done()) {
    auto waiting = std::make_shared<bool>(true);
    future.add_done_callback([this, waiting] {
      if (*waiting) stop();
    });
    run_forever();
    *waiting = false;
  }
  if (!future.done()) throw MisuseError{"the loop was stopped before the future was done"};
}

void LoopCore::turn() {
  events_.clear();
  poll_into(events_, time_to_wait());
  process_events(events_);
  run_ready();
}

std::optional<std::chrono::nanoseconds> LoopCore::time_to_wait() const noexcept {
  if (!ready_.empty() || stopping_ || remote_->pending()) return std::chrono::nanoseconds::zero();
  if (timers_.empty()) return std::nullopt;
  const TimePoint next = timers_.next();
  if (next == TimePoint::max()) return std::nullopt;
  return std::max(std::chrono::nanoseconds::zero(),
                  std::chrono::nanoseconds{next - parts_->clock->now()});
}

void LoopCore::poll_into(std::vector<Event>& events,
                         std::optional<std::chrono::nanoseconds> timeout) {
  const bool sleeps = timeout != std::chrono::nanoseconds::zero();
  if (sleeps) {
    if (settings.busy_poll.count() > 0 && poll_busily(events, timeout)) return;
    remote_->about_to_sleep();
    if (remote_->pending_now()) timeout = std::chrono::nanoseconds::zero();
  }
  const Error error = parts_->selector->poll(timeout, events);
  if (sleeps) remote_->awake();
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
    if (!events.empty() || remote_->pending()) return true;
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
  if (watch->ready == 0) ready_.push_back({ticket.index, ticket.generation});
  watch->ready = static_cast<std::uint8_t>(watch->ready | ready);
}

void LoopCore::again_later(Ticket ticket, std::uint32_t ready) {
  call_later(std::chrono::milliseconds{10}, [this, ticket, ready] { again(ticket, ready); }, {});
}

void LoopCore::collect_signals() {
  std::uint64_t came = parts_->signals->fetch();
  for (int signal = 0; came != 0; ++signal, came >>= 1) {
    if ((came & 1) != 0) soon([this, signal] { run_signal(signal); });
  }
}

void LoopCore::run_signal(int signal) {
  const auto handler = signal_handlers_.find(signal);
  if (handler == signal_handlers_.end()) return;  // removed meanwhile
  const auto callback = handler->second.callback;  // may remove itself
  (*callback)();
}

void LoopCore::run_ready() {
  collect_signals();
  if (!timers_.empty()) {
    const TimePoint time = now();
    std::uint32_t slot = 0;
    while (timers_.pop_due(time, slot)) {
      slots_[slot].state = SlotState::ready;
      ready_.push_back({slot, 0});
    }
  }
  if (remote_->pending()) ready_.push_back({0, remote_batch});
  // Exactly what is ready now: what these add waits for the next turn.
  std::swap(ready_, current_);
  gathering_ = true;
  for (const ReadyItem item : current_) run_item(item);
  gathering_ = false;
  current_.clear();
}

void LoopCore::run_item(ReadyItem item) noexcept {
  if (item.generation == 0) {
    run_call(item.index);
  } else if (item.generation == remote_batch) {
    run_remote();
  } else {
    run_watch(item);
  }
  flush_now();
}

void LoopCore::run_call(std::uint32_t index) noexcept {
  CallSlot& slot = slots_[index];  // keeps its place whatever the callback adds
  if (slot.state == SlotState::ready) {
    slot.state = SlotState::running;
    const bool timed = settings.debug;
    const TimePoint began = timed ? now() : TimePoint{};
    try {
      slot.callback();
    } catch (...) {
      report("a callback threw", slot.where);
    }
    if (timed) note_slow(began, "a callback");
  }
  slot.callback.reset();
  slots_.give_back(index);
}

void LoopCore::run_watch(ReadyItem item) noexcept {
  Watch* const watch = find({item.index, item.generation});
  if (watch == nullptr) return;  // closed by an earlier item of this turn
  const std::uint32_t ready = std::exchange(watch->ready, std::uint8_t{0});
  const TimePoint began = settings.debug ? now() : TimePoint{};
  const NativeHandle handle = watch->handle;
  try {
    watch->handler->handle_ready(ready);
  } catch (...) {
    report("handling an event threw", std::source_location{});
  }
  if (settings.debug) note_slow(began, "I/O on handle " + std::to_string(handle));
}

void LoopCore::run_remote() noexcept {
  for (RemoteQueue::Node* node = remote_->fetch(); node != nullptr;) {
    RemoteQueue::Node* const next = node->next;
    if (remote_->begin(*node)) {
      const TimePoint began = settings.debug ? now() : TimePoint{};
      try {
        node->callback();
      } catch (...) {
        report("a callback threw", node->where);
      }
      if (settings.debug) note_slow(began, "a callback of another thread's");
      remote_->done(*node);
    } else {
      remote_->drop(*node);
    }
    flush_now();
    node = next;
  }
}

void LoopCore::flush_dirty() noexcept {
  // flush() calls nobody, so nothing is added meanwhile; members outlive the item that wrote.
  for (LoopMember* member : dirty_) member->flush();
  dirty_.clear();
}

Loop::Events LoopCore::poll_events(std::optional<Seconds> timeout) {
  check_usable("poll_events");
  Loop::Events events;
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
  check_usable("process_ready");
  if (running_) throw MisuseError{"the loop is running already"};
  thread_ = std::this_thread::get_id();
  running_ = true;
  run_ready();
  running_ = false;
  stopping_ = false;
}

}  // namespace ferry::internal
