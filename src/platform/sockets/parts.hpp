// What the backends of all systems have in common.
#pragma once

#include "platform/backend.hpp"

#include <memory>
#include <string_view>

namespace ferry::internal {

std::unique_ptr<BackendParts> parts_over(std::string_view name,
                                          std::unique_ptr<Selector> selector);
std::unique_ptr<Network> make_network();
std::unique_ptr<Resolver> make_resolver();
std::unique_ptr<Signals> make_signals(Poller& poller);
std::unique_ptr<Pipes> make_pipes(Selector& selector);
std::unique_ptr<Children> make_children();

}  // namespace ferry::internal
