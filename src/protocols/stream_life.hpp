// The life of one stream connection and nothing else: no I/O, no clock, no memory.
//
//   opening -> open -> flushing -> finishing -> lost
//
// Events go in, actions come out; the transport carries them out in the order of their bits. All
// streams live this life, whatever carries their bytes.
#pragma once

#include <cstdint>

namespace ferry::internal {

enum class Phase : std::uint8_t {
  opening,    // the protocol has not heard of us
  open,       // both know each other
  flushing,   // closed by us: what is queued still goes out
  finishing,  // all is out: the channel ends in an orderly way
  lost,       // over; connection_lost() is scheduled or was called
};

namespace act {
enum Actions : std::uint32_t {
  none = 0,
  connection_made = 1,
  start_reading = 2,
  data_received = 4,
  eof_received = 8,
  stop_reading = 16,
  drop_queue = 32,
  shut_write = 64,
  finish = 128,
  close_channel = 256,
  tell_opener = 512,
  connection_lost = 1024,
};
}  // namespace act

class StreamLife {
 public:
  explicit constexpr StreamLife(bool can_half_close) noexcept : can_half_close_{can_half_close} {}

  constexpr Phase phase() const noexcept { return phase_; }
  constexpr bool can_half_close() const noexcept { return can_half_close_; }
  constexpr bool ended_writing() const noexcept { return out_eof_; }
  constexpr bool closing() const noexcept { return phase_ > Phase::open; }
  constexpr bool may_write() const noexcept { return phase_ == Phase::open && !out_eof_; }
  constexpr bool may_read() const noexcept { return phase_ == Phase::open && !in_eof_; }

  // A layer was put below that cannot end in one direction only.
  constexpr void forbid_half_close() noexcept { can_half_close_ = false; }

  // Connected, and the handshake, if there is one, is done.
  constexpr std::uint32_t opened() noexcept {
    if (phase_ != Phase::opening) return act::none;
    phase_ = Phase::open;
    return act::connection_made | act::start_reading;
  }
  // Bytes have come.
  constexpr std::uint32_t bytes() const noexcept {
    return may_read() ? act::data_received : act::none;
  }
  // The peer has ended.
  constexpr std::uint32_t eof() noexcept {
    if (!may_read()) return act::none;
    in_eof_ = true;
    return act::eof_received;
  }
  // What the protocol said to that. It may have closed us meanwhile.
  constexpr std::uint32_t eof_answered(bool keep_open, bool queue_empty) noexcept {
    if (phase_ != Phase::open) return act::none;
    return keep_open && can_half_close_ ? act::stop_reading : close(queue_empty);
  }
  constexpr std::uint32_t write_eof(bool queue_empty) noexcept {
    if (!may_write()) return act::none;
    out_eof_ = true;
    out_shut_ = queue_empty;
    return queue_empty ? act::shut_write : act::none;
  }
  // The last queued byte has left.
  constexpr std::uint32_t drained() noexcept {
    if (phase_ == Phase::flushing) {
      phase_ = Phase::finishing;
      return act::finish;
    }
    if (phase_ != Phase::open || !out_eof_ || out_shut_) return act::none;
    out_shut_ = true;
    return act::shut_write;
  }
  constexpr std::uint32_t close(bool queue_empty) noexcept {
    if (phase_ == Phase::opening) return abort();
    if (phase_ != Phase::open) return act::none;
    phase_ = queue_empty ? Phase::finishing : Phase::flushing;
    return act::stop_reading | (queue_empty ? act::finish : act::none);
  }
  // The orderly end is done.
  constexpr std::uint32_t finished() noexcept {
    return phase_ == Phase::finishing ? lose(act::none) : act::none;
  }
  // At once. A failure is the same, with a reason.
  constexpr std::uint32_t abort() noexcept { return lose(act::drop_queue); }

  friend constexpr bool operator==(const StreamLife&, const StreamLife&) = default;

 private:
  constexpr std::uint32_t lose(std::uint32_t first) noexcept {
    if (phase_ == Phase::lost) return act::none;
    const bool known = phase_ != Phase::opening;  // only who was told of us hears of our end
    phase_ = Phase::lost;
    return first | act::stop_reading | act::close_channel |
           (known ? act::connection_lost : act::tell_opener);
  }

  Phase phase_ = Phase::opening;
  bool can_half_close_;
  bool in_eof_ = false;
  bool out_eof_ = false;   // write_eof() was called
  bool out_shut_ = false;  // and carried out
};

}  // namespace ferry::internal
