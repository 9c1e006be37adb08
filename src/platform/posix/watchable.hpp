// What readiness means nothing for.
#pragma once

#include "platform/posix/calls.hpp"

namespace ferry::internal {

// Why a selector must refuse this descriptor; 0 if it need not. Files and directories are always
// ready; some systems would report them for ever, and others never.
inline int unwatchable(int fd) noexcept {
  struct stat facts {};
  if (calls::fstat(fd, &facts) != 0) return errno;
  return S_ISREG(facts.st_mode) || S_ISDIR(facts.st_mode) ? EPERM : 0;
}

}  // namespace ferry::internal
