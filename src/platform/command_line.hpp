// How this process was called, for a message that says how to do it again.
#pragma once

#include <string>

namespace ferry::internal {

// Quoted for a shell where needed; "this program" if the system does not tell.
std::string command_line();

}  // namespace ferry::internal
