// A stream's life, its write queue and its marks, joined by the transport, against a naive model:
// the input says what the user calls, outside and inside of callbacks, and what the channel below
// does. The contract checker watches the order of things; here the bytes are counted, and compared
// one by one. With TLS between the two, too.
#pragma once

#include "fuzz/fuzz.hpp"
#include "platform/sockets/parts.hpp"
#include "reactor/loop_core.hpp"
#include "transports/ssl_channel.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/contract_checker.hpp>
#include <ferry/ferry.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fuzz {

using ferry::BytesView;
using ferry::Error;
using ferry::internal::Channel;
using ferry::internal::LoopCore;
using ferry::internal::SslSpec;
using ferry::internal::StreamTransport;

inline char byte_at(std::size_t position) { return static_cast<char>(position % 251); }

inline std::string bytes_from(std::size_t position, std::size_t count) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) text[i] = byte_at(position + i);
  return text;
}

// The other end of TLS; without one, what is on the wire is the bytes themselves.
class SecretPeer {
 public:
  virtual ~SecretPeer() = default;
  virtual std::string open(BytesView cipher) = 0;  // the plaintext of what has come as a whole
  virtual bool seal(std::string_view plain) = 0;   // false: not now
  virtual void say_goodbye() = 0;
  virtual std::string& wire() = 0;  // sealed, and not yet come
};

// The other end, and all that the model knows.
struct Model {
  std::size_t room = 0;               // that the system has
  std::size_t at_most = SIZE_MAX;     // taken by one call
  std::error_code failure;            // of the next call that sends
  bool open_fails = false, half_close = true;

  std::size_t accepted = 0, taken = 0;  // bytes written, and of those: sent
  std::size_t sent_to_us = 0, received = 0;
  bool paused = false, aborted = false, wants_eof = false, shut = false, finished = false;
  bool lost = false, failed = false;
  bool ended = false;  // the stream below: with TLS it may be cut short by that
  std::function<void()> in_callback;
  SecretPeer* secret = nullptr;
  std::size_t clear = 0;  // of the bytes written, those that go out as they are

  void take(BytesView piece) {
    if (secret != nullptr && taken == clear) {
      const std::string plain = secret->open(piece);
      clear += plain.size();
      return take_plain({plain.data(), plain.size()});
    }
    const std::size_t plain =
        secret == nullptr ? piece.size() : std::min(piece.size(), clear - taken);
    take_plain(piece.subview(0, plain));
    if (plain < piece.size()) take(piece.subview(plain));
  }
  void take_plain(BytesView piece) {
    for (const std::byte byte : piece) {
      require(static_cast<char>(byte) == byte_at(taken++), "the bytes are sent in order");
    }
    require(taken <= accepted, "no more is sent than was written");
  }
  void receive(BytesView piece) {
    for (const std::byte byte : piece) {
      require(static_cast<char>(byte) == byte_at(received++), "the bytes are received in order");
    }
    require(received <= sent_to_us, "no more is received than was sent");
  }
};

class ScriptedChannel final : public Channel {
 public:
  explicit ScriptedChannel(Model& model) : model_{model} {}

  void set_owner(Owner& owner) override { owner_ = &owner; }
  Error open() override {
    if (!model_.open_fails) {
      owner_->opened();
      return {};
    }
    return Error{std::make_error_code(std::errc::not_enough_memory), "watch"};
  }
  void set_reading(bool on) override { reading_ = on && !closed_; }
  std::size_t try_write(std::span<const BytesView> views) override {
    if (!can_try() || closed_) return 0;
    if (model_.failure) {
      fail();
      return 0;
    }
    return send(views);
  }
  bool can_try() const noexcept override { return writable_ && !writing_; }
  bool can_half_close() const noexcept override { return model_.half_close; }
  void start_writing() override { writing_ = !closed_; }
  void shut_write() noexcept override {
    require(!std::exchange(model_.shut, true), "the writing side ends once");
    require(model_.wants_eof && model_.taken == model_.accepted, "and after the last byte");
  }
  void finish() override {
    require(!std::exchange(model_.finished, true), "it finishes once");
    require(model_.taken == model_.accepted, "and after the last byte");
    owner_->finished();
  }
  void close(bool) noexcept override {
    require(!std::exchange(closed_, true), "the channel is closed once");
    reading_ = writing_ = false;
    owner_->closed();
  }
  ferry::SocketView socket() const noexcept override { return {}; }

  // --- What the system does, inside the loop ---

