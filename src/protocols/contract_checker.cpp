#include "protocols/veil.hpp"

#include <ferry/contract_checker.hpp>

#include <cstdio>
#include <deque>
#include <limits>
#include <mutex>
#include <new>
#include <set>
#include <string_view>
#include <thread>

namespace ferry {
namespace internal {

class CheckedConnection;

// What the connections of one checker share: the first breach, and who has not ended. Guarded,
// because a breach may be a call from another thread.
class ContractJournal {
 public:
  explicit ContractJournal(ContractChecker::OnBreach on_breach)
      : on_breach_{std::move(on_breach)} {}

  // Keeps the first one. Always false, for who returns it.
  bool breach(const std::string& text) {
    ContractChecker::OnBreach tell;
    {
      const std::lock_guard lock{mutex};
      if (retired_ || !breach_.empty()) return false;
      breach_ = text;
      tell = on_breach_;
      asked_ = static_cast<bool>(tell);
    }
    if (tell) tell(text);
    return false;
  }
  std::string breach() {
    const std::lock_guard lock{mutex};
    asked_ = true;
    return breach_;
  }
  // Nobody listens any more. A breach that was never told.
  std::string retire() {
    std::deque<std::shared_ptr<CheckedConnection>> gone;  // they hold us; die without the lock
    const std::lock_guard lock{mutex};
    gone.swap(ended_);
    retired_ = true;
    on_breach_ = nullptr;
    return asked_ ? std::string{} : breach_;
  }
  // Kept for a while, so that who uses it still is found, rather than a crash.
  void ended(std::shared_ptr<CheckedConnection> connection);

  void finish();

  std::mutex mutex;  // of the connections' traces too
  std::set<CheckedConnection*> open;
  std::string abandoned;  // of the first connection that was given up without an end
  int made = 0;
  bool closed_elsewhere = false;

