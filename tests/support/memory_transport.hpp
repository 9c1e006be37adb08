// A transport of a user's own, in memory: right, or wrong in one way.
#pragma once

#include <ferry/transports.hpp>
#include <ferry/protocols.hpp>
#include <ferry/error.hpp>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace test {

enum class Fault {
  none,
  lost_twice, lost_inside_close, lost_never, lost_clean_though_open, lost_with_error_after_abort,
  lost_before_flush, data_after_close, data_while_paused, data_after_eof, data_empty,
  data_before_made, data_in_other_thread, data_inside_resume_reading, eof_twice, eof_ignores_true,
  eof_ignores_false, made_twice, pause_at_equality, pause_twice, pause_missing_in_writelines,
  resume_above_low, resume_inside_write, resume_missing, resume_unasked, size_drifts,
  abort_keeps_buffer, closing_untold, closing_taken_back, reading_untold, count_beyond_buffer,
  updated_without_buffer, old_protocol_called, peername_forgotten, write_throws, write_after_eof,
  limits_changed_by_refusal, exception_swallowed,
};

class MemoryTransport final : public ferry::Transport {
 public:
  explicit MemoryTransport(Fault fault) : fault_{fault} {}

  // --- What the test does: all of it is "the loop", but for what the user calls ---
  void begin(std::shared_ptr<ferry::StreamProtocol> protocol) {
    protocol_ = std::move(protocol);
    if (is(Fault::data_before_made)) arrive("early");
    stream()->connection_made(*this);
    if (is(Fault::made_twice)) stream()->connection_made(*this);
  }
  // What was scheduled, and what that schedules.
  void turn() {
    while (!later_.empty()) {
      const auto next = std::move(later_.front());
      later_.pop_front();
      next();
    }
  }
  void arrive(const std::string& text) {
    if (closing_ && !is(Fault::data_after_close)) return;
    held_ += text;
    if (!read_paused_ || is(Fault::data_while_paused)) deliver();
  }
  void peer_ends() {
    in_eof_ = true;
    const bool keep = stream()->eof_received();
    if (is(Fault::eof_twice)) stream()->eof_received();
    if (is(Fault::data_after_eof)) static_cast<ferry::Protocol&>(*stream()).data_received("late");
    if (is(Fault::eof_ignores_true) || (!keep && !is(Fault::eof_ignores_false))) close();
  }
  // The peer takes `count` more bytes.
  void take(std::size_t count) {
    room_ += count;
    flush();
    if (is(Fault::resume_unasked)) stream()->resume_writing();
    const std::size_t low = is(Fault::resume_above_low) ? limits_.high : limits_.low;
    if (pausing_ && buffer_.size() <= low && !is(Fault::resume_missing)) resume();
    if (closing_ && buffer_.empty()) end({});
  }
  void fail(std::errc code) { end(ferry::Error{std::make_error_code(code), "test"}); }
  void end_by_itself() { end({}); }
  void pause_again() { stream()->pause_writing(); }

  // --- What the user calls ---
  void close() override {
    if (closing_) return;
    closing_ = !is(Fault::closing_untold);
    if (is(Fault::lost_before_flush) || buffer_.empty()) end({});
  }
  bool is_closing() const noexcept override { return closing_; }
  void set_protocol(std::shared_ptr<ferry::BaseProtocol> protocol) override {
    if (!is(Fault::old_protocol_called)) protocol_ = std::move(protocol);
  }
  std::shared_ptr<ferry::BaseProtocol> get_protocol() const override { return protocol_; }
  std::string describe() const override { return "memory"; }
  bool is_reading() const noexcept override {
    if (is(Fault::reading_untold)) return true;
    return !read_paused_ && !closing_ && !in_eof_;
  }
  void pause_reading() override { read_paused_ = true; }
  void resume_reading() override {
    read_paused_ = false;
    if (is(Fault::closing_taken_back)) closing_ = false;
    if (is(Fault::data_inside_resume_reading)) return deliver();
    later_.push_back([this] { deliver(); });
  }
  void abort() override {
    if (!is(Fault::abort_keeps_buffer)) buffer_.clear();
    end(is(Fault::lost_with_error_after_abort)
            ? ferry::Error{std::make_error_code(std::errc::broken_pipe), "send"}
            : ferry::Error{});
  }
  void write(ferry::BytesView data) override {
    append(data);
    judge();
  }
  void write_eof() override { out_eof_ = true; }
  bool can_write_eof() const noexcept override { return true; }
  std::size_t get_write_buffer_size() override {
    return buffer_.size() + (is(Fault::size_drifts) ? drift_ : 0);
  }
  ferry::WriteBufferLimits get_write_buffer_limits() const noexcept override { return limits_; }
  void set_write_buffer_limits(ferry::WriteBufferMarks marks) override {
    const auto high = static_cast<std::size_t>(marks.high.value_or(100));
    const auto low = static_cast<std::size_t>(marks.low.value_or(25));
    if (is(Fault::limits_changed_by_refusal)) limits_ = {low, high};
    if (low > high) throw std::invalid_argument{"low over high"};
    limits_ = {low, high};
    judge();
  }
  void set_flush_timeout(std::optional<ferry::Seconds>) override {}
  bool abort_with_reset() override {
    abort();
    return true;
  }

