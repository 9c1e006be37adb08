// The two ends of a new pipe. Windows makes those that can be overlapped by name only.
#pragma once

#include <ferry/error.hpp>
#include <ferry/pipe.hpp>

namespace ferry::internal {

enum class TheirEnd { reads, writes };

// Our end is overlapped. Theirs is, or blocks as a program's streams do. If it reads, ours may be
// read too, though there is never anything, so that the end of theirs shows (T-152).
Error make_pipe_pair(TheirEnd theirs_is, bool theirs_overlapped, Pipe& ours, Pipe& theirs);

}  // namespace ferry::internal
