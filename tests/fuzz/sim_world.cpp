// Random lives in a simulated machine whose dice are the fuzzer's bytes.
#include "fuzz/fuzz.hpp"
#include "sim/lives.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ferry::SimWorld world{std::as_bytes(std::span{data, size})};
  world.set_turn_limit(200'000);
  sim_lives::Lives lives{world};
  lives.run();  // throws for a breach, which ends the program
  return 0;
}
