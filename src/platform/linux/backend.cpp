// Linux: which parts a backend has.
#include "platform/backend.hpp"

#include "platform/linux/epoll_selector.hpp"
#include "platform/sockets/parts.hpp"

#include <ferry/loop.hpp>

namespace ferry {

Backend Backend::epoll() {
  return Backend{internal::parts_over("epoll", internal::make_epoll_selector())};
}
Backend Backend::native() { return epoll(); }

}  // namespace ferry
