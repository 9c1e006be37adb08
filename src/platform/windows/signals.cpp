// Console events: Ctrl+C, Ctrl+Break and the console's end, for loops that ask for them.
#include "platform/signal_mailbox.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/windows/calls.hpp"
#include "platform/windows/console.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

constexpr std::array console_signals{SIGINT, SIGBREAK, SIGTERM};
constexpr long this_process = 0;  // there is no fork()
std::mutex mutex;
bool registered = false;  // our handler; under the mutex
// Whether a handler may wait for ever, as below. Systems hold a lock of their own while handlers
// run, so that from then on ours cannot be taken away.
std::atomic<bool> ending{false};

int signal_of(unsigned long event) noexcept {
  switch (event) {
    case CTRL_C_EVENT: return SIGINT;
    case CTRL_BREAK_EVENT: return SIGBREAK;
    case CTRL_CLOSE_EVENT:
    case CTRL_SHUTDOWN_EVENT: return SIGTERM;
    // Not CTRL_LOGOFF_EVENT, which services hear of whenever anybody logs off.
    default: return 0;
  }
}

// In a thread that Windows starts for it.
BOOL WINAPI on_event(DWORD event) {
  if (signal_of(event) == SIGTERM) ending.store(true);  // before any loop hears of it
  const int number = deliver_console_event(event);
  // Windows ends the process when this returns. So it does not: the program ends by itself, in the
  // seconds that Windows leaves to it, also if the loop gives the signal back meanwhile.
  if (number == SIGTERM) ::Sleep(INFINITE);
  return number != 0 ? TRUE : FALSE;
}

class ConsoleSignals final : public Signals {
 public:
  explicit ConsoleSignals(Poller& poller) : poller_{poller} {}
  ~ConsoleSignals() override {
    for (const int number : console_signals) give_back(number);
    if (box_ != nullptr) box_->retire();
  }

  void take(int number) override {
    if (!is_console_signal(number)) refuse(number);
    const std::lock_guard lock{mutex};
    if (!registered && calls::console_handler(&on_event, true) != 0) refuse(number);
    registered = true;
    if (box_ == nullptr) box_ = &SignalMailbox::claim(poller_);
    box_->want(number, this_process);
  }

  void give_back(int number) noexcept override {
    if (box_ == nullptr || !is_console_signal(number) || !box_->wants(number)) return;
    const std::lock_guard lock{mutex};
    box_->want_no_more(number);
    if (SignalMailbox::wanted_by_all(this_process) != 0 || ending.load()) return;
    // It fails if a new console has taken ours away: then it is not there either.
    static_cast<void>(calls::console_handler(&on_event, false));
    registered = false;
  }

  std::uint64_t fetch() noexcept override { return box_ == nullptr ? 0 : box_->fetch(); }

 private:
  static bool is_console_signal(int number) noexcept {
    for (const int signal : console_signals) {
      if (signal == number) return true;
    }
    return false;
  }
  [[noreturn]] static void refuse(int number) {
    throw std::invalid_argument{"signal " + std::to_string(number) + " cannot be caught"};
  }

  Poller& poller_;
  SignalMailbox* box_ = nullptr;
};

}  // namespace

int deliver_console_event(unsigned long event) noexcept {
  const int number = signal_of(event);
  return number != 0 && SignalMailbox::deliver_to_all(number, this_process) ? number : 0;
}

std::unique_ptr<Signals> make_signals(Poller& poller) {
  return std::make_unique<ConsoleSignals>(poller);
}

}  // namespace ferry::internal
