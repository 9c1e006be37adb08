// Linux: which parts a backend has.
#include "platform/backend.hpp"

#include "platform/linux/epoll_selector.hpp"
#include "platform/posix/parts.hpp"

#include <ferry/loop.hpp>

namespace ferry {

Backend Backend::epoll() {
  return Backend{internal::posix_parts("epoll", internal::make_epoll_selector())};
}
Backend Backend::native() { return epoll(); }

}  // namespace ferry
