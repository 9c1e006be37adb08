// The loop behind ferry::Loop.
#pragma once

#include "platform/backend.hpp"
#include "platform/datagrams.hpp"
#include "platform/io.hpp"
#include "reactor/block_pool.hpp"
#include "reactor/call_slots.hpp"
#include "reactor/loop_member.hpp"
#include "reactor/ready_queue.hpp"
#include "reactor/remote_queue.hpp"
#include "reactor/timer_queue.hpp"

#include <ferry/loop.hpp>

#include <atomic>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

namespace ferry::internal {

struct PolledBatch {
  std::vector<Event> events;
};

// One turn: time-out, poll, take in the events, move due timers to the ready queue, then run
// exactly what is ready by now. run_item() is the only place where the user's callbacks are called;
// everything else adds to the ready queue.
class LoopCore final : public IoContext {
 public:
  LoopCore(Loop& loop, std::unique_ptr<BackendParts> parts);
  ~LoopCore();

  // --- Scheduling ---
  Handle call_soon(Callback&& callback, std::source_location where) {
    // What is rare is left to a function of its own, so that this one is short.
    if (careful_ || !callback || !ready_.next().adds_at_once(callback)) [[unlikely]] {
      return call_soon_slowly(std::move(callback), where);
    }
    Handle handle{*control_block_, ready_.next_number()};
    ready_.next().add_at_once(std::move(callback), where);
    return handle;
  }
  TimerHandle call_at(TimePoint when, Callback&& callback, const std::source_location& where);
  TimerHandle call_later(Seconds delay, Callback&& callback, const std::source_location& where);
  // A handle's word: its bit for timers and a number.
  void cancel(std::uint64_t word) noexcept {
    if ((word & Handle::timer_bit) == 0) return ready_.cancel(word);
    cancel_timer(word);
  }
  TimePoint now() const noexcept { return parts_->clock->now(); }
  // For our own use: no thread check, no place.
  Handle soon(Callback&& callback) { return schedule(std::move(callback), {}); }

  // --- Running ---
  void run_forever();
  void run_until_done(FutureState& future);
  void stop() noexcept { stopping_ = true; }
  void set_debug(bool on) noexcept {
    settings.debug = on;
    careful_ = on || closed_;
  }
  void close();
  bool running() const noexcept { return running_; }
  bool closed() const noexcept { return closed_; }
  Loop::Events poll_events(std::optional<Seconds> timeout);
  void process_events(const std::vector<Event>& events);
  void process_ready();

  // --- IoContext ---
  bool edge_triggered() const noexcept override { return edge_triggered_; }
  Error watch(NativeHandle handle, std::uint32_t interest, Trigger trigger, IoHandler& handler,
              Ticket& ticket) override;
  Error rewatch(Ticket ticket, std::uint32_t interest) override;
  void unwatch(Ticket& ticket, bool closing) noexcept override;
  void again(Ticket ticket, std::uint32_t ready) override;
  void again_later(Ticket ticket, std::uint32_t ready) override;
  Error watch_exit(NativeHandle process, IoHandler& handler, Ticket& ticket) override;
  bool watches(NativeHandle handle) const noexcept override;
  // As if it were watched, until it is. Nobody else has claimed it. `by` tells claims apart.
  void claim(NativeHandle handle, const void* by) { claimed_.push_back({handle, by}); }
  void unclaim(const void* by) noexcept {
    std::erase_if(claimed_, [by](const Claimed& one) { return one.by == by; });
  }
  Function<void(Callback)> poster() override;
  std::span<std::byte> scratch() noexcept override { return {scratch_.get(), scratch_size}; }
  DatagramBatch& datagram_batch() override {
    if (!datagram_batch_) datagram_batch_ = std::make_unique<DatagramBatch>();
    return *datagram_batch_;
  }
  // The same buffer, to its end: for those of whom much is read at a time.
  std::span<std::byte> large_scratch() noexcept { return {scratch_.get(), large_scratch_size}; }
  // More of them, for the layers of a stream: level 1 and up, made when first asked for.
  std::span<std::byte> scratch(std::size_t level) {
    if (level > layers_.size() || !layers_[level - 1]) make_layer(level);
    return {layers_[level - 1].get(), layer_size};
  }

