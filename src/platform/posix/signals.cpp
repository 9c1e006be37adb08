// Signals: a handler that marks and wakes, dispositions that are given back.
#include "platform/posix/calls.hpp"
#include "platform/posix/parts.hpp"

#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ferry::internal {
namespace {

// What the handler may touch. It lives as long as the process: a handler that runs on another
// thread may still be looking when its loop goes. A loop takes a free one; `waker` says whose it
// is.
struct Mailbox {
  std::atomic<std::uint64_t> came{0};
  std::atomic<Poller*> waker{nullptr};
  std::atomic<int> visitors{0};  // handlers inside
};

constexpr int signal_count = 64;
std::array<std::atomic<Mailbox*>, signal_count> receivers{};
std::array<struct sigaction, signal_count> former{};
std::mutex mutex;

extern "C" void on_signal(int number) {
  Mailbox* const box = receivers[static_cast<std::size_t>(number)].load();
  if (box == nullptr) return;
  box->visitors.fetch_add(1);
  box->came.fetch_or(std::uint64_t{1} << number);
  if (Poller* const waker = box->waker.load()) waker->wake();
  box->visitors.fetch_sub(1);
}

class PosixSignals final : public Signals {
 public:
  explicit PosixSignals(Poller& poller) : poller_{poller} {}
  ~PosixSignals() override {
    for (int number = 1; number < signal_count; ++number) give_back(number);
    if (box_ == nullptr) return;
    box_->waker.store(nullptr);
    while (box_->visitors.load() != 0) {
    }  // a handler that is about to wake the poller
    // The box itself stays: a few words per loop that ever took a signal.
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
    if (box_ == nullptr) {
      box_ = new Mailbox;
      boxes().push_back(box_);
      box_->waker.store(&poller_);
    }
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
    box_->came.fetch_and(~(std::uint64_t{1} << number));  // dropped after removal
  }

  std::uint64_t fetch() noexcept override {
    if (box_ == nullptr || box_->came.load(std::memory_order_relaxed) == 0) return 0;
    return box_->came.exchange(0);
  }

 private:
  // Keeps what must never be freed reachable.
  static std::vector<Mailbox*>& boxes() {
    static auto* const all = new std::vector<Mailbox*>;
    return *all;
  }

  Poller& poller_;
  Mailbox* box_ = nullptr;
};

}  // namespace

std::unique_ptr<Signals> make_posix_signals(Poller& poller) {
  return std::make_unique<PosixSignals>(poller);
}

}  // namespace ferry::internal
