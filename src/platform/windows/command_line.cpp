#include "platform/command_line.hpp"

#include "platform/windows/system.hpp"

namespace ferry::internal {

std::string command_line() { return ::GetCommandLineA(); }

}  // namespace ferry::internal
