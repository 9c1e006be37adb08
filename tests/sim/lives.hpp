// Random lives of connections in a simulated world: what each side does is drawn from the world's
// dice as well. Every byte is compared, every callback judged; whatever is wrong is thrown.
#pragma once

#include <ferry/testing.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sim_lives {

// One way of a connection: what a side wrote, and what the other got.
struct Ledger {
  std::uint64_t written = 0, received = 0;
  bool end_seen = false;
};
struct Side {
  bool made = false, lost = false, clean = false;
  bool hard = false;         // it aborted
  bool closed_early = false; // it closed before it saw the end
};
class Talker;
struct Pair {
  Ledger ways[2];  // from side n
  Side sides[2];
  Talker* talkers[2] = {};
};

struct Counts {
  std::uint64_t connections = 0, events = 0, bytes = 0;
};

class Lives {
 public:
  explicit Lives(ferry::SimWorld& world) : world_{world} {}
  // The whole story: a server, some clients, the end. Throws std::runtime_error for a breach.
  void run();
  const Counts& counts() const noexcept { return counts_; }

 private:
  friend class Talker;
  ferry::Task<void> connect(int number);
  void judge() const;
  void watch_what_is_quiet();

  ferry::SimWorld& world_;
  std::map<std::uint16_t, Pair> pairs_;  // by the client's port
  ferry::ContractChecker checker_{[this](const std::string& breach) { world_.note(breach); }};
  std::vector<ferry::Socket> quiet_;
  Counts counts_;
  int port_ = 0;
};

}  // namespace sim_lives
