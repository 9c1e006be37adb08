// The loop's parts: scheduling, watches, members, reports, and its end.
#include "reactor/loop_core.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

bool debug_from_environment() {
  const char* value = std::getenv("FERRY_DEBUG");
  return value != nullptr && *value != '\0' && std::string_view{value} != "0";
}

std::string place(const std::source_location& where) {
  return std::string{where.file_name()} + ":" + std::to_string(where.line());
}

}  // namespace

// A handle of the user's own, with up to two callbacks (add_reader, add_writer).
class LoopCore::UserWatch final : public IoHandler,
                                  public std::enable_shared_from_this<UserWatch> {
 public:
  explicit UserWatch(LoopCore& core) noexcept : core_{core} {}
  void handle_ready(std::uint32_t ready) override {
    const auto self = shared_from_this();  // a callback may remove us
    for (const Interest side : {want_read, want_write}) {
      const auto callback = callbacks[side - 1];
      if ((ready & side) != 0 && callback) call(*callback, where[side - 1]);
    }
  }
  std::uint32_t interest() const noexcept {
    return (callbacks[0] ? want_read : 0u) | (callbacks[1] ? want_write : 0u);
  }

  std::shared_ptr<Callback> callbacks[2];
  std::source_location where[2];
  Ticket ticket;

 private:
  void call(Callback& callback, std::source_location from) noexcept {
    const bool timed = core_.settings.debug;
    const TimePoint began = timed ? core_.now() : TimePoint{};
    try {
      callback();
    } catch (...) {
      core_.report("a reader or writer callback threw", from);
    }
    if (timed) core_.note_slow(began, "a reader or writer callback", from);
  }
  LoopCore& core_;
};

LoopCore::LoopCore(Loop& loop, std::unique_ptr<BackendParts> parts)
    : loop_{loop},
      control_block_{new LoopControl{this, 0}},
      control_{*control_block_},
      parts_{std::move(parts)},
      remote_{RemoteQueue::take(*parts_->selector)},
      remote_epoch_{remote_.epoch()},
      edge_triggered_{parts_->selector->edge_triggered()},
      last_time_{parts_->clock->now()},
      scratch_{new (scratch_alignment) std::byte[large_scratch_size]} {
  set_debug(debug_from_environment());
}

LoopCore::~LoopCore() {
  if (!closed_) close();
  control_block_->core = nullptr;
}

// --- Scheduling ---

Handle LoopCore::call_soon_slowly(Callback&& callback, std::source_location where) {
  check_call(callback, "call_soon");
  return schedule(std::move(callback), where);
}

TimerHandle LoopCore::call_at(TimePoint when, Callback&& callback,
                              const std::source_location& where) {
  if (careful_ || !callback) [[unlikely]] {
    check_call(callback, "call_at");
    if (closed_) return {};
  }
  const std::uint32_t index = slots_.take(std::move(callback), where);
  timers_.add(index, when, last_time_);
  return TimerHandle{Handle{*control_block_, timer_word(index, slots_.facts(index).order)}, when};
}

TimerHandle LoopCore::call_later(Seconds delay, Callback&& callback,
                                 const std::source_location& where) {
  if (std::isnan(delay.count())) throw std::invalid_argument{"call_later: the delay is NaN"};
  constexpr Seconds most = std::chrono::hours{24 * 365 * 100};
  if (delay > most) return call_at(TimePoint::max(), std::move(callback), where);
  const auto wait = std::chrono::ceil<TimePoint::duration>(std::max(delay, Seconds::zero()));
  last_time_ = now();
  return call_at(last_time_ + wait, std::move(callback), where);
}

void LoopCore::cancel_timer(std::uint64_t word) noexcept {
  const auto index = static_cast<std::uint32_t>(word);
  SlotFacts& facts = slots_.facts(index);
  if (timer_word(index, facts.order) != word) return;  // the slot is another timer's now
  const SlotState state = facts.state;
  if (state == SlotState::waiting && facts.trivial) [[likely]] {
    timers_.remove(index);
    return slots_.give_back(index);
  }
  if (state != SlotState::waiting && state != SlotState::due) return;
  // Out of reach first: a capture's destructor may cancel as well.
  const Callback dying = std::move(slots_[index].callback);
  if (state == SlotState::waiting) {
    timers_.remove(index);
    slots_.give_back(index);
  } else {
    facts.state = SlotState::cancelled;  // its place in the ready queue gives the slot back
  }
}

// --- Watches ---

LoopCore::Watch* LoopCore::find(Ticket ticket) noexcept {
  if (ticket.index >= watches_.size()) return nullptr;
  Watch& watch = watches_[ticket.index];
  return watch.generation == ticket.generation && watch.handler != nullptr ? &watch : nullptr;
}

