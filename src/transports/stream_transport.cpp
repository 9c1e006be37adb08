#include "transports/stream_transport.hpp"

#include "transports/ssl_channel.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace ferry::internal {
namespace {

constexpr std::uint8_t warn_after_lost_writes = 5;
constexpr std::size_t most_views = 64;              // in one call of the channel's

std::string_view name_of(Phase phase) noexcept {
  switch (phase) {
    case Phase::opening: return "opening";
    case Phase::open: return "open";
    case Phase::flushing: return "flushing";
    case Phase::finishing: return "finishing";
    case Phase::lost: break;
  }
  return "closed";
}

}  // namespace

StreamTransport::StreamTransport(LoopCore& core, std::unique_ptr<Channel> channel,
                                 std::shared_ptr<StreamProtocol> protocol,
                                 const StreamNames& names)
    : control_{core.control()},
      channel_{std::move(channel)},
      caller_{std::move(protocol)},
      life_{channel_->can_half_close()},
      direction_{channel_->direction()},
      is_pipe_{static_cast<bool>(channel_->pipe())} {
  channel_->set_owner(*this);
  flow_.set({}, channel_->default_high_mark());
  peer_ = names.peer;
  local_ = names.local;
}

StreamTransport::~StreamTransport() = default;

std::shared_ptr<StreamTransport> StreamTransport::prepare(
    LoopCore& core, std::unique_ptr<Channel> channel, std::shared_ptr<StreamProtocol> protocol,
    const StreamNames& names, Opened opened) {
  auto made = std::make_shared<StreamTransport>(core, std::move(channel), std::move(protocol),
                                                names);
  core.enrol(*made, made, names.made_at);
  if (opened) made->rare().opened = std::move(opened);
  return made;
}

std::shared_ptr<StreamTransport> StreamTransport::begin(
    LoopCore& core, std::unique_ptr<Channel> channel, std::shared_ptr<StreamProtocol> protocol,
    const StreamNames& names, std::shared_ptr<ConnectionHome> home, Opened opened) {
  auto made = prepare(core, std::move(channel), std::move(protocol), names, std::move(opened));
  made->home_ = std::move(home);
  core.soon([transport = made] { transport->open(); });
  return made;
}

void StreamTransport::open() {
  if (life_.phase() != Phase::opening) return;  // given up meanwhile
  const Error error = channel_->open();
  if (!error) return;
  const bool awaited = rare_ && rare_->opened;
  failed(error);
  if (awaited) return;
  ExceptionContext context;  // nobody waits for an accepted one
  context.message = "a connection that was accepted could not be watched";
  context.exception = error;
  context.transport = this;
  core().call_exception_handler(context);
}

// The channel carries our bytes now: for the first time, or after start_tls().
void StreamTransport::opened() {
  Opened waiting = take_opener();  // first: connection_made() may call start_tls()
  perform(life_.opened());
  if (waiting) waiting({});
}

StreamTransport::Opened StreamTransport::take_opener() noexcept {
  if (!rare_) return {};
  Opened opened = std::move(rare_->opened);
  if (!rare_->flush_timeout && !rare_->reason) rare_.reset();
  return opened;
}

// Carries out what the life says, in the order of the bits.
void StreamTransport::perform(std::uint32_t actions) {
  if (actions == act::none) return;
  if ((actions & act::connection_made) != 0) caller_.connection_made(site());
  if ((actions & act::start_reading) != 0 && is_reading()) channel_->set_reading(true);
  if ((actions & act::stop_reading) != 0) channel_->set_reading(false);
  if ((actions & act::drop_queue) != 0) queue_.clear(core().blocks());
  if ((actions & act::shut_write) != 0) channel_->shut_write();
  if ((actions & act::finish) != 0) channel_->finish();
  if ((actions & act::close_channel) != 0) channel_->close(reset_);
  if ((actions & (act::connection_lost | act::tell_opener)) != 0) end_soon();
}

// --- Closing ---

void StreamTransport::close() {
  if (life_.phase() == Phase::lost) return;
  core().check_thread("close");
  attempt();
  perform(life_.close(queue_.empty()));
  if (life_.phase() == Phase::flushing) begin_flush();
}

void StreamTransport::abort() {
  if (life_.phase() == Phase::lost) return;
  core().check_thread("abort");
  if (life_.phase() == Phase::open) {
    attempt();  // what was gathered has its one try,
    // and if that fails, we are the first cause all the same (T-020)
    if (rare_) rare_->reason = {};
  }
  perform(life_.abort());
}

void StreamTransport::give_up() {
  if (rare_) rare_->opened.reset();
  abort();
}

