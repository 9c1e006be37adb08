// Faults in system calls, and how many of them there were.
#pragma once

#include "platform/sockets/calls.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace test {

using ferry::internal::calls::Call;

// The calls in which a backend waits, changes what it watches, and is woken.
inline Call waiting_call(std::string_view backend) {
  if (backend == "kqueue") return Call::kevent_wait;
  if (backend == "iocp") return Call::port_wait;
  return backend == "epoll" ? Call::epoll_wait : Call::poll;
}
inline Call watching_call(std::string_view backend) {
  if (backend == "iocp") return Call::base_handle;
  return backend == "kqueue" ? Call::kevent_change : Call::epoll_ctl;
}
inline Call waking_call(std::string_view backend) {
  if (backend == "iocp") return Call::port_post;
  return backend == "kqueue" ? Call::kevent_trigger : Call::write;
}

// While it lives it sees every system call that ferry makes. One at a time.
class Calls final : public ferry::internal::calls::Hook {
 public:
  Calls() { ferry::internal::calls::set_hook(this); }
  ~Calls() override { ferry::internal::calls::set_hook(nullptr); }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  // The next `times` calls of this kind (on this handle; -1: any), after `skip` more of them, fail
  // with `error` instead of being made.
  void fail(Call call, int error, int times = 1, ferry::NativeHandle handle = -1, int skip = 0) {
    rules_.push_back({call, error, times, handle, skip});
  }
  // Each call of this kind moves at most `size` bytes.
  void limit(Call call, std::size_t size) { limits_[index(call)] = size; }
  // Just before the next call of this kind, after `skip` more of them, `action` is run.
  void before_next(Call call, std::function<void()> action, int skip = 0) {
    actions_.push_back({call, skip, std::move(action)});
  }
  // How many there were, since the beginning or the last reset().
  long count(Call call) const { return counts_[index(call)]; }
  void reset() {
    for (auto& count : counts_) count = 0;
  }
  // The addresses of this host, in this order, in the resolver's place.
  void answer(const std::string& host, std::vector<std::string> addresses) {
    answers_[host] = std::move(addresses);
  }
  // Sees each call before it is made, on the thread that makes it; what it returns, if not 0, is
  // the error to fail with.
  std::function<int(Call call, ferry::NativeHandle handle)> on_call;

 private:
  struct Rule {
    Call call;
    int error;
    int times;
    ferry::NativeHandle handle;
    int skip;
  };
  struct Action {
    Call call;
    int skip;
    std::function<void()> run;
  };
  static std::size_t index(Call call) { return static_cast<std::size_t>(call); }

  int before(Call call, ferry::NativeHandle handle, std::size_t& size) override {
    ++counts_[index(call)];
    run_actions(call);
    const std::size_t most = limits_[index(call)];
    if (most > 0 && size > most) size = most;
    if (on_call) {
      if (const int error = on_call(call, handle); error != 0) return error;
    }
    for (Rule& rule : rules_) {
      if (rule.call != call || rule.times == 0) continue;
      if (rule.handle != -1 && rule.handle != handle) continue;
      if (rule.skip > 0) {
        --rule.skip;
        continue;
      }
      --rule.times;
      return rule.error;
    }
    return 0;
  }

  const std::vector<std::string>* answer(const char* host) override {
    const auto found = answers_.find(host);
    return found == answers_.end() ? nullptr : &found->second;
  }

  void run_actions(Call call) {
    for (std::size_t i = 0; i < actions_.size(); ++i) {
      if (actions_[i].call != call || !actions_[i].run || actions_[i].skip-- > 0) continue;
      const auto run = std::exchange(actions_[i].run, nullptr);
      run();  // may make calls itself
    }
  }

  std::array<std::atomic<long>, static_cast<std::size_t>(Call::count)> counts_{};
  std::array<std::size_t, static_cast<std::size_t>(Call::count)> limits_{};
  std::vector<Rule> rules_;
  std::vector<Action> actions_;
  std::map<std::string, std::vector<std::string>> answers_;
};

}  // namespace test
