// Runs a scenario once for every system call that it makes and every way in which that may fail.
#pragma once

#include "faults/posix/stage.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <thread>

namespace test {

struct Scenario {
  const char* name;
  // Ends with a word on what came of it.
  std::function<std::string(Stage&)> run;
  // Here an error may be told nowhere if all goes well in spite of it, whatever the table says.
  bool makes_good = false;
  // Here what ends a connection may be told to who waits for its handshake; and who has closed
  // hears no more of errors, but the other one may hear of an end that was cut short (C-09).
  bool over_tls = false;
  // Here bytes are moved by read() and write(), which else only wake the loop.
  bool over_pipes = false;
  // What the error of a start must name.
  std::string program = "";
};

// What was tried in this process, printed at its end.
class FaultCoverage {
 public:
  static FaultCoverage& instance() {
    static FaultCoverage coverage;
    return coverage;
  }
  void add(const char* scenario, const CallFaults& faults, const FaultSpec& fault, bool reached) {
    Row& row = rows_[faults.call];
    row.sites.insert(std::string{scenario} + " " + std::to_string(fault.number));
    row.ways.insert(fault.error);
    ++row.tried;
    row.reached += reached ? 1 : 0;
  }
  ~FaultCoverage() {
    if (rows_.empty()) return;
    std::size_t sites = 0;
    long tried = 0, reached = 0;
    std::printf("\nfaults on %s:       call sites   ways to fail   tried   reached\n",
                backend_name().c_str());
    for (const auto& [call, row] : rows_) {
      std::printf("  %-20s %12zu %14zu %7ld %9ld\n", name_of(call).c_str(), row.sites.size(),
                  row.ways.size(), row.tried, row.reached);
      sites += row.sites.size();
      tried += row.tried;
      reached += row.reached;
    }
    std::printf("  %-20s %12zu %14s %7ld %9ld\n", "all", sites, "", tried, reached);
  }

 private:
  struct Row {
    std::set<std::string> sites;
    std::set<int> ways;
    long tried = 0, reached = 0;
  };
  static std::string name_of(Call call) {
    for (const CallFaults& faults : fault_table) {
      if (faults.call == call) return call_name(faults);
    }
    return "?";
  }
  std::map<Call, Row> rows_;
};

// Names the fault with which a call blocks the whole loop, where no other bound helps.
class Watchdog {
 public:
  Watchdog(const char* scenario, const FaultSpec& fault) {
    std::snprintf(text(), size, "FAILED: %s blocks: call %d number %ld with error %d\n", scenario,
                  static_cast<int>(fault.call), fault.number, fault.error);
    struct sigaction bark {};
    bark.sa_handler = [](int) {
      if (::write(STDOUT_FILENO, text(), std::strlen(text())) < 0) ::_exit(2);
      ::_exit(1);
    };
    ::sigaction(SIGALRM, &bark, nullptr);
    ::alarm(60);
  }
  ~Watchdog() { ::alarm(0); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  static constexpr std::size_t size = 200;
  static char* text() {
    static char text[size];
    return text;
  }
};

class FaultSweep {
 public:
  explicit FaultSweep(Scenario scenario) : scenario_{std::move(scenario)} {}

  // FERRY_FAULT="recv 2 104" tries that one alone: the call by its name, which one, its errno (0: a
  // short count).
  void run() {
    reference_ = play({});
    REQUIRE(reference_.problem == "");
    REQUIRE(reference_.told.empty());
    // Twice, since only the first one makes what is kept for ever (a thread, a mailbox).
    REQUIRE(play({}).outcome == reference_.outcome);
    const char* const only = std::getenv("FERRY_FAULT");
    for (const CallFaults& faults : fault_table) {
      const long calls = reference_.counts[static_cast<std::size_t>(faults.call)];
      for (long number = 0; number < calls; ++number) {
        for (const int error : faults.errors) {
          if (cannot_be(faults, error, backend_name(), scenario_.over_pipes)) continue;
          const FaultSpec fault{faults.call, number, error};
          if (only == nullptr || text_of(faults, fault) == only) try_one(faults, fault);
        }
      }
      if (moves_bytes(faults.call) && (faults.places & unharmed) != 0) try_short_counts(faults);
    }
  }

