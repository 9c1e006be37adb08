// Random lives of datagram endpoints in a simulated world: what each does is drawn from the world's
// dice as well. Every datagram is known, every callback judged; whatever is wrong is thrown.
#pragma once

#include <ferry/testing.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sim_lives {

struct DatagramCounts {
  std::uint64_t endpoints = 0, events = 0, sent = 0, received = 0, doubled = 0, required = 0,
                pauses = 0, errors = 0, bytes = 0;
  DatagramCounts& operator+=(const DatagramCounts& other);
};

class Chatter;

// A datagram on its way. Its number is in its first bytes, the others follow from it.
struct Letter {
  std::size_t size = 0;
  const Chatter* from = nullptr;
  ferry::Address to;
  int received = 0;
};

class DatagramLives {
 public:
  explicit DatagramLives(ferry::SimWorld& world) : world_{world} {}
  ~DatagramLives();
  // The whole story: a hub, who talks with it and with each other, the end. Throws
  // std::runtime_error for a breach.
  void run();
  const DatagramCounts& counts() const noexcept { return counts_; }

 private:
  friend class Chatter;
  ferry::Task<void> open(std::shared_ptr<Chatter> chatter, ferry::DatagramOptions options);
  ferry::DatagramOptions options_of(int number);
  void judge();
  void judge_arrivals();

  ferry::SimWorld& world_;
  bool unix_ = false;
  ferry::Address hub_;
  std::string report_;  // the first of what should not have been
  std::vector<std::shared_ptr<Chatter>> chatters_;
  std::vector<Letter> letters_;
  std::uint64_t empty_sent_ = 0, empty_received_ = 0;
  DatagramCounts counts_;
};

}  // namespace sim_lives
