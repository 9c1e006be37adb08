// Random lives, by hand and for scripts: ferry_sim_lives FIRST COUNT [tls|udp|child]. Prints seeds
// per second. Exit code 1, and the story of the seed, for a breach; 2 for wrong arguments.
#include "sim/child_lives.hpp"
#include "sim/datagram_lives.hpp"
#include "sim/lives.hpp"
#include "sim/secrets.hpp"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <string_view>

namespace {

bool number_in(std::string_view text, std::uint64_t& number) {
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && at == end;
}

struct Sum {
  double who = 0, events = 0, bytes = 0;
};
template <class Counts>
void add(Sum& sum, double who, const Counts& counts) {
  sum.who += who;
  sum.events += static_cast<double>(counts.events);
  sum.bytes += static_cast<double>(counts.bytes);
}

void live(ferry::SimWorld& world, const sim_lives::Secrets* secrets, Sum& sum) {
  sim_lives::Lives lives{world, secrets};
  lives.run();
  add(sum, static_cast<double>(lives.counts().connections) / 2, lives.counts());
}

// What one seed does, and who lives in it.
struct Kind {
  std::string_view name;
  const char* who;
  void (*run)(ferry::SimWorld&, Sum&);
};
constexpr Kind kinds[] = {
    {"", "connections", [](ferry::SimWorld& world, Sum& sum) { live(world, nullptr, sum); }},
    {"tls", "connections",
     [](ferry::SimWorld& world, Sum& sum) { live(world, &sim_lives::secrets_for(world), sum); }},
    {"udp", "endpoints",
     [](ferry::SimWorld& world, Sum& sum) {
       sim_lives::DatagramLives lives{world};
       lives.run();
       add(sum, static_cast<double>(lives.counts().endpoints), lives.counts());
     }},
    {"child", "children",
     [](ferry::SimWorld& world, Sum& sum) {
       sim_lives::ChildLives lives{world};
       lives.run();
       add(sum, static_cast<double>(lives.counts().children), lives.counts());
     }},
};
const Kind* kind_of(std::string_view name) {
  for (const Kind& kind : kinds) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  ferry::SimSeeds seeds;
  const Kind* const kind = argc == 3 || argc == 4 ? kind_of(argc == 4 ? argv[3] : "") : nullptr;
  if (kind == nullptr || !number_in(argv[1], seeds.first) || !number_in(argv[2], seeds.count)) {
    std::fprintf(stderr,
                 "usage: %s FIRST COUNT [tls|udp|child]   (seeds: whole numbers, 0 or more)\n",
                 argv[0]);
    return 2;
  }
  Sum all;
  const auto began = std::chrono::steady_clock::now();
  try {
    ferry::for_each_seed(seeds, [&](ferry::SimWorld& world) { kind->run(world, all); });
  } catch (const ferry::SimFailure& failure) {
    std::printf("%s", failure.what());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const double count = static_cast<double>(seeds.count);
  std::printf("%.0f seeds in %.1f s, %.0f a second; each has %.1f %s, %.0f events, "
              "%.0f bytes\n", count, seconds, count / seconds, all.who / count, kind->who,
              all.events / count, all.bytes / count);
  return 0;
}
