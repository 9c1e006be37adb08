#include "transports/ssl_channel.hpp"

#include "transports/ssl_object.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

namespace ferry::internal {
namespace {

// So much may wait to be sent before nothing more is read: answers to a peer that never reads.
constexpr std::size_t most_output = 256 * 1024;
constexpr std::size_t most_shown = 40;  // of what came instead of TLS

// The first byte of every record is its type: 20 to 23.
bool looks_like_tls(BytesView first) noexcept {
  const auto type = std::to_integer<unsigned>(first[0]);
  return type >= 20 && type <= 23;
}

std::string printable(BytesView bytes) {
  std::string text;
  for (const std::byte byte : bytes.subview(0, most_shown)) {
    const auto c = std::to_integer<unsigned char>(byte);
    if (c == '\r' || c == '\n') return text;
    text += std::isprint(c) != 0 ? std::string{static_cast<char>(c)} : fmt::format("\\x{:02x}", c);
  }
  return bytes.size() > most_shown ? text + "…" : text;
}

}  // namespace

struct SslChannel::Handshake {
  ~Handshake() { timer.cancel(); }
  SslContext context;
  std::string peer;
  Seconds timeout;
  TimerHandle timer;
  std::string came_first;  // if that is no TLS
  bool seen = false;

  void look_at(BytesView came) {
    if (!std::exchange(seen, true) && !looks_like_tls(came)) came_first = printable(came);
  }
};

std::unique_ptr<Channel> ssl_channel(LoopCore& core, std::unique_ptr<Channel>& below,
                                     const SslSpec& spec, std::string peer,
                                     const InMidStream* in_mid_stream) {
  auto object = std::make_shared<SslObject>(spec);
  return std::make_unique<SslChannel>(core, std::move(object), std::move(below), spec,
                                      std::move(peer), in_mid_stream);
}

SslChannel::SslChannel(LoopCore& core, std::shared_ptr<SslObject> object,
                       std::unique_ptr<Channel> below, const SslSpec& spec, std::string peer,
                       const InMidStream* in_mid_stream)
    : core_{core},
      below_{std::move(below)},
      object_{std::move(object)},
      handshake_{std::make_unique<Handshake>()},
      shutdown_timeout_{spec.shutdown_timeout},
      level_{below_->scratch_level()},
      server_side_{spec.server_side},
      below_is_open_{in_mid_stream != nullptr} {
  if (in_mid_stream != nullptr) {
    clear_ = in_mid_stream->clear;
    input_.assign(in_mid_stream->received.begin(), in_mid_stream->received.end());
  }
  handshake_->context = spec.context;
  handshake_->peer = std::move(peer);
  handshake_->timeout = spec.handshake_timeout;
  if (!input_.empty()) handshake_->look_at({input_.data(), input_.size()});
  below_->set_owner(*this);
}

SslChannel::~SslChannel() {
  advance_call_.cancel();
  shutdown_timer_.cancel();
  output_.clear(core_.blocks());
}

std::shared_ptr<const ChannelInfo> SslChannel::info() const { return object_; }

// --- The handshake ---

Error SslChannel::open() {
  start_handshake_timer();
  if (!below_is_open_) return below_->open();
  if (clear_ > 0) {
    below_->set_reading(false);  // what comes meanwhile waits in the system
    below_->start_writing();
  } else {
    begin_handshake();
  }
  return {};
}

void SslChannel::start_handshake_timer() {
  handshake_->timer = core_.call_later(
      handshake_->timeout,
      [this] {
        fail_handshake(Error::worded(
            std::make_error_code(std::errc::connection_aborted),
            fmt::format("not done within {} s", handshake_->timeout.count())));
      },
      {});
}

void SslChannel::begin_handshake() {
  stage_ = Stage::handshake;
  // The input of start_tls() has to wait until its caller has returned.
  if (!input_.empty()) advance_later();
  if (!server_side_) advance({});
  update_reading();
}

void SslChannel::shake_hands() {
  while (stage_ == Stage::handshake) {
    object_->give_room(scratch(1));
    const SslStatus status = object_->handshake().status;
    take_output();
    if (stage_ != Stage::handshake) return;
    if (status == SslStatus::want_input) return below_ended_ ? end_of_input() : void();
    if (status == SslStatus::done) return handshake_done();
    if (status == SslStatus::want_output) continue;
    if (status == SslStatus::ended) return end_of_input();  // close_notify, in the midst of it
    return fail_handshake(object_->failure());
  }
}

void SslChannel::handshake_done() {
  handshake_.reset();
  stage_ = Stage::open;
  if (writing_) below_->start_writing();
  owner_->opened();
}

void SslChannel::fail_handshake(const Error& error) {
  if (!handshake_) return;
  const std::unique_ptr<Handshake> handshake = std::move(handshake_);
  std::error_code code = error.code();
  std::string why{error.what()};
  if (!handshake->came_first.empty()) {
    code = SslErrc::not_tls;
    why = fmt::format("the peer does not speak TLS (it sent: {})", handshake->came_first);
  }
  const Error whole =
      error.exception() ? error
                        : Error::worded(code, fmt::format("TLS handshake with {}: {}",
                                                          handshake->peer, why));
  if (server_side_) {
    if (core_.settings.debug) core_.log(LogLevel::debug, whole.what());
    const auto tell = SslAccess::state(handshake->context).on_handshake_error;  // a copy: see SNI
    try {
      if (tell) tell(whole, handshake->peer);
    } catch (...) {
      core_.report("the handshake error callback threw", {});
    }
  }
  fail(whole);
}

// --- Input ---

// No more than the owner has room for, so that what came is read in one go, and answered in one.
std::span<std::byte> SslChannel::read_buffer() {
  return scratch(0).first(core_.scratch().size());
}

void SslChannel::bytes_read(std::size_t count) {
  if (stage_ >= Stage::leaving) return;
  if (count == 0) {
    below_ended_ = true;
    update_reading();
    return input_.empty() ? advance({}) : advance_later();
  }
  const BytesView came{scratch(0).data(), count};
  if (peer_ended_) return;  // what comes after close_notify is nobody's (T-074)
  if (handshake_) handshake_->look_at(came);
  if (input_.empty()) return advance(came);
  input_.insert(input_.end(), came.begin(), came.end());
  advance_later();
}

void SslChannel::advance_later() {
  if (std::exchange(advance_scheduled_, true)) return;
  advance_call_ = core_.soon([this] {
    advance_scheduled_ = false;
    const std::vector<std::byte> input = std::exchange(input_, {});
    advance(input);
  });
}

// Does what can be done with `ciphertext`; keeps what is left of it.
void SslChannel::advance(BytesView ciphertext) {
  if (stage_ >= Stage::leaving) return;
  advancing_ = true;
  object_->feed(ciphertext);
  shake_hands();
  read_plaintext();
  advancing_ = false;
  const BytesView rest = object_->unread();
  object_->feed({});
  if (stage_ >= Stage::leaving) return;
  if (!peer_ended_ && !rest.empty()) input_.assign(rest.begin(), rest.end());
  // A write may have waited for what a renegotiation has brought now.
  if (writing_ && stage_ == Stage::open && output_.empty()) below_->start_writing();
  update_reading();
}

void SslChannel::read_plaintext() {
  while (stage_ == Stage::open || stage_ == Stage::finishing) {
    const bool discarding = closing_;
    if (peer_ended_ || !(reading_ || discarding)) return;
    if (output_.size() > most_output) {
      stalled_ = true;
      return;
    }
    if (object_->unread().empty() && !object_->has_pending() && !end_waits_) {
      return below_ended_ ? end_of_input() : void();
    }
    if (!read_step(discarding)) return;
  }
}

// False: nothing more can be read now.
bool SslChannel::read_step(bool discarding) {
  Channel::Owner* const asked = owner_;
  const std::span<std::byte> into = discarding ? core_.scratch() : asked->read_buffer();
  if (into.empty() || stage_ >= Stage::leaving) return false;
  // What was asked may have changed everything.
  if (owner_ != asked || closing_ != discarding || !(reading_ || discarding)) return true;
  object_->give_room(scratch(1));
  const auto [status, count] = object_->read(into);
  // What the TLS library answers goes out after the bytes were delivered: sending may fail.
  const bool answers = object_->produced() > 0;
  if (answers) queue_output({scratch(1).data(), object_->produced()});
  object_->give_room({});
  if (count > 0 && !discarding) owner_->bytes_read(count);
  if (stage_ >= Stage::leaving) return false;
  if (answers) below_->start_writing();
  switch (status) {
    case SslStatus::done:
    case SslStatus::want_output: return true;
    case SslStatus::want_input:
      if (below_ended_ && !held_back()) end_of_input();
      return false;
    case SslStatus::ended:
      end_waits_ = held_back();  // what came before it may have paused reading (T-071)
      if (!end_waits_) peer_said_goodbye();
      return false;
    case SslStatus::failed: break;
  }
  if (closing_) {  // nobody waits for what it was
    below_ended_ = true;
    finish_if_done();
  } else {
    fail_object();
  }
  return false;
}

void SslChannel::peer_said_goodbye() {
  if (stage_ >= Stage::leaving) return;
  peer_ended_ = true;
  input_.clear();
  if (!closing_) owner_->bytes_read(0);
  finish_if_done();
}

// The stream below has ended, and no close_notify came.
void SslChannel::end_of_input() {
  if (stage_ >= Stage::leaving || peer_ended_) return;
  if (handshake_) {
    return fail_handshake(Error::worded(std::make_error_code(std::errc::connection_reset),
                                        "the peer closed the connection"));
  }
  if (closing_) return finish_if_done();
  peer_ended_ = true;
  if (object_->ignores_truncation()) return owner_->bytes_read(0);
  object_->forget_session();
  fail(Error{SslErrc::truncated, "TLS"});
}

// Whether there is something to be read without new input.
bool SslChannel::input_waits() const noexcept {
  return !input_.empty() || end_waits_ || object_->has_pending();
}

void SslChannel::set_reading(bool on) {
  if (reading_ == on) return;
  reading_ = on;
  if (stage_ != Stage::open || advancing_) return;
  if (on && (input_waits() || below_ended_) && !peer_ended_) advance_later();
  update_reading();
}

// What comes is for the handshake, for the owner, or to be thrown away.
void SslChannel::update_reading() {
  if (stage_ == Stage::waiting || stage_ >= Stage::leaving || advancing_) return;
  const bool wanted = stage_ == Stage::handshake || reading_ || closing_ || peer_ended_;
  below_->set_reading(wanted && !below_ended_ && input_.empty() && output_.size() <= most_output);
}

void SslChannel::failed(const Error& error) {
  if (stage_ == Stage::over) return;
  if (handshake_) return fail_handshake(error);
  if (stage_ == Stage::open) object_->forget_session();
  if (stage_ < Stage::finishing) return fail(error);
  // All that was ours has gone; how the peer leaves is its own affair (C-09).
  stage_ = Stage::over;
  owner_->finished();
}

void SslChannel::fail_object() {
  const Error error = object_->failure();
  fail(Error::worded(error.code(), fmt::format("TLS: {}", error.what())));
}

void SslChannel::fail(const Error& error) {
  if (std::exchange(stage_, Stage::over) != Stage::over) owner_->failed(error);
}

// --- Output ---

// What is of the TLS library's own: at once if possible, else behind what waits already.
void SslChannel::take_output() {
  BytesView bytes{scratch(1).data(), object_->produced()};
  object_->give_room({});
  if (bytes.empty()) return;
  if (output_.empty() && below_->can_try()) {
    bytes = bytes.subview(below_->try_write({&bytes, 1}));
    if (bytes.empty() || stage_ == Stage::over) return;
  }
  queue_output(bytes);
  below_->start_writing();
}

// In blocks of the size that the pool keeps.
void SslChannel::queue_output(BytesView bytes) {
  for (; !bytes.empty(); bytes = bytes.subview(BlockPool::standard)) {
    output_.append(bytes.subview(0, BlockPool::standard), core_.blocks());
  }
}

bool SslChannel::can_try() const noexcept {
  return stage_ == Stage::open && output_.empty() && !writing_ && below_->can_try();
}

// Seals what fits into the room, from `position` on; what that holds of plaintext.
std::size_t SslChannel::seal(std::span<const BytesView> views, std::size_t& position) {
  std::size_t index = 0, skip = position, plain = 0;
  first_sealed_ = sealed_count_ = 0;
  object_->give_room(scratch(1));
  while (sealed_count_ < most_records && object_->room_left() >= SslObject::most_record) {
    while (index < views.size() && skip >= views[index].size()) skip -= views[index++].size();
    if (index == views.size()) break;
    BytesView piece = views[index].subview(skip);
    if (piece.size() < SslObject::most_plain && index + 1 < views.size()) {
      // Small pieces share a record.
      const std::span<std::byte> together = scratch(2).first(SslObject::most_plain);
      std::size_t size = 0;
      for (std::size_t i = index, from = skip; i < views.size() && size < together.size(); ++i) {
        const BytesView part = views[i].subview(from, together.size() - size);
        if (!part.empty()) std::memcpy(together.data() + size, part.data(), part.size());
        size += part.size();
        from = 0;
      }
      piece = BytesView{together.data(), size};
    }
    const std::size_t before = object_->produced();
    const auto [status, count] = object_->write(piece.subview(0, SslObject::most_plain));
    if (status == SslStatus::failed) {
      fail_object();
      return 0;
    }
    if (status != SslStatus::done) break;  // a renegotiation waits for input first (T-084)
    sealed_[sealed_count_++] = {static_cast<std::uint32_t>(object_->produced() - before),
                                static_cast<std::uint32_t>(count)};
    plain += count;
    skip += count;
  }
  position += plain;
  return plain;
}

// `cipher` bytes have gone; the plaintext of the records that have gone with them as a whole.
std::size_t SslChannel::left(std::size_t cipher) noexcept {
  std::size_t plain = 0;
  while (cipher > 0 && first_sealed_ < sealed_count_) {
    Sealed& record = sealed_[first_sealed_];
    const std::size_t part = std::min<std::size_t>(cipher, record.cipher);
    record.cipher -= static_cast<std::uint32_t>(part);
    cipher -= part;
    if (record.cipher > 0) break;
    plain += record.plain;
    ++first_sealed_;
  }
  return plain;
}

std::size_t SslChannel::try_write(std::span<const BytesView> views) {
  std::size_t position = 0, gone = 0;
  while (can_try()) {
    const std::size_t plain = seal(views, position);
    if (stage_ == Stage::over) return gone;
    const BytesView batch{scratch(1).data(), object_->produced()};
    object_->give_room({});
    if (batch.empty()) return gone;
    const std::size_t sent = below_->try_write({&batch, 1});
    if (stage_ == Stage::over) return gone;
    gone += left(sent);
    if (sent < batch.size()) {
      queue_output(batch.subview(sent));
      below_->start_writing();
    }
    if (plain == 0) return gone;
  }
  return gone;
}

void SslChannel::start_writing() {
  writing_ = true;
  if (stage_ == Stage::open) below_->start_writing();
}

std::size_t SslChannel::pending(std::span<BytesView> views) {
  if (clear_ > 0) {
    std::size_t count = owner_->pending(views), size = 0;
    for (std::size_t i = 0; i < count; ++i) {
      views[i] = views[i].subview(0, clear_ - size);
      size += views[i].size();
      if (size == clear_) count = i + 1;
    }
    return count;
  }
  if (output_.empty() && writing_ && stage_ == Stage::open) {
    std::array<BytesView, 64> plain;
    const std::size_t count = owner_->pending(plain);
    std::size_t position = 0;
    if (count == 0) {
      writing_ = false;
    } else {
      seal({plain.data(), count}, position);
      queue_output({scratch(1).data(), object_->produced()});
      object_->give_room({});
    }
  }
  return stage_ == Stage::over ? 0 : output_.peek(views);
}

void SslChannel::bytes_written(std::size_t count) {
  if (closing_) last_progress_ = core_.now();
  if (clear_ > 0) {
    clear_ -= count;
    owner_->bytes_written(count);
    if (stage_ != Stage::waiting) return;
    return clear_ == 0 ? begin_handshake() : below_->start_writing();
  }
  output_.consume(count, core_.blocks());
  const std::size_t plain = left(count);
  // What the owner writes when it hears of that is tried at once.
  if (output_.empty()) writing_ = false;
  if (plain > 0) owner_->bytes_written(plain);
  if (stage_ == Stage::over) return;
  if (output_.empty()) {
    BytesView any;
    writing_ = owner_->pending({&any, 1}) > 0;
    if (writing_) below_->start_writing();
  }
  if (stage_ == Stage::over) return;
  finish_if_done();
  if (std::exchange(stalled_, false)) advance_later();
  update_reading();
}

// --- The end ---

void SslChannel::flush_and_finish() {
  if (std::exchange(closing_, true)) return;
  watch_shutdown();
  if (stage_ == Stage::open && input_waits()) advance_later();
  update_reading();
}

void SslChannel::finish() {
  const bool watched = std::exchange(closing_, true);
  if (stage_ != Stage::open) {  // no stream of ours to be ended
    handshake_.reset();
    stage_ = Stage::leaving;
    return below_->finish();
  }
  stage_ = Stage::finishing;
  object_->give_room(scratch(1));
  // In the midst of a renegotiation it cannot be said: then there is nothing to wait for.
  if (object_->shutdown().status == SslStatus::failed) peer_ended_ = true;
  take_output();
  if (stage_ == Stage::over) return;
  if (!watched) watch_shutdown();
  if (input_waits()) advance_later();
  update_reading();
  finish_if_done();
}

// Both have said close_notify, or the peer is gone; and what we said has left.
void SslChannel::finish_if_done() {
  if (stage_ != Stage::finishing || !output_.empty() || !(peer_ended_ || below_ended_)) return;
  shutdown_timer_.cancel();
  stage_ = Stage::leaving;
  below_->finish();
}

void SslChannel::watch_shutdown() {
  last_progress_ = core_.now();
  check_shutdown();
}

// Counted from the last byte of ours that left: a peer that goes on sending does not put it off.
// The timer is not set anew each time, it looks.
void SslChannel::check_shutdown() {
  const Seconds left_over = shutdown_timeout_ - (core_.now() - last_progress_);
  if (left_over.count() > 0) {
    shutdown_timer_ = core_.call_later(left_over, [this] { check_shutdown(); }, {});
    return;
  }
  fail(Error{std::make_error_code(std::errc::timed_out),
             fmt::format("TLS shutdown: no progress within {} s", shutdown_timeout_.count())});
}

void SslChannel::close(bool reset) noexcept {
  stage_ = Stage::over;
  advance_call_.cancel();
  shutdown_timer_.cancel();
  handshake_.reset();
  output_.clear(core_.blocks());
  input_ = {};
  below_->close(reset);
}

}  // namespace ferry::internal
