// The raw programs for datagrams; they serve for ever.
#pragma once

#include "listen.hpp"

namespace bench {

[[noreturn]] void serve_one_by_one(std::uint16_t port);
[[noreturn]] void serve_in_batches(std::uint16_t port);  // the limit

}  // namespace bench
