#include "platform/posix/poll_selector.hpp"

#include "platform/posix/calls.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/timeout.hpp"
#include "platform/posix/waker.hpp"
#include "platform/posix/watchable.hpp"

#include <unordered_map>
#include <vector>

namespace ferry::internal {
namespace {

// Level-triggered. Entries of no interest are kept out of the set: poll(2) would report their
// errors.
class PollSelector final : public Selector {
 public:
  PollSelector() {
    set_.push_back({waker_.handle(), POLLIN, 0});
    tokens_.push_back(0);
  }

  bool edge_triggered() const noexcept override { return false; }

  Error add(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    // poll(2) would take also what is closed.
    if (const int error = unwatchable(static_cast<int>(handle))) return refusal(error, handle);
    const auto [entry, fresh] = entries_.try_emplace(handle, Entry{token, interest, 0});
    if (!fresh) return refusal(EEXIST, handle);
    place(handle, entry->second);
    return {};
  }

  Error modify(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    const auto entry = entries_.find(handle);
    if (entry == entries_.end()) return refusal(ENOENT, handle);
    entry->second.interest = interest;
    entry->second.token = token;
    place(handle, entry->second);
    return {};
  }

  void remove(NativeHandle handle, bool) noexcept override {
    const auto entry = entries_.find(handle);
    if (entry == entries_.end()) return;
    entry->second.interest = want_none;
    place(handle, entry->second);
    entries_.erase(entry);
  }

  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) override {
    const auto size = static_cast<nfds_t>(set_.size());
    int count = calls::poll(set_.data(), size, to_milliseconds(timeout));
    if (count < 0) return errno == EINTR ? Error{} : last_error("poll");
    if (set_[0].revents != 0) {
      if (!waker_.drain()) set_[0].fd = -1;  // which poll(2) passes over
      --count;
    }
    for (std::size_t i = 1; i < set_.size() && count > 0; ++i) {
      const short seen = set_[i].revents;
      if (seen == 0) continue;
      --count;
      out.push_back({tokens_[i], translate(seen)});
    }
    return {};
  }

  std::error_code wake() noexcept override { return waker_.wake(); }

 private:
  struct Entry {
    Token token;
    std::uint32_t interest;
    std::size_t position;  // in set_; 0: not in it
  };

  static Error refusal(int error, NativeHandle handle) {
    return os_error(error, "watch handle " + std::to_string(handle));
  }

  static std::uint32_t translate(short seen) noexcept {
    std::uint32_t ready = 0;
    if ((seen & (POLLERR | POLLHUP | POLLNVAL)) != 0) ready = ready_read | ready_write | ready_hint;
    if ((seen & (POLLIN | POLLPRI)) != 0) ready |= ready_read;
    if ((seen & POLLPRI) != 0) ready |= ready_hint;
    if ((seen & POLLOUT) != 0) ready |= ready_write;
    return ready;
  }

  void place(NativeHandle handle, Entry& entry) {
    if (entry.interest == want_none) return take_out(entry);
    if (entry.position == 0) {
      entry.position = set_.size();
      set_.push_back({static_cast<int>(handle), 0, 0});
      tokens_.push_back(0);
    }
    short events = 0;
    if ((entry.interest & want_read) != 0) events |= POLLIN;
    if ((entry.interest & want_write) != 0) events |= POLLOUT;
    set_[entry.position].events = events;
    tokens_[entry.position] = entry.token;
  }

  void take_out(Entry& entry) {
    if (entry.position == 0) return;
    const std::size_t last = set_.size() - 1;
    if (entry.position != last) {
      set_[entry.position] = set_[last];
      tokens_[entry.position] = tokens_[last];
      entries_.find(set_[last].fd)->second.position = entry.position;
    }
    set_.pop_back();
    tokens_.pop_back();
    entry.position = 0;
  }

  PipeWaker waker_;
  std::vector<pollfd> set_;  // the first one is the waker
  std::vector<Token> tokens_;
  std::unordered_map<NativeHandle, Entry> entries_;
};

}  // namespace

std::unique_ptr<Selector> make_poll_selector() { return std::make_unique<PollSelector>(); }

}  // namespace ferry::internal
