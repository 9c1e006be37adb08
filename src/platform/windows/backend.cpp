// Windows: which parts a backend has.
#include "platform/backend.hpp"

#include "platform/sockets/parts.hpp"
#include "platform/windows/iocp_selector.hpp"

#include <ferry/loop.hpp>

#include <stdexcept>

namespace ferry {

Backend Backend::iocp() {
  return Backend{internal::parts_over("iocp", internal::make_iocp_selector())};
}
Backend Backend::native() { return iocp(); }
Backend Backend::epoll() { throw NotSupported{"epoll is a part of Linux"}; }
Backend Backend::kqueue() { throw NotSupported{"kqueue is a part of macOS and the BSDs"}; }
Backend Backend::poll() { throw NotSupported{"poll is for POSIX systems"}; }

Backend Backend::named(std::string_view name) {
  if (name == "native") return native();
  if (name == "iocp") return iocp();
  throw std::invalid_argument{"no backend is called '" + std::string{name} + "'"};
}

}  // namespace ferry
