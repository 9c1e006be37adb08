// A user, a queue and a channel in miniature around a StreamLife: every event, with every call that
// the user may make from inside the callback, checked against the contract.
#pragma once

#include "protocols/stream_life.hpp"

#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace test {

namespace act = ferry::internal::act;
using ferry::internal::Phase;

enum class Input : std::uint8_t { opened, bytes, eof, drained, finished, failed, write, write_eof,
                                  close, abort };
// What happens, and what the user does inside the callback that it causes.
struct Step {
  Input input;
  std::vector<Input> inside;
  bool keep_open = false;
};

template <class Life>
class Walk {
 public:
  explicit Walk(bool can_half_close) : life_{can_half_close} {}

  // Empty while the contract holds; else what was broken.
  const std::string& breach() const { return breach_; }
  bool lost() const { return life_.phase() == Phase::lost; }

  auto key() const {
    return std::tuple{life_.phase(), life_.may_read(), life_.may_write(), life_.ended_writing(),
                      queued_, made_, eof_, ended_, reading_, shut_, finish_asked_, told_opener_};
  }

  void apply(const Step& step) {
    inside_ = step.inside;
    keep_open_ = step.keep_open;
    input(step.input);
    check_at_rest();
  }

  // Does the world let this happen now?
  bool possible(Input input) const {
    switch (input) {
      case Input::drained: return queued_ && life_.phase() != Phase::lost;
      case Input::finished: return finish_asked_;
      case Input::bytes: case Input::eof: return true;  // a completion may be late
      case Input::failed: return true;
      case Input::opened: return true;
      default: return made_;  // only who has heard of the transport can call it
    }
  }

 private:
  void input(Input what) {
    const Phase before = life_.phase();
    switch (what) {
      case Input::opened: perform(life_.opened()); break;
      case Input::bytes: perform(life_.bytes()); break;
      case Input::eof: deliver_eof(); break;
      case Input::drained:
        queued_ = false;
        perform(life_.drained());
        break;
      case Input::finished:
        finish_asked_ = false;
        perform(life_.finished());
        expect(lost(), "the orderly end is done, and the connection is not lost");
        break;
      case Input::failed: case Input::abort:
        perform(life_.abort());
        expect(lost(), "aborted, and not lost");
        break;
      case Input::write:
        if (life_.may_write()) queued_ = true;
        break;
      case Input::write_eof: perform(life_.write_eof(!queued_)); break;
      case Input::close:
        perform(life_.close(!queued_));
        if (before == Phase::open) expect(life_.closing(), "closed, and still open");
        break;
    }
  }

  void deliver_eof() {
    const std::uint32_t actions = life_.eof();
    if ((actions & act::eof_received) == 0) return;
    perform(actions);
    const bool open = life_.phase() == Phase::open;
    perform(life_.eof_answered(keep_open_, !queued_));
    const bool stays = keep_open_ && life_.can_half_close();
    if (open) expect(life_.closing() != stays, "the answer to eof_received() was not followed");
  }

  void perform(std::uint32_t actions) {
    if ((actions & act::connection_made) != 0) {
      expect(!made_ && !ended_, "connection_made() twice");
      made_ = true;
      call_inside();
    }
    if ((actions & act::start_reading) != 0 && life_.may_read()) reading_ = true;
    if ((actions & act::data_received) != 0) {
      expect(made_ && !ended_ && !eof_ && !life_.closing(), "data_received() out of order");
      call_inside();
    }
    if ((actions & act::eof_received) != 0) {
      expect(made_ && !ended_ && !eof_ && !life_.closing(), "eof_received() out of order");
      eof_ = true;
      call_inside();
    }
    if ((actions & act::stop_reading) != 0) reading_ = false;
    if ((actions & act::drop_queue) != 0) queued_ = false;
    if ((actions & act::shut_write) != 0) {
      expect(!queued_, "the writing side was shut with bytes queued");
      expect(!shut_, "the writing side was shut twice");
      expect(life_.ended_writing(), "the writing side was shut unasked");
      shut_ = true;
    }
    if ((actions & act::finish) != 0) {
      expect(!queued_, "finished with bytes queued");
      expect(!finish_asked_ && !lost(), "finished twice");
      finish_asked_ = true;
    }
    perform_end(actions);
  }

