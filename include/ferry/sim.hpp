// A machine of one's own for tests: a loop whose clock and network are simulated, from one seed.
//
// Everything of a loop works in it as it stands, on production code: create_connection(),
// create_server(), timers, tasks, names. Both ends live in the one loop. Time is virtual: a loop
// that would sleep looks at once what comes next, so an hour of waiting costs nothing. What the
// network does to the bytes is drawn from the world's dice: the same seed gives the same run.
//
//   ferry::SimWorld world{7};
//   world.set_network({.latency = ferry::Seconds{0.02}, .short_read = 0.2, .reset = 0.001});
//   auto server = world.loop().run_until_complete(world.loop().create_server(...));
//
// Every address of IPv4 and IPv6 is this machine's, Unix paths are names in the world and no files.
// A world and all that was made in it belong to the thread that made it; threads of one's own have
// no place in it, since their pace is no dice's. Nothing of a world may be used when that has gone.
// Children run programs of the world's (set_program()); their pids are nobody's. Not simulated, and
// refused: packet information, handles that a child is given, sockets as pipes, pipes with names,
// FIFOs that outlive their writers. A child's user, groups, session and umask change nothing.
#pragma once

#include <ferry/error.hpp>
#include <ferry/export.hpp>
#include <ferry/loop.hpp>
#include <ferry/pipe.hpp>
#include <ferry/sim_program.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry {

namespace internal::sim {
class World;
}

// What the network does. Times are virtual seconds; what has no unit is a probability, 0 to 1,
// judged anew each time.
struct SimNetwork {
  Seconds latency{0.001};           // one way
  Seconds jitter{0.0};              // up to so much more for a segment; bytes keep their order
  double bandwidth = 0;             // bytes a second, each way of a connection; 0: no bound
  std::size_t buffer = 64 * 1024;   // how much is sent and not yet received, each way; 1 or more
  double short_read = 0;            // a receive gives less than has come
  double short_write = 0;           // a send takes less than there is room for
  double would_block = 0;           // a receive, send or accept that could go on is put off
  double spurious_event = 0;        // a turn reports what is not ready
  double reset = 0;                 // of a segment: both ends see a reset instead
  double refused = 0;               // of a connect, though a server is there
  double unanswered = 0;            // of a connect: it times out, after two minutes
  double accept_fails = 0;          // of an accept: out of descriptors
  // Of datagrams: what of them arrives, how often, in which order. One larger than `mtu` bytes is
  // refused when it is sent; what finds `buffer` bytes waiting at its receiver is lost.
  double lost = 0;
  double duplicated = 0;
  double reordered = 0;             // overtaken by later ones
  std::size_t mtu = 65507;
};

// Thrown out of Loop::run_* when a world's loop would sleep for ever: nothing is under way, no
// timer is armed. what() lists who waits.
class FERRY_API SimStalled : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~SimStalled() override;
};

class FERRY_API SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed);
  // The dice are these bytes, and zeros after them: what a fuzzer gives.
  explicit SimWorld(std::span<const std::byte> dice);
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;
  ~SimWorld();  // closes the loop first

  Loop& loop() noexcept;
  std::uint64_t seed() const noexcept;
  Seconds elapsed() const noexcept;  // virtual, since the world was made
  // A loop that takes more turns than this ends with SimStalled: it spins. 10 million by default.
  void set_turn_limit(std::uint64_t turns);

  // --- Dice ---

  std::uint64_t random(std::uint64_t below);  // 0 … below - 1; below is not 0
  bool chance(double probability);

  // --- The network ---

  // From now on, also for what is connected already. Throws std::invalid_argument that names the
  // field: a negative or endless duration, a probability outside 0 … 1, a buffer of 0.
  void set_network(const SimNetwork& network);
  const SimNetwork& network() const noexcept;
  // Some network, from a good one to a very bad one, drawn from the dice.
  SimNetwork draw_network();
  // Nobody answers at this address any more: connects to it time out, what is connected stays.
  void lose_host(std::string_view ip);

  // What resolving `name` gives, `delay` later; without addresses: `error`. Other names are not
  // known. ("localhost" is 127.0.0.1 unless said otherwise.)
  void set_name(std::string_view name, std::vector<std::string> addresses, Seconds delay = {},
                ResolverErrc error = ResolverErrc::name_not_known);
  // Two connected sockets of this world, as ferry::socketpair(): for add_reader(),
  // create_connection() and connect_accepted_socket().
  std::pair<Socket, Socket> socketpair();
  // The two ends of a pipe of this world, as ferry::make_pipe(): for connect_read_pipe() and
  // connect_write_pipe(). Of the network only short_read, short_write, would_block, spurious_event
  // and buffer apply to it, as to the pipes of children.
  PipePair make_pipe();
  // What a child does that is started under this name: the program, or the command of a shell. A
  // function is asked at each start. Other programs are not found (of a shell: exit code 127). What
  // is written to a stream that is inherited or null is dropped, and there is nothing to read.
  void set_program(std::string_view name, SimProgram program);
  void set_program(std::string_view name, std::function<SimProgram(const SimStart&)> program);
  std::size_t running_children() const noexcept;  // that have been started and have not ended
  // As if the process got this signal: for add_signal_handler().
  void raise_signal(int signal);

  // --- What happened ---

  // A line of the trace.
  void note(std::string_view line);
  // The last thousand lines: virtual time, who, what.
  std::string trace() const;

 private:
  explicit SimWorld(std::unique_ptr<internal::sim::World> world);

  std::unique_ptr<internal::sim::World> world_;
  std::unique_ptr<Loop> loop_;
};

// Which seeds for_each_seed() runs. The environment's FERRY_SIM_SEEDS overrides it: "17" is that
// seed alone, "1000+500" are 500 from 1000 on; anything else is a std::invalid_argument.
struct SimSeeds {
  std::uint64_t first = 1;
  std::uint64_t count = 100;
  std::string_view command = {};  // that runs this test again; empty: this process's command line
};

// A test failed with this seed. what(): the seed, why, the command that runs it again, the trace.
class FERRY_API SimFailure : public std::runtime_error {
 public:
  SimFailure(std::uint64_t seed, const std::string& what);
  ~SimFailure() override;
  std::uint64_t seed() const noexcept { return seed_; }

 private:
  std::uint64_t seed_;
};

// Runs the test in a fresh world for each seed. The first one for which it throws ends this with
// SimFailure. What comes back is how many seeds were run.
FERRY_API std::uint64_t for_each_seed(const SimSeeds& seeds,
                                      const std::function<void(SimWorld&)>& test);

}  // namespace ferry
