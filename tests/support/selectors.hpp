// The selectors of this system, by the backend under test.
#pragma once

#include "support/world.hpp"

#include "platform/selector.hpp"

#include <memory>

#if defined(_WIN32)
#include "platform/windows/iocp_selector.hpp"
#else
#include "platform/linux/epoll_selector.hpp"
#include "platform/posix/poll_selector.hpp"
#endif

namespace test {

inline std::unique_ptr<ferry::internal::Selector> make_selector() {
#if defined(_WIN32)
  return ferry::internal::make_iocp_selector();
#else
  if (backend_name() == "epoll") return ferry::internal::make_epoll_selector();
  return ferry::internal::make_poll_selector();
#endif
}

}  // namespace test
