// for_each_seed(), and the random lives that are run by it.
#include "sim/lives.hpp"
#include "support/catch.hpp"
#include "support/system.hpp"

#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using Catch::Matchers::Contains;
using ferry::SimWorld;

namespace {

// The environment's FERRY_SIM_SEEDS, for a while.
class SeedsVariable {
 public:
  explicit SeedsVariable(const char* value) {
    if (const char* const now = std::getenv("FERRY_SIM_SEEDS")) before_ = now;
    test::set_environment("FERRY_SIM_SEEDS", value);
  }
  ~SeedsVariable() {
    test::set_environment("FERRY_SIM_SEEDS", before_ ? before_->c_str() : nullptr);
  }
  SeedsVariable(const SeedsVariable&) = delete;
  SeedsVariable& operator=(const SeedsVariable&) = delete;

 private:
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("each seed is run once, in order") {
  const SeedsVariable none{nullptr};
  std::vector<std::uint64_t> seen;
  CHECK(ferry::for_each_seed({.first = 5, .count = 3},
                             [&](SimWorld& world) { seen.push_back(world.seed()); }) == 3);
  CHECK(seen == std::vector<std::uint64_t>{5, 6, 7});
}

TEST_CASE("a seed that fails ends the run with how to do it again, and what happened") {
  const SeedsVariable none{nullptr};
  const auto fails_at_6 = [](SimWorld& world) {
    world.note("a line of the test's");
    if (world.seed() == 6) throw std::runtime_error{"no luck"};
  };
  try {
    ferry::for_each_seed({.first = 5, .count = 3, .command = "my test"}, fails_at_6);
    FAIL("it did not throw");
  } catch (const ferry::SimFailure& failure) {
    CHECK(failure.seed() == 6);
    CHECK_THAT(failure.what(), Contains("seed 6 failed: no luck") &&
                                   Contains("FERRY_SIM_SEEDS=6 my test") &&
                                   Contains("a line of the test's"));
  }
  const auto own = [](SimWorld&) { throw 1; };
  CHECK_THROWS_WITH(ferry::for_each_seed({.count = 1}, own),
                    Contains("no std::exception") && Contains("FERRY_SIM_SEEDS=1 "));
}

TEST_CASE("the environment chooses the seeds") {
  std::vector<std::uint64_t> seen;
  const auto note = [&](SimWorld& world) { seen.push_back(world.seed()); };
  {
    const SeedsVariable one{"17"};
    ferry::for_each_seed({.first = 5, .count = 3}, note);
  }
  {
    const SeedsVariable some{"1000+2"};
    ferry::for_each_seed({}, note);
  }
  CHECK(seen == std::vector<std::uint64_t>{17, 1000, 1001});
  for (const char* wrong : {"x", "-1", "1+", "+1", "1+x", "17 ", "1.5", "99999999999999999999"}) {
    const SeedsVariable variable{wrong};
    CHECK_THROWS_WITH(ferry::for_each_seed({}, note), Contains("is neither a seed"));
  }
}

// --- Production transports under every network ---

TEST_CASE("random lives under random networks keep the contract and every byte",
          "[S-012][S-025][S-078][C-10][C-11][T-006][T-026][T-037]") {
  sim_lives::Counts all;
  const std::uint64_t seeds = ferry::for_each_seed({.count = 1000}, [&](SimWorld& world) {
    sim_lives::Lives lives{world};
    lives.run();
    all.connections += lives.counts().connections;
    all.events += lives.counts().events;
    all.bytes += lives.counts().bytes;
  });
  // Ends of connections, two each; a seed is worth little if hardly anything happens in it.
  if (seeds >= 100) {
    CHECK(all.connections / 2 >= seeds * 4);
    CHECK(all.events >= seeds * 200);
  }
  WARN(seeds << " seeds: " << all.connections / 2 << " connections, " << all.events << " events, "
             << all.bytes << " bytes");
}