  // --- Members ---
  void enrol(LoopMember& member, std::shared_ptr<void> self, const std::source_location& made_at);
  // What comes back keeps the member alive until the caller lets go.
  [[nodiscard]] std::shared_ptr<void> leave(LoopMember& member) noexcept;
  template <class Visit>
  void for_each_member(Visit visit) const {
    for (LoopMember* member = members_; member != nullptr;) {
      LoopMember* const next = member->next_;
      visit(*member);
      member = next;
    }
  }
  // Whether a callback is running, so that writes are gathered until it returns.
  bool gathering() const noexcept { return gathering_; }
  void flush_soon(LoopMember& member) { dirty_.push_back(&member); }
  void flush_now() {
    if (!dirty_.empty()) flush_dirty();
  }

  // --- Tasks ---
  void start_task(std::shared_ptr<RootTask> task);
  std::shared_ptr<RootTask> forget_task(RootTask& task) noexcept;

  // --- Names (resolver.hpp), children (children.hpp) ---
  Future<Answer> resolve(Query query);
  Future<Spawned> spawn(SpawnSpec spec, std::weak_ptr<const void> wanted);

  // --- Handles and signals of the user's ---
  void add_reader(NativeHandle handle, std::uint32_t interest, Callback callback,
                  const std::source_location& where);
  bool remove_reader(NativeHandle handle, std::uint32_t interest);
  void add_signal_handler(int signal, Callback callback, const std::source_location& where);
  bool remove_signal_handler(int signal);

  // --- Reports ---
  void call_exception_handler(const ExceptionContext& context) noexcept;
  void default_exception_handler(const ExceptionContext& context);
  void report(std::string_view message, const std::source_location& where) noexcept;
  void log(LogLevel level, std::string_view text) noexcept;
  // Debug mode: throws MisuseError on a wrong thread.
  void check_thread(const char* what) const {
    if (settings.debug) check_thread_slowly(what);
  }
  std::string describe() const;
  void check_usable(const char* what) const;
  void check_can_run(const char* what) const;
  static void check_callback(const Callback& callback, const char* what);
  bool tearing_down() const noexcept { return tearing_down_; }

  Loop& loop() noexcept { return loop_; }
  Network& network() noexcept { return *parts_->network; }
  Pipes& pipes() noexcept { return *parts_->pipes; }
  BlockPool& blocks() noexcept { return blocks_; }
  const ControlRef& control() const noexcept { return control_; }
  // False: the loop is closed. Any thread.
  bool post(Callback&& callback, const std::source_location& where, ThreadsafeHandle* handle) {
    return remote_.post(remote_epoch_, std::move(callback), where, handle);
  }
  const BackendParts& parts() const noexcept { return *parts_; }

  struct Settings {
    bool debug = false;
    TimePoint::duration slow = std::chrono::milliseconds{100};
    TimePoint::duration busy_poll{};
    ExceptionHandler exception_handler;
    LogSink log_sink;
  } settings;

 private:
  static constexpr std::size_t scratch_size = 64 * 1024;
  static constexpr std::size_t large_scratch_size = 256 * 1024;  // most of it is rarely touched
  // A page: the system copies into what is not aligned for a tenth more.
  static constexpr std::align_val_t scratch_alignment{4096};
  struct FreeScratch {
    void operator()(std::byte* scratch) const noexcept {
      ::operator delete[](scratch, scratch_alignment);
    }
  };
  static constexpr std::size_t layer_size = scratch_size + 4 * 1024;  // and what sealing it adds
  class UserWatch;
  struct Watch {
    IoHandler* handler = nullptr;
    NativeHandle handle = invalid_handle;
    std::uint32_t generation = 1;
    Trigger trigger = Trigger::edge;
    std::uint8_t ready = 0;   // reported and not yet handled; not 0: it is in the ready queue
    bool registered = false;  // with the selector
  };

