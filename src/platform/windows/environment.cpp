#include "platform/windows/system.hpp"
#include "platform/windows/text.hpp"
#include "values/system_text.hpp"

namespace ferry::internal {

std::vector<std::string> environment_entries() {
  std::vector<std::string> entries;
  wchar_t* const block = ::GetEnvironmentStringsW();
  if (block == nullptr) return entries;
  for (std::wstring_view entry{block}; !entry.empty();
       entry = std::wstring_view{entry.data() + entry.size() + 1}) {
    entries.push_back(from_wide(entry));
  }
  ::FreeEnvironmentStringsW(block);
  return entries;
}

bool same_variable(std::string_view one, std::string_view other) noexcept {
  if (one == other) return true;
  const std::wstring wide_one = to_wide(one), wide_other = to_wide(other);
  if (wide_one.empty() || wide_other.empty()) return false;
  return ::CompareStringOrdinal(wide_one.data(), static_cast<int>(wide_one.size()),
                                wide_other.data(), static_cast<int>(wide_other.size()),
                                TRUE) == CSTR_EQUAL;
}

}  // namespace ferry::internal
