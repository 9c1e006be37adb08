// Windows' error numbers and errno.
#pragma once

#include "platform/windows/system.hpp"

namespace ferry::internal {

// Of a Winsock or Win32 error. system_error() knows also those that have none.
int errno_of(DWORD error) noexcept;

}  // namespace ferry::internal
