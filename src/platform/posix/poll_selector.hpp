// poll(2): the selector that every POSIX system has, and the reference for the others.
#pragma once

#include "platform/selector.hpp"

#include <memory>

namespace ferry::internal {

std::unique_ptr<Selector> make_poll_selector();  // throws OsError

}  // namespace ferry::internal
