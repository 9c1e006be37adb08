// What all loops of a process share.
#pragma once

#include "platform/sockets/calls.hpp"

#include <atomic>

namespace ferry::internal {

// Made when first asked for, never destroyed. A process that was forked has none of its parent's
// threads, perhaps one of its locks held for ever, and none of its children: it begins anew.
template <class T, auto... arguments>
class PerProcess {
 public:
  T& get() {
    Entry* known = entry_.load();
    if (known != nullptr && known->process == calls::process_id()) return known->of;
    auto* const fresh = new Entry;
    if (entry_.compare_exchange_strong(known, fresh)) return fresh->of;
    delete fresh;
    return known->of;
  }

 private:
  struct Entry {
    const long process = calls::process_id();
    T of{arguments...};
  };
  std::atomic<Entry*> entry_{nullptr};
};

}  // namespace ferry::internal
