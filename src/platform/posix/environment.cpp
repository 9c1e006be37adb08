#include "values/system_text.hpp"

extern char** environ;

namespace ferry::internal {

std::vector<std::string> environment_entries() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  return entries;
}

bool same_variable(std::string_view one, std::string_view other) noexcept { return one == other; }

}  // namespace ferry::internal
