// Signals: a handler that marks and wakes, dispositions that are given back.
#include "platform/posix/calls.hpp"
#include "platform/signal_mailbox.hpp"
#include "platform/sockets/parts.hpp"

#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

constexpr int signal_count = 64;
std::array<std::atomic<SignalMailbox*>, signal_count> receivers{};
std::array<struct sigaction, signal_count> former{};
std::mutex mutex;

extern "C" void on_signal(int number) {
  SignalMailbox* const box = receivers[static_cast<std::size_t>(number)].load();
  if (box != nullptr) box->deliver(number);
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
      throw std::invalid_argument{"signal " + std::to_string(number) + " cannot be caught"};
    }
    const std::lock_guard lock{mutex};
    auto& receiver = receivers[static_cast<std::size_t>(number)];
    if (receiver.load() != nullptr) {
      if (receiver.load() == box_) return;
      throw MisuseError{"signal " + std::to_string(number) + " belongs to another loop"};
    }
    if (box_ == nullptr) box_ = &SignalMailbox::make(poller_);
    receiver.store(box_);
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    if (calls::sigaction(number, &action, &former[static_cast<std::size_t>(number)]) != 0) {
      receiver.store(nullptr);
      throw std::invalid_argument{"signal " + std::to_string(number) + " cannot be caught"};
    }
  }

  void give_back(int number) noexcept override {
    const std::lock_guard lock{mutex};
    auto& receiver = receivers[static_cast<std::size_t>(number)];
    if (box_ == nullptr || receiver.load() != box_) return;
    calls::sigaction(number, &former[static_cast<std::size_t>(number)], nullptr);
    receiver.store(nullptr);
    box_->drop(number);  // what came is dropped after removal
  }

  std::uint64_t fetch() noexcept override {
    return box_ == nullptr ? 0 : box_->fetch();
  }

 private:
  Poller& poller_;
  SignalMailbox* box_ = nullptr;
};

}  // namespace

std::unique_ptr<Signals> make_signals(Poller& poller) {
  return std::make_unique<PosixSignals>(poller);
}

}  // namespace ferry::internal
