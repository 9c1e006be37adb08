// The selectors of this system, by the backend under test.
#pragma once

#include "support/world.hpp"

#include "platform/posix/poll_selector.hpp"
#include "platform/selector.hpp"

#include <memory>

#if defined(__linux__)
#include "platform/linux/epoll_selector.hpp"
#endif
#if !defined(__linux__) || defined(FERRY_TEST_KQUEUE_EMULATION)
#include "platform/bsd/kqueue_selector.hpp"
#endif

namespace test {

inline std::unique_ptr<ferry::internal::Selector> make_selector() {
  const std::string name = backend_name();
#if defined(__linux__)
  if (name == "epoll") return ferry::internal::make_epoll_selector();
#endif
#if !defined(__linux__) || defined(FERRY_TEST_KQUEUE_EMULATION)
  if (name == "kqueue") return ferry::internal::make_kqueue_selector();
#endif
  return ferry::internal::make_poll_selector();
}

}  // namespace test
