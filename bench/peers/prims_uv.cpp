// libuv. It has no post: the usual idiom is a queue of one's own, run from an idle handle that is
// active while the queue is not empty (the loop's thread), or from a uv_async_t (other threads).
#include <uv.h>

#include <mutex>
#include <string>

#include "prims.hpp"

namespace {

using prims::now_ns;
using prims::per;

struct Task {
  void (*run)(void*);
  void* argument;
};
using Queue = std::vector<Task>;

uv_loop_t* loop;
uv_idle_t idle;
uv_async_t async;
Queue ready, running, remote, remote_running;
std::mutex remote_mutex;
std::int64_t count, wanted;
prims::Wakes wakes;

void run_all(Queue& tasks) {
  for (const Task& task : tasks) task.run(task.argument);
  tasks.clear();
}

void on_idle(uv_idle_t* handle) {
  running.swap(ready);
  run_all(running);
  if (ready.empty()) uv_idle_stop(handle);
}

void post(Task task) {
  if (ready.empty()) uv_idle_start(&idle, on_idle);
  ready.push_back(task);
}

void post_from_elsewhere(Task task) {
  bool first = false;
  {
    const std::lock_guard lock{remote_mutex};
    first = remote.empty();
    remote.push_back(task);
  }
  if (first) uv_async_send(&async);
}

void on_async(uv_async_t*) {
  {
    const std::lock_guard lock{remote_mutex};
    remote_running.swap(remote);
  }
  run_all(remote_running);
}

void increment(void*) { ++count; }
void increment_and_stop(void*) {
  if (++count == wanted) uv_stop(loop);
}
void chain(void*) {
  if (++count < wanted) post({chain, nullptr});
}
void on_wake(void*) { wakes.woken(); }
void on_stop(void*) { uv_stop(loop); }
void on_timer(uv_timer_t*) { ++count; }

std::vector<uv_timer_t> make_timers(std::size_t n) {
  std::vector<uv_timer_t> timers(n);
  for (uv_timer_t& timer : timers) uv_timer_init(loop, &timer);
  return timers;
}

void post_batch(std::int64_t n) {
  const std::uint64_t start = now_ns();
  while (count < n) {
    for (std::int64_t i = 0; i < prims::batch; ++i) post({increment, nullptr});
    uv_run(loop, UV_RUN_NOWAIT);
  }
  prims::print("ns", per(now_ns() - start, count));
}

void post_chain(std::int64_t n) {
  wanted = n;
  const std::uint64_t start = now_ns();
  post({chain, nullptr});
  uv_run(loop, UV_RUN_DEFAULT);
  prims::print("ns", per(now_ns() - start, n));
}

void xpost(std::int64_t n) {
  wanted = n;
  uv_async_init(loop, &async, on_async);
  prims::Flood flood{n, [] { post_from_elsewhere({increment_and_stop, nullptr}); }};
  uv_run(loop, UV_RUN_DEFAULT);
  const std::uint64_t end = now_ns();
  prims::print("ns", per(end - flood.join(), n));
}

void xwake(std::int64_t n) {
  uv_async_init(loop, &async, on_async);
  wakes.start(
      n,
      [] {
        post_from_elsewhere({on_wake, nullptr});
      },
      [] {
        post_from_elsewhere({on_stop, nullptr});
      });
  uv_run(loop, UV_RUN_DEFAULT);
  wakes.join_and_print();
}

void timer_cancel(std::int64_t n) {
  auto timers = make_timers(static_cast<std::size_t>(n));
  const std::uint64_t start = now_ns();
  for (uv_timer_t& timer : timers) uv_timer_start(&timer, on_timer, prims::far_ms(), 0);
  const std::uint64_t armed = now_ns();
  for (uv_timer_t& timer : timers) uv_timer_stop(&timer);
  prims::print("arm_ns", per(armed - start, n), "cancel_ns", per(now_ns() - armed, n));
}

void timer_churn(std::int64_t n) {
  auto timers = make_timers(prims::churned);
  for (uv_timer_t& timer : timers) uv_timer_start(&timer, on_timer, prims::far_ms(), 0);
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) {
    uv_timer_t& timer = timers[prims::any_churned()];
    uv_timer_stop(&timer);
    uv_timer_start(&timer, on_timer, prims::far_ms(), 0);
  }
  prims::print("ns", per(now_ns() - start, n));
}

void timer_fire(std::int64_t n) {
  auto timers = make_timers(static_cast<std::size_t>(n));
  uv_update_time(loop);
  const std::uint64_t start = now_ns();
  for (uv_timer_t& timer : timers) uv_timer_start(&timer, on_timer, prims::near_ms(), 0);
  const std::uint64_t armed = now_ns();
  prims::wait_until_due(armed);
  const std::uint64_t due = now_ns();
  uv_run(loop, UV_RUN_DEFAULT);
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
  loop = uv_default_loop();
  uv_idle_init(loop, &idle);
  const std::string version = std::string{"libuv "} + uv_version_string();
  return prims::run(argc, argv, version.c_str(), tests);
}
