// The public face: SimWorld and for_each_seed().
#include <ferry/sim.hpp>

#include "platform/command_line.hpp"
#include "platform/sim/parts.hpp"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <limits>
#include <utility>

namespace ferry {
namespace {

using internal::sim::Dice;
using internal::sim::World;

[[noreturn]] void refuse(const std::string& field, double value, const char* what) {
  throw std::invalid_argument{"set_network: " + field + " is " + std::to_string(value) + ", not " +
                              what};
}

void check_time(const char* field, Seconds time) {
  if (!internal::sim::is_time(time)) {
    refuse(field, time.count(), "a duration of 0 or more seconds");
  }
}

std::uint64_t number_in(std::string_view text, std::string_view all) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    throw std::invalid_argument{"FERRY_SIM_SEEDS: '" + std::string{all} +
                                "' is neither a seed, as 17, nor some of them, as 1000+500"};
  }
  return number;
}

struct Range {
  std::uint64_t first, count;
};
Range range_of(const SimSeeds& seeds) {
  const char* const asked = std::getenv("FERRY_SIM_SEEDS");
  if (asked == nullptr) return {seeds.first, seeds.count};
  const std::string_view text{asked};
  const std::size_t plus = text.find('+');
  if (plus == text.npos) return {number_in(text, text), 1};
  return {number_in(text.substr(0, plus), text), number_in(text.substr(plus + 1), text)};
}

}  // namespace

SimStalled::~SimStalled() = default;
SimFailure::~SimFailure() = default;
SimFailure::SimFailure(std::uint64_t seed, const std::string& what)
    : std::runtime_error{what}, seed_{seed} {}

SimWorld::SimWorld(std::uint64_t seed) : SimWorld{std::make_unique<World>(Dice{seed}, seed)} {}
SimWorld::SimWorld(std::span<const std::byte> dice)
    : SimWorld{std::make_unique<World>(Dice{dice}, 0)} {}
SimWorld::SimWorld(std::unique_ptr<World> world)
    : world_{std::move(world)},
      loop_{std::make_unique<Loop>(Backend{internal::sim::make_parts(*world_)})} {
  world_->describe_loop = [loop = loop_.get()] { return "\n" + loop->describe(); };
}

SimWorld::~SimWorld() = default;

Loop& SimWorld::loop() noexcept { return *loop_; }
std::uint64_t SimWorld::seed() const noexcept { return world_->seed; }
Seconds SimWorld::elapsed() const noexcept { return world_->now() - world_->began(); }
void SimWorld::set_turn_limit(std::uint64_t turns) { world_->turn_limit = turns; }

std::uint64_t SimWorld::random(std::uint64_t below) { return world_->dice.below(below); }
bool SimWorld::chance(double probability) { return world_->dice.chance(probability); }

void SimWorld::set_network(const SimNetwork& network) {
  check_time("latency", network.latency);
  check_time("jitter", network.jitter);
  if (!(network.bandwidth >= 0 && std::isfinite(network.bandwidth))) {
    refuse("bandwidth", network.bandwidth, "0 or more bytes a second");
  }
  if (network.buffer == 0) refuse("buffer", 0, "1 or more bytes");
  const std::pair<const char*, double> probabilities[] = {
      {"short_read", network.short_read},   {"short_write", network.short_write},
      {"would_block", network.would_block}, {"spurious_event", network.spurious_event},
      {"reset", network.reset},             {"refused", network.refused},
      {"unanswered", network.unanswered},   {"accept_fails", network.accept_fails},
      {"lost", network.lost},               {"duplicated", network.duplicated},
      {"reordered", network.reordered}};
  for (const auto& [field, value] : probabilities) {
    if (!(value >= 0 && value <= 1)) refuse(field, value, "a probability from 0 to 1");
  }
  world_->network = network;
}
const SimNetwork& SimWorld::network() const noexcept { return world_->network; }

SimNetwork SimWorld::draw_network() {
  Dice& dice = world_->dice;
  const auto sometimes = [&dice](double most) {
    return dice.chance(0.5) ? 0 : most * dice.share();
  };
  SimNetwork drawn;
  drawn.latency = Seconds{sometimes(0.1)};
  drawn.jitter = Seconds{sometimes(0.1)};
  drawn.bandwidth = dice.chance(0.5) ? 0 : 10'000 * std::pow(10.0, 4 * dice.share());
  drawn.buffer = std::size_t{64} << dice.below(12);
  drawn.short_read = sometimes(0.5);
  drawn.short_write = sometimes(0.5);
  drawn.would_block = sometimes(0.3);
  drawn.spurious_event = sometimes(0.1);
  drawn.reset = sometimes(0.02);
  drawn.refused = sometimes(0.1);
  drawn.unanswered = sometimes(0.05);
  drawn.accept_fails = sometimes(0.2);
  drawn.lost = sometimes(0.3);
  drawn.duplicated = sometimes(0.2);
  drawn.reordered = sometimes(0.3);
  if (dice.chance(0.5)) drawn.mtu = 500 + static_cast<std::size_t>(dice.below(2000));
  return drawn;
}

void SimWorld::lose_host(std::string_view ip) {
  world_->lost_hosts.insert(Address{ip, 0}.host());
}

void SimWorld::set_name(std::string_view name, std::vector<std::string> addresses, Seconds delay,
                        ResolverErrc error) {
  check_time("the delay of a name", delay);
  for (const std::string& address : addresses) Address{address, 0};  // throws for what is none
  world_->names[std::string{name}] = {
      std::move(addresses), internal::sim::in_ticks(delay), error};
}

std::pair<Socket, Socket> SimWorld::socketpair() {
  const auto [one, other] = world_->pair();
  return {Socket{one}, Socket{other}};
}

PipePair SimWorld::make_pipe() {
  const auto [read, write] = world_->pipe();
  return {Pipe{read}, Pipe{write}};
}

void SimWorld::set_program(std::string_view name, SimProgram program) {
  set_program(name, [program = std::move(program)](const SimStart&) { return program; });
}
void SimWorld::set_program(std::string_view name,
                           std::function<SimProgram(const SimStart&)> program) {
  if (name.empty() || !program) {
    throw std::invalid_argument{"set_program: a name or a program is missing"};
  }
  world_->programs[std::string{name}] = std::move(program);
}
std::size_t SimWorld::running_children() const noexcept { return world_->processes.size(); }

void SimWorld::raise_signal(int signal) {
  if (!internal::sim::World::is_signal(signal)) {
    throw std::invalid_argument{"raise_signal: there is no signal " + std::to_string(signal)};
  }
  world_->signals |= std::uint64_t{1} << (signal - 1);
  world_->wake();
}

void SimWorld::note(std::string_view line) { world_->note(line); }
std::string SimWorld::trace() const { return world_->trace(); }

std::uint64_t for_each_seed(const SimSeeds& seeds, const std::function<void(SimWorld&)>& test) {
  const auto [first, count] = range_of(seeds);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t seed = first + i;
    SimWorld world{seed};
    try {
      test(world);
    } catch (...) {
      const std::string command =
          seeds.command.empty() ? internal::command_line() : std::string{seeds.command};
      throw SimFailure{seed, "seed " + std::to_string(seed) + " failed: " +
                                 std::string{Error{std::current_exception()}.what()} +
                                 "\nagain: FERRY_SIM_SEEDS=" + std::to_string(seed) + " " +
                                 command + "\nwhat happened:\n" + world.trace()};
    }
  }
  return count;
}

}  // namespace ferry
