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
  // From now on the signal is this loop's too; others may have it as well. std::invalid_argument if
  // it cannot be caught: then nothing has changed.
  virtual void take(int signal) = 0;
  // What came and was not fetched is dropped. If no loop has the signal any more, the former
  // disposition comes back, unless ours has been replaced meanwhile.
  virtual void give_back(int signal) noexcept = 0;
  // A bit for each signal (bit n: signal n + 1) that came since the last call; cheap if none did.
  virtual std::uint64_t fetch() noexcept = 0;
};

}  // namespace ferry::internal
