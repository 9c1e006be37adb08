// The scenario language: README.md describes it, scenario.py is its other reader.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace conformance {

inline constexpr std::size_t small = 16384;  // the kernel takes that though nobody reads
inline constexpr std::size_t big = 1 << 20;  // more than it takes

// "file:line: expected …"
class Mistake : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Action {
  std::string target;  // a name, "loop", "NAME.peer"; empty: the callback itself
  std::string kind;    // link, peer, endpoint, far, server, future, loop, self
  std::string verb;
  std::vector<std::string> args;
  std::string text;
  bool joined = false;  // a step that does not wait for what the one before it set in motion
};

struct Reaction {
  std::string callback;  // of a link; "call" for a named call
  int number = 0;        // only in the call of this number; 0: in each
  std::vector<Action> actions;
};

struct LinkDeclared {
  std::string name, kind, side, server;
  bool buffered = false;
};

struct EndpointDeclared {
  std::string name, kind;
  bool connected = false;
};

struct ServerDeclared {
  std::string name, kind;
  bool idle = false;
};

struct Scenario {
  std::string name;
  std::vector<LinkDeclared> links;
  std::vector<EndpointDeclared> endpoints;
  std::vector<ServerDeclared> servers;
  std::vector<std::string> futures;
  std::map<std::string, std::vector<Reaction>> reactions;
  std::vector<Action> steps;
};

// All scenarios of a file; throws Mistake.
std::vector<Scenario> read_scenarios(const std::string& file);

}  // namespace conformance
