// A transport that stands before another one, as the contract checker's does.
#pragma once

#include <ferry/transports.hpp>

namespace ferry::internal {

class Veil {
 public:
  // The transport itself, for what is done to it as a whole (start_tls); null once it is lost.
  virtual Transport* behind() noexcept = 0;

 protected:
  ~Veil() = default;
};

}  // namespace ferry::internal
