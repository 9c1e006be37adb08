// What tests of the loop and its transports stand on: a loop on the backend under test, that checks
// at the end that nothing is left.
#pragma once

#include "support/catch.hpp"
#include "support/system.hpp"

#include <ferry/ferry.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace test {

using namespace std::chrono_literals;

// The backend that FERRY_TEST_BACKEND names (epoll, poll, kqueue; kqueue-macos and kqueue-freebsd
// are flavours of the emulation); default: the system's own.
ferry::Backend backend();
std::string backend_name();  // without the flavour, as Loop::backend() has it

// Whether a sanitizer makes everything slower: tests of scale do less then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

// A report to the loop's exception handler.
struct Report {
  std::string message;
  ferry::Error exception;
  bool has_transport = false;
};

// A loop, its reports, and the four invariants at the end: no report that the test did not take, no
// descriptor left, nothing ready, and no time-out but a timer's.
class World {
 public:
  World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  // Turns the loop until `done` holds; fails the test after 30 seconds. Waits for events, never for
  // time.
  void run_until(const std::function<bool()>& done, const char* what = "what the test waits for");
  // As many turns as it takes until nothing is ready.
  void settle();
  void turn();  // one, without waiting
  template <class T>
  T run(ferry::Task<T> task) {
    ferry::Future<T> future = loop.create_task(std::move(task));
    run_until([&] { return future.done(); }, "a task");
    return future.take_result();
  }

  // The reports so far; taking them says that they were expected.
  std::vector<Report> take_reports() { return std::exchange(reports, {}); }
  std::vector<std::string> take_logs() { return std::exchange(logs, {}); }

  std::size_t descriptors_before;  // first: counted before the loop opens its own
  ferry::Loop loop;
  std::vector<Report> reports;
  std::vector<std::string> logs;
};

// The end of a connection that the test holds itself, without ferry: a socket that does not block.
class Peer {
 public:
  Peer() = default;
  explicit Peer(ferry::Socket socket);
  explicit operator bool() const { return static_cast<bool>(socket_); }

  // Sends what goes at once; how much that was.
  std::size_t send(ferry::BytesView data);
  // Everything that is there; `ended` is set at the peer's end, `error` at a failure (errno).
  std::string receive();
  bool ended() const { return ended_; }
  int error() const { return error_; }
  void shut_write();
  void close() { socket_.close(); }
  void reset();  // closes with RST
  void small_buffers(int bytes = 4096);
  ferry::Socket& socket() { return socket_; }

 private:
  ferry::Socket socket_;
  bool ended_ = false;
  int error_ = 0;
};

// A connected pair over TCP (loopback) or a Unix socket pair, both ends the test's.
struct Pair {
  ferry::Socket ours;
  Peer peer;
};
enum class Carrier { tcp, unix_pair };
Pair connected_pair(Carrier carrier);

// Records what it is told, and does what the test says inside each callback.
class Recorder : public ferry::Protocol {
 public:
  // "made", "data:3", "eof", "pause", "resume", "lost" or "lost:<what>". Adjacent data are joined.
  std::vector<std::string> events;
  std::string received;
  ferry::Transport* transport = nullptr;
  ferry::Error reason;
  bool made = false, lost = false, eof = false;
  int pauses = 0, resumes = 0;
  bool keep_open = false;  // what eof_received() answers
  bool in_call = false;    // a call of the test's into the transport is running
  std::function<void()> on_made, on_data, on_eof, on_pause, on_resume, on_lost;

  void connection_made(ferry::Transport& transport) override;
  void data_received(ferry::BytesView data) override;
  bool eof_received() override;
  void pause_writing() override;
  void resume_writing() override;
  void connection_lost(const ferry::Error& exc) override;

  // "made data:3 eof lost"
  std::string story() const;

 private:
  void note(std::string event, const std::function<void()>& then);
  std::size_t last_data_ = 0;
};

// A ferry transport with a Recorder over one end of a pair.
struct Stream {
  std::shared_ptr<Recorder> protocol;
  std::shared_ptr<ferry::Transport> transport;
  Peer peer;
};
Stream open_stream(World& world, Carrier carrier = Carrier::tcp,
                   std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>());
// Fills the system's buffers between the two until the transport has something queued.
void block_writing(Stream& stream, std::size_t at_least = 1);
// A pattern that shows lost, repeated and crossed bytes.
std::string pattern(std::size_t size, unsigned seed = 1);

// ctest counts the test as skipped, unless another section of it fails.
void skip(const std::string& why);
inline constexpr auto level_only =
    "by level a selector is asked only when there is something to wait for";

}  // namespace test