  void give(std::size_t count) {
    model_.room += count;
    writable_ = true;
    std::array<BytesView, 8> views;
    while (writing_ && writable_) {
      const std::size_t number = owner_->pending(views);
      if (number == 0) {
        writing_ = false;
        return;
      }
      if (model_.failure) return fail();
      owner_->bytes_written(send({views.data(), number}));
    }
  }
  void arrive(std::size_t count) {
    while (count > 0 && reading_) {
      const std::span<std::byte> into = owner_->read_buffer();
      if (into.empty() || !reading_) return;
      const std::string text = next(std::min(count, into.size()));
      if (text.empty()) return;
      std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), into.data());
      count -= text.size();
      owner_->bytes_read(text.size());
    }
  }
  void end() {
    if (!reading_ || owner_->read_buffer().empty() || !reading_) return;
    model_.ended = true;
    owner_->bytes_read(0);
  }
  void break_down() {
    if (closed_) return;
    model_.failed = true;
    owner_->failed(Error{std::make_error_code(std::errc::connection_reset), "receive"});
  }

 private:
  // What comes next, that much at most.
  std::string next(std::size_t count) {
    if (model_.secret == nullptr) {
      model_.sent_to_us += count;
      return bytes_from(model_.sent_to_us - count, count);
    }
    std::string& wire = model_.secret->wire();
    if (wire.size() < count && model_.secret->seal(bytes_from(model_.sent_to_us, count))) {
      model_.sent_to_us += count;
    }
    const std::string text = wire.substr(0, count);
    wire.erase(0, text.size());
    return text;
  }
  void fail() {
    writable_ = false;
    model_.failed = true;
    owner_->failed(Error{model_.failure, "send"});
  }
  std::size_t send(std::span<const BytesView> views) {
    std::size_t left = std::min(model_.room, model_.at_most), count = 0, total = 0;
    for (const BytesView& view : views) {
      const std::size_t part = std::min(left, view.size());
      model_.take(view.subview(0, part));
      left -= part;
      count += part;
      total += view.size();
    }
    model_.room -= count;
    if (count < total) writable_ = false;
    return count;
  }

  Model& model_;
  Owner* owner_ = nullptr;
  bool writable_ = true, writing_ = false, reading_ = false, closed_ = false;
};

// The user's side: checks what only the model knows, then does what the input says.
template <class Base>
class UserOf : public Base {
 public:
  explicit UserOf(Model& model) : model_{model} {}
  void connection_made(ferry::Transport&) override { model_.in_callback(); }
  bool eof_received() override {
    model_.in_callback();
    return model_.received % 2 == 0;
  }
  void pause_writing() override {
    require(!std::exchange(model_.paused, true), "paused only while not paused");
    model_.in_callback();
  }
  void resume_writing() override {
    require(std::exchange(model_.paused, false), "resumed only while paused");
    model_.in_callback();
  }
  void connection_lost(const Error& exc) override {
    require(!std::exchange(model_.lost, true), "lost once");
    const bool clean = !exc && !model_.aborted;
    require(!clean || model_.taken == model_.accepted, "a clean end comes after the last byte");
    const bool cut = model_.secret != nullptr && model_.ended;
    require(!exc || model_.failed || cut, "an error has a cause");
    model_.in_callback();
  }

 protected:
  Model& model_;
};

class Plain final : public UserOf<ferry::Protocol> {
 public:
  using UserOf::UserOf;
  void data_received(BytesView data) override {
    model_.receive(data);
    model_.in_callback();
  }
};

class Lending final : public UserOf<ferry::BufferedProtocol> {
 public:
  using UserOf::UserOf;
  std::span<std::byte> get_buffer(std::size_t) override { return memory_; }
  void buffer_updated(std::size_t count) override {
    model_.receive(BytesView{memory_.data(), count});
    model_.in_callback();
  }

 private:
  std::array<std::byte, 100> memory_;
};

inline std::shared_ptr<ferry::StreamProtocol> new_user(Model& model, bool lends) {
  if (lends) return std::make_shared<Lending>(model);
  return std::make_shared<Plain>(model);
}

// Nobody waits here: the input is all that happens.
class NoSelector final : public ferry::internal::Selector {
 public:
  bool edge_triggered() const noexcept override { return true; }
  Error add(ferry::NativeHandle, std::uint32_t, ferry::internal::Trigger,
            ferry::internal::Token) override {
    return {};
  }
  Error modify(ferry::NativeHandle, std::uint32_t, ferry::internal::Trigger,
               ferry::internal::Token) override {
    return {};
  }
  void remove(ferry::NativeHandle, bool) noexcept override {}
  Error poll(std::optional<std::chrono::nanoseconds>,
             std::vector<ferry::internal::Event>&) override {
    return {};
  }
  std::error_code wake() noexcept override { return {}; }
};