bool StreamTransport::abort_with_reset() {
  if (life_.phase() != Phase::open || life_.ended_writing()) return false;
  core().check_thread("abort_with_reset");
  reset_ = true;
  perform(life_.abort());
  return true;
}

void StreamTransport::set_flush_timeout(std::optional<Seconds> timeout) {
  if (life_.phase() == Phase::lost) return;
  core().check_thread("set_flush_timeout");
  if (timeout && !(timeout->count() > 0)) {
    throw std::invalid_argument{"set_flush_timeout: the time must be positive"};
  }
  if (!timeout && !rare_) return;
  rare().flush_timer.cancel();
  rare_->flush_armed = false;
  rare_->flush_timeout = timeout;
  if (life_.phase() == Phase::flushing) arm_flush_timer();
}

// Closed, with bytes still to be sent.
void StreamTransport::begin_flush() {
  arm_flush_timer();
  channel_->flush_and_finish();
}

// Once: a close() that comes again does not put the end off.
void StreamTransport::arm_flush_timer() {
  if (!rare_ || !rare_->flush_timeout || std::exchange(rare_->flush_armed, true)) return;
  rare_->flush_timer = core().call_later(
      *rare_->flush_timeout,
      [this] {
        failed(Error{std::make_error_code(std::errc::timed_out),
                     "flush " + std::to_string(queue_.size()) + " bytes to " +
                         (is_pipe_ ? std::string{"a pipe"} : peer_.get().to_string()) +
                         " after close"});
      },
      {});
}

void StreamTransport::failed(const Error& error) {
  if (life_.phase() == Phase::lost) return;
  rare().reason = error;
  perform(life_.abort());
}

// What the callback wrote before it threw has its one try, as with abort(); what it threw is the
// reason, also if that fails.
void StreamTransport::callback_threw(const Error& error) {
  if (life_.phase() == Phase::lost) return;
  attempt();
  rare().reason = error;
  perform(life_.abort());
}

// The end comes when the life is over and the channel has let go of every buffer: the later of the
// two.
void StreamTransport::closed() {
  channel_closed_ = true;
  end_soon();
}

// The call of connection_lost(); if the loop ends first, the protocol is let go of all the same.
struct StreamTransport::End {
  void operator()() const { transport->end(); }
  ~End() {
    if (self) transport->let_go();
  }
  End(std::shared_ptr<void> alive, StreamTransport* of) noexcept
      : self{std::move(alive)}, transport{of} {}
  End(End&&) noexcept = default;
  std::shared_ptr<void> self;
  StreamTransport* transport;
};

void StreamTransport::end_soon() {
  if (life_.phase() != Phase::lost || !channel_closed_ || core().tearing_down()) return;
  if (auto self = core().leave(*this)) core().soon(End{std::move(self), this});
}

void StreamTransport::end() {
  const Error reason = rare_ ? rare_->reason : Error{};
  if (caller_.started()) caller_.connection_lost(site(), reason);
  if (Opened waiting = take_opener()) {
    waiting(reason ? reason
                   : Error{std::make_error_code(std::errc::connection_aborted),
                           "connection with " + peer_.get().to_string()});
  }
  let_go();
  if (const auto home = std::move(home_)) home->connection_ended();
}

void StreamTransport::let_go() noexcept {
  const auto protocol = caller_.release();
  if (!channel_) return;  // done before
  auto info = channel_->info();
  channel_.reset();
  rare_.reset();
  if (info) rare().info = std::move(info);
}

void StreamTransport::drop(std::vector<std::shared_ptr<void>>& trash) {
  if (life_.phase() != Phase::lost) {
    life_.abort();
    channel_->set_reading(false);
    queue_.clear(core().blocks());
    channel_->close(false);
  }
  auto info = channel_ ? channel_->info() : nullptr;
  channel_.reset();
  trash.push_back(caller_.release());
  trash.push_back(std::move(home_));
  if (rare_) trash.push_back(std::shared_ptr<Rare>{std::move(rare_)});
  if (info) rare().info = std::move(info);
}

// --- Reading ---

void StreamTransport::pause_reading() {
  if (read_paused_) return;
  if (life_.phase() != Phase::lost) core().check_thread("pause_reading");
  read_paused_ = true;
  if (life_.phase() != Phase::open) return;
  channel_->set_reading(false);
}

void StreamTransport::resume_reading() {
  if (!read_paused_) return;
  if (life_.phase() != Phase::lost) core().check_thread("resume_reading");
  read_paused_ = false;
  if (!is_reading()) return;
  channel_->set_reading(true);
}

