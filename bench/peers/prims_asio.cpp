// Asio: post() and steady_timer. With its locks where another thread takes part, as it must be.
#include <asio.hpp>

#include <chrono>
#include <deque>
#include <optional>
#include <string>

#include "prims.hpp"

namespace {

using prims::now_ns;
using prims::per;
using Timer = asio::steady_timer;
using Timers = std::deque<Timer>;

std::optional<asio::io_context> context;
std::int64_t count, wanted;
prims::Wakes wakes;

void make_context(int hint) { context.emplace(hint); }
constexpr int one_thread = ASIO_CONCURRENCY_HINT_UNSAFE;
constexpr int with_locks = 1;

Timers make_timers(std::int64_t n) {
  Timers timers;
  for (std::int64_t i = 0; i < n; ++i) timers.emplace_back(*context);
  return timers;
}
void arm(Timer& timer, std::uint32_t ms) {
  timer.expires_after(std::chrono::milliseconds{ms});
  timer.async_wait([](asio::error_code) { ++count; });
}

void chain() {
  if (++count < wanted) asio::post(*context, chain);
}

void post_batch(std::int64_t n) {
  make_context(one_thread);
  const std::uint64_t start = now_ns();
  while (count < n) {
    for (std::int64_t i = 0; i < prims::batch; ++i) asio::post(*context, [] { ++count; });
    context->restart();
    context->poll();
  }
  prims::print("ns", per(now_ns() - start, count));
}

void post_chain(std::int64_t n) {
  make_context(one_thread);
  wanted = n;
  const std::uint64_t start = now_ns();
  asio::post(*context, chain);
  context->run();
  prims::print("ns", per(now_ns() - start, n));
}

void xpost(std::int64_t n) {
  make_context(with_locks);
  wanted = n;
  const auto keep_running = asio::make_work_guard(*context);
  prims::Flood flood{n, [] {
                       asio::post(*context, [] {
                         if (++count == wanted) context->stop();
                       });
                     }};
  context->run();
  const std::uint64_t end = now_ns();
  prims::print("ns", per(end - flood.join(), n));
}

void xwake(std::int64_t n) {
  make_context(with_locks);
  const auto keep_running = asio::make_work_guard(*context);
  wakes.start(
      n, [] { asio::post(*context, [] { wakes.woken(); }); }, [] { context->stop(); });
  context->run();
  wakes.join_and_print();
}

void timer_cancel(std::int64_t n) {
  make_context(one_thread);
  Timers timers = make_timers(n);
  const std::uint64_t start = now_ns();
  for (Timer& timer : timers) arm(timer, prims::far_ms());
  const std::uint64_t armed = now_ns();
  for (Timer& timer : timers) timer.cancel();
  context->poll();  // the cancelled handlers run, with operation_aborted
  const std::uint64_t cancelled = now_ns();
  if (count != n) std::exit(1);
  prims::print("arm_ns", per(armed - start, n), "cancel_ns", per(cancelled - armed, n));
}

void timer_churn(std::int64_t n) {
  make_context(one_thread);
  Timers timers = make_timers(prims::churned);
  for (Timer& timer : timers) arm(timer, prims::far_ms());
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) {
    arm(timers[prims::any_churned()], prims::far_ms());  // a new expiry cancels the wait before it
    if (i % 64 == 63) context->poll();
  }
  context->poll();
  prims::print("ns", per(now_ns() - start, n));
}

void timer_fire(std::int64_t n) {
  make_context(one_thread);
  Timers timers = make_timers(n);
  const std::uint64_t start = now_ns();
  for (Timer& timer : timers) arm(timer, prims::near_ms());
  const std::uint64_t armed = now_ns();
  prims::wait_until_due(armed);
  const std::uint64_t due = now_ns();
  context->run();
  if (count != n) std::exit(1);
  prims::print("arm_ns", per(armed - start, n), "fire_ns", per(now_ns() - due, n));
}

constexpr prims::Test tests[] = {
    {"post_batch", post_batch}, {"post_chain", post_chain},     {"xpost", xpost},
    {"xwake", xwake},           {"timer_cancel", timer_cancel}, {"timer_churn", timer_churn},
    {"timer_fire", timer_fire},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string version = "Asio " + std::to_string(ASIO_VERSION / 100000) + "." +
                              std::to_string(ASIO_VERSION / 100 % 1000) + "." +
                              std::to_string(ASIO_VERSION % 100);
  return prims::run(argc, argv, version.c_str(), tests);
}