 private:
  struct Result {
    std::string outcome;
    std::string problem;  // of the scenario itself
    std::vector<Told> told;
    std::array<long, static_cast<std::size_t>(Call::count)> counts{};
  };

  void try_short_counts(const CallFaults& faults) {
    const long calls = reference_.counts[static_cast<std::size_t>(faults.call)];
    for (long number = 0; number < calls; ++number) {
      try_one(faults, {faults.call, number, 0});
    }
  }

  static std::string text_of(const CallFaults& faults, const FaultSpec& fault) {
    return call_name(faults) + " " + std::to_string(fault.number) + " " +
           std::to_string(fault.error);
  }

  void try_one(const CallFaults& faults, const FaultSpec& fault) {
    const Result result = play(fault);
    FaultCoverage::instance().add(scenario_.name, faults, fault, injector_.fired());
    if (!injector_.fired()) {
      CHECK(result.problem == "");
      return;
    }
    std::string problem = result.problem;
    if (problem.empty()) problem = judge(faults, fault, result);
    if (problem.empty()) return;
    std::string what = fault.error == 0 ? "a short count" : std::strerror(fault.error);
    for (const Told& told : result.told) {
      what += "\n    told (" + std::to_string(told.place) + "): " + told.text;
    }
    FAIL_CHECK(scenario_.name << ": FERRY_FAULT=\"" << text_of(faults, fault) << "\": " << what
                              << "\n    " << problem);
  }

  // Empty if the error was told where it shall be.
  std::string judge(const CallFaults& faults, const FaultSpec& fault, const Result& result) {
    unsigned places = fault.error == 0 ? unsigned{unharmed} : faults.places;
    if (scenario_.over_tls && (places & lost) != 0) places |= opener;
    for (const Told& told : result.told) {
      if (told.text.starts_with("ferry broke its contract")) return told.text;
      if (told.place == opener && told.text.find(scenario_.program) == std::string::npos) {
        return "the error does not name the program";
      }
    }
    if (result.told.empty()) {
      const bool may_be_unharmed = (places & unharmed) != 0 || scenario_.makes_good;
      if (!may_be_unharmed) return "the error was told nowhere";
      if (result.outcome == reference_.outcome) return "";
      return "it went otherwise, and nobody was told: " + result.outcome + " and not " +
             reference_.outcome;
    }
    for (const Told& told : result.told) {
      const bool same = told.code.value() == fault.error || !faults.same_code;
      if ((told.place & places) != 0 && same) return "";
      const bool cut = told.code == ferry::SslErrc::truncated ||
                       told.code == std::errc::connection_reset;
      if (scenario_.over_tls && told.late && cut) return "";
    }
    return "it was told, but not where or as what it should";
  }

  Result play(const FaultSpec& fault) {
    const Watchdog watchdog{scenario_.name, fault};
    Result result;
    const std::size_t before = open_descriptors();
    try {
      Stage stage{injector_};
      injector_.arm(fault);
      try {
        result.outcome = scenario_.run(stage);
        // Also an error that is told last of all.
      } catch (const Over&) {
        result.outcome = "over";
      }
      for (std::size_t i = 0; i < result.counts.size(); ++i) {
        result.counts[i] = injector_.count(static_cast<Call>(i));
      }
      stage.finish();
      result.told = stage.told;
    } catch (const std::exception& error) {
      result.problem = error.what();
    }
    injector_.disarm();
    injector_.before_waiting = nullptr;
    // (Threads that end something may be at it yet.)
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (open_descriptors() != before && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    const std::size_t after = open_descriptors();
    if (result.problem.empty() && after != before) {
      result.problem = std::to_string(before) + " descriptors before and " +
                       std::to_string(after) + " after";
    }
    return result;
  }

  Scenario scenario_;
  Injector injector_;
  Result reference_;
};

}  // namespace test
