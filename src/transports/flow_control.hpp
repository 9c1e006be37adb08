// The one place that judges the marks of a write buffer.
#pragma once

#include <ferry/transports.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace ferry::internal {

// Paused strictly over the high mark, resumed at the low mark or below it (C-01, S-081); the two
// alternate strictly (S-080).
class FlowControl {
 public:
  static constexpr std::size_t default_high = 64 * 1024;  // C-20

  // Throws std::invalid_argument; then nothing has changed.
  void set(const WriteBufferMarks& marks, std::size_t default_mark = default_high) {
    const auto fallback = static_cast<std::int64_t>(default_mark);
    const std::int64_t high = marks.high  ? *marks.high
                              : marks.low ? four_times(*marks.low)
                                          : fallback;
    const std::int64_t low = marks.low ? *marks.low : high / 4;
    if (low < 0 || high < low) {
      throw std::invalid_argument{"write buffer limits: high (" + std::to_string(high) +
                                  ") must be >= low (" + std::to_string(low) + ") must be >= 0"};
    }
    high_ = static_cast<std::size_t>(high);
    low_ = static_cast<std::size_t>(low);
    chosen_ = marks.high || marks.low;
  }
  // Whether somebody set them, or they are the default ones.
  bool chosen() const noexcept { return chosen_; }
  WriteBufferLimits limits() const noexcept { return {low_, high_}; }
  bool over(std::size_t size) const noexcept { return size > high_; }
  bool must_pause(std::size_t size) const noexcept { return !paused_ && size > high_; }
  bool must_resume(std::size_t size) const noexcept { return paused_ && size <= low_; }
  void set_paused(bool paused) noexcept { paused_ = paused; }

 private:
  static std::int64_t four_times(std::int64_t low) noexcept {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    if (low < 0) return low;  // refused
    return low > most / 4 ? most : low * 4;
  }

  std::size_t high_ = default_high;
  std::size_t low_ = default_high / 4;
  bool paused_ = false;
  bool chosen_ = false;
};

}  // namespace ferry::internal
