#include "platform/bsd/kqueue_selector.hpp"

#include "platform/bsd/kqueue_calls.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/posix/waker.hpp"
#include "platform/posix/watchable.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace ferry::internal {
namespace {

// A pointer, on old NetBSD an integer.
using Udata = decltype(kevent::udata);
template <class To, class From>
To converted(From from) noexcept {
  if constexpr (std::is_pointer_v<Udata>) {
    return reinterpret_cast<To>(from);
  } else {
    return static_cast<To>(from);
  }
}
static_assert(sizeof(Token) == sizeof(void*),
              "the generation that tells late reports has no room in a 32-bit kevent");

// Every touch of an entry overwrites its udata, so each of them brings the same.
struct kevent change(std::uintptr_t ident, int filter, int flags, Token token) noexcept {
  struct kevent event {};
  EV_SET(&event, ident, static_cast<decltype(event.filter)>(filter),
         static_cast<decltype(event.flags)>(flags), 0, 0, converted<Udata>(token));
  return event;
}

std::uint32_t interest_in(int filter) noexcept {
  return filter == EVFILT_READ ? want_read : want_write;
}

// By level. An edge would save nothing (writing is tried before it is waited for), and a write
// filter that is registered for good would wake the loop at each acknowledgement.
class KqueueSelector final : public Selector {
 public:
  KqueueSelector() : queue_{calls::kqueue()} {
    if (!queue_) last_error("make a kqueue").raise();
    if (has_user_events()) return;
    pipe_.emplace();
    if (const int error = apply(pipe_->handle(), want_read, want_none, waker_token)) {
      os_error(error, "watch the waker").raise();
    }
  }

  bool edge_triggered() const noexcept override { return false; }

  Error add(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    int error = unwatchable(static_cast<int>(handle));
    if (error == 0) error = apply(handle, interest, want_none, token);
    if (error == 0) return {};
    apply(handle, want_none, interest, token);  // the one half that may have succeeded
    return refusal(error, handle);
  }

  // What is there already is overwritten, and what is not need not be deleted: so a number that was
  // closed and opened again behind our back is repaired (T-204).
  Error modify(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    forget_dead(handle);
    const int error = apply(handle, interest, (want_read | want_write) & ~interest, token);
    return error == 0 ? Error{} : refusal(error, handle);
  }

  void remove(NativeHandle handle, bool closing) noexcept override {
    forget_dead(handle);
    if (!closing) apply(handle, want_none, want_read | want_write, 0);  // else close() does it
  }

  // Once; what nobody fetches any more goes with the process.
  Error add_exit(NativeHandle process, Token token) override {
    struct kevent end = change(static_cast<std::uintptr_t>(process), EVFILT_PROC,
                               EV_ADD | EV_ONESHOT | EV_RECEIPT, token);
    end.fflags = NOTE_EXIT;
    struct kevent receipt {};
    int answers = 0;
    do {
      answers = calls::kevent_change(queue(), -1, &end, 1, &receipt);
    } while (answers < 0 && errno == EINTR);
    const int error = answers < 0 ? errno : static_cast<int>(receipt.data);
    return error == 0 ? Error{} : os_error(error, "watch process " + std::to_string(process));
  }

  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) override {
    if (!dead_.empty()) timeout = std::chrono::nanoseconds::zero();
    timespec limit{};
    if (timeout) limit = to_timespec(*timeout);
    const int count = calls::kevent_wait(queue(), events_.data(), static_cast<int>(events_.size()),
                                         timeout ? &limit : nullptr);
    if (count < 0) return errno == EINTR ? Error{} : last_error("kevent");
    for (int i = 0; i < count; ++i) {
      const struct kevent& event = events_[static_cast<std::size_t>(i)];
      if (const Token token = converted<Token>(event.udata); token != waker_token) {
        out.push_back({token, translate(event)});
      } else if (pipe_ && !pipe_->drain()) {
        apply(pipe_->handle(), want_none, want_read, waker_token);
      }
    }
    for (const Dead& dead : dead_) {
      out.push_back({dead.token, ready_read | ready_write | ready_hint});
    }
    return {};
  }

  // kevent() is a plain system call: as fit for a signal handler as write().
  std::error_code wake() noexcept override {
    if (pipe_) return pipe_->wake();
#ifdef EVFILT_USER
    struct kevent trigger = change(0, EVFILT_USER, 0, waker_token);
    trigger.fflags = NOTE_TRIGGER;
    return ring([&] { return calls::kevent_trigger(queue(), &trigger); });
#else
    return {};
#endif
  }

