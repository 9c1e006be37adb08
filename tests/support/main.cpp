// Catch2 v2's main function (v3 brings its own), and what tells ctest of a test that was skipped.
#include "support/skipped.hpp"

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Listener = Catch::EventListenerBase;
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
using Listener = Catch::TestEventListenerBase;
#endif

#include <cstdio>

namespace {

// Only at the end, and only if nothing failed: ctest takes for skipped whatever says so, and a
// section that is skipped must not hide another one's failure.
class SkipListener : public Listener {
 public:
  using Listener::Listener;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    Listener::testCaseStarting(info);
    test::skipped().clear();
  }
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    Listener::testCaseEnded(stats);
    if (test::skipped().empty() || stats.totals.assertions.failed > 0) return;
    std::printf("SKIPPED: %s\n", test::skipped().c_str());
    std::fflush(stdout);
  }
};
CATCH_REGISTER_LISTENER(SkipListener)

}  // namespace
