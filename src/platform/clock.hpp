// The clock port: what time it is, monotonically.
#pragma once

#include <ferry/handle.hpp>

namespace ferry::internal {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const noexcept = 0;
};

}  // namespace ferry::internal