// How to put TLS into a life.
struct Tls {
  SslSpec spec;
  std::unique_ptr<SecretPeer> peer;
};

class Life {
 public:
  Life(LoopCore& core, Input input, Tls* tls = nullptr) : core_{core}, input_{input}, tls_{tls} {
    const unsigned flags = input_.byte();
    const bool secret = tls_ != nullptr && (flags & 32) != 0;  // from the beginning
    model_.half_close = (flags & 1) == 0 && !secret;
    model_.open_fails = (flags & 14) == 14;
    model_.in_callback = [this] { maybe_act(); };
    auto scripted = std::make_unique<ScriptedChannel>(model_);
    wire_ = scripted.get();
    std::unique_ptr<Channel> channel = std::move(scripted);
    if (secret) {
      model_.secret = tls_->peer.get();
      channel = ferry::internal::ssl_channel(core, channel, tls_->spec, "the fuzzer");
    }
    const auto face = checker_.protocol(new_user(model_, (flags & 16) != 0));
    real_ = StreamTransport::begin(core, std::move(channel), face, {}, nullptr,
                                   [this](const Error& error) { opened_ = !error; });
    seen_ = checker_.connection({real_, face}).transport;
  }

  void run() {
    settle();
    if (model_.secret != nullptr && !model_.open_fails) shake_hands();
    if (!opened_) {
      require(model_.open_fails && !model_.lost, "who was never made is never lost");
      return;
    }
    while (!input_.empty() && !model_.lost) step();
    input_ = {nullptr, 0};
    if (!model_.lost) {
      model_.aborted = true;
      seen_->abort();
    }
    settle();
    require(model_.lost, "it is lost in the end");
    require(seen_->get_write_buffer_size() == 0, "nothing is buffered then");
    checker_.finish();
  }

 private:
  void settle() {
    for (int i = 0; i < 4; ++i) core_.process_ready();
  }
  void inside(std::function<void()> what) {
    core_.soon(std::move(what));
    core_.process_ready();
  }

  // In small pieces, or at once.
  void shake_hands() {
    const std::size_t piece = input_.byte() % 2 == 0 ? 100'000 : 1 + input_.byte();
    for (int i = 0; i < 20'000 && !opened_ && !model_.lost; ++i) {
      inside([&] { wire_->give(piece); });
      inside([&] { wire_->arrive(piece); });
    }
    require(opened_, "the handshake is done in the end");
  }

  // What the system does, or the user.
  void step() {
    const unsigned what = input_.byte();
    switch (what % 16) {
      case 0: inside([this] { system([this] { wire_->give(size()); }); }); break;
      case 1: inside([this] { system([this] { wire_->give(input_.byte()); }); }); break;
      case 2: inside([this] { system([this] { wire_->arrive(size()); }); }); break;
      case 3:
        if (what >= 128) inside([this] { system([this] { wire_->end(); }); });
        if (what < 64 && model_.secret != nullptr) model_.secret->say_goodbye();
        break;
      case 4:
        if (what >= 240) model_.failure = std::make_error_code(std::errc::broken_pipe);
        break;
      case 5:
        if (what >= 240) inside([this] { system([this] { wire_->break_down(); }); });
        break;
      case 6: model_.at_most = what >= 128 ? SIZE_MAX : 1 + size(); break;
      case 7:
        settle();
        if (what >= 192) upgrade();
        break;
      case 8: inside([this] { act(); }); break;
      default: act(); break;
    }
    check();
  }

  // start_tls(), at any time: what was written before goes out in clear.
  void upgrade() {
    if (tls_ == nullptr || model_.secret != nullptr) return;
    inside([this] {
      model_.clear = model_.accepted;
      model_.secret = tls_->peer.get();
      const bool half_close = std::exchange(model_.half_close, false);
      try {
        real_->start_tls(tls_->spec, {}, [](const Error&) {});
      } catch (const ferry::MisuseError&) {
        model_.secret = nullptr;
        model_.half_close = half_close;
        require(seen_->is_closing() || model_.wants_eof || model_.ended,
                "only what has begun to end is not upgraded");
      }
    });
  }

  // Not once the channel is gone.
  void system(const std::function<void()>& what) const {
    if (!model_.lost) what();
  }

