// The resolver port: names to addresses, off the loop's thread.
#pragma once

#include <ferry/address.hpp>
#include <ferry/callback.hpp>
#include <ferry/error.hpp>

#include <string>
#include <vector>

namespace ferry::internal {

struct Query {
  std::string host;     // empty: every interface if `passive`, else this machine
  std::string service;  // a name or digits
  Family family = Family::none;
  bool passive = false;  // to listen on
};
struct Answer {
  Error error;
  std::vector<Address> addresses;  // in the resolver's order, without repeats
};

// Contract: resolve() returns at once; `done` is called once, on a thread of the resolver's. A
// look-up that hangs holds up nobody: neither the loop's end nor the process's (T-135).
class Resolver {
 public:
  virtual ~Resolver() = default;
  virtual void resolve(Query query, Function<void(Answer)> done) = 0;
};

}  // namespace ferry::internal
