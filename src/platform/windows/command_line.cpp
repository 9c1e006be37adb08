#include "platform/command_line.hpp"

#include "platform/windows/system.hpp"
#include "platform/windows/text.hpp"

namespace ferry::internal {

std::string command_line() { return from_wide(::GetCommandLineW()); }

}  // namespace ferry::internal
