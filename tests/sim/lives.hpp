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
  std::string why;           // it was lost
  bool upgrading = false;    // by start_tls()
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
  std::uint64_t connections = 0, events = 0, bytes = 0, upgrades = 0;
};

// For "localhost".
struct Secrets {
  ferry::SslContext client, server;
};

class Lives {
 public:
  // With `secrets`: over TLS, from the beginning, by start_tls(), or one inside the other.
  explicit Lives(ferry::SimWorld& world, const Secrets* secrets = nullptr)
      : world_{world}, secrets_{secrets} {}
  // The whole story: a server, some clients, the end. Throws std::runtime_error for a breach.
  void run();
  const Counts& counts() const noexcept { return counts_; }

 private:
  friend class Talker;
  ferry::Task<void> connect(int number);
  ferry::Task<void> upgraded(ferry::Task<void> upgrade, Side& side);
  void judge() const;
  void judge_ends(std::uint16_t port, const Pair& pair) const;
  void watch_what_is_quiet();

  ferry::SimWorld& world_;
  const Secrets* secrets_;
  bool tls_ = false;      // from the beginning
  bool upgrades_ = false; // both sides, after some words in clear
  bool asks_first_ = false;  // the client begins its TLS when the server has answered
  std::string report_;    // the first of what should not have been
  std::map<std::uint16_t, Pair> pairs_;  // by the client's port
  ferry::ContractChecker checker_{[this](const std::string& breach) { world_.note(breach); }};
  std::vector<ferry::Socket> quiet_;
  Counts counts_;
  int port_ = 0;
};

}  // namespace sim_lives
