// ferry's child processes, by the contract in peers/child.hpp.
#include <ferry/ferry.hpp>

#include <string>

#include "child.hpp"

namespace {

class Child final : public ferry::SubprocessProtocol {
 public:
  explicit Child(ferry::Future<void> ended) : ended_{std::move(ended)} {}

  void connection_made(ferry::SubprocessTransport& transport) override { transport_ = &transport; }
  void pipe_data_received(int, ferry::BytesView data) override {
    received_ += static_cast<std::int64_t>(data.size());
  }
  // After the exit, and the end of all pipes.
  void connection_lost(const ferry::Error&) override {
    if (transport_->get_returncode() != 0) child::fail("the child's exit");
    ended_.set_result();
  }
  std::int64_t received() const { return received_; }

 private:
  ferry::Future<void> ended_;
  ferry::SubprocessTransport* transport_ = nullptr;
  std::int64_t received_ = 0;
};

ferry::Task<std::int64_t> run_child(ferry::Loop& loop, ferry::Arguments arguments,
                                    ferry::SubprocessOptions options = {}) {
  const auto ended = loop.create_future<void>();
  const auto make = [&] { return std::make_shared<Child>(ended); };
  const auto started = co_await loop.subprocess_exec(make, arguments, options);
  co_await ended;
  co_return started.protocol->received();
}

ferry::Task<void> one_by_one(ferry::Loop& loop, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) co_await run_child(loop, {child::program});
}

void spawn(std::int64_t n, std::int64_t together) {
  ferry::Loop loop;
  const child::Stopwatch watch;
  std::vector<ferry::Future<void>> rows;
  for (std::int64_t i = 0; i < together; ++i) {
    const std::int64_t share = n / together + (i < n % together ? 1 : 0);
    rows.push_back(loop.create_task(one_by_one(loop, share)));
  }
  for (auto& row : rows) loop.run_until_complete(row);
  watch.print_spawned(n);
}

void stream(std::int64_t n) {
  ferry::Loop loop;
  const std::string number = std::to_string(n);
  const ferry::SubprocessOptions only_stdout{.in = ferry::Stdio::null(),
                                             .err = ferry::Stdio::inherit()};
  const child::Stopwatch watch;
  const auto received = loop.run_until_complete(
      run_child(loop, {child::generator(), number}, only_stdout));
  if (received != n) child::fail("the child's output");
  watch.print_streamed(n);
}

constexpr prims::Test tests[] = {
    {"spawn", [](std::int64_t n) { spawn(n, 1); }},
    {"spawn_many", [](std::int64_t n) { spawn(n, child::at_a_time); }},
    {"stream", stream},
};

}  // namespace

int main(int argc, char** argv) { return child::run(argc, argv, "ferry " FERRY_VERSION, tests); }
