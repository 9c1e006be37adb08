// The backends that every POSIX system has, and all of them by name.
#include "platform/backend.hpp"

#include "platform/sockets/parts.hpp"
#include "platform/posix/poll_selector.hpp"

#include <ferry/error.hpp>
#include <ferry/loop.hpp>

#include <stdexcept>

namespace ferry {

Backend Backend::poll() {
  return Backend{internal::parts_over("poll", internal::make_poll_selector())};
}
Backend Backend::iocp() { throw NotSupported{"iocp is a part of Windows"}; }

Backend Backend::named(std::string_view name) {
  if (name == "native") return native();
  if (name == "epoll") return epoll();
  if (name == "kqueue") return kqueue();
  if (name == "poll") return poll();
  if (name == "iocp") return iocp();
  throw std::invalid_argument{"no backend is called '" + std::string{name} + "'"};
}

}  // namespace ferry