 private:
  static constexpr Token waker_token = 0;
  // Whom the system refused to watch because his peer has gone: he is told that, not an error.
  struct Dead {
    NativeHandle handle;
    Token token;
  };

  int queue() const noexcept { return static_cast<int>(queue_.fileno()); }

  static Error refusal(int error, NativeHandle handle) {
    return os_error(error, "watch handle " + std::to_string(handle));
  }

  // Asks the system itself: some have the filter in their headers and not in their kernel.
  bool has_user_events() noexcept {
#ifdef EVFILT_USER
    const struct kevent add = change(0, EVFILT_USER, EV_ADD | EV_CLEAR | EV_RECEIPT, waker_token);
    struct kevent receipt {};
    const timespec at_once{};
    return calls::kevent_change(queue(), -1, &add, 1, &receipt) == 1 && receipt.data == 0 &&
           !wake() && calls::kevent_wait(queue(), &receipt, 1, &at_once) == 1 &&
           receipt.filter == EVFILT_USER;
#else
    return false;
#endif
  }

  // One call for both filters; an errno, or 0.
  int apply(NativeHandle handle, std::uint32_t adding, std::uint32_t deleting, Token token) {
    std::array<struct kevent, 2> changes, receipts;
    int count = 0;
    for (const int filter : {EVFILT_READ, EVFILT_WRITE}) {
      const bool adds = (adding & interest_in(filter)) != 0;
      if (!adds && (deleting & interest_in(filter)) == 0) continue;
      changes[static_cast<std::size_t>(count++)] =
          change(static_cast<std::uintptr_t>(handle), filter,
                 (adds ? EV_ADD : EV_DELETE) | EV_RECEIPT, token);
    }
    if (count == 0) return 0;
    const int answers = calls::kevent_change(queue(), static_cast<int>(handle), changes.data(),
                                             count, receipts.data());
    if (answers < 0) return errno == EINTR ? 0 : errno;  // interrupted: all have been applied
    int first_error = 0;
    for (int i = 0; i < answers; ++i) {
      const struct kevent& receipt = receipts[static_cast<std::size_t>(i)];
      const int error = static_cast<int>(receipt.data);
      // What could not be deleted has gone, with its descriptor or before.
      if (error == 0 || (adding & interest_in(receipt.filter)) == 0) continue;
      if (receipt.filter == EVFILT_WRITE && peer_has_gone(error, handle)) {
        dead_.push_back({handle, token});
      } else if (first_error == 0) {
        first_error = error;
      }
    }
    return first_error;
  }

  // How systems refuse the writing end of a pipe that nobody reads any more: FreeBSD and old macOS
  // EPIPE, NetBSD EBADF, as if it were closed.
  static bool peer_has_gone(int error, NativeHandle handle) noexcept {
    return error == EPIPE || (error == EBADF && unwatchable(static_cast<int>(handle)) == 0);
  }

  void forget_dead(NativeHandle handle) noexcept {
    if (dead_.empty()) return;
    std::erase_if(dead_, [&](const Dead& dead) { return dead.handle == handle; });
  }

  // The end of the other side's data ends nothing but reading; an error, and the end of what can be
  // written, end both.
  static std::uint32_t translate(const struct kevent& event) noexcept {
    if (event.filter == EVFILT_PROC) return ready_read;
    const std::uint32_t ready = event.filter == EVFILT_READ ? ready_read : ready_write;
    if ((event.flags & (EV_EOF | EV_ERROR)) == 0) return ready;
    const bool read_side_only = event.filter == EVFILT_READ && event.fflags == 0;
    return ready_hint | (read_side_only ? ready : ready_read | ready_write);
  }

  static timespec to_timespec(std::chrono::nanoseconds timeout) noexcept {
    constexpr std::chrono::nanoseconds most = std::chrono::hours{24};  // A-036, T-188
    const auto capped = std::clamp(timeout, std::chrono::nanoseconds::zero(), most);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(capped);
    timespec result{};
    result.tv_sec = static_cast<decltype(result.tv_sec)>(seconds.count());
    result.tv_nsec = static_cast<decltype(result.tv_nsec)>((capped - seconds).count());
    return result;
  }

  Socket queue_;
  std::optional<PipeWaker> pipe_;  // where there are no user events
  std::vector<Dead> dead_;
  std::array<struct kevent, 512> events_;
};

}  // namespace

std::unique_ptr<Selector> make_kqueue_selector() { return std::make_unique<KqueueSelector>(); }

}  // namespace ferry::internal