  std::size_t size() {
    static constexpr std::size_t sizes[] = {0, 1, 7, 100, 4096, 8191, 8192, 20000, 70000};
    return sizes[input_.byte() % std::size(sizes)];
  }

  void maybe_act() {
    if (depth_ >= 4 || input_.empty() || input_.byte() % 4 != 0) return;
    ++depth_;
    act();
    --depth_;
  }

  // A call of the user's.
  void act() {
    if (seen_ == nullptr) return;  // in connection_made()
    const unsigned what = input_.byte();
    switch (what % 16) {
      case 0: seen_->close(); break;
      case 1:
        if (what >= 128) abort();
        break;
      case 2: write_eof(); break;
      case 3: seen_->pause_reading(); break;
      case 4: case 5: seen_->resume_reading(); break;
      case 6: set_marks(); break;
      case 7: seen_->set_protocol(new_user(model_, what >= 128)); break;
      case 8: case 9: write_lines(); break;
      case 10: check_size(); break;
      default: write(size()); break;
    }
  }

  void abort() {
    model_.aborted = true;
    seen_->abort();
  }
  void write_eof() {
    try {
      if (!seen_->is_closing()) model_.wants_eof = true;
      seen_->write_eof();
    } catch (const ferry::NotSupported&) {
      require(!model_.half_close, "only what has no half-close refuses it");
      model_.wants_eof = false;
    }
  }
  void write(std::size_t count) {
    const std::string text = bytes_from(model_.accepted, count);
    if (accepts()) model_.accepted += count;
    try {
      seen_->write(text);
    } catch (const ferry::MisuseError&) {
      require(model_.wants_eof, "only after write_eof() a write is wrong");
    }
  }
  void write_lines() {
    std::vector<std::string> lines(input_.byte() % 80);
    std::size_t at = model_.accepted;
    const std::size_t each = size() / 8;
    for (std::string& line : lines) {
      line = bytes_from(at, each);
      at += each;
    }
    if (accepts()) model_.accepted = at;
    try {
      seen_->writelines(lines);
    } catch (const ferry::MisuseError&) {
      require(model_.wants_eof, "only after write_eof() writelines() is wrong");
    }
  }
  bool accepts() const { return !seen_->is_closing() && !model_.wants_eof; }

  void set_marks() {
    const auto high = static_cast<std::int64_t>(size()) - 1;
    const auto low = static_cast<std::int64_t>(size()) - 1;
    try {
      seen_->set_write_buffer_limits({.high = high, .low = low});
      require(0 <= low && low <= high, "crossed or negative marks are refused");
    } catch (const std::invalid_argument&) {
      require(low < 0 || high < low, "good marks are taken");
    }
  }

  void check_size() {
    const std::size_t count = seen_->get_write_buffer_size();
    if (model_.secret != nullptr && model_.ended) return;  // in order, or cut short?
    const bool gone = model_.aborted || model_.failed || model_.lost;
    require(count == (gone ? 0 : model_.accepted - model_.taken), "the size is exact");
  }
  // After each step: the marks.
  void check() {
    if (seen_->is_closing()) return;
    const ferry::WriteBufferLimits limits = seen_->get_write_buffer_limits();
    const std::size_t queued = model_.accepted - model_.taken;
    require(queued <= limits.high || model_.paused, "over the high mark it is paused");
  }

  Model model_;
  LoopCore& core_;
  Input input_;
  Tls* tls_;
  ferry::ContractChecker checker_{[](const std::string& breach) {
    std::fprintf(stderr, "%s\n", breach.c_str());
    std::abort();
  }};
  ScriptedChannel* wire_ = nullptr;
  std::shared_ptr<StreamTransport> real_;
  std::shared_ptr<ferry::Transport> seen_;
  bool opened_ = false;
  int depth_ = 0;
};

// One life, from one input.
inline void live(Input input, Tls* tls = nullptr) {
  // Kept: what one life leaves in the loop, the next one finds.
  static ferry::Loop loop;
  static LoopCore core{loop, ferry::internal::parts_over("none", std::make_unique<NoSelector>())};
  core.settings.log_sink = [](ferry::LogLevel, std::string_view) {};
  // ProtocolCaller reports through the public loop.
  loop.set_exception_handler([](ferry::Loop&, const ferry::ExceptionContext& context) {
    require(!context.message.starts_with("ferry broke its contract"), "ferry keeps its contract");
  });
  Life{core, input, tls}.run();
}

}  // namespace fuzz
