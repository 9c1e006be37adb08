// Signals: a handler that marks and wakes, dispositions that are given back.
#include "platform/posix/calls.hpp"
#include "platform/signal_mailbox.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_address.hpp"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace ferry::internal {
namespace {

constexpr int signal_count = 65;  // what a mailbox has bits for
std::array<struct sigaction, signal_count> former{};  // of those that our handler replaced

// Dispositions are looked at and changed under it, by all loops. A handler may try it: it must not
// wait, because it may have interrupted who holds it.
class Changing {
 public:
  void lock() noexcept {
    while (!try_lock()) std::this_thread::yield();
  }
  bool try_lock() noexcept { return !held_.test_and_set(std::memory_order_acquire); }
  void unlock() noexcept { held_.clear(std::memory_order_release); }

 private:
  std::atomic_flag held_;
};
constinit Changing changing;

extern "C" void on_signal(int number);

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &on_signal;
}

bool is_wanted(int number) noexcept {
  return (SignalMailbox::wanted_by_all(::getpid()) & SignalMailbox::bit(number)) != 0;
}

// Nobody wants it, and yet our handler is there: a library has put it back that had replaced it
// before, or this is a forked child. What was there before us is meant.
void pass_on(int number) noexcept {
  if (!changing.try_lock()) return;  // it comes while that changes
  struct sigaction now {};
  if (!is_wanted(number) && calls::sigaction(number, nullptr, &now) == 0 && is_ours(now)) {
    calls::sigaction(number, &former[static_cast<std::size_t>(number)], nullptr);
    ::raise(number);  // once this handler has returned
  }
  changing.unlock();
}

// In a process that was forked just now, maybe while another thread was at work in here.
void begin_anew() {
  SignalMailbox::forget_handlers();
  changing.unlock();
}

// The handler of all loops.
extern "C" void on_signal(int number) {
  const int error = errno;
  if (!SignalMailbox::deliver_to_all(number, ::getpid())) pass_on(number);
  errno = error;
}

// False: it cannot be caught.
bool put_in_place(int number) noexcept {
  struct sigaction ours {}, before {};
  ours.sa_handler = &on_signal;
  ours.sa_flags = SA_RESTART | SA_ONSTACK;  // the thread's own stack may be small
  sigfillset(&ours.sa_mask);
  if (calls::sigaction(number, &ours, &before) != 0) return false;
  if (!is_ours(before)) former[static_cast<std::size_t>(number)] = before;
  return true;
}

// Unless somebody else's has come in its place since: that one stays.
void put_former_back(int number) noexcept {
  struct sigaction now {};
  if (calls::sigaction(number, nullptr, &now) != 0 || !is_ours(now)) return;
  calls::sigaction(number, &former[static_cast<std::size_t>(number)], nullptr);
}

class PosixSignals final : public Signals {
 public:
  explicit PosixSignals(Poller& poller) : poller_{poller} {}
  ~PosixSignals() override {
    for (int number = 1; number < signal_count; ++number) give_back(number);
    if (box_ != nullptr) box_->retire();
  }

  void take(int number) override {
    if (number < 1 || number >= signal_count || number == SIGKILL || number == SIGSTOP) {
      refuse(number);
    }
    if (number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL) {
      throw std::invalid_argument{"signal " + std::to_string(number) +
                                  " is a fault of the thread that it comes to, not a loop's"};
    }
    static const int told_of_forks = ::pthread_atfork(nullptr, nullptr, &begin_anew);
    if (told_of_forks != 0) os_error(told_of_forks, "take signals").raise();
    if (box_ == nullptr) box_ = &SignalMailbox::claim(poller_);
    const std::lock_guard lock{changing};
    const bool new_to_us = !box_->wants(number);
    box_->want(number, ::getpid());  // first: the handler may be called at once
    if (put_in_place(number)) return;
    if (new_to_us) box_->want_no_more(number);
    refuse(number);
  }

  void give_back(int number) noexcept override {
    if (box_ == nullptr || !box_->wants(number)) return;
    const std::lock_guard lock{changing};
    // What comes between these two is dropped as well.
    box_->want_no_more(number);
    if (!is_wanted(number)) put_former_back(number);
  }

  std::uint64_t fetch() noexcept override { return box_ == nullptr ? 0 : box_->fetch(); }

 private:
  [[noreturn]] static void refuse(int number) {
    throw std::invalid_argument{"signal " + std::to_string(number) + " cannot be caught"};
  }

  Poller& poller_;
  SignalMailbox* box_ = nullptr;
};

}  // namespace

std::unique_ptr<Signals> make_signals(Poller& poller) {
  return std::make_unique<PosixSignals>(poller);
}

}  // namespace ferry::internal
