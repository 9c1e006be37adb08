// Signals: a handler that marks and wakes, dispositions that are given back.
#include "platform/posix/calls.hpp"
#include "platform/signal_mailbox.hpp"
#include "platform/sockets/parts.hpp"

#include <array>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

constexpr int signal_count = 65;  // what a mailbox has bits for
std::array<struct sigaction, signal_count> former{};  // of those that our handler replaced
std::mutex mutex;  // dispositions are looked at and changed under it, by all loops

// The handler of all loops.
extern "C" void on_signal(int number) { SignalMailbox::deliver_to_all(number, ::getpid()); }

bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &on_signal;
}

// False: it cannot be caught.
bool put_in_place(int number) noexcept {
  struct sigaction ours {}, before {};
  ours.sa_handler = &on_signal;
  ours.sa_flags = SA_RESTART;
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
    if (box_ == nullptr) box_ = &SignalMailbox::claim(poller_);
    const std::lock_guard lock{mutex};
    const bool new_to_us = !box_->wants(number);
    box_->want(number, ::getpid());  // first: the handler may be called at once
    if (put_in_place(number)) return;
    if (new_to_us) box_->want_no_more(number);
    refuse(number);
  }

  void give_back(int number) noexcept override {
    if (box_ == nullptr || !box_->wants(number)) return;
    const std::lock_guard lock{mutex};
    // What comes between these two is dropped as well.
    box_->want_no_more(number);
    const auto wanted = SignalMailbox::wanted_by_all(::getpid());
    if ((wanted & SignalMailbox::bit(number)) == 0) put_former_back(number);
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