Error LoopCore::watch(NativeHandle handle, std::uint32_t interest, Trigger trigger,
                      IoHandler& handler, Ticket& ticket) {
  if (!user_watches_.empty()) forget_stale(handle, handler);
  const std::uint32_t index = free_place();
  if (Error error = parts_->selector->add(handle, interest, trigger, token_of(index))) return error;
  take_place(index, handle, trigger, handler, ticket);
  std::erase_if(claimed_, [handle](const Claimed& one) { return one.handle == handle; });
  return {};
}

Error LoopCore::watch_exit(NativeHandle process, IoHandler& handler, Ticket& ticket) {
  const std::uint32_t index = free_place();
  if (Error error = parts_->selector->add_exit(process, token_of(index))) return error;
  take_place(index, invalid_handle, Trigger::level, handler, ticket);
  return {};
}

// The index of a watch that take_place() may take.
std::uint32_t LoopCore::free_place() {
  if (free_watches_.empty()) {
    free_watches_.push_back(static_cast<std::uint32_t>(watches_.size()));
    watches_.emplace_back();
  }
  return free_watches_.back();
}

void LoopCore::take_place(std::uint32_t index, NativeHandle handle, Trigger trigger,
                          IoHandler& handler, Ticket& ticket) noexcept {
  free_watches_.pop_back();
  Watch& watch = watches_[index];
  watch.handler = &handler;
  watch.handle = handle;
  watch.trigger = trigger;
  ticket = {index, watch.generation};
}

bool LoopCore::watches(NativeHandle handle) const noexcept {
  const bool watched =
      std::any_of(watches_.begin(), watches_.end(), [handle](const Watch& watch) {
        return watch.handler != nullptr && watch.handle == handle;
      });
  const auto is_it = [handle](const Claimed& one) { return one.handle == handle; };
  return watched || std::any_of(claimed_.begin(), claimed_.end(), is_it);
}

Function<void(Callback)> LoopCore::poster() {
  return [queue = &remote_, epoch = remote_epoch_](Callback callback) {
    queue->post(epoch, std::move(callback), {}, nullptr);
  };
}

// A handle of the user's that was closed without remove_reader(); its number is another's now.
void LoopCore::forget_stale(NativeHandle handle, const IoHandler& owner) {
  const auto found = user_watches_.find(handle);
  if (found == user_watches_.end() || found->second.get() == &owner) return;
  const auto gone = std::move(found->second);
  user_watches_.erase(found);
  unwatch(gone->ticket, false);
  soon([gone] {});  // the captures die later, where they harm nobody
}

Error LoopCore::rewatch(Ticket ticket, std::uint32_t interest) {
  Watch* const watch = find(ticket);
  if (watch == nullptr) return {};
  const Token token = (static_cast<Token>(ticket.generation) << 32) | ticket.index;
  return parts_->selector->modify(watch->handle, interest, watch->trigger, token);
}

void LoopCore::unwatch(Ticket& ticket, bool closing) noexcept {
  Watch* const watch = find(ticket);
  ticket = {};
  if (watch == nullptr) return;
  // By level, a duplicate that somebody holds would go on to be reported. When the loop ends,
  // nobody looks any more; and in a forked process, what this loop removed would be the parent's.
  if (watch->handle != invalid_handle) {
    const bool by_itself = (closing && watch->trigger == Trigger::edge) || closed_;
    parts_->selector->remove(watch->handle, by_itself);
  }
  watch->handler = nullptr;
  watch->ready = 0;
  if (++watch->generation == 0) watch->generation = 1;  // 0 is no ticket
  free_watches_.push_back(static_cast<std::uint32_t>(watch - watches_.data()));
}

// --- Members ---

void LoopCore::enrol(LoopMember& member, std::shared_ptr<void> self,
                     const std::source_location& made_at) {
  member.self_ = std::move(self);
  member.made_at_ = made_at;
  member.next_ = members_;
  if (members_ != nullptr) members_->previous_ = &member;
  members_ = &member;
}

std::shared_ptr<void> LoopCore::leave(LoopMember& member) noexcept {
  if (member.self_ == nullptr) return nullptr;
  (member.previous_ != nullptr ? member.previous_->next_ : members_) = member.next_;
  if (member.next_ != nullptr) member.next_->previous_ = member.previous_;
  member.previous_ = member.next_ = nullptr;
  return std::move(member.self_);
}

void LoopCore::make_layer(std::size_t level) {
  if (layers_.size() < level) layers_.resize(level);
  layers_[level - 1].reset(new std::byte[layer_size]);
}

// --- Tasks ---

