// A stream transport with no system below it: the test says what is taken and when, so that every
// count is exact and the same in every run.
#pragma once

#include "reactor/loop_core.hpp"
#include "support/world.hpp"
#include "transports/stream_transport.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace test {

// Behaves as a channel over a socket whose buffer has `room` bytes left. Outlives the channel.
class Wire {
 public:
  std::size_t room = SIZE_MAX;
  std::size_t at_most = SIZE_MAX;  // taken by one call
  std::string taken;               // all that was sent
  std::vector<const void*> from;   // where each piece that was tried lay
  int tries = 0;                   // calls that try at once, successful or not
  int shuts = 0;
  bool closed = false, reset = false;
  bool half_close = true;
  std::error_code failure;  // of the next calls

  // The system has room for `count` more and says so. Calls the protocol: inside the loop only.
  void give(std::size_t count) {
    room = count > SIZE_MAX - room ? SIZE_MAX : room + count;
    writable_ = true;
    std::array<ferry::BytesView, 64> views;
    while (writing_ && room > 0) {
      const std::size_t number = owner_->pending(views);
      if (number == 0) {
        writing_ = false;
        return;
      }
      if (failure) return owner_->failed(ferry::Error{failure, "send"});
      owner_->bytes_written(take({views.data(), number}));
    }
  }
  // The system has these bytes for us. Inside the loop only, while reading is on.
  void arrive(std::string_view bytes) {
    while (!bytes.empty() && reading_) {
      const std::span<std::byte> into = owner_->read_buffer();
      const std::size_t part = std::min(bytes.size(), into.size());
      if (part == 0) return;
      std::memcpy(into.data(), bytes.data(), part);
      bytes.remove_prefix(part);
      owner_->bytes_read(part);
    }
    CHECK(bytes.empty());
  }

 private:
  friend class FakeChannel;

  std::size_t take(std::span<const ferry::BytesView> views) {
    std::size_t left = std::min(room, at_most), count = 0;
    for (const ferry::BytesView& view : views) {
      const std::size_t part = std::min(left, view.size());
      taken += view.subview(0, part).text();
      left -= part;
      count += part;
    }
    if (room != SIZE_MAX) room -= count;
    return count;
  }

  ferry::internal::Channel::Owner* owner_ = nullptr;
  bool writable_ = true, writing_ = false, reading_ = false;
};

class FakeChannel final : public ferry::internal::Channel {
 public:
  explicit FakeChannel(std::shared_ptr<Wire> wire) : wire_{std::move(wire)} {}

  void set_owner(Owner& owner) override { wire_->owner_ = &owner; }
  ferry::Error open() override {
    wire_->owner_->opened();
    return {};
  }
  void set_reading(bool on) override { wire_->reading_ = on; }
  std::size_t try_write(std::span<const ferry::BytesView> views) override {
    std::size_t total = 0;
    ++wire_->tries;
    for (const ferry::BytesView& view : views) {
      total += view.size();
      wire_->from.push_back(view.data());
    }
    CHECK(total > 0);
    if (wire_->failure) {
      wire_->owner_->failed(ferry::Error{wire_->failure, "send"});
      return 0;
    }
    const std::size_t count = wire_->take(views);
    if (count < total) wire_->writable_ = false;
    return count;
  }
  bool can_try() const noexcept override { return wire_->writable_ && !wire_->writing_; }
  bool can_half_close() const noexcept override { return wire_->half_close; }
  void start_writing() override { wire_->writing_ = true; }
  void shut_write() noexcept override { ++wire_->shuts; }
  void finish() override { wire_->owner_->finished(); }
  void close(bool reset) noexcept override {
    CHECK_FALSE(wire_->closed);
    wire_->writing_ = false;
    wire_->closed = true;
    wire_->reset = reset;
    wire_->owner_->closed();
  }
  ferry::SocketView socket() const noexcept override { return {}; }

 private:
  std::shared_ptr<Wire> wire_;
};

// An open transport over a Wire, and the loop that it lives in.
class FakeStream {
 public:
  using Layer = std::function<std::unique_ptr<ferry::internal::Channel>(
      ferry::internal::LoopCore&, std::unique_ptr<ferry::internal::Channel>)>;

  World world;  // first: the reports go there, and it looks for what was left
  ferry::internal::LoopCore core{world.loop, plain_parts()};
  std::shared_ptr<Wire> wire = std::make_shared<Wire>();
  std::shared_ptr<Recorder> protocol;
  std::shared_ptr<ferry::internal::StreamTransport> transport;

  explicit FakeStream(std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>(),
                      bool half_close = true, const Layer& layer = {})
      : protocol{std::move(recorder)} {
    wire->half_close = half_close;
    core.settings.exception_handler = world.loop.get_exception_handler();
    core.settings.log_sink = [this](ferry::LogLevel, std::string_view text) {
      world.logs.emplace_back(text);
    };
    std::unique_ptr<ferry::internal::Channel> channel = std::make_unique<FakeChannel>(wire);
    if (layer) channel = layer(core, std::move(channel));
    transport = ferry::internal::StreamTransport::begin(core, std::move(channel), protocol, {},
                                                        nullptr, {});
    settle();
    REQUIRE(protocol->made == !layer);
  }

  void settle() {
    for (int i = 0; i < 3; ++i) core.process_ready();
  }
  // In a callback of the loop.
  void inside(std::function<void()> call) {
    core.soon(std::move(call));
    core.process_ready();
  }
  // The system takes `count` bytes of what is queued, or is ready to.
  void give(std::size_t count = SIZE_MAX) {
    inside([this, count] { wire->give(count); });
    settle();
  }
  // A call of the user's, in which no callback but pause_writing() may run.
  void call(const std::function<void()>& user) {
    const bool before = std::exchange(protocol->in_call, true);
    user();
    protocol->in_call = before;
  }
  void write(ferry::BytesView data) {
    call([&] { transport->write(data); });
  }
  std::size_t size() {
    std::size_t answer = 0;
    call([&] { answer = transport->get_write_buffer_size(); });
    return answer;
  }
  void limits(ferry::WriteBufferMarks marks) {
    call([&] { transport->set_write_buffer_limits(marks); });
  }
};

}  // namespace test