  Handle schedule(Callback&& callback, const std::source_location& where) {
    if (closed_) [[unlikely]] return {};  // from a destructor while the loop ends
    Handle handle{*control_block_, ready_.next_number()};
    ready_.next().add(std::move(callback), where);
    return handle;
  }
  Handle call_soon_slowly(Callback&& callback, std::source_location where);
  // A timer's word: the bit, 30 bits of its order, its slot.
  static std::uint64_t timer_word(std::uint32_t index, std::uint32_t order) noexcept {
    return Handle::timer_bit | std::uint64_t{order & 0x3fffffff} << 32 | index;
  }
  void cancel_timer(std::uint64_t word) noexcept;
  void check_call(const Callback& callback, const char* what) const {
    check_usable(what);
    check_thread(what);
    check_callback(callback, what);
  }
  Watch* find(Ticket ticket) noexcept;
  Token token_of(std::uint32_t index) const noexcept {
    return (static_cast<Token>(watches_[index].generation) << 32) | index;
  }
  std::uint32_t free_place();
  void take_place(std::uint32_t index, NativeHandle handle, Trigger trigger, IoHandler& handler,
                  Ticket& ticket) noexcept;
  void forget_stale(NativeHandle handle, const IoHandler& owner);
  std::optional<std::chrono::nanoseconds> time_to_wait();
  void poll_into(std::vector<Event>& events, std::optional<std::chrono::nanoseconds> timeout);
  bool poll_busily(std::vector<Event>& events, std::optional<std::chrono::nanoseconds>& timeout);
  void run();
  void turn();
  void run_ready();
  void run_mark(ReadyList::Mark mark) noexcept;
  template <class Call>
  void run_call(Call& callback, const std::source_location& where) noexcept;
  template <class Call>
  void run_call_timed(Call& callback, const std::source_location& where) noexcept;
  void run_timer(std::uint32_t index) noexcept;
  void run_watch(Ticket ticket) noexcept;
  void run_remote() noexcept;
  void flush_dirty() noexcept;
  void report_waker(std::error_code error) noexcept;
  void collect_signals();
  void run_signal(int signal);
  void check_thread_slowly(const char* what) const;
  void note_slow(TimePoint began, const std::string& what,
                 const std::source_location& where) noexcept;
  void forget_callbacks() noexcept;
  void name_members();
  void drop_members() noexcept;
  void make_layer(std::size_t level);

  Loop& loop_;
  LoopControl* control_block_;
  ControlRef control_;
  std::unique_ptr<BackendParts> parts_;
  RemoteQueue& remote_;
  const std::uint64_t remote_epoch_;  // after close() the queue is another loop's
  bool edge_triggered_;
  bool running_ = false, stopping_ = false, closed_ = false;
  bool completed_ = false;    // what run_until_complete() waits for
  bool stop_is_due_ = false;  // for the next run_forever()
  std::atomic<bool> tearing_down_{false};  // asked by those who post from other threads
  bool gathering_ = false;
  bool careful_ = false;  // closed, or in debug mode: calls are looked at
  std::thread::id thread_;

  CallSlots slots_;
  TimerQueue timers_{slots_};
  TimePoint last_time_;  // that the clock was looked at
  ReadyQueue ready_;
  std::vector<std::uint32_t> due_;
  std::vector<Event> events_;
  std::vector<Watch> watches_;
  std::vector<std::uint32_t> free_watches_;
  struct Claimed {
    NativeHandle handle;
    const void* by;
  };
  std::vector<Claimed> claimed_;  // seldom more than one
  std::vector<LoopMember*> dirty_;
  LoopMember* members_ = nullptr;
  std::vector<std::shared_ptr<RootTask>> tasks_;
  std::unique_ptr<std::byte[], FreeScratch> scratch_;
  std::vector<std::unique_ptr<std::byte[]>> layers_;
  std::unique_ptr<DatagramBatch> datagram_batch_;
  BlockPool blocks_;
  std::unordered_map<NativeHandle, std::shared_ptr<UserWatch>> user_watches_;
  struct SignalHandler {
    std::shared_ptr<Callback> callback;
    std::source_location where;
    bool pending = false;  // its signal came, and the call is among what is ready
  };
  std::map<int, SignalHandler> signal_handlers_;
  // Whose answers other threads owe us, by number.
  template <class T>
  struct Owed {
    std::unordered_map<std::uint64_t, Future<T>> futures;
    std::uint64_t last_number = 0;
  };
  template <class T, class Ask>
  Future<T> ask(Owed<T>& owed, Ask ask);
  Owed<Answer> look_ups_;
  Owed<Spawned> spawns_;
};

}  // namespace ferry::internal
