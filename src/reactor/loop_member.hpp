// What a loop knows of its transports and servers.
#pragma once

#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace ferry::internal {

class LoopCore;

// Linked into the loop's list from enrol() to leave(); meanwhile the loop keeps it alive.
class LoopMember {
 public:
  LoopMember(const LoopMember&) = delete;
  LoopMember& operator=(const LoopMember&) = delete;

  // Sends what was gathered while a callback ran. Calls nobody.
  virtual void flush() = 0;
  // The loop ends: lets go of everything. Calls nobody; what it held is put where `trash` says, so
  // that no destructor of the user's runs before all members are at rest.
  virtual void drop(std::vector<std::shared_ptr<void>>& trash) = 0;
  virtual std::string describe() const = 0;
  // Those of one server have one group.
  virtual const void* group() const noexcept { return nullptr; }
  // Null before enrol() and after leave().
  const std::shared_ptr<void>& self() const noexcept { return self_; }

 protected:
  LoopMember() = default;
  ~LoopMember() = default;

 private:
  friend class LoopCore;
  LoopMember* previous_ = nullptr;
  LoopMember* next_ = nullptr;
  std::shared_ptr<void> self_;
  std::source_location made_at_;
};

}  // namespace ferry::internal
