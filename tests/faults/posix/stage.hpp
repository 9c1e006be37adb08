// Where the scenarios of the fault sweep play: a loop, its connections under the contract checker,
// and all errors that anybody is told of.
#pragma once

#include "faults/posix/fault_table.hpp"
#include "support/children.hpp"

#include <ferry/contract_checker.hpp>

#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace test {

struct FaultSpec {
  Call call = Call::count;
  long number = 0;  // of the calls of this kind, from 0
  int error = 0;    // 0: a short count
};

// Makes one call fail. Calls come from several threads, a late look-up's too, and from children
// before their programs; each kind is counted alone.
class Injector final : public ferry::internal::calls::Hook {
 public:
  Injector() { ferry::internal::calls::set_hook(this); }
  ~Injector() override {
    ferry::internal::calls::set_hook(nullptr);
    ::munmap(&state_, sizeof state_);
  }
  Injector(const Injector&) = delete;
  Injector& operator=(const Injector&) = delete;

  void arm(const FaultSpec& fault) {
    state_.call = fault.call;
    state_.number = fault.number;
    state_.error = fault.error;
    for (auto& count : state_.counts) count = 0;
    state_.fired = false;
    state_.armed = true;
  }
  void disarm() { state_.armed = false; }
  bool fired() const { return state_.fired; }
  long count(Call call) const { return state_.counts[static_cast<std::size_t>(call)]; }

  // Runs once, just before the loop waits.
  std::function<void()> before_waiting;

 private:
  // In memory that is shared with a child even where that begins in a copy of this process's.
  struct State {
    std::atomic<Call> call = Call::count;
    std::atomic<long> number = 0;
    std::atomic<int> error = 0;
    std::atomic<bool> armed = false, fired = false;
    std::array<std::atomic<long>, static_cast<std::size_t>(Call::count)> counts{};
  };
  static State& shared_state() {
    void* const memory = ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc{};
    return *new (memory) State;
  }

  int before(Call call, ferry::NativeHandle handle, std::size_t& size) override {
    if (call == waiting_ && before_waiting) std::exchange(before_waiting, nullptr)();
    if (!state_.armed) return 0;
    const long number = state_.counts[static_cast<std::size_t>(call)]++;
    if (call != state_.call || number != state_.number) return 0;
    const int error = state_.error;
    if (error == 0) {
      // What wakes the loop is not cut: an eventfd moves eight bytes or none.
      const bool may_wake = call == Call::read || call == Call::write;
      const bool wakes = may_wake && size <= sizeof(std::uint64_t);
      state_.fired = size > 1 && !wakes;
      if (state_.fired) size = size / 2;
      return 0;
    }
    if (!can_be(call, error)) return 0;
    state_.fired = true;
    // These two have their effect all the same.
    if (call == Call::close) ::close(static_cast<int>(handle));
    if (call == Call::shutdown) ::shutdown(static_cast<int>(handle), SHUT_WR);
    errno = EIO;  // what goes with EAI_SYSTEM
    return error;
  }
  // What is said of a child that has ended cannot be while it runs.
  static bool can_be(Call call, int error) {
    // Somebody was faster.
    const bool waits = call == Call::waitid || call == Call::waitpid;
    if (waits && error == ECHILD) return ::waitpid(-1, nullptr, WNOHANG) > 0;
    if (call != Call::kevent_change || error != ESRCH) return true;
    siginfo_t info{};
    const int answer = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    return answer != 0 || info.si_pid != 0;
  }
  const std::vector<std::string>* answer(const char* host) override {
    const auto found = answers_.find(host);
    return found == answers_.end() ? nullptr : &found->second;
  }

  const Call waiting_ = waiting_call(backend_name());
  const std::map<std::string, std::vector<std::string>> answers_{
      {"two.test", {"127.0.0.2", "127.0.0.1"}}, {"both.test", {"127.0.0.1", "127.0.0.2"}}};
  State& state_ = shared_state();
};

struct Told {
  Place place;
  std::error_code code;
  std::string text;
  bool late = false;  // one side had closed already
};

class Over : public std::exception {};  // an error was told: the scenario ends there
class Stuck : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Stage;

// A protocol of the scenarios: notes what happens, and tells of the error that it is lost with.
class Actor : public ferry::Protocol {
 public:
  explicit Actor(Stage& stage) : stage_{stage} {}
  void connection_made(ferry::Transport& made) override { transport = &made; }
  void data_received(ferry::BytesView data) override;
  bool eof_received() override;
  void pause_writing() override { ++pauses; }
  void resume_writing() override { ++resumes; }
  void connection_lost(const ferry::Error& exc) override;
  std::string outcome() const {
    return std::to_string(received.size()) + (eof ? " eof" : "") + (is_lost ? " lost;" : " open;");
  }

