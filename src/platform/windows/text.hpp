// UTF-8, which is what ferry's strings are, and UTF-16, which is what Windows' are.
#pragma once

#include <string>
#include <string_view>

namespace ferry::internal {

// Empty if `text` is not UTF-8.
std::wstring to_wide(std::string_view text);
std::string from_wide(std::wstring_view text);

}  // namespace ferry::internal