 private:
  ContractChecker::OnBreach on_breach_;
  std::string breach_;
  std::deque<std::shared_ptr<CheckedConnection>> ended_;
  bool asked_ = false;
  bool retired_ = false;
};

namespace {

constexpr std::size_t most_lines = 500;  // of a trace: the last ones

constexpr std::size_t most_ended = 100;  // connections that are remembered

// Those that are asked for by name: compared by address.
constexpr const char* name_of_made = "connection_made";
constexpr const char* name_of_eof = "eof_received";
constexpr const char* name_of_pause = "pause_writing";
constexpr const char* name_of_write = "write";
constexpr const char* name_of_writelines = "writelines";
constexpr const char* name_of_set_limits = "set_write_buffer_limits";

std::string bytes(std::size_t count) { return std::to_string(count) + " bytes"; }

std::string what_of(const std::exception_ptr& thrown) {
  return std::string{Error{thrown}.what()};
}

}  // namespace

// One connection: the transport that the user's protocol sees, and the model of what may happen.
class CheckedConnection final : public Transport,
                                public Veil,
                                public std::enable_shared_from_this<CheckedConnection> {
 public:
  explicit CheckedConnection(std::shared_ptr<ContractJournal> journal)
      : journal_{std::move(journal)} {}
  ~CheckedConnection() override;

  // --- What the transport calls, through a face of ours, for the face's protocol ---
  void attach(const BaseProtocol& face) noexcept { face_ = &face; }
  void connection_made(const BaseProtocol& face, StreamProtocol& protocol, Transport& real);
  void data_received(const BaseProtocol& face, Protocol& protocol, BytesView data);
  std::span<std::byte> get_buffer(const BaseProtocol& face, BufferedProtocol& protocol,
                                  std::size_t hint);
  void buffer_updated(const BaseProtocol& face, BufferedProtocol& protocol, std::size_t count);
  bool eof_received(const BaseProtocol& face, StreamProtocol& protocol);
  void pause_writing(const BaseProtocol& face, BaseProtocol& protocol);
  void resume_writing(const BaseProtocol& face, BaseProtocol& protocol);
  void connection_lost(const BaseProtocol& face, BaseProtocol& protocol, const Error& exc);

  void keep(std::weak_ptr<Transport> real) noexcept { kept_ = std::move(real); }
  std::string with_trace(const std::string& what) const;

  // --- What the user calls ---
  void close() override;
  bool is_closing() const noexcept override;
  void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
  std::shared_ptr<BaseProtocol> get_protocol() const override;
  std::string describe() const override;
  bool is_reading() const noexcept override;
  void pause_reading() override;
  void resume_reading() override;
  void abort() override;
  void write(BytesView data) override;
  void write_eof() override;
  bool can_write_eof() const noexcept override;
  std::size_t get_write_buffer_size() override;
  WriteBufferLimits get_write_buffer_limits() const noexcept override;
  void set_write_buffer_limits(WriteBufferMarks marks) override;
  void set_flush_timeout(std::optional<Seconds> timeout) override;
  bool abort_with_reset() override;
  Transport* behind() noexcept override;

 protected:
  std::any extra_info(std::string_view name) const override;
  void write_gathered(std::span<const BytesView> chunks) override;

 private:
  enum class Stage : std::uint8_t { start, made, ended, lost };
  enum class Throws : std::uint8_t { never, perhaps, always };
  class Inside;

  void note(const std::string& line);
  bool breach(const std::string& what) const;  // false
  bool audit(bool at_end_of_input = false);
  std::size_t observe_size();
  void check_pause(const char* name);
  bool enter(const BaseProtocol& face, const char* name, const std::string& arguments);
  bool may_deliver(const char* name);
  bool check_reason(const Error& exc);
  bool check_end(bool clean);
  template <class Run>
  void fatal(const char* name, Run run);
  Transport* usable() const noexcept;
  template <class Run>
  void call(const char* name, const std::string& arguments, Throws thrown, Run run);
  template <class Run>
  void call_to_write(const char* name, const std::string& arguments, std::size_t size, Run run);
  void close_from_now_on(const char* why) {
    if (must_close_ == nullptr) must_close_ = why;
  }

  std::shared_ptr<ContractJournal> journal_;
  const BaseProtocol* face_ = nullptr;  // the present one
  Transport* real_ = nullptr;
  std::weak_ptr<Transport> kept_;  // by a user that may call it after the end
  std::thread::id thread_;
  int number_ = 0;
  std::deque<std::string> trace_;
  std::size_t lines_left_out_ = 0;

  Stage stage_ = Stage::start;
  bool over_ = false;                  // connection_lost() has returned
  const char* callback_ = nullptr;     // that is running
  const char* call_ = nullptr;         // of the user's that is running
  int depth_ = 0;
  std::size_t lent_ = 0;               // by get_buffer()
  bool read_paused_ = false;
  bool write_paused_ = false;
  bool write_ended_ = false;           // by write_eof()
  bool closed_ = false;                // by close() or abort(), or by the answer to eof_received()
  bool aborted_ = false;               // by abort() alone, so that no error may come
  bool dropped_ = false;               // by any abort: nothing resumes
  const char* threw_ = nullptr;        // the callback whose exception ends the connection
  const char* must_close_ = nullptr;   // why is_closing() is true from now on
  bool was_closing_ = false;
  std::size_t most_buffered_ = 0;      // no more than this can be in the buffer
  Address peer_;
};

// A callback or a call that is running.
class CheckedConnection::Inside {
 public:
  Inside(CheckedConnection& of, const char*& place, const char* name) noexcept
      : of_{of.shared_from_this()}, place_{place}, before_{std::exchange(place, name)} {
    ++of_->depth_;
  }
  ~Inside() {
    --of_->depth_;
    place_ = before_;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  std::shared_ptr<CheckedConnection> of_;  // alive until its callback has returned
  const char*& place_;
  const char* before_;
};

void ContractJournal::ended(std::shared_ptr<CheckedConnection> connection) {
  std::shared_ptr<CheckedConnection> gone;  // dies without the lock
  const std::lock_guard lock{mutex};
  open.erase(connection.get());
  if (retired_) return;
  ended_.push_back(std::move(connection));
  if (ended_.size() <= most_ended) return;
  gone = std::move(ended_.front());
  ended_.pop_front();
}

void ContractJournal::finish() {
  std::string text;
  {
    const std::lock_guard lock{mutex};
    if (!open.empty()) {
      text = (*open.begin())->with_trace("transport: connection_lost() is missing");
    } else {
      text = abandoned;
    }
  }
  if (!text.empty()) breach(text);
}

CheckedConnection::~CheckedConnection() {
  const std::lock_guard lock{journal_->mutex};
  if (journal_->open.erase(this) == 0 || !journal_->abandoned.empty()) return;
  journal_->abandoned =
      with_trace("transport: it let go of the protocol without a connection_lost()");
}

// --- The trace ---

void CheckedConnection::note(const std::string& line) {
  const std::lock_guard lock{journal_->mutex};
  trace_.push_back(std::string(static_cast<std::size_t>(depth_) * 2, ' ') + line);
  if (trace_.size() <= most_lines) return;
  trace_.pop_front();
  ++lines_left_out_;
}

// Under the lock.
std::string CheckedConnection::with_trace(const std::string& what) const {
  std::string text = what + "\nconnection " + std::to_string(number_) + ":";
  if (lines_left_out_ > 0) text += "\n  (" + std::to_string(lines_left_out_) + " lines before)";
  for (const std::string& line : trace_) text += "\n  " + line;
  return text;
}

bool CheckedConnection::breach(const std::string& what) const {
  std::string text;
  {
    const std::lock_guard lock{journal_->mutex};
    text = with_trace(what);
  }
  return journal_->breach(text);
}

// --- What holds at any time ---

// Before each callback and after each call: what the transport says of itself.
bool CheckedConnection::audit(bool at_end_of_input) {
  if (stage_ == Stage::start || over_) return true;
  const bool closing = real_->is_closing();
  if (was_closing_ && !closing) return breach("transport: is_closing() was true and is no more");
  was_closing_ = closing;
  if (must_close_ != nullptr && !closing) {
    return breach(std::string{"transport: is_closing() is false after "} + must_close_);
  }
  const bool reading = real_->is_reading();
  if (reading && read_paused_) {
    return breach("transport: is_reading() is true after pause_reading()");
  }
  if (reading && stage_ != Stage::made) {
    return breach("transport: is_reading() is true after the end of input");
  }
  if (reading && closing) return breach("transport: is_reading() is true while closing");
  const bool may_read = stage_ == Stage::made && !read_paused_ && !closing && !at_end_of_input;
  if (may_read && !reading) return breach("transport: is_reading() is false, and nothing stops it");
  return true;
}

std::size_t CheckedConnection::observe_size() {
  const std::size_t size = real_->get_write_buffer_size();
  if (size > most_buffered_) {
    breach("transport: get_write_buffer_size() is " + std::to_string(size) + ", and no more than " +
           bytes(most_buffered_) + " can be in the buffer");
  }
  most_buffered_ = size;
  return size;
}

// Of a call that may have gone over the high mark. Asks for the size only if it can have.
void CheckedConnection::check_pause(const char* name) {
  const std::size_t high = real_->get_write_buffer_limits().high;
  if (write_paused_ || most_buffered_ <= high || real_->is_closing()) return;
  const std::size_t size = observe_size();
  if (size <= high || write_paused_) return;
  breach(std::string{"transport: "} + name + "() left " + bytes(size) +
         " in the buffer, over the high mark of " + std::to_string(high) +
         ", and did not call pause_writing()");
}

// --- Callbacks ---

// Every callback begins here. False: it is not passed on.
bool CheckedConnection::enter(const BaseProtocol& face, const char* name,
                              const std::string& arguments) {
  const std::string self = std::string{"transport: "} + name + "() ";
  if (stage_ != Stage::start && std::this_thread::get_id() != thread_) {
    return breach(self + "in another thread than connection_made()");
  }
  note(std::string{name} + "(" + arguments + ")");
  if (&face != face_) return breach(self + "on a protocol that set_protocol() has replaced");
  const bool pause = name == name_of_pause;
  if (call_ != nullptr && !pause) {
    return breach(self + "inside " + call_ + "(): it must come in a later turn");
  }
  if (callback_ != nullptr && call_ == nullptr) {
    return breach(self + "inside " + callback_ + "(): callbacks come one at a time");
  }
  if (stage_ == Stage::lost) return breach(self + "after connection_lost()");
  if (name == name_of_made) return true;
  if (stage_ == Stage::start) return breach(self + "before connection_made()");
  return audit(name == name_of_eof);
}

// What comes from the peer.
bool CheckedConnection::may_deliver(const char* name) {
  const std::string self = std::string{"transport: "} + name + "() ";
  if (stage_ == Stage::ended) return breach(self + "after eof_received()");
  if (read_paused_) return breach(self + "after pause_reading()");
  if (!was_closing_) return true;
  return breach(self + "while the connection is closing, after " +
                (must_close_ != nullptr ? must_close_ : "an error"));
}

// A callback whose exception ends the connection (C-15).
template <class Run>
void CheckedConnection::fatal(const char* name, Run run) {
  const Inside inside{*this, callback_, name};
  try {
    run();
  } catch (...) {
    note("threw " + what_of(std::current_exception()));
    if (!real_->is_closing()) threw_ = name;
    close_from_now_on("a callback threw");
    throw;
  }
}

void CheckedConnection::connection_made(const BaseProtocol& face, StreamProtocol& protocol,
                                        Transport& real) {
  const Address peer = real.get_extra_info(peername);
  if (!enter(face, name_of_made, peer ? peer.to_string() : "")) return;
  if (stage_ != Stage::start) {
    breach("transport: connection_made() a second time");
    return;
  }
  stage_ = Stage::made;
  thread_ = std::this_thread::get_id();
  real_ = &real;
  peer_ = peer;
  {
    const std::lock_guard lock{journal_->mutex};
    number_ = ++journal_->made;
    journal_->open.insert(this);
  }
  if (!audit()) return;
  if (was_closing_) {
    breach("transport: is_closing() is true in connection_made()");
    return;
  }
  const Inside inside{*this, callback_, name_of_made};
  protocol.connection_made(*this);
}

void CheckedConnection::data_received(const BaseProtocol& face, Protocol& protocol,
                                      BytesView data) {
  if (!enter(face, "data_received", bytes(data.size())) || !may_deliver("data_received")) return;
  if (data.empty()) {
    breach("transport: data_received() without data");
    return;
  }
  fatal("data_received", [&] { protocol.data_received(data); });
}

std::span<std::byte> CheckedConnection::get_buffer(const BaseProtocol& face,
                                                   BufferedProtocol& protocol, std::size_t hint) {
  std::span<std::byte> buffer;
  if (!enter(face, "get_buffer", std::to_string(hint)) || !may_deliver("get_buffer")) return buffer;
  lent_ = 0;
  fatal("get_buffer", [&] { buffer = protocol.get_buffer(hint); });
  const bool replaced = face_ != &face;  // inside: then another one is asked
  if (!replaced) lent_ = buffer.size();
  if (buffer.empty() && !replaced && !real_->is_closing()) {
    breach("protocol: get_buffer() gave no memory");
    close_from_now_on("get_buffer() without memory");
    threw_ = "get_buffer";
  }
  return buffer;
}

void CheckedConnection::buffer_updated(const BaseProtocol& face, BufferedProtocol& protocol,
                                       std::size_t count) {
  if (!enter(face, "buffer_updated", std::to_string(count)) || !may_deliver("buffer_updated")) {
    return;
  }
  const std::size_t lent = std::exchange(lent_, 0);
  if (count == 0 || count > lent) {
    breach("transport: buffer_updated(" + std::to_string(count) + ") of " +
           (lent == 0 ? "no memory: get_buffer() comes before it" : bytes(lent) + " lent"));
    return;
  }
  fatal("buffer_updated", [&] { protocol.buffer_updated(count); });
}

bool CheckedConnection::eof_received(const BaseProtocol& face, StreamProtocol& protocol) {
  if (!enter(face, name_of_eof, "") || !may_deliver(name_of_eof)) return false;
  stage_ = Stage::ended;
  lent_ = 0;
  bool keep_open = false;
  fatal(name_of_eof, [&] { keep_open = protocol.eof_received(); });
  note(keep_open ? "answered true" : "answered false");
  if (!keep_open || !real_->can_write_eof()) {
    closed_ = true;
    close_from_now_on("eof_received() that did not ask to go on");
  }
  return keep_open;
}

void CheckedConnection::pause_writing(const BaseProtocol& face, BaseProtocol& protocol) {
  if (!enter(face, name_of_pause, "")) return;
  const WriteBufferLimits limits = real_->get_write_buffer_limits();
  if (write_paused_) {
    breach("transport: pause_writing() a second time, without a resume_writing()");
    return;
  }
  const std::string_view from = call_ != nullptr ? call_ : "";
  if (from != name_of_write && from != name_of_writelines && from != name_of_set_limits) {
    breach("transport: pause_writing() outside of write(), writelines() and "
           "set_write_buffer_limits()");
    return;
  }
  if (most_buffered_ <= limits.high) {
    breach("transport: pause_writing() with no more than " + bytes(most_buffered_) +
           " in the buffer, which is not over the high mark of " + std::to_string(limits.high));
    return;
  }
  write_paused_ = true;
  const Inside inside{*this, callback_, name_of_pause};
  protocol.pause_writing();
}

void CheckedConnection::resume_writing(const BaseProtocol& face, BaseProtocol& protocol) {
  if (!enter(face, "resume_writing", "")) return;
  if (!write_paused_) {
    breach("transport: resume_writing() without a pause_writing()");
    return;
  }
  const std::size_t size = observe_size();
  const WriteBufferLimits limits = real_->get_write_buffer_limits();
  if (size > limits.low) {
    breach("transport: resume_writing() with " + bytes(size) +
           " in the buffer, over the low mark of " + std::to_string(limits.low));
    return;
  }
  write_paused_ = false;
  const Inside inside{*this, callback_, "resume_writing"};
  protocol.resume_writing();
}

// --- The end ---

bool CheckedConnection::check_reason(const Error& exc) {
  const std::string what{exc.what()};
  if (exc && aborted_) {
    return breach("transport: abort() came first, and the connection is lost with: " + what);
  }
  if (exc) return true;
  if (threw_ != nullptr) {
    return breach(std::string{"transport: connection_lost() without an error, though "} + threw_ +
                  "() threw");
  }
  if (closed_ || journal_->closed_elsewhere) return true;
  return breach(stage_ == Stage::ended
                    ? "transport: it ended the connection, though eof_received() asked to go on"
                    : "transport: connection_lost() without an error, though nobody closed");
}

bool CheckedConnection::check_end(bool clean) {
  if (const std::size_t size = observe_size(); size > 0) {
    return breach("transport: connection_lost() with " + bytes(size) + " still in the buffer");
  }
  if (clean && write_paused_ && !dropped_ && !journal_->closed_elsewhere) {
    return breach("transport: the buffer was flushed without a resume_writing()");
  }
  if (real_->get_extra_info(peername) != peer_) {
    return breach("transport: peername is another one than it was in connection_made()");
  }
  return true;
}

void CheckedConnection::connection_lost(const BaseProtocol& face, BaseProtocol& protocol,
                                        const Error& exc) {
  close_from_now_on("connection_lost()");
  if (!enter(face, "connection_lost", std::string{exc.what()})) return;
  if (check_reason(exc)) check_end(!exc);
  stage_ = Stage::lost;
  const Inside inside{*this, callback_, "connection_lost"};
  struct Over {  // whether it throws or not
    std::shared_ptr<CheckedConnection> self;
    ~Over() {
      self->over_ = true;
      self->journal_->ended(self);
    }
  } const over{shared_from_this()};
  protocol.connection_lost(exc);
}

// --- Calls ---

// Null: the transport may be gone.
Transport* CheckedConnection::usable() const noexcept {
  return over_ && kept_.expired() ? nullptr : real_;
}

// For start_tls(), which the transport's own checks are enough for.
Transport* CheckedConnection::behind() noexcept {
  note("> start_tls()");
  return usable();
}

// What all calls have in common. `thrown`: whether one of the contract's own errors is due.
template <class Run>
void CheckedConnection::call(const char* name, const std::string& arguments, Throws thrown,
                             Run run) {
  const std::string self = std::string{name} + "() ";
  if (std::this_thread::get_id() != thread_) {
    breach("protocol: " + self + "in another thread than connection_made()");
    throw MisuseError{self + "in another thread than connection_made()"};
  }
  note("> " + std::string{name} + "(" + arguments + ")");
  Transport* const real = usable();
  if (real == nullptr) {
    breach("protocol: " + self + "on a transport after connection_lost() has returned");
    return;
  }
  const Inside inside{*this, call_, name};
  try {
    run(*real);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::invalid_argument&) {
    note("threw " + what_of(std::current_exception()));
    throw;
  } catch (const std::logic_error& error) {
    note(std::string{"threw "} + error.what());
    if (thrown == Throws::never) breach("transport: " + self + "threw: " + error.what());
    throw;
  } catch (...) {
    breach("transport: " + self + "threw: " + what_of(std::current_exception()));
    throw;
  }
  if (thrown == Throws::always) {
    breach("transport: " + self + "did not throw, though it is not allowed now");
  }
  audit();
}

template <class Run>
void CheckedConnection::call_to_write(const char* name, const std::string& arguments,
                                      std::size_t size, Run run) {
  Throws thrown = Throws::never;
  if (Transport* const real = usable()) {
    const bool closing = real->is_closing();
    if (write_ended_) thrown = closing ? Throws::perhaps : Throws::always;
    if (!closing && !write_ended_) most_buffered_ += size;  // now: it may pause inside
  }
  call(name, arguments, thrown, [&](Transport& real) {
    run(real);
    if (!over_) check_pause(name);
  });
}

void CheckedConnection::write(BytesView data) {
  call_to_write(name_of_write, bytes(data.size()), data.size(),
                [&](Transport& real) { real.write(data); });
}

void CheckedConnection::write_gathered(std::span<const BytesView> chunks) {
  std::size_t size = 0;
  for (const BytesView& chunk : chunks) size += chunk.size();
  call_to_write(name_of_writelines, std::to_string(chunks.size()) + " of " + bytes(size), size,
                [&](Transport& real) { real.writelines(chunks); });
}

void CheckedConnection::write_eof() {
  Transport* const real = usable();
  const bool can = real == nullptr || real->can_write_eof();
  call("write_eof", "", can ? Throws::never : Throws::always, [&](Transport& to) {
    const bool too_late = to.is_closing();
    to.write_eof();
    if (can && !too_late) write_ended_ = true;
  });
}

void CheckedConnection::close() {
  call("close", "", Throws::never, [&](Transport& real) {
    closed_ = true;
    real.close();
    close_from_now_on("close()");
  });
}

void CheckedConnection::abort() {
  call("abort", "", Throws::never, [&](Transport& real) {
    aborted_ = aborted_ || !real.is_closing();  // else an error may have come before
    closed_ = dropped_ = true;
    real.abort();
    close_from_now_on("abort()");
    if (over_) return;
    if (const std::size_t size = observe_size(); size > 0) {
      breach("transport: abort() left " + bytes(size) + " in the buffer");
    }
  });
}

bool CheckedConnection::abort_with_reset() {
  bool done = false;
  call("abort_with_reset", "", Throws::never, [&](Transport& real) {
    const bool before = real.is_closing();
    done = real.abort_with_reset();
    if (!done) return;
    aborted_ = aborted_ || !before;
    closed_ = dropped_ = true;
    close_from_now_on("abort_with_reset()");
  });
  return done;
}

void CheckedConnection::pause_reading() {
  call("pause_reading", "", Throws::never, [&](Transport& real) {
    real.pause_reading();
    read_paused_ = true;
  });
}

void CheckedConnection::resume_reading() {
  call("resume_reading", "", Throws::never, [&](Transport& real) {
    read_paused_ = false;  // now: a transport may deliver inside, which is a breach of its own
    real.resume_reading();
  });
}

std::size_t CheckedConnection::get_write_buffer_size() {
  std::size_t size = 0;
  call("get_write_buffer_size", "", Throws::never, [&](Transport& real) {
    size = over_ ? real.get_write_buffer_size() : observe_size();
    if (over_ && size > 0) breach("transport: a lost connection has " + bytes(size) + " buffered");
  });
  return size;
}

void CheckedConnection::set_write_buffer_limits(WriteBufferMarks marks) {
  const auto text = [](std::optional<std::int64_t> mark) {
    return mark ? std::to_string(*mark) : "none";
  };
  call(name_of_set_limits, "high=" + text(marks.high) + ", low=" + text(marks.low), Throws::never,
       [&](Transport& real) {
         const WriteBufferLimits before = real.get_write_buffer_limits();
         try {
           real.set_write_buffer_limits(marks);
         } catch (const std::invalid_argument&) {
           if (!(real.get_write_buffer_limits() == before)) {
             breach("transport: set_write_buffer_limits() refused the marks and changed them");
           }
           throw;
         }
         if (!over_) check_pause(name_of_set_limits);
       });
}

void CheckedConnection::set_flush_timeout(std::optional<Seconds> timeout) {
  call("set_flush_timeout", timeout ? std::to_string(timeout->count()) + " s" : "none",
       Throws::never, [&](Transport& real) { real.set_flush_timeout(timeout); });
}

// --- What only asks ---

bool CheckedConnection::is_closing() const noexcept {
  const Transport* const real = usable();
  return real == nullptr || real->is_closing();
}
bool CheckedConnection::is_reading() const noexcept {
  const Transport* const real = usable();
  return real != nullptr && real->is_reading();
}
bool CheckedConnection::can_write_eof() const noexcept {
  const Transport* const real = usable();
  return real != nullptr && real->can_write_eof();
}
WriteBufferLimits CheckedConnection::get_write_buffer_limits() const noexcept {
  const Transport* const real = usable();
  return real != nullptr ? real->get_write_buffer_limits() : WriteBufferLimits{};
}
std::string CheckedConnection::describe() const {
  const Transport* const real = usable();
  return real != nullptr ? real->describe() : "closed";
}
std::any CheckedConnection::extra_info(std::string_view name) const {
  const Transport* const real = usable();
  return real != nullptr ? real->get_extra_info(name) : std::any{};
}

// --- The faces: what the transport takes for the user's protocol ---

namespace {

struct Face {
  virtual ~Face() = default;
  std::shared_ptr<StreamProtocol> user;
  std::shared_ptr<CheckedConnection> connection;
};

template <class Base>
class FaceOf : public Base, public Face {
 public:
  void connection_made(Transport& real) override {
    connection->connection_made(*this, *user, real);
  }
  bool eof_received() override { return connection->eof_received(*this, *user); }
  void pause_writing() override { connection->pause_writing(*this, *user); }
  void resume_writing() override { connection->resume_writing(*this, *user); }
  void connection_lost(const Error& exc) override {
    connection->connection_lost(*this, *user, exc);
  }
};

class PlainFace final : public FaceOf<Protocol> {
  void data_received(BytesView data) override {
    connection->data_received(*this, static_cast<Protocol&>(*user), data);
  }
};

class BufferedFace final : public FaceOf<BufferedProtocol> {
  std::span<std::byte> get_buffer(std::size_t hint) override {
    return connection->get_buffer(*this, static_cast<BufferedProtocol&>(*user), hint);
  }
  void buffer_updated(std::size_t count) override {
    connection->buffer_updated(*this, static_cast<BufferedProtocol&>(*user), count);
  }
};

template <class F>
std::shared_ptr<StreamProtocol> face_of(std::shared_ptr<CheckedConnection> connection,
                                        std::shared_ptr<StreamProtocol> protocol) {
  auto face = std::make_shared<F>();
  connection->attach(*face);
  face->user = std::move(protocol);
  face->connection = std::move(connection);
  return face;
}

std::shared_ptr<StreamProtocol> present(std::shared_ptr<CheckedConnection> connection,
                                        std::shared_ptr<StreamProtocol> protocol) {
  const bool buffered = dynamic_cast<BufferedProtocol*>(protocol.get()) != nullptr;
  return (buffered ? face_of<BufferedFace> : face_of<PlainFace>)(std::move(connection),
                                                                 std::move(protocol));
}

}  // namespace

void CheckedConnection::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
  call("set_protocol", "", Throws::never, [&](Transport& real) {
    auto stream = std::dynamic_pointer_cast<StreamProtocol>(protocol);
    if (!stream) {
      real.set_protocol(protocol);
      breach("transport: set_protocol() took what is no protocol of a stream");
      return;
    }
    const BaseProtocol* const before = face_;
    try {
      real.set_protocol(present(shared_from_this(), std::move(stream)));
      lent_ = 0;
    } catch (...) {
      face_ = before;
      throw;
    }
  });
}

std::shared_ptr<BaseProtocol> CheckedConnection::get_protocol() const {
  const Transport* const real = usable();
  if (real == nullptr) return nullptr;
  auto found = real->get_protocol();
  const auto* const face = dynamic_cast<const Face*>(found.get());
  if (found != nullptr && found.get() != face_) {
    breach("transport: get_protocol() is not what set_protocol() has set");
  }
  return face != nullptr ? face->user : found;
}

}  // namespace internal

// --- The checker ---

ContractBreach::~ContractBreach() = default;

ContractChecker::ContractChecker(OnBreach on_breach)
    : journal_{std::make_shared<internal::ContractJournal>(std::move(on_breach))} {}

ContractChecker::~ContractChecker() {
  const std::string untold = journal_->retire();
  if (!untold.empty()) std::fprintf(stderr, "ferry: contract: %s\n", untold.c_str());
}

std::shared_ptr<StreamProtocol> ContractChecker::checked(
    const std::shared_ptr<internal::ContractJournal>& journal,
    std::shared_ptr<StreamProtocol> protocol) {
  if (!protocol) return protocol;
  return internal::present(std::make_shared<internal::CheckedConnection>(journal),
                           std::move(protocol));
}

Connection<> ContractChecker::seen_from_outside(const Connection<>& made) {
  const auto* const face = dynamic_cast<const internal::Face*>(made.protocol.get());
  if (face == nullptr) {
    throw std::invalid_argument{"ContractChecker: the connection's protocol is not a checked one"};
  }
  struct Both {
    std::shared_ptr<Transport> real;
    std::shared_ptr<internal::CheckedConnection> seen;
  };
  face->connection->keep(made.transport);
  auto both = std::make_shared<Both>(Both{made.transport, face->connection});
  Connection<> result;
  result.transport = std::shared_ptr<Transport>{both, both->seen.get()};
  result.protocol = face->user;
  return result;
}

void ContractChecker::allow_closing_elsewhere() { journal_->closed_elsewhere = true; }

std::string ContractChecker::breach() const { return journal_->breach(); }

void ContractChecker::finish() {
  journal_->finish();
  const std::string found = breach();
  if (!found.empty()) throw ContractBreach{found};
}

}  // namespace ferry