std::span<std::byte> StreamTransport::read_buffer() {
  while (caller_.buffered()) {
    const auto asked = caller_.protocol();
    std::span<std::byte> buffer;
    const Error error = caller_.get_buffer(site(), buffer);
    if (error) callback_threw(error);
    core().flush_now();
    if (!life_.may_read()) return {};
    if (caller_.protocol() == asked) return buffer;
    // It put another protocol in its place: that one's buffer then, or the loop's (T-013).
  }
  return channel_->reads_much() ? core().large_scratch() : core().scratch();
}

void StreamTransport::bytes_read(std::size_t count) {
  if (count == 0) return deliver_eof();
  if ((life_.bytes() & act::data_received) == 0) return;
  const Error error =
      caller_.buffered()
          ? caller_.buffer_updated(site(), count)
          : caller_.data_received(site(), BytesView{core().scratch().data(), count});
  if (error) callback_threw(error);
  core().flush_now();
}

void StreamTransport::deliver_eof() {
  if ((life_.eof() & act::eof_received) == 0) return;
  bool keep_open = false;
  const Error error = caller_.eof_received(site(), keep_open);
  if (error) return callback_threw(error);
  attempt();
  if (keep_open && !life_.can_half_close()) {
    const std::string what = "eof_received() returned true, which has no effect ";
    core().log(LogLevel::warning, what + (is_pipe_ ? "on a named pipe" : "over TLS"));
  }
  perform(life_.eof_answered(keep_open, queue_.empty()));
  if (life_.phase() == Phase::flushing) begin_flush();
}

// --- Writing ---

// False: dropped, because it is too late. Throws if the caller broke the contract; whether the
// connection is over already must not decide that, before connection_lost() tells so (T-049).
bool StreamTransport::may_write(const char* what, bool nothing) {
  if (life_.phase() != Phase::lost) core().check_thread(what);
  if (direction_ == Direction::read) {
    throw NotSupported{std::string{what} + "(): this transport only reads"};
  }
  if (life_.ended_writing() && !caller_.told_loss()) {
    throw MisuseError{std::string{what} + "() after write_eof()"};
  }
  if (life_.may_write()) return true;
  if (nothing) return false;
  if (lost_writes_ < warn_after_lost_writes) ++lost_writes_;
  LoopCore* const core = control_.core();  // the loop may be gone by now
  if (lost_writes_ == warn_after_lost_writes && core != nullptr) {
    core->log(LogLevel::warning, std::string{what} + "() on a connection that is closing or lost");
  }
  return false;
}

void StreamTransport::write(BytesView data) {
  if (!may_write("write", data.empty()) || data.empty()) return;
  const bool try_now = !core().gathering() || data.size() >= direct_size;
  if (try_now && queue_.empty() && channel_->can_try()) {
    data = data.subview(channel_->try_write({&data, 1}));
    if (data.empty() || !life_.may_write()) return;
  }
  queue_.append(data, core().blocks());
  after_queueing();
}

void StreamTransport::write_gathered(std::span<const BytesView> chunks) {
  if (!may_write("writelines", chunks.empty())) return;
  while (!chunks.empty()) {
    const auto some = chunks.first(std::min(chunks.size(), most_views));
    chunks = chunks.subspan(some.size());
    std::size_t size = 0, sent = 0;
    for (const BytesView& chunk : some) size += chunk.size();
    if (size >= direct_size && queue_.empty() && channel_->can_try()) {
      sent = channel_->try_write(some);
      if (!life_.may_write()) return;
    }
    for (const BytesView& chunk : some) {
      const std::size_t gone = std::min(sent, chunk.size());
      sent -= gone;
      queue_.append(chunk.subview(gone), core().blocks());
    }
    // Not all of a large list is copied before anything is sent.
    if (flow_.over(queue_.size()) && channel_->can_try()) attempt();
    if (!life_.may_write()) return;
  }
  if (!queue_.empty()) after_queueing();
}

// The queue has grown: send now or when the callback returns, and judge the mark.
void StreamTransport::after_queueing() {
  if (core().gathering() && channel_->can_try() && !flow_.over(queue_.size())) {
    if (!std::exchange(flush_wanted_, true)) core().flush_soon(*this);
    return;
  }
  attempt();
  judge_pause();
}

void StreamTransport::flush() {
  flush_wanted_ = false;
  attempt();
}

// One attempt to send what is queued, without waiting; calls nobody.
void StreamTransport::attempt() {
  if (queue_.empty() || life_.phase() == Phase::lost) return;
  std::array<BytesView, most_views> views;
  while (!queue_.empty() && channel_->can_try()) {
    const std::size_t count = queue_.peek(views);
    const std::size_t sent = channel_->try_write({views.data(), count});
    if (life_.phase() == Phase::lost) return;
    queue_.consume(sent, core().blocks());
    if (sent == 0) break;
  }
  if (!queue_.empty()) {
    channel_->start_writing();
  } else {
    perform(life_.drained());
  }
}

