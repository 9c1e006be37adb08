// The raw programs for datagrams: mode udp one by one, udp-mmsg in batches, udp-gso in batches that
// the kernel joins and cuts. The latter two are the limits.
#pragma once

#include "listen.hpp"

namespace bench {

[[noreturn]] void serve_datagrams(const Arguments& arguments);

}  // namespace bench
