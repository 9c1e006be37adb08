// Children of ferry's, which are the program of support/child.cpp unless a test says otherwise.
#pragma once

#include "support/child_recorder.hpp"
#include "support/world.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace test {

inline constexpr const char* child_tool = FERRY_CHILD_TOOL;

struct Started {
  std::shared_ptr<ChildRecorder> protocol;
  std::shared_ptr<ferry::SubprocessTransport> transport;
};
// The arguments are the tool's, without its own name.
inline Started start_tool(World& world, std::vector<std::string> arguments,
                          ferry::SubprocessOptions options = {},
                          std::shared_ptr<ChildRecorder> protocol =
                              std::make_shared<ChildRecorder>()) {
  arguments.insert(arguments.begin(), child_tool);
  auto made = world.run(
      world.loop.subprocess_exec([&] { return protocol; }, arguments, options));
  return {std::move(made.protocol), std::move(made.transport)};
}
inline void run_to_end(World& world, const Started& child) {
  world.run_until([&] { return child.protocol->lost; }, "the child's end");
}
// The same for those of a loop that has gone.
inline void await_no_children() {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (has_children()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
}
// Until ferry's threads have ended and reaped what nobody waits for.
inline void await_rest(World& world, std::size_t descriptors) {
  world.run_until([&] { return !has_children() && open_descriptors() == descriptors; },
                  "the last child");
}
// As many children as there are protocols, at once; those that wait for the end of stdin.
inline void run_many(World& world, const std::vector<std::shared_ptr<ChildRecorder>>& protocols,
                     const std::vector<std::string>& argv,
                     ferry::SubprocessOptions options = {}) {
  std::vector<ferry::Future<ferry::Subprocess<ChildRecorder>>> starting;
  for (const auto& protocol : protocols) {
    starting.push_back(world.loop.create_task(
        world.loop.subprocess_exec([protocol] { return protocol; }, argv, options)));
  }
  world.run_until([&] {
    return std::all_of(starting.begin(), starting.end(), [](auto& one) { return one.done(); });
  });
  for (auto& one : starting) one.result().transport->stdin_pipe()->close();
  world.run_until([&] {
    return std::all_of(protocols.begin(), protocols.end(), [](auto& one) { return one->lost; });
  });
  for (const auto& protocol : protocols) {
    CHECK(std::count(protocol->events.begin(), protocol->events.end(), "exited") == 1);
  }
}
// What the tool writes, lines ended by \n on every system.
inline std::string output_of(World& world, std::vector<std::string> arguments,
                             ferry::SubprocessOptions options = {}) {
  const Started child = start_tool(world, std::move(arguments), options);
  run_to_end(world, child);
  return child.protocol->data[1];
}

}  // namespace test
