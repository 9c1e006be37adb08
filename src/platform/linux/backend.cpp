// Linux: which parts a backend has.
#include "platform/backend.hpp"

#include "platform/linux/epoll_selector.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/posix/poll_selector.hpp"

#include <ferry/loop.hpp>

#include <stdexcept>

namespace ferry {

Backend Backend::epoll() {
  return Backend{internal::parts_over("epoll", internal::make_epoll_selector())};
}
Backend Backend::poll() {
  return Backend{internal::parts_over("poll", internal::make_poll_selector())};
}
Backend Backend::iocp() { throw NotSupported{"iocp is a part of Windows"}; }
Backend Backend::native() { return epoll(); }

Backend Backend::named(std::string_view name) {
  if (name == "native") return native();
  if (name == "epoll") return epoll();
  if (name == "poll") return poll();
  throw std::invalid_argument{"no backend is called '" + std::string{name} + "'"};
}

}  // namespace ferry