void StreamTransport::bytes_written(std::size_t count) {
  queue_.consume(count, core().blocks());
  resume_if_low();
  core().flush_now();
  if (queue_.empty()) perform(life_.drained());
}

void StreamTransport::write_eof() {
  if (!can_write_eof()) throw NotSupported{"write_eof(): not supported by this transport"};
  if (life_.phase() == Phase::lost) return;
  core().check_thread("write_eof");
  attempt();
  const std::uint32_t actions = life_.write_eof(queue_.empty());
  direction_ == Direction::write ? close() : perform(actions);  // nothing else is left of a pipe
}

std::size_t StreamTransport::get_write_buffer_size() {
  if (life_.phase() != Phase::lost) core().check_thread("get_write_buffer_size");
  attempt();
  return queue_.size();
}

void StreamTransport::set_write_buffer_limits(WriteBufferMarks marks) {
  if (life_.phase() != Phase::lost) core().check_thread("set_write_buffer_limits");
  flow_.set(marks, channel_ ? channel_->default_high_mark() : FlowControl::default_high);
  if (life_.phase() == Phase::lost || life_.phase() == Phase::opening) return;
  attempt();
  judge_pause();
  // pause_writing() may have ended us.
  if (life_.phase() == Phase::lost || !flow_.must_resume(queue_.size())) return;
  if (std::exchange(resume_scheduled_, true)) return;
  // `this` is alive then: connection_lost(), after which we may go, is queued behind.
  core().soon([this] { resume_if_low(); });
}

void StreamTransport::judge_pause() {
  if (life_.phase() == Phase::lost || !flow_.must_pause(queue_.size())) return;
  flow_.set_paused(true);
  caller_.pause_writing(site());
}

void StreamTransport::resume_if_low() {
  resume_scheduled_ = false;
  if (life_.phase() == Phase::lost || !flow_.must_resume(queue_.size())) return;
  flow_.set_paused(false);
  caller_.resume_writing(site());
}

// --- TLS in mid-stream ---

void StreamTransport::start_tls(const SslSpec& spec, BytesView received, Opened upgraded) {
  if (!life_.may_read() || !life_.may_write()) {
    throw MisuseError{"start_tls: the connection is closing, or one side has ended"};
  }
  if (rare_ && rare_->opened) throw MisuseError{"start_tls: a handshake is under way already"};
  attempt();  // what is in clear goes first
  if (life_.phase() == Phase::open) {
    const InMidStream state{queue_.size(), received};
    channel_ = ssl_channel(core(), channel_, spec, peer_.get().to_string(), &state);
  }
  rare().opened = std::move(upgraded);
  if (life_.phase() != Phase::open) return;  // lost just now: end() tells
  channel_->set_owner(*this);
  life_.forbid_half_close();
  if (!flow_.chosen()) set_write_buffer_limits({});
  channel_->set_reading(is_reading());
  if (const Error error = channel_->open()) failed(error);
}

// --- The rest ---

void StreamTransport::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
  // Also between abort() and connection_lost(), which is the new one's then.
  if (caller_.protocol() == nullptr || control_.core() == nullptr) return;
  core().check_thread("set_protocol");
  if (keeps_protocol_) throw MisuseError{"set_protocol: a child's pipe has no protocol of its own"};
  caller_.set(std::move(protocol));
}

std::any StreamTransport::extra_info(std::string_view name) const {
  if (is_pipe_) {
    if (name == ferry::pipe.name) return channel_ ? channel_->pipe() : PipeView{};
    return {};
  }
  if (name == peername.name) return peer_.get();
  if (name == sockname.name) return local_.get();
  if (name == ferry::socket.name) return channel_ ? channel_->socket() : SocketView{};
  const auto info = channel_ ? channel_->info() : rare_ ? rare_->info : nullptr;
  return info ? info->info(name) : std::any{};
}

std::string StreamTransport::describe() const {
  const NativeHandle handle = !channel_  ? invalid_handle
                              : is_pipe_ ? channel_->pipe().fileno()
                                         : channel_->socket().fileno();
  std::string text = is_pipe_ ? "pipe" : "stream";
  if (handle != invalid_handle) text += " fd=" + std::to_string(handle);
  if (!is_pipe_) text += " " + local_.get().to_string() + " <-> " + peer_.get().to_string();
  text += " ";
  text += name_of(life_.phase());
  text += std::string{" read="} + (is_reading() ? "on" : "off");
  return text + " write=" + std::to_string(queue_.size());
}

}  // namespace ferry::internal
