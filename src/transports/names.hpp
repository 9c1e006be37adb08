// Hosts and ports as they are given, and the addresses that they stand for.
#pragma once

#include "reactor/loop_core.hpp"

#include <ferry/address.hpp>
#include <ferry/task.hpp>

#include <string>
#include <vector>

namespace ferry::internal {

struct HostPort {
  std::string host;
  std::string service;  // empty: `port` is the number
  std::uint16_t port = 0;
  Family family = Family::none;

  // Copies. Throws std::invalid_argument for a host that no resolver should see.
  static HostPort checked(std::string_view host, const Port& port, Family family);
  std::string to_string() const;
};

// A numeric host and port without a look-up (T-133). Throws OsError; never empty.
Task<std::vector<Address>> resolve(LoopCore* core, HostPort name, bool passive);

}  // namespace ferry::internal
