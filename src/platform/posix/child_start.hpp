// The start of a child: from a plan that is complete, so that the new process allocates nothing.
#pragma once

#include "platform/children.hpp"

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace ferry::internal {

// What a child does before its program, in this order.
enum class StartStep : int {
  start, signals, session, process_group, streams, handles, umask, directory, groups, group, user,
  exec,
};

// Everything is a number or lies in memory of the plan's.
struct StartPlan {
  explicit StartPlan(const SpawnSpec& spec);  // throws OsError: no such user
  StartPlan(const StartPlan&) = delete;
  StartPlan& operator=(const StartPlan&) = delete;

  std::vector<std::string> candidates;  // the program's file: the first that can be run
  std::vector<char*> arguments, environment;  // end with null
  const char* directory = nullptr;
  int streams[3] = {-1, -1, -1};  // what becomes 0, 1, 2; -1: stays what it is
  std::vector<int> handles;       // sorted: the child has these as well, and no others above 2
  int highest_handle = -1;        // of those that are open; -1: close_range() closes all
  bool new_session = false;
  std::optional<pid_t> process_group;
  std::optional<mode_t> umask;
  std::optional<uid_t> user;
  std::optional<gid_t> group;
  std::vector<gid_t> groups;
  bool has_these_groups = false;  // this process has them, and no others

 private:
  std::unique_ptr<char[]> texts_;  // one behind the other
};

struct Started {
  pid_t pid = -1;
  int pidfd = -1;
  StartStep step = StartStep::start;  // that failed
  int error = 0;                      // 0: the program runs
};
// Returns once the child's program runs, or the child has failed and been reaped.
Started start_child(const StartPlan& plan);
// The same by posix_spawn(), which can do all but be somebody else, have another umask, or look for
// a program from another directory on: macOS starts it, and says that it is not there.
Started start_by_call(const StartPlan& plan);

}  // namespace ferry::internal
