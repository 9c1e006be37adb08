#include "platform/linux/epoll_selector.hpp"

#include "platform/linux/epoll_calls.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/timeout.hpp"
#include "platform/posix/waker.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace ferry::internal {
namespace {

class EpollSelector final : public Selector {
 public:
  EpollSelector()
      : epoll_{calls::epoll_create1(EPOLL_CLOEXEC)},
        waker_{calls::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
    if (!epoll_ || !waker_) last_error("make an epoll").raise();
    // By edges: each write is a new one, so that the counter need never be read back.
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    if (calls::epoll_ctl(epoll(), EPOLL_CTL_ADD, static_cast<int>(waker_.fileno()), &event) != 0) {
      last_error("watch the waker").raise();
    }
  }

  bool edge_triggered() const noexcept override { return true; }

  Error add(NativeHandle handle, std::uint32_t interest, Trigger trigger, Token token) override {
    if (interest == want_none) return {};
    return control(EPOLL_CTL_ADD, handle, interest, trigger, token);
  }

  // An entry of no interest leaves the set: epoll would go on to report its errors (T-203).
  Error modify(NativeHandle handle, std::uint32_t interest, Trigger trigger,
               Token token) override {
    if (interest == want_none) {
      remove(handle, false);
      return {};
    }
    return control(EPOLL_CTL_MOD, handle, interest, trigger, token);
  }

  void remove(NativeHandle handle, bool closing) noexcept override {
    if (closing) return;  // the close() that follows does it
    epoll_event event{};
    calls::epoll_ctl(epoll(), EPOLL_CTL_DEL, static_cast<int>(handle), &event);
  }

  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) override {
    const int count = calls::epoll_wait(epoll(), events_.data(), static_cast<int>(events_.size()),
                                        to_milliseconds(timeout));
    if (count < 0) return errno == EINTR ? Error{} : last_error("epoll_wait");
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (event.data.u64 != 0) out.push_back({event.data.u64, translate(event.events)});
    }
    return {};
  }

  std::error_code wake() noexcept override {
    const std::uint64_t one = 1;
    return ring([&] {
      return calls::write(static_cast<int>(waker_.fileno()), &one, sizeof one);
    });
  }

 private:
  int epoll() const noexcept { return static_cast<int>(epoll_.fileno()); }

  static std::uint32_t translate(std::uint32_t seen) noexcept {
    std::uint32_t ready = 0;
    if ((seen & (EPOLLERR | EPOLLHUP)) != 0) ready = ready_read | ready_write | ready_hint;
    if ((seen & (EPOLLRDHUP | EPOLLPRI)) != 0) ready |= ready_read | ready_hint;
    if ((seen & EPOLLIN) != 0) ready |= ready_read;
    if ((seen & EPOLLOUT) != 0) ready |= ready_write;
    return ready;
  }

  Error control(int what, NativeHandle handle, std::uint32_t interest, Trigger trigger,
                Token token) {
    epoll_event event{};
    if ((interest & want_read) != 0) event.events |= EPOLLIN;
    if ((interest & want_write) != 0) event.events |= EPOLLOUT;
    // The peer's end and urgent data as hints, so that a short read tells whether anything is left.
    if (trigger == Trigger::edge) event.events |= EPOLLET | EPOLLRDHUP | EPOLLPRI;
    event.data.u64 = token;
    const int fd = static_cast<int>(handle);
    if (calls::epoll_ctl(epoll(), what, fd, &event) == 0) return {};
    // The number was closed and opened again behind our back, or came back from no interest
    // (T-204).
    const int other = what == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if ((errno == EEXIST || errno == ENOENT) &&
        calls::epoll_ctl(epoll(), other, fd, &event) == 0) {
      return {};
    }
    return last_error("watch handle " + std::to_string(handle));
  }

  Socket epoll_, waker_;
  std::array<epoll_event, 512> events_;
};

}  // namespace

std::unique_ptr<Selector> make_epoll_selector() { return std::make_unique<EpollSelector>(); }

}  // namespace ferry::internal
