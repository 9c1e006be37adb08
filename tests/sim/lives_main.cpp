// Random lives, by hand and for scripts: ferry_sim_lives FIRST COUNT [tls|udp]. Prints seeds per
// second. Exit code 1, and the story of the seed, for a breach; 2 for a mistake in the arguments.
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

}  // namespace

int main(int argc, char** argv) {
  ferry::SimSeeds seeds;
  const std::string_view kind = argc == 4 ? argv[3] : "";
  const bool tls = kind == "tls";
  const bool udp = kind == "udp";
  if (argc != 3 + int{tls || udp} || !number_in(argv[1], seeds.first) ||
      !number_in(argv[2], seeds.count)) {
    std::fprintf(stderr, "usage: %s FIRST COUNT [tls|udp]   (seeds: whole numbers, 0 or more)\n",
                 argv[0]);
    return 2;
  }
  sim_lives::Counts all;
  const auto began = std::chrono::steady_clock::now();
  try {
    ferry::for_each_seed(seeds, [&](ferry::SimWorld& world) {
      if (udp) {
        sim_lives::DatagramLives lives{world};
        lives.run();
        all.connections += 2 * lives.counts().endpoints;
        all.events += lives.counts().events;
        all.bytes += lives.counts().bytes;
        return;
      }
      sim_lives::Lives lives{world, tls ? &sim_lives::secrets_for(world) : nullptr};
      lives.run();
      all.connections += lives.counts().connections;
      all.events += lives.counts().events;
      all.bytes += lives.counts().bytes;
    });
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
              "%.0f bytes\n", count, seconds, count / seconds,
              static_cast<double>(all.connections) / 2 / count, udp ? "endpoints" : "connections",
              static_cast<double>(all.events) / count, static_cast<double>(all.bytes) / count);
  return 0;
}
