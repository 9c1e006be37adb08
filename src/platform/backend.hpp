// The parts of a backend: one system's answer to each port.
#pragma once

#include "platform/children.hpp"
#include "platform/clock.hpp"
#include "platform/network.hpp"
#include "platform/pipes.hpp"
#include "platform/resolver.hpp"
#include "platform/selector.hpp"
#include "platform/signals.hpp"

#include <memory>
#include <string>

namespace ferry::internal {

class BackendParts {
 public:
  std::string name;
  std::unique_ptr<Clock> clock;
  std::unique_ptr<Selector> selector;
  std::unique_ptr<Network> network;
  std::unique_ptr<Resolver> resolver;
  std::unique_ptr<Pipes> pipes;
  std::unique_ptr<Children> children;
  std::unique_ptr<Signals> signals;  // uses the selector's wake(): goes first
};

}  // namespace ferry::internal
