// Random lives of children in a simulated world: what a child does, and what its parent does with
// it, is drawn from the world's dice. Every byte is compared, every callback judged; whatever is
// wrong is thrown.
#pragma once

#include <ferry/testing.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sim_lives {

struct ChildCounts {
  std::uint64_t children = 0, events = 0, bytes = 0;
  std::uint64_t complete = 0;  // that nobody disturbed: their whole output is known
};

class Parent;

class ChildLives {
 public:
  explicit ChildLives(ferry::SimWorld& world) : world_{world} {}
  ~ChildLives();
  // The whole story. Throws std::runtime_error for a breach.
  void run();
  const ChildCounts& counts() const noexcept { return counts_; }

 private:
  friend class Parent;
  ferry::Task<void> start(std::shared_ptr<Parent> parent);
  ferry::Task<void> communicate(int number);
  void give_up_a_start();
  void judge() const;

  ferry::SimWorld& world_;
  std::string report_;  // the first of what should not have been
  std::vector<std::shared_ptr<Parent>> parents_;
  ChildCounts counts_;
};

}  // namespace sim_lives
