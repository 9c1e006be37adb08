#include "platform/sockets/parts.hpp"

namespace ferry::internal {
namespace {

class SteadyClock final : public Clock {
 public:
  TimePoint now() const noexcept override { return std::chrono::steady_clock::now(); }
};

}  // namespace

std::unique_ptr<BackendParts> parts_over(std::string_view name,
                                          std::unique_ptr<Selector> selector) {
  auto parts = std::make_unique<BackendParts>();
  parts->name = name;
  parts->clock = std::make_unique<SteadyClock>();
  parts->signals = make_signals(*selector);
  parts->selector = std::move(selector);
  parts->network = make_network();
  parts->resolver = make_resolver();
  parts->pipes = make_pipes(*parts->selector);
  parts->children = make_children();
  return parts;
}

}  // namespace ferry::internal
