// The signals port: which signals came.
#pragma once

#include "platform/poller.hpp"

#include <cstdint>
#include <memory>

namespace ferry::internal {

// What a loop's registrations share with the signal handler. Kept by the loop; never freed while a
// handler could still look at it.
class Signals {
 public:
  virtual ~Signals() = default;
  // Takes the signal for this loop: MisuseError if another loop has it, std::invalid_argument if it
  // cannot be caught.
  virtual void take(int signal) = 0;
  // Puts the former disposition back.
  virtual void give_back(int signal) noexcept = 0;
  // A bit for each signal (bit n: signal n) that came since the last call; cheap if none did.
  virtual std::uint64_t fetch() noexcept = 0;
};

}  // namespace ferry::internal