  void perform_end(std::uint32_t actions) {
    const std::uint32_t end = act::connection_lost | act::tell_opener;
    if ((actions & act::close_channel) != 0) {
      expect((actions & end) != 0, "the channel was closed and nobody hears of it");
      expect(!queued_, "lost with bytes queued that nobody dropped");
      finish_asked_ = false;
    }
    if ((actions & act::connection_lost) != 0) {
      expect(made_, "connection_lost() without connection_made()");
      expect(!ended_, "connection_lost() twice");
      ended_ = true;
    }
    if ((actions & act::tell_opener) != 0) {
      expect(!made_ && !told_opener_, "the opener was told of what it knew");
      told_opener_ = true;
    }
  }

  void call_inside() {
    const std::vector<Input> calls = std::exchange(inside_, {});
    for (const Input call : calls) input(call);
  }

  void check_at_rest() {
    expect(lost() == (ended_ || told_opener_), "lost, and nobody was told; or told too early");
    if (life_.closing()) expect(!reading_, "closing, and still reading");
    if (lost()) expect(!queued_, "lost, and bytes are still queued");
    if (life_.phase() == Phase::finishing) expect(finish_asked_, "finishing, and nobody does it");
    if (life_.phase() == Phase::flushing) expect(queued_, "flushing, and nothing is queued");
    const bool must_be_shut = life_.phase() == Phase::open && life_.ended_writing() && !queued_;
    if (must_be_shut) expect(shut_, "write_eof() and nothing queued, and not shut");
    if (eof_ && life_.phase() == Phase::open) expect(!reading_, "reading after the end");
  }

  void expect(bool holds, const char* what) {
    if (!holds && breach_.empty()) breach_ = what;
  }

  Life life_;
  bool queued_ = false, made_ = false, eof_ = false, ended_ = false, reading_ = false;
  bool shut_ = false, finish_asked_ = false, told_opener_ = false;
  bool keep_open_ = false;
  std::vector<Input> inside_;
  std::string breach_;
};

// Every input, with every sequence of up to `most_inside` calls from inside its callback.
inline std::vector<Step> all_steps(std::size_t most_inside) {
  std::vector<std::vector<Input>> insides{{}};
  for (std::size_t from = 0, length = 1; length <= most_inside; ++length) {
    const std::size_t end = insides.size();
    for (; from < end; ++from) {
      for (Input call : {Input::write, Input::write_eof, Input::close, Input::abort}) {
        insides.push_back(insides[from]);
        insides.back().push_back(call);
      }
    }
  }
  std::vector<Step> steps;
  for (Input input : {Input::opened, Input::bytes, Input::eof}) {
    for (const auto& inside : insides) {
      steps.push_back({input, inside, false});
      if (input == Input::eof) steps.push_back({input, inside, true});
    }
  }
  for (Input input : {Input::drained, Input::finished, Input::failed, Input::write,
                      Input::write_eof, Input::close, Input::abort}) {
    steps.push_back({input, {}, false});
  }
  return steps;
}

struct Verdict {
  std::size_t count = 0;  // of states, or of paths
  std::string breach;
};

// All states that can be reached, to the fixed point.
template <class Life>
Verdict walk_states(bool can_half_close) {
  const std::vector<Step> steps = all_steps(2);
  std::set<decltype(Walk<Life>{true}.key())> seen;
  std::vector<Walk<Life>> open{Walk<Life>{can_half_close}};
  seen.insert(open.back().key());
  while (!open.empty()) {
    const Walk<Life> from = open.back();
    open.pop_back();
    for (const Step& step : steps) {
      if (!from.possible(step.input)) continue;
      Walk<Life> next = from;
      next.apply(step);
      if (!next.breach().empty()) return {seen.size(), next.breach()};
      if (seen.insert(next.key()).second) open.push_back(next);
    }
  }
  return {seen.size(), {}};
}

template <class Life>
void walk_paths_from(const Walk<Life>& from, std::span<const Step> steps, int depth,
                     Verdict& verdict) {
  for (const Step& step : steps) {
    if (!verdict.breach.empty()) return;
    if (!from.possible(step.input)) continue;
    Walk<Life> next = from;
    next.apply(step);
    ++verdict.count;
    verdict.breach = next.breach();
    if (depth > 1) walk_paths_from(next, steps, depth - 1, verdict);
  }
}

// All paths of up to `depth` steps.
template <class Life>
Verdict walk_paths(bool can_half_close, int depth) {
  Verdict verdict;
  const std::vector<Step> steps = all_steps(1);
  walk_paths_from(Walk<Life>{can_half_close}, std::span<const Step>{steps}, depth, verdict);
  return verdict;
}

}  // namespace test