void LoopCore::start_task(std::shared_ptr<RootTask> task) {
  check_usable("create_task");
  check_thread("create_task");
  if (closed_) return;
  task->position_ = tasks_.size();
  tasks_.push_back(task);
  soon([task = std::move(task)] { task->start(); });
}

std::shared_ptr<RootTask> LoopCore::forget_task(RootTask& task) noexcept {
  const std::size_t at = task.position_;
  if (at >= tasks_.size() || tasks_[at].get() != &task) return nullptr;
  auto found = std::move(tasks_[at]);
  tasks_[at] = std::move(tasks_.back());
  if (tasks_[at]) tasks_[at]->position_ = at;
  tasks_.pop_back();
  return found;
}

// --- Names and children ---

// `ask(done)` has `done(T)` called once, on any thread. That holds nothing of ours but numbers, and
// a queue that is never freed.
template <class T, class Ask>
Future<T> LoopCore::ask(Owed<T>& owed, Ask ask) {
  auto future = loop_.create_future<T>();
  const std::uint64_t number = ++owed.last_number;
  owed.futures.emplace(number, future);
  ask([&owed, number, post = poster()](T answer) mutable {
    post([&owed, number, answer = std::make_shared<T>(std::move(answer))] {
      const auto entry = owed.futures.find(number);
      if (entry == owed.futures.end()) return;
      Future<T> waiting = std::move(entry->second);
      owed.futures.erase(entry);
      if (!waiting.done()) waiting.set_result(std::move(*answer));
    });
  });
  return future;
}

Future<Answer> LoopCore::resolve(Query query) {
  return ask(look_ups_, [&](Function<void(Answer)> done) {
    parts_->resolver->resolve(std::move(query), std::move(done));
  });
}

Future<Spawned> LoopCore::spawn(SpawnSpec spec, std::weak_ptr<const void> wanted) {
  return ask(spawns_, [&](Function<void(Spawned)> done) {
    parts_->children->spawn(std::move(spec), std::move(wanted), std::move(done));
  });
}

// --- Handles and signals of the user's ---

void LoopCore::add_reader(NativeHandle handle, std::uint32_t interest, Callback callback,
                          const std::source_location& where) {
  check_usable("add_reader");
  check_thread("add_reader");
  check_callback(callback, "add_reader");
  if (closed_) return;
  if (!user_watches_.contains(handle) && watches(handle)) {
    throw MisuseError{"handle " + std::to_string(handle) + " is used by a transport"};
  }
  auto& entry = user_watches_[handle];
  const bool fresh = entry == nullptr;
  if (fresh) entry = std::make_shared<UserWatch>(*this);
  auto& slot = entry->callbacks[interest - 1];
  const auto before = std::exchange(slot, std::make_shared<Callback>(std::move(callback)));
  entry->where[interest - 1] = where;
  const Error error =
      fresh ? watch(handle, interest, Trigger::level, *entry, entry->ticket)
            : rewatch(entry->ticket, entry->interest());  // the number may be new (T-204)
  if (!error) return;
  slot = before;
  if (fresh) user_watches_.erase(handle);
  error.raise();
}

bool LoopCore::remove_reader(NativeHandle handle, std::uint32_t interest) {
  check_thread("remove_reader");
  const auto found = user_watches_.find(handle);
  if (found == user_watches_.end()) return false;
  const auto entry = found->second;
  const auto gone = std::exchange(entry->callbacks[interest - 1], nullptr);
  if (gone == nullptr) return false;
  if (entry->interest() == want_none) {
    unwatch(entry->ticket, false);
    user_watches_.erase(found);
  } else {
    rewatch(entry->ticket, entry->interest());
  }
  return true;
}

void LoopCore::add_signal_handler(int signal, Callback callback,
                                  const std::source_location& where) {
  check_usable("add_signal_handler");
  check_thread("add_signal_handler");
  check_callback(callback, "add_signal_handler");
  if (closed_) return;
  auto shared = std::make_shared<Callback>(std::move(callback));
  parts_->signals->take(signal);
  SignalHandler& handler = signal_handlers_[signal];  // a new one, or the one that it replaces
  handler.where = where;
  const auto dying = std::exchange(handler.callback, std::move(shared));
}

bool LoopCore::remove_signal_handler(int signal) {
  check_thread("remove_signal_handler");
  const auto found = signal_handlers_.find(signal);
  if (found == signal_handlers_.end()) return false;
  parts_->signals->give_back(signal);
  const auto dying = std::move(found->second);
  signal_handlers_.erase(found);
  return true;
}

// --- Reports ---

