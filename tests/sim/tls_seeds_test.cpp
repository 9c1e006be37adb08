// Random lives over TLS, and that they replay.
#include "sim/secrets.hpp"
#include "support/catch.hpp"

#include <string>

using ferry::SimWorld;

TEST_CASE("random lives over TLS keep the contract and every byte",
          "[A-010][C-07][C-08][C-09][C-21][T-060][T-066][T-086][T-093][T-095][T-097]") {
  sim_lives::Counts all;
  const std::uint64_t seeds = ferry::for_each_seed({.count = 300}, [&](SimWorld& world) {
    sim_lives::Lives lives{world, &sim_lives::secrets_for(world)};
    lives.run();
    all.connections += lives.counts().connections;
    all.events += lives.counts().events;
    all.bytes += lives.counts().bytes;
    all.upgrades += lives.counts().upgrades;
  });
  if (seeds >= 100) {
    CHECK(all.connections / 2 >= seeds * 3);
    CHECK(all.events >= seeds * 100);
    CHECK(all.upgrades >= seeds * 2);
  }
  WARN(seeds << " seeds: " << all.connections / 2 << " connections, " << all.upgrades / 2
             << " upgrades, " << all.events << " events, " << all.bytes << " bytes");
}

TEST_CASE("a seed gives the same run over TLS, too") {
  const auto story = [](std::uint64_t seed) {
    SimWorld world{seed};
    sim_lives::Lives lives{world, &sim_lives::secrets_for(world)};
    lives.run();
    return world.trace();
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::string first = story(seed);
    story(seed + 1000);
    CHECK(story(seed) == first);
  }
}
