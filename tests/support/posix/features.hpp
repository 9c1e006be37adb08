// A system without some of the newer calls, for a while.
#pragma once

#include "platform/posix/features.hpp"

#include <vector>

namespace test {

using ferry::internal::Features;

class Lacking {
 public:
  explicit Lacking(bool Features::*what) : Lacking{std::vector{what}} {}
  explicit Lacking(const std::vector<bool Features::*>& all) {
    for (const auto what : all) ferry::internal::features.*what = false;
  }
  ~Lacking() { ferry::internal::features = before_; }
  Lacking(const Lacking&) = delete;
  Lacking& operator=(const Lacking&) = delete;

 private:
  Features before_ = ferry::internal::features;
};

}  // namespace test
