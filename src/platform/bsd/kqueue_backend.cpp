// The parts of the kqueue backend.
#include "platform/backend.hpp"

#include "platform/bsd/kqueue_selector.hpp"
#include "platform/sockets/parts.hpp"

#include <ferry/loop.hpp>

namespace ferry {

Backend Backend::kqueue() {
  return Backend{internal::parts_over("kqueue", internal::make_kqueue_selector())};
}

}  // namespace ferry
