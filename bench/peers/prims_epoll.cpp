// The limit for a loop's primitives: epoll, a callback queue of one's own, an eventfd that is
// written only when the loop sleeps, and timers in a 4-ary heap with the keys beside the pointers.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <mutex>

#include "prims.hpp"

namespace {

using prims::now_ns;
using prims::per;

struct Task {
  void (*run)(void*);
  void* argument;
};
using Queue = std::vector<Task>;

class Loop {
 public:
  Loop() {
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
  }
  void post(Task task) { ready_.push_back(task); }
  void post_from_elsewhere(Task task);
  void turn(bool may_sleep);

 private:
  bool nothing_remote() {
    const std::lock_guard lock{mutex_};
    return remote_.empty();
  }
  static void run_all(Queue& tasks) {
    for (const Task& task : tasks) task.run(task.argument);
    tasks.clear();
  }

  int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  Queue ready_, running_, remote_, remote_running_;
  std::mutex mutex_;  // of remote_
  std::atomic<bool> asleep_{false};
};

void Loop::post_from_elsewhere(Task task) {
  bool first = false;
  {
    const std::lock_guard lock{mutex_};
    first = remote_.empty();
    remote_.push_back(task);
  }
  // The first of a batch wakes the loop, and only if it sleeps or is about to.
  if (first && asleep_) eventfd_write(wake_, 1);
}

void Loop::turn(bool may_sleep) {
  int timeout = 0;
  if (may_sleep && ready_.empty()) {
    asleep_ = true;
    if (nothing_remote()) timeout = -1;
  }
  epoll_event events[64];
  const int n = epoll_wait(epoll_, events, 64, timeout);
  asleep_ = false;
  eventfd_t count = 0;
  if (n > 0) eventfd_read(wake_, &count);
  {
    const std::lock_guard lock{mutex_};
    remote_running_.swap(remote_);
  }
  run_all(remote_running_);
  running_.swap(ready_);
  run_all(running_);
}

// --- timers ---

struct Timer {
  std::uint32_t position = 0;
};

class TimerHeap {
 public:
  void arm(Timer& timer, std::uint64_t when) {
    heap_.push_back({when, &timer});
    up(static_cast<std::uint32_t>(heap_.size() - 1));
  }
  void cancel(const Timer& timer) {
    const std::uint32_t hole = timer.position;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (last.timer == &timer) return;
    place(hole, last);
    up(hole);
    down(last.timer->position);
  }
  // Calls `fire` for every timer that is due.
  template <class Fire>
  void run(std::uint64_t now, Fire fire) {
    while (!heap_.empty() && heap_[0].when <= now) {
      Timer* timer = heap_[0].timer;
      const Entry last = heap_.back();
      heap_.pop_back();
      if (!heap_.empty()) {
        heap_[0] = last;
        down(0);
      }
      fire(*timer);
    }
  }

 private:
  struct Entry {  // comparing touches no timer
    std::uint64_t when;
    Timer* timer;
  };
  void place(std::uint32_t i, Entry entry) {
    heap_[i] = entry;
    entry.timer->position = i;
  }
  void up(std::uint32_t i) {
    const Entry entry = heap_[i];
    while (i > 0) {
      const std::uint32_t parent = (i - 1) / 4;
      if (heap_[parent].when <= entry.when) break;
      place(i, heap_[parent]);
      i = parent;
    }
    place(i, entry);
  }
  void down(std::uint32_t i) {
    const Entry entry = heap_[i];
    const auto size = static_cast<std::uint32_t>(heap_.size());
    for (;;) {
      const std::uint32_t first = i * 4 + 1;
      if (first >= size) break;
      const std::uint32_t end = first + 4 < size ? first + 4 : size;
      std::uint32_t least = first;
      for (std::uint32_t child = first + 1; child < end; ++child)
        if (heap_[child].when < heap_[least].when) least = child;
      if (heap_[least].when >= entry.when) break;
      place(i, heap_[least]);
      i = least;
    }
    place(i, entry);
  }

