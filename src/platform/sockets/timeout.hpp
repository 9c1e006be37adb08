// Time-outs in milliseconds, as most systems take them.
#pragma once

#include <chrono>
#include <optional>

namespace ferry::internal {

// Rounded up, so that nothing is early and the last millisecond does not spin (T-189); -1 for ever.
inline int to_milliseconds(std::optional<std::chrono::nanoseconds> timeout) noexcept {
  if (!timeout) return -1;
  constexpr std::chrono::nanoseconds most = std::chrono::hours{24};  // A-036, T-188
  if (*timeout <= std::chrono::nanoseconds::zero()) return 0;
  const auto capped = *timeout < most ? *timeout : most;
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(capped).count());
}

}  // namespace ferry::internal