void LoopCore::call_exception_handler(const ExceptionContext& context) noexcept {
  try {
    if (!settings.exception_handler) return default_exception_handler(context);
    const ExceptionHandler handler = settings.exception_handler;  // it may replace itself
    handler(loop_, context);
  } catch (...) {
    const Error second{std::current_exception()};
    log(LogLevel::error, "the exception handler threw: " + std::string{second.what()} +
                             "; it was handling: " + std::string{context.message} + ": " +
                             std::string{context.exception.what()});
  }
}

void LoopCore::default_exception_handler(const ExceptionContext& context) {
  std::string text{context.message.empty() ? "an error without a message" : context.message};
  if (context.exception) text += ": " + std::string{context.exception.what()};
  if (context.transport != nullptr) text += " [" + context.transport->describe() + "]";
  if (context.where.line() != 0) text += " (scheduled at " + place(context.where) + ")";
  log(LogLevel::error, text);
}

void LoopCore::report(std::string_view message, const std::source_location& where) noexcept {
  ExceptionContext context;
  context.message = message;
  context.exception = Error{std::current_exception()};
  context.where = where;
  call_exception_handler(context);
}

void LoopCore::log(LogLevel level, std::string_view text) noexcept {
  static constexpr const char* names[] = {"debug", "info", "warning", "error"};
  try {
    if (settings.log_sink) return settings.log_sink(level, text);
  } catch (...) {  // a sink that fails must not lose the line
  }
  std::fprintf(stderr, "ferry: %s: %.*s\n", names[static_cast<int>(level)],
               static_cast<int>(text.size()), text.data());
}

void LoopCore::note_slow(TimePoint began, const std::string& what,
                         const std::source_location& where) noexcept {
  const auto took = now() - began;
  if (took < settings.slow) return;
  const std::string from = where.line() != 0 ? " scheduled at " + place(where) : "";
  log(LogLevel::warning,
      what + from + " took " + std::to_string(std::chrono::duration<double>(took).count()) + " s");
}

void LoopCore::check_thread_slowly(const char* what) const {
  if (running_ && thread_ != std::this_thread::get_id()) {
    throw MisuseError{std::string{what} + ": not the thread that runs the loop; use "
                                          "call_soon_threadsafe()"};
  }
}

void LoopCore::check_usable(const char* what) const {
  if (closed_ && !tearing_down_) throw MisuseError{std::string{what} + ": the loop is closed"};
}

void LoopCore::check_callback(const Callback& callback, const char* what) {
  if (!callback) throw std::invalid_argument{std::string{what} + ": the callback is empty"};
}

// --- The end ---

void LoopCore::close() {
  if (running_) throw MisuseError{"close: the loop is running"};
  if (closed_) return;
  closed_ = careful_ = true;
  tearing_down_ = true;  // destructors that run now find a loop that does nothing
  if (settings.debug) name_members();
  remote_.give_back();
  for (const auto& [signal, handler] : signal_handlers_) parts_->signals->give_back(signal);
  drop_members();
  while (!tasks_.empty()) {
    const auto task = std::move(tasks_.back());
    tasks_.pop_back();
    task->drop();
  }
  forget_callbacks();
  tearing_down_ = false;
}

void LoopCore::name_members() {
  std::vector<std::string> lines;  // first: the log is the user's, and may close some
  for_each_member([&](LoopMember& member) {
    lines.push_back("left open when the loop was closed: " + member.describe() + " made at " +
                    place(member.made_at_));
  });
  for (const std::string& line : lines) log(LogLevel::warning, line);
}

std::string LoopCore::describe() const {
  std::string text;
  for_each_member([&](const LoopMember& member) {
    text += member.describe() + " made at " + place(member.made_at_) + "\n";
  });
  for (const auto& [handle, watch] : user_watches_) {
    text += "handle " + std::to_string(handle) + " is watched\n";
  }
  if (!tasks_.empty()) text += "tasks: " + std::to_string(tasks_.size()) + "\n";
  return text;
}

void LoopCore::drop_members() noexcept {
  std::vector<std::shared_ptr<void>> trash;
  while (members_ != nullptr) {
    LoopMember& member = *members_;
    member.drop(trash);
    trash.push_back(leave(member));
  }
  dirty_.clear();
}

void LoopCore::forget_callbacks() noexcept {
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    const Callback dying = std::move(slots_[i].callback);
    slots_.facts(i).state = SlotState::free;  // handles find nothing to cancel
  }
  ready_.clear();
  timers_.clear();
  const auto readers = std::move(user_watches_);
  for (const auto& [handle, entry] : readers) unwatch(entry->ticket, false);
  const auto handlers = std::move(signal_handlers_);
  const auto look_ups = std::move(look_ups_.futures);
  const auto spawns = std::move(spawns_.futures);
}

}  // namespace ferry::internal
