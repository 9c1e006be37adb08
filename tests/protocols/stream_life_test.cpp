#include "protocols/stream_life_walk.hpp"
#include "support/catch.hpp"

#include <cstdio>

using ferry::internal::StreamLife;
using namespace test;

namespace {

// Each mutant has one plausible bug. They stay here: the walk must go on to find every one of them.
struct MadeAgain : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t opened() {
    StreamLife::opened();
    return act::connection_made | act::start_reading;
  }
};
struct DeliversAfterClose : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t eof() {
    const bool first = !std::exchange(seen_, true);
    return first ? (StreamLife::eof(), act::eof_received) : act::none;
  }
  bool seen_ = false;
};
struct KeepsReadingAfterClose : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t close(bool empty) { return StreamLife::close(empty) & ~act::stop_reading; }
};
struct KeepsReadingAfterEof : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t eof_answered(bool keep, bool empty) {
    const std::uint32_t actions = StreamLife::eof_answered(keep, empty);
    return closing() ? actions : actions & ~act::stop_reading;
  }
};
struct ForgetsTheAnswer : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t eof_answered(bool, bool empty) { return StreamLife::eof_answered(false, empty); }
};
struct StaysOpenAtEof : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t eof_answered(bool, bool empty) { return StreamLife::eof_answered(true, empty); }
};
struct KeepsOpenWithoutHalfClose : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t eof_answered(bool keep, bool empty) {
    return keep ? act::stop_reading : StreamLife::eof_answered(keep, empty);
  }
};
struct ShutsTooEarly : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t write_eof(bool) { return StreamLife::write_eof(true); }
};
struct ShutsTwice : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t write_eof(bool empty) {
    return StreamLife::write_eof(empty), phase() == Phase::open && empty ? act::shut_write
                                                                         : act::none;
  }
};
struct NeverShutsAfterDrain : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t drained() { return StreamLife::drained() & ~act::shut_write; }
};
struct ShutsUnasked : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t drained() {
    return StreamLife::drained() | (phase() == Phase::open ? act::shut_write : act::none);
  }
};
struct NeverFinishesAfterFlush : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t drained() { return StreamLife::drained() & ~act::finish; }
};
struct ClosesWithBytesQueued : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t close(bool) { return StreamLife::close(true); }
};
struct CloseDropsTheQueue : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t close(bool empty) {
    return StreamLife::close(empty) | (empty ? act::none : act::drop_queue);
  }
};
struct ClosesTwice : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t close(bool empty) {
    if (phase() == Phase::finishing) return act::finish;
    return StreamLife::close(empty);
  }
};
struct AbortKeepsTheQueue : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t abort() { return StreamLife::abort() & ~act::drop_queue; }
};
struct LosesTwice : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t abort() {
    if (phase() == Phase::lost) return act::connection_lost;
    return StreamLife::abort();
  }
};
struct LosesInSilence : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t finished() { return StreamLife::finished() & ~act::connection_lost; }
};
struct LosesTheUnmade : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t abort() {
    const bool opening = phase() == Phase::opening;
    const std::uint32_t actions = StreamLife::abort();
    return opening ? (actions & ~act::tell_opener) | act::connection_lost : actions;
  }
};
struct AbortWaitsForTheFlush : StreamLife {
  using StreamLife::StreamLife;
  std::uint32_t abort() {
    return phase() == Phase::flushing ? act::none : StreamLife::abort();
  }
};

template <class Mutant>
void expect_killed(const char* name) {
  std::string breach;
  for (const bool half_close : {true, false}) {
    if (breach.empty()) breach = walk_states<Mutant>(half_close).breach;
    if (breach.empty()) breach = walk_paths<Mutant>(half_close, 4).breach;
  }
  INFO("the mutant " << name << " lives");
  CHECK_FALSE(breach.empty());
}

}  // namespace

TEST_CASE("every reachable state of a stream's life keeps the contract",
          "[S-062][S-063][S-073][S-074][C-12]") {
  for (const bool half_close : {true, false}) {
    const Verdict states = walk_states<StreamLife>(half_close);
    CHECK(states.breach == "");
    const Verdict paths = walk_paths<StreamLife>(half_close, 5);
    CHECK(paths.breach == "");
    std::printf("stream life, half close %s: %zu reachable states, %zu paths of up to 5 steps\n",
                half_close ? "on" : "off", states.count, paths.count);
    CHECK(states.count > 20);
    CHECK(paths.count > 10000);
  }
}

TEST_CASE("the walk kills every mutant of a stream's life", "[S-074]") {
  expect_killed<MadeAgain>("MadeAgain");
  expect_killed<DeliversAfterClose>("DeliversAfterClose");
  expect_killed<KeepsReadingAfterClose>("KeepsReadingAfterClose");
  expect_killed<KeepsReadingAfterEof>("KeepsReadingAfterEof");
  expect_killed<ForgetsTheAnswer>("ForgetsTheAnswer");
  expect_killed<StaysOpenAtEof>("StaysOpenAtEof");
  expect_killed<KeepsOpenWithoutHalfClose>("KeepsOpenWithoutHalfClose");
  expect_killed<ShutsTooEarly>("ShutsTooEarly");
  expect_killed<ShutsTwice>("ShutsTwice");
  expect_killed<NeverShutsAfterDrain>("NeverShutsAfterDrain");
  expect_killed<ShutsUnasked>("ShutsUnasked");
  expect_killed<NeverFinishesAfterFlush>("NeverFinishesAfterFlush");
  expect_killed<ClosesWithBytesQueued>("ClosesWithBytesQueued");
  expect_killed<CloseDropsTheQueue>("CloseDropsTheQueue");
  expect_killed<ClosesTwice>("ClosesTwice");
  expect_killed<AbortKeepsTheQueue>("AbortKeepsTheQueue");
  expect_killed<LosesTwice>("LosesTwice");
  expect_killed<LosesInSilence>("LosesInSilence");
  expect_killed<LosesTheUnmade>("LosesTheUnmade");
  expect_killed<AbortWaitsForTheFlush>("AbortWaitsForTheFlush");
}
