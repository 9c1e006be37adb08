// The selectors of this system, by the backend under test.
#pragma once

#include "support/world.hpp"

#include "platform/selector.hpp"

#include <memory>

#if defined(_WIN32)
#include "platform/windows/iocp_selector.hpp"
#else
#include "platform/posix/poll_selector.hpp"
#if defined(__linux__)
#include "platform/linux/epoll_selector.hpp"
#endif
// (On Linux over the emulation.)
#include "platform/bsd/kqueue_selector.hpp"
#endif

namespace test {

inline std::unique_ptr<ferry::internal::Selector> make_selector() {
#if defined(_WIN32)
  return ferry::internal::make_iocp_selector();
#else
#if defined(__linux__)
  if (backend_name() == "epoll") return ferry::internal::make_epoll_selector();
#endif
  if (backend_name() == "kqueue") return ferry::internal::make_kqueue_selector();
  return ferry::internal::make_poll_selector();
#endif
}

}  // namespace test
