// What the tests of the steady path have in common.
#pragma once

#include <ferry/ferry.hpp>

#include <atomic>

extern std::atomic<long> allocations;  // count_allocations.cpp

namespace test {

// Answers each message in pieces of 16 bytes.
class Echo final : public ferry::Protocol {
 public:
  void connection_made(ferry::Transport& transport) override { transport_ = &transport; }
  void data_received(ferry::BytesView data) override {
    ++messages;
    for (std::size_t at = 0; at < data.size(); at += 16) transport_->write(data.subview(at, 16));
  }
  long messages = 0;

 private:
  ferry::Transport* transport_ = nullptr;
};

}  // namespace test