  ferry::Transport* transport = nullptr;  // null again at the end
  std::string received;
  // Gets what comes first, in place of all that follows here.
  std::function<void(Actor&, ferry::BytesView)> on_data;
  bool echoes = false, closes_at_end = false;
  std::string answer_at_eof;
  bool eof = false, is_lost = false;
  int pauses = 0, resumes = 0;

 private:
  Stage& stage_;
};

// The same of a datagram endpoint.
class Receiver : public ferry::DatagramProtocol {
 public:
  explicit Receiver(Stage& stage) : stage_{stage} {}
  void connection_made(ferry::DatagramTransport& made) override { transport = &made; }
  void datagram_received(ferry::BytesView data, const ferry::Address& addr) override;
  void error_received(const ferry::Error& exc) override;
  void pause_writing() override { ++pauses; }
  void resume_writing() override { ++resumes; }
  void connection_lost(const ferry::Error& exc) override;

  ferry::DatagramTransport* transport = nullptr;  // null again at the end
  std::vector<std::string> received;
  bool echoes = false;
  int pauses = 0, resumes = 0;

 private:
  Stage& stage_;
};

class Stage {
 public:
  explicit Stage(Injector& of) : injector{of} {
    loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
      tell(handler, context.exception.code(), std::string{context.message});
    });
    loop.set_log_sink([this](ferry::LogLevel, std::string_view text) {
      if (text.find("was taken by another part") == text.npos) return;
      tell(handler, std::make_error_code(std::errc::no_child_process), std::string{text});
    });
  }

  void tell(Place place, std::error_code code, std::string text) {
    if (place == lost && expects_reset && code == std::errc::connection_reset) return;
    told.push_back({place, code, std::move(text), closing});
  }

  // Until `done`; Over if somebody is told of an error first, Stuck if nothing happens for long.
  void until(const std::function<bool()>& done, const std::string& what) {
    wait(done, what, true);
  }
  template <class T>
  T await(ferry::Task<T> task, const std::string& what) {
    ferry::Future<T> future = loop.create_task(std::move(task));
    try {
      until([&] { return future.done(); }, what);
      return future.take_result();
    } catch (const std::system_error& error) {
      tell(opener, error.code(), error.what());
      throw Over{};
    } catch (...) {
      for (int i = 0; i < 5; ++i) loop.process_ready();  // it may have failed, and not know yet
      checker.allow_closing_elsewhere();  // what was made meanwhile is aborted for the task
      if (!future.cancel()) tell_of(future);
      throw;
    }
  }
  // The other end may have been told first.
  template <class T>
  void tell_of(ferry::Future<T>& done) {
    try {
      static_cast<void>(done.take_result());
    } catch (const std::system_error& error) {
      tell(opener, error.code(), error.what());
    }
  }
  // Also if somebody is told of an error meanwhile: what begins in another thread has ended then.
  template <class T>
  T await_all(ferry::Task<T> task, const std::string& what) {
    ferry::Future<T> future = loop.create_task(std::move(task));
    until_done(future, what);
    try {
      return future.take_result();
    } catch (const std::system_error& error) {
      tell(opener, error.code(), error.what());
      throw Over{};
    }
  }
  template <class T>
  void until_done(ferry::Future<T>& future, const std::string& what) {
    wait([&] { return future.done(); }, what, false);
  }
  // A call that throws what goes wrong.
  template <class Run>
  auto attempt(Run run) {
    try {
      return run();
    } catch (const std::system_error& error) {
      tell(caller, error.code(), error.what());
    } catch (const std::invalid_argument& error) {
      tell(caller, {}, error.what());
    }
    throw Over{};
  }

  std::shared_ptr<Actor> actor(bool echoes = false) {
    actors.push_back(std::make_shared<Actor>(*this));
    actors.back()->echoes = echoes;
    return actors.back();
  }
  // For create_server(): each connection has an actor of its own, in `served`.
  auto serve(std::function<void(Actor&)> prepare) {
    return checker.factory([this, prepare = std::move(prepare)] {
      served.push_back(actor());
      prepare(*served.back());
      return served.back();
    });
  }
  std::shared_ptr<ferry::Server> keep(std::shared_ptr<ferry::Server> server) {
    servers.push_back(server);
    return server;
  }
  void end(const std::shared_ptr<ferry::Server>& server) {
    server->close();
    await(server->wait_closed(), "the server's end");
  }
  std::shared_ptr<Receiver> receive(bool echoes = false) {
    receivers.push_back(std::make_shared<Receiver>(*this));
    receivers.back()->echoes = echoes;
    return receivers.back();
  }
  std::shared_ptr<ChildRecorder> child() {
    children.push_back(std::make_shared<ChildRecorder>());
    children.back()->on_pipe_lost = [this, one = children.back().get()](int fd) {
      const ferry::Error& error = one->pipe_error[fd];
      if (error) tell(lost, error.code(), std::string{error.what()});
    };
    return children.back();
  }
  bool all_lost() const {
    const auto is_lost = [](const auto& one) { return one->transport == nullptr; };
    return std::all_of(actors.begin(), actors.end(), is_lost) &&
           std::all_of(receivers.begin(), receivers.end(), is_lost) &&
           std::all_of(children.begin(), children.end(),
                       [](const auto& one) { return one->lost || !one->made; });
  }
  std::string outcome() const {
    std::string all;
    for (const auto& one : actors) all += one->outcome();
    return all;
  }

  // What must hold after any fault: everything ends when it is told to, and the loop works.
  void finish() {
    injector.disarm();
    for (const auto& server : servers) server->close();
    for (std::size_t i = 0; i < actors.size(); ++i) {
      if (actors[i]->transport != nullptr) actors[i]->transport->abort();
    }
    for (const auto& one : receivers) {
      if (one->transport != nullptr) one->transport->abort();
    }
    for (const auto& one : children) {
      if (!one->made || one->lost) continue;
      one->transport->kill();
      one->transport->close();
    }
    wait([this] { return all_lost(); }, "the end of what was aborted", false);
    check_loop();
    reap_rest();
    checker.finish();
    actors.clear();
    receivers.clear();
    children.clear();
    served.clear();
    servers.clear();
    loop.close();
  }

  Injector& injector;
  bool expects_reset = false;  // the scenario itself makes one
  bool closing = false;        // one side has closed
  std::vector<Told> told;
  ferry::ContractChecker checker;
  std::vector<std::shared_ptr<Actor>> actors, served;
  std::vector<std::shared_ptr<Receiver>> receivers;
  std::vector<std::shared_ptr<ChildRecorder>> children;
  std::vector<std::shared_ptr<ferry::Server>> servers;
  ferry::Loop loop{backend()};

 private:
  void wait(const std::function<bool()>& done, const std::string& what, bool ends_at_error) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!done()) {
      if (ends_at_error && !told.empty()) throw Over{};
      if (std::chrono::steady_clock::now() > deadline) throw Stuck{waiting_for(what)};
      turn();
    }
  }
  void turn() {
    try {
      loop.process_events(loop.poll_events(20ms));
    } catch (const ferry::OsError& error) {
      tell(caller, error.code(), error.what());
    }
    loop.process_ready();
  }
  std::string waiting_for(const std::string& what) const {
    std::string text = "waited in vain for " + what;
    for (const auto& one : actors) {
      if (one->transport != nullptr) text += "\n    " + one->transport->describe();
    }
    return text;
  }
  // Those that nobody waited for, for want of a thread, are found by later starts.
  void reap_rest() {
    const std::vector<std::string> argv{child_tool, "exit", "0"};
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (has_children()) {
      if (std::chrono::steady_clock::now() > deadline) throw Stuck{"a child is left"};
      const auto protocol = std::make_shared<ChildRecorder>();
      const auto made =
          loop.create_task(loop.subprocess_exec([protocol] { return protocol; }, argv));
      wait([&] { return protocol->lost; }, "another child", false);
    }
  }
  void check_loop() {
    auto [ours, theirs] = ferry::socketpair();
    Peer peer{std::move(theirs)};
    const auto echo = actor(true);
    bool done = false;
    auto task = loop.create_connection(checker.factory([&] { return echo; }), std::move(ours));
    auto made = loop.create_task(std::move(task));
    peer.send("ping");
    std::string got;
    wait([&] {
      got += peer.receive();
      done = got == "ping";
      return done;
    }, "an echo after the fault", false);
    echo->transport->close();
    wait([&] { return echo->is_lost; }, "its end", false);
  }
};

inline void Receiver::datagram_received(ferry::BytesView data, const ferry::Address& addr) {
  received.emplace_back(data.text());
  if (echoes) transport->sendto(data, addr);
}
inline void Receiver::error_received(const ferry::Error& exc) {
  stage_.tell(test::receiver, exc.code(), std::string{exc.what()});
}
inline void Receiver::connection_lost(const ferry::Error& exc) {
  transport = nullptr;
  if (exc) stage_.tell(lost, exc.code(), std::string{exc.what()});
}

inline void Actor::data_received(ferry::BytesView data) {
  if (on_data) return std::exchange(on_data, nullptr)(*this, data);
  received += data.text();
  if (echoes) transport->write(data);
}
inline bool Actor::eof_received() {
  eof = true;
  if (answer_at_eof.empty()) return false;
  transport->write(answer_at_eof);
  transport->close();
  return true;
}
inline void Actor::connection_lost(const ferry::Error& exc) {
  transport = nullptr;
  is_lost = true;
  if (exc) stage_.tell(lost, exc.code(), std::string{exc.what()});
}

}  // namespace test
