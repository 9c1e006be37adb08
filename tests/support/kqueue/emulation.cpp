#include "emulation.hpp"

#include <sys/event.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace test::kqueue {
namespace {

struct Rule {
  int filter, flag, error, times;
};
struct Settings {
  std::vector<Rule> rules;
  bool has_user_events = true, mutes_user_events = false;
  int at_most = 0;  // 0: no limit
  std::optional<std::mt19937> order;
};
Settings settings;

int planned_error(int filter, int flags) {
  for (Rule& rule : settings.rules) {
    if (rule.filter != filter || (flags & rule.flag) == 0 || rule.times == 0) continue;
    --rule.times;
    return rule.error;
  }
  return 0;
}

// What a descriptor is, as far as its filters differ by that.
enum class Kind { tcp, unix_stream, listener, pipe_reader, pipe_writer, process, other };

int option(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : 0;
}

Kind kind_of(int fd, const struct stat& facts) {
  if (S_ISFIFO(facts.st_mode)) {
    const int mode = ::fcntl(fd, F_GETFL) & O_ACCMODE;
    return mode == O_WRONLY ? Kind::pipe_writer
                            : (mode == O_RDONLY ? Kind::pipe_reader : Kind::other);
  }
  if (!S_ISSOCK(facts.st_mode) || option(fd, SO_TYPE) != SOCK_STREAM) return Kind::other;
  if (option(fd, SO_ACCEPTCONN) != 0) return Kind::listener;
  return option(fd, SO_DOMAIN) == AF_UNIX ? Kind::unix_stream : Kind::tcp;
}

// Whether this side has said that it will send no more: its write filter is at its end.
bool own_end(int fd, Kind kind) {
  if (kind == Kind::unix_stream) {
    return ::send(fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE;
  }
  if (kind != Kind::tcp) return false;
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return false;
  return info.tcpi_state == TCP_FIN_WAIT1 || info.tcpi_state == TCP_FIN_WAIT2 ||
         info.tcpi_state == TCP_CLOSING || info.tcpi_state == TCP_LAST_ACK ||
         info.tcpi_state == TCP_TIME_WAIT;
}

struct Note {
  void* udata = nullptr;
  Kind kind = Kind::other;
  dev_t device = 0;
  ino_t inode = 0;
};

// Whether the child has ended, reaped or not.
bool has_ended(pid_t pid) {
  siginfo_t info{};
  const int answer = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  return answer != 0 || info.si_pid == pid;
}

// What a filter says of a descriptor now; nothing: it is not active.
std::optional<struct kevent> look(int fd, int filter, const Note& note, int seen) {
  const bool reads = filter == EVFILT_READ;
  const bool failed = (seen & POLLERR) != 0, hung_up = (seen & POLLHUP) != 0;
  bool active = (seen & (reads ? POLLIN : POLLOUT)) != 0;
  bool end = false, error = false;
  switch (note.kind) {
    case Kind::listener: break;
    case Kind::tcp: case Kind::unix_stream: {
      const bool peer_ended = (seen & POLLRDHUP) != 0;
      if (hung_up && !peer_ended && !failed) return std::nullopt;  // not connected (yet)
      error = failed;
      end = failed || (reads ? peer_ended : hung_up || (active && own_end(fd, note.kind)));
      break;
    }
    // A filter for the direction that a pipe's end does not have is accepted, and tells the end.
    case Kind::pipe_reader: end = hung_up; break;
    case Kind::pipe_writer: end = failed; break;
    case Kind::process: end = has_ended(fd); break;
    case Kind::other: end = failed || hung_up; break;
  }
  if (!active && !end) return std::nullopt;
  struct kevent event {};
  if (note.kind == Kind::process) {
    EV_SET(&event, static_cast<uintptr_t>(fd), EVFILT_PROC, EV_EOF | EV_ONESHOT, NOTE_EXIT, 0,
           note.udata);
    return event;
  }
  int bytes = 1;  // of space, or of connections: a hint at best
  if (reads && note.kind != Kind::listener) ::ioctl(fd, FIONREAD, &bytes);
  EV_SET(&event, static_cast<uintptr_t>(fd), static_cast<int16_t>(filter),
         static_cast<uint16_t>(end ? EV_EOF : 0), error ? ECONNRESET : 0u, bytes, note.udata);
  return event;
}

class Queue {
 public:
  explicit Queue(int fd) : fd_{fd} {}

  int change(const struct kevent& change);
  // Safe in a signal handler.
  int trigger(const struct kevent& change);
  // The number of events, or -1 and errno.
  int wait(struct kevent* events, int count, const timespec* timeout);

 private:
  using Key = std::pair<int, int>;  // descriptor, filter
  struct User {
    std::atomic<bool> exists{false}, triggered{false};
    std::atomic<void*> udata{nullptr};
  };

  int change_user(const struct kevent& change);
  int change_process(const struct kevent& change);
  int add(const Key& key, const struct stat& facts, const struct kevent& change);
  void poll_all();
  bool gather();
  bool is_stale(const Key& key, const Note& note) const;
  int hand_out(struct kevent* events, int count);
  bool sleep(const timespec* timeout, std::chrono::steady_clock::time_point began, bool nap);

  const int fd_;  // an eventfd: what the program holds, and what ends a wait
  std::mutex mutex_;
  std::map<Key, Note> notes_;
  std::array<User, 4> users_;
  Key after_{-1, 0};  // where the last wait stopped, so that all have their turn
  // Kept, so that a steady loop allocates nothing.
  std::vector<pollfd> set_;
  std::vector<Key> keys_;
  std::vector<struct kevent> active_;
};

int Queue::change_user(const struct kevent& change) {
  if (!settings.has_user_events || change.ident >= users_.size()) return EINVAL;
  User& user = users_[change.ident];
  if ((change.flags & EV_ADD) == 0 && !user.exists) return ENOENT;
  user.udata = change.udata;
  user.exists = (change.flags & EV_DELETE) == 0;
  if ((change.flags & EV_DELETE) != 0) user.triggered = false;
  return (change.fflags & NOTE_TRIGGER) != 0 ? trigger(change) : 0;
}

int Queue::trigger(const struct kevent& change) {
  if (change.ident >= users_.size() || !users_[change.ident].exists) return ENOENT;
  users_[change.ident].udata = change.udata;  // as each touch does
  if (settings.mutes_user_events) return 0;
  users_[change.ident].triggered = true;
  const std::uint64_t one = 1;
  return ::write(fd_, &one, sizeof one) < 0 && errno != EAGAIN ? errno : 0;
}

// A child's end, once. One that has ended already: macOS knows no such process, FreeBSD tells.
int Queue::change_process(const struct kevent& change) {
  if (change.flags != (EV_ADD | EV_ONESHOT | EV_RECEIPT) || change.fflags != NOTE_EXIT) {
    return ENOTSUP;
  }
  Note note;
  note.udata = change.udata;
  note.kind = Kind::process;
  const auto pid = static_cast<pid_t>(change.ident);
  if (flavour() == Flavour::macos && has_ended(pid)) return ESRCH;
  const std::lock_guard lock{mutex_};
  notes_[{static_cast<int>(pid), EVFILT_PROC}] = note;
  return 0;
}

int Queue::change(const struct kevent& change) {
  if (const int error = planned_error(change.filter, change.flags)) return error;
  if (change.filter == EVFILT_USER) return change_user(change);
  if (change.filter == EVFILT_PROC) return change_process(change);
  if (change.filter != EVFILT_READ && change.filter != EVFILT_WRITE) return EINVAL;
  if ((change.flags & ~(EV_ADD | EV_DELETE | EV_RECEIPT)) != 0) return ENOTSUP;
  struct stat facts {};
  const Key key{static_cast<int>(change.ident), change.filter};
  if (::fstat(key.first, &facts) != 0) return EBADF;
  const std::lock_guard lock{mutex_};
  auto found = notes_.find(key);
  if (found != notes_.end() && is_stale(key, found->second)) {
    notes_.erase(found);
    found = notes_.end();
  }
  if ((change.flags & EV_ADD) != 0) return add(key, facts, change);
  if (found == notes_.end()) return ENOENT;
  if ((change.flags & EV_DELETE) != 0) {
    notes_.erase(found);
  } else {
    found->second.udata = change.udata;
  }
  return 0;
}

int Queue::add(const Key& key, const struct stat& facts, const struct kevent& change) {
  const Kind kind = kind_of(key.first, facts);
  const bool is_freebsd = flavour() == Flavour::freebsd;
  if (S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(1, 3)) {  // /dev/null
    return is_freebsd ? ENODEV : EINVAL;
  }
  if (is_freebsd && kind == Kind::pipe_writer && key.second == EVFILT_WRITE) {
    pollfd end{key.first, 0, 0};
    if (::poll(&end, 1, 0) == 1 && (end.revents & POLLERR) != 0) return EPIPE;
  }
  notes_[key] = {change.udata, kind, facts.st_dev, facts.st_ino};
  return 0;
}

// A close() takes the notes of its descriptor away; here they are found to be somebody else's.
bool Queue::is_stale(const Key& key, const Note& note) const {
  if (note.kind == Kind::process) return false;
  struct stat facts {};
  return ::fstat(key.first, &facts) != 0 || facts.st_dev != note.device ||
         facts.st_ino != note.inode;
}

// One entry for each note, the queue's own first.
void Queue::poll_all() {
  set_.assign(1, {fd_, POLLIN, 0});
  keys_.assign(1, {-1, 0});
  const auto append = [&](auto from, auto to) {
    for (; from != to; ++from) {
      const bool process = from->second.kind == Kind::process;
      const int asked = from->first.second == EVFILT_READ ? POLLIN : POLLOUT;
      set_.push_back({process ? -1 : from->first.first, static_cast<short>(asked | POLLRDHUP), 0});
      keys_.push_back(from->first);
    }
  };
  const auto middle = notes_.upper_bound(after_);
  append(middle, notes_.end());
  append(notes_.begin(), middle);
  ::poll(set_.data(), set_.size(), 0);
  for (std::size_t i = 1; i < set_.size(); ++i) {
    if (keys_[i].second == EVFILT_PROC) set_[i].revents = POLLIN;  // looked at by look()
  }
}

// Fills active_. True: something was seen that activates nothing, and would end a sleep at once.
bool Queue::gather() {
  active_.clear();
  poll_all();
  if (set_[0].revents != 0) {
    std::uint64_t count = 0;
    static_cast<void>(::read(fd_, &count, sizeof count));
  }
  for (std::size_t i = 0; i < users_.size(); ++i) {
    if (!users_[i].triggered.exchange(false)) continue;  // as EV_CLEAR has it
    struct kevent event {};
    EV_SET(&event, i, EVFILT_USER, EV_CLEAR, 0, 0, users_[i].udata);
    active_.push_back(event);
  }
  bool idle_noise = false;
  for (std::size_t i = 1; i < set_.size(); ++i) {
    if (set_[i].revents == 0) continue;
    const auto found = notes_.find(keys_[i]);
    if ((set_[i].revents & POLLNVAL) != 0 || is_stale(keys_[i], found->second)) {
      notes_.erase(found);
      continue;
    }
    const auto event = look(keys_[i].first, keys_[i].second, found->second, set_[i].revents);
    if (event) {
      active_.push_back(*event);
    } else {
      idle_noise = true;
    }
  }
  return idle_noise;
}

int Queue::hand_out(struct kevent* events, int count) {
  if (settings.order) std::shuffle(active_.begin(), active_.end(), *settings.order);
  if (settings.at_most > 0) count = std::min(count, settings.at_most);
  const auto size = std::min(active_.size(), static_cast<std::size_t>(count));
  std::copy_n(active_.begin(), size, events);
  for (std::size_t i = size; i < active_.size(); ++i) {  // what found no room is not forgotten
    if (active_[i].filter == EVFILT_USER) users_[active_[i].ident].triggered = true;
  }
  for (std::size_t i = 0; i < size; ++i) {
    if (events[i].filter != EVFILT_PROC) continue;  // those are told once
    notes_.erase({static_cast<int>(events[i].ident), EVFILT_PROC});
  }
  const struct kevent& last = events[size - 1];
  if (last.filter != EVFILT_USER) after_ = {static_cast<int>(last.ident), last.filter};
  return static_cast<int>(size);
}

// False: the time is up, or a signal came (then errno is EINTR).
bool Queue::sleep(const timespec* timeout, std::chrono::steady_clock::time_point began, bool nap) {
  using namespace std::chrono;
  using namespace std::chrono_literals;
  std::optional<nanoseconds> left;
  if (timeout != nullptr) {
    const nanoseconds limit = seconds{timeout->tv_sec} + nanoseconds{timeout->tv_nsec};
    left = limit - (steady_clock::now() - began);
    if (*left <= nanoseconds::zero()) return errno = 0, false;
  }
  for (std::size_t i = 1; i < set_.size(); ++i) {
    if (set_[i].revents != 0) set_[i].fd = -1;  // it makes noise: left out of a sleep, a short one
    // Its peer's end does not make a socket writable.
    if (keys_[i].second == EVFILT_WRITE) set_[i].events = POLLOUT;
  }
  if (nap) left = std::min<nanoseconds>(left.value_or(1ms), 1ms);
  timespec limit{};
  if (left) {
    limit.tv_sec = static_cast<time_t>(left->count() / 1'000'000'000);
    limit.tv_nsec = static_cast<long>(left->count() % 1'000'000'000);
  }
  return ::ppoll(set_.data(), set_.size(), left ? &limit : nullptr, nullptr) >= 0;
}

int Queue::wait(struct kevent* events, int count, const timespec* timeout) {
  const auto began = std::chrono::steady_clock::now();
  for (;;) {
    std::unique_lock lock{mutex_};
    const bool noise = gather();
    if (!active_.empty()) return hand_out(events, count);
    lock.unlock();  // set_ is the waiter's own
    if (!sleep(timeout, began, noise)) return errno == 0 ? 0 : -1;
  }
}

// By descriptor; in a signal handler no lock may be taken.
std::array<std::atomic<Queue*>, 65536> queues;

Queue* find(int fd) {
  if (fd < 0 || static_cast<std::size_t>(fd) >= queues.size()) return nullptr;
  return ::fcntl(fd, F_GETFD) == -1 ? nullptr : queues[static_cast<std::size_t>(fd)].load();
}

}  // namespace

Flavour flavour() {
  static const Flavour chosen = [] {
    const char* const name = std::getenv("FERRY_TEST_BACKEND");
    const bool freebsd = name != nullptr && std::string_view{name} == "kqueue-freebsd";
    return freebsd ? Flavour::freebsd : Flavour::macos;
  }();
  return chosen;
}

Faults::Faults() { settings = {}; }
Faults::~Faults() { settings = {}; }
void Faults::fail(int filter, int flag, int error, int times) {
  settings.rules.push_back({filter, flag, error, times});
}
void Faults::without_user_events() { settings.has_user_events = false; }
void Faults::mute_user_events() { settings.mutes_user_events = true; }
void Faults::at_most(int events) { settings.at_most = events; }
void Faults::shuffle(unsigned seed) { settings.order.emplace(seed); }

}  // namespace test::kqueue

using namespace test::kqueue;

int kqueue() {
  const bool closes_on_exec = flavour() == Flavour::macos;
  const int fd = ::eventfd(0, EFD_NONBLOCK | (closes_on_exec ? EFD_CLOEXEC : 0));
  if (fd < 0) return -1;
  if (static_cast<std::size_t>(fd) >= queues.size()) {
    ::close(fd);
    return errno = EMFILE, -1;
  }
  delete queues[static_cast<std::size_t>(fd)].exchange(new Queue{fd});  // of one that was closed
  return fd;
}

int kevent(int queue, const struct kevent* changes, int change_count, struct kevent* events,
           int event_count, const struct timespec* timeout) {
  Queue* const found = find(queue);
  if (found == nullptr) return errno = EBADF, -1;
  const bool only_triggers = change_count == 1 && event_count == 0 &&
                             changes->filter == EVFILT_USER && changes->flags == 0 &&
                             changes->fflags == NOTE_TRIGGER;
  if (only_triggers) {
    const int error = found->trigger(*changes);
    return error == 0 ? 0 : (errno = error, -1);
  }
  int answers = 0;
  for (int i = 0; i < change_count; ++i) {
    const struct kevent& change = changes[i];
    const int error = found->change(change);
    if (error == 0 && (change.flags & EV_RECEIPT) == 0) continue;
    if (answers == event_count) {  // no room to tell: the later changes are not made
      if (error != 0) return errno = error, -1;
      continue;
    }
    events[answers] = change;
    const int kept = flavour() == Flavour::macos ? change.flags : 0;
    events[answers].flags = static_cast<uint16_t>(kept | EV_ERROR);
    events[answers++].data = error;
  }
  // Where there is anything to tell, no event is fetched; without room for events nobody waits.
  if (answers > 0 || event_count == 0) return answers;
  return found->wait(events, event_count, timeout);
}