  std::vector<Entry> heap_;
};

std::uint64_t in_ms(std::uint64_t now, std::uint32_t ms) {
  return now + ms * std::uint64_t{1'000'000};
}

// --- tests ---

Loop* loop;
std::int64_t count, wanted;
bool stopping;
prims::Wakes wakes;

void increment(void*) { ++count; }
void increment_and_stop(void*) { stopping = ++count == wanted; }
void chain(void*) {
  if (++count < wanted) loop->post({chain, nullptr});
}
void on_wake(void*) { wakes.woken(); }
void on_stop(void*) { stopping = true; }

void post_batch(std::int64_t n) {
  const std::uint64_t start = now_ns();
  while (count < n) {
    for (std::int64_t i = 0; i < prims::batch; ++i) loop->post({increment, nullptr});
    loop->turn(false);
  }
  prims::print("ns", per(now_ns() - start, count));
}

void post_chain(std::int64_t n) {
  wanted = n;
  const std::uint64_t start = now_ns();
  loop->post({chain, nullptr});
  while (count < n) loop->turn(false);
  prims::print("ns", per(now_ns() - start, n));
}

void xpost(std::int64_t n) {
  wanted = n;
  prims::Flood flood{n, [] { loop->post_from_elsewhere({increment_and_stop, nullptr}); }};
  while (!stopping) loop->turn(true);
  const std::uint64_t end = now_ns();
  prims::print("ns", per(end - flood.join(), n));
}

void xwake(std::int64_t n) {
  wakes.start(
      n,
      [] {
        loop->post_from_elsewhere({on_wake, nullptr});
      },
      [] {
        loop->post_from_elsewhere({on_stop, nullptr});
      });
  while (!stopping) loop->turn(true);
  wakes.join_and_print();
}

void timer_cancel(std::int64_t n) {
  TimerHeap heap;
  std::vector<Timer> timers(static_cast<std::size_t>(n));
  const std::uint64_t start = now_ns();
  for (Timer& timer : timers) heap.arm(timer, in_ms(start, prims::far_ms()));
  const std::uint64_t armed = now_ns();
  for (const Timer& timer : timers) heap.cancel(timer);
  prims::print("arm_ns", per(armed - start, n), "cancel_ns", per(now_ns() - armed, n));
}

void timer_churn(std::int64_t n) {
  TimerHeap heap;
  std::vector<Timer> timers(prims::churned);
  for (Timer& timer : timers) heap.arm(timer, in_ms(0, prims::far_ms()));
  const std::uint64_t start = now_ns();
  for (std::int64_t i = 0; i < n; ++i) {
    Timer& timer = timers[prims::any_churned()];
    heap.cancel(timer);
    heap.arm(timer, in_ms(0, prims::far_ms()));
  }
  prims::print("ns", per(now_ns() - start, n));
}

void timer_fire(std::int64_t n) {
  TimerHeap heap;
  std::vector<Timer> timers(static_cast<std::size_t>(n));
  const std::uint64_t start = now_ns();
  for (Timer& timer : timers) heap.arm(timer, in_ms(start, prims::near_ms()));
  const std::uint64_t armed = now_ns();
  prims::wait_until_due(armed);
  const std::uint64_t due = now_ns();
  while (count < n) heap.run(now_ns(), [](Timer&) { ++count; });
  prims::print("arm_ns", per(armed - start, n), "fire_ns", per(now_ns() - due, n));
}

constexpr prims::Test tests[] = {
    {"post_batch", post_batch}, {"post_chain", post_chain},     {"xpost", xpost},
    {"xwake", xwake},           {"timer_cancel", timer_cancel}, {"timer_churn", timer_churn},
    {"timer_fire", timer_fire},
};

}  // namespace

int main(int argc, char** argv) {
  Loop the_loop;
  loop = &the_loop;
  return prims::run(argc, argv, "raw epoll", tests);
}
