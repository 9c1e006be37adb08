// Why the test that runs is skipped, or a section of it; empty: it is not.
#pragma once

#include <string>

namespace test {

inline std::string& skipped() {
  static std::string why;
  return why;
}

}  // namespace test
