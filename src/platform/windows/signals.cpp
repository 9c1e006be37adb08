// Console events: Ctrl+C is SIGINT and Ctrl+Break is SIGBREAK, for loops that ask for them.
#include "platform/signal_mailbox.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/windows/calls.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

constexpr std::array events{SIGINT, SIGBREAK};  // by their number: CTRL_C_EVENT, CTRL_BREAK_EVENT
std::array<std::atomic<SignalMailbox*>, events.size()> receivers{};
std::mutex mutex;

// In a thread that Windows starts for it. What nobody asked for goes on to the next handler, and
// from the last one to the end of the process.
BOOL WINAPI on_event(DWORD event) {
  SignalMailbox* const box = event < events.size() ? receivers[event].load() : nullptr;
  if (box == nullptr) return FALSE;
  box->deliver(events[event]);
  return TRUE;
}

bool any_receiver() noexcept {
  for (const auto& receiver : receivers) {
    if (receiver.load() != nullptr) return true;
  }
  return false;
}

class ConsoleSignals final : public Signals {
 public:
  explicit ConsoleSignals(Poller& poller) : poller_{poller} {}
  ~ConsoleSignals() override {
    for (const int number : events) give_back(number);
    if (box_ != nullptr) box_->retire();
  }

  void take(int number) override {
    std::atomic<SignalMailbox*>* const receiver = receiver_of(number);
    const std::string name = "signal " + std::to_string(number);
    if (receiver == nullptr) throw std::invalid_argument{name + " cannot be caught"};
    const std::lock_guard lock{mutex};
    if (receiver->load() != nullptr) {
      if (receiver->load() == box_) return;
      throw MisuseError{name + " belongs to another loop"};
    }
    if (!any_receiver() && calls::console_handler(&on_event, true) != 0) {
      throw std::invalid_argument{name + " cannot be caught"};
    }
    if (box_ == nullptr) box_ = &SignalMailbox::make(poller_);
    receiver->store(box_);
  }

  void give_back(int number) noexcept override {
    std::atomic<SignalMailbox*>* const receiver = receiver_of(number);
    const std::lock_guard lock{mutex};
    if (receiver == nullptr || box_ == nullptr || receiver->load() != box_) return;
    receiver->store(nullptr);
    if (!any_receiver()) calls::console_handler(&on_event, false);
    box_->drop(number);  // what came is dropped after removal
  }

  std::uint64_t fetch() noexcept override { return box_ == nullptr ? 0 : box_->fetch(); }

 private:
  static std::atomic<SignalMailbox*>* receiver_of(int number) noexcept {
    for (std::size_t i = 0; i < events.size(); ++i) {
      if (events[i] == number) return &receivers[i];
    }
    return nullptr;
  }

  Poller& poller_;
  SignalMailbox* box_ = nullptr;
};

}  // namespace

std::unique_ptr<Signals> make_signals(Poller& poller) {
  return std::make_unique<ConsoleSignals>(poller);
}

}  // namespace ferry::internal
