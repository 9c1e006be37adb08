// kqueue(2): the selector of macOS and the BSDs.
#pragma once

#include "platform/selector.hpp"

#include <memory>

namespace ferry::internal {

std::unique_ptr<Selector> make_kqueue_selector();  // throws OsError

}  // namespace ferry::internal