 protected:
  std::any extra_info(std::string_view name) const override {
    if (name != ferry::peername.name || (lost_ && is(Fault::peername_forgotten))) return {};
    return ferry::Address{"192.0.2.1", 80};
  }
  void write_gathered(std::span<const ferry::BytesView> chunks) override {
    for (const ferry::BytesView& chunk : chunks) append(chunk);
    if (!is(Fault::pause_missing_in_writelines)) judge();
  }

 private:
  bool is(Fault fault) const noexcept { return fault_ == fault; }
  ferry::StreamProtocol* stream() const {
    return static_cast<ferry::StreamProtocol*>(protocol_.get());
  }

  void append(ferry::BytesView data) {
    if (is(Fault::write_throws)) throw std::runtime_error{"broken pipe"};
    if (out_eof_ && !is(Fault::write_after_eof)) throw ferry::MisuseError{"after write_eof()"};
    if (closing_) return;
    buffer_ += data.text();
    flush();
  }
  void flush() {
    const std::size_t sent = std::min(room_, buffer_.size());
    buffer_.erase(0, sent);
    room_ -= sent;
    drift_ += 2 * sent;
  }
  void judge() {
    const bool over = buffer_.size() > limits_.high ||
                      (is(Fault::pause_at_equality) && buffer_.size() == limits_.high);
    if (!over || pausing_) return;
    pausing_ = true;
    stream()->pause_writing();
    if (is(Fault::pause_twice)) stream()->pause_writing();
    if (is(Fault::resume_inside_write)) resume();
  }
  void resume() {
    pausing_ = false;
    stream()->resume_writing();
  }

  void deliver() {
    const std::string text = std::exchange(held_, {});
    if (is(Fault::data_empty)) return give({});
    if (text.empty() || (closing_ && !is(Fault::data_after_close))) return;
    if (!is(Fault::data_in_other_thread)) return give(text);
    std::thread{[&] { give(text); }}.join();
  }
  void give(const std::string& text) {
    try {
      if (auto* const plain = dynamic_cast<ferry::Protocol*>(protocol_.get())) {
        return plain->data_received(text);
      }
      auto& lender = static_cast<ferry::BufferedProtocol&>(*protocol_);
      std::size_t lent = text.size();
      if (!is(Fault::updated_without_buffer)) {
        const auto buffer = lender.get_buffer(0);
        lent = std::min(buffer.size(), text.size());
        std::copy_n(reinterpret_cast<const std::byte*>(text.data()), lent, buffer.data());
        if (is(Fault::count_beyond_buffer)) lent = buffer.size() + 1;
      }
      lender.buffer_updated(lent);
    } catch (...) {
      end(is(Fault::exception_swallowed) ? ferry::Error{}
                                         : ferry::Error{std::current_exception()});
    }
  }

  void end(const ferry::Error& error) {
    if (is(Fault::lost_inside_close) && !ended_) {
      ended_ = closing_ = true;
      return stream()->connection_lost(error);
    }
    if (std::exchange(ended_, true) && !is(Fault::lost_twice)) return;
    if (!is(Fault::closing_untold)) closing_ = true;
    if (is(Fault::lost_never)) return;
    later_.push_back([this, error] {
      lost_ = true;
      if (!is(Fault::lost_before_flush) && !is(Fault::abort_keeps_buffer)) buffer_.clear();
      stream()->connection_lost(error);
    });
  }

  Fault fault_;
  std::shared_ptr<ferry::BaseProtocol> protocol_;
  std::deque<std::function<void()>> later_;
  std::string buffer_, held_;
  std::size_t room_ = 0, drift_ = 0;
  ferry::WriteBufferLimits limits_{25, 100};
  bool closing_ = false, ended_ = false, lost_ = false, in_eof_ = false, out_eof_ = false;
  bool read_paused_ = false, pausing_ = false;
};

}  // namespace test
