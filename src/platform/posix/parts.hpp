// What the backends of all POSIX systems have in common.
#pragma once

#include "platform/backend.hpp"

#include <memory>
#include <string_view>

namespace ferry::internal {

std::unique_ptr<BackendParts> posix_parts(std::string_view name,
                                          std::unique_ptr<Selector> selector);
std::unique_ptr<Network> make_posix_network();
std::unique_ptr<Resolver> make_posix_resolver();
std::unique_ptr<Signals> make_posix_signals(Poller& poller);

}  // namespace ferry::internal
