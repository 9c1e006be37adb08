// epoll(7): Linux's selector.
#pragma once

#include "platform/selector.hpp"

#include <memory>

namespace ferry::internal {

std::unique_ptr<Selector> make_epoll_selector();  // throws OsError

}  // namespace ferry::internal
