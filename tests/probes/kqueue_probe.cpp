// What ferry's kqueue backend relies on, asked of the system that this runs on.
//
//     c++ -std=c++20 tests/probes/kqueue_probe.cpp -o kqueue_probe && ./kqueue_probe
//
// on macOS or a BSD; it takes a few seconds and needs no network but loopback. Each line is a fact,
// the system's answer, and what was expected of it; the exit code is 0 if all answers are as
// expected. ferry's tests run it over their emulation of kqueue, where the facts about sockets that
// are not kqueue's are left out.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <libproc.h>
#endif

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

#if defined(FERRY_TEST_KQUEUE_EMULATION)
constexpr bool emulated = true;
const char* const flavour = std::getenv("FERRY_TEST_BACKEND");
const bool macos = flavour == nullptr || std::string_view{flavour} != "kqueue-freebsd";
#else
constexpr bool emulated = false;
#if defined(__APPLE__)
constexpr bool macos = true;
#else
constexpr bool macos = false;
#endif
#endif

int unexpected = 0;

// `expected`: any of these. For BSDs other than FreeBSD they are a guess.
void fact(const char* what, const std::string& answer, const std::set<std::string>& expected) {
  const bool good = expected.contains(answer);
  if (!good) ++unexpected;
  std::printf("%s  %s: %s\n", good ? "ok " : "BAD", what, answer.c_str());
  if (good) return;
  for (const std::string& one : expected) std::printf("     expected: %s\n", one.c_str());
}
void fact(const char* what, bool answer) { fact(what, answer ? "yes" : "no", {"yes"}); }

std::string error_name(int error) {
  switch (error) {
    case 0: return "accepted";
    case EBADF: return "EBADF";
    case ENOENT: return "ENOENT";
    case EPIPE: return "EPIPE";
    case EINVAL: return "EINVAL";
    case ENODEV: return "ENODEV";
    case EINTR: return "EINTR";
    case ECONNREFUSED: return "ECONNREFUSED";
    case ECONNRESET: return "ECONNRESET";
    default: return std::strerror(error);
  }
}

struct kevent make(int ident, int filter, int flags, std::uintptr_t udata, unsigned fflags = 0) {
  struct kevent event {};
  using Udata = decltype(event.udata);
  EV_SET(&event, static_cast<std::uintptr_t>(ident), static_cast<decltype(event.filter)>(filter),
         static_cast<decltype(event.flags)>(flags), fflags, 0, (Udata)(udata));
  return event;
}

// "READ+EOF(3) WRITE", in alphabetical order; the number is the udata, where it is not 1.
std::string words(const std::vector<struct kevent>& events) {
  std::set<std::string> all;
  for (const struct kevent& event : events) {
    std::string word = event.filter == EVFILT_READ    ? "READ"
                       : event.filter == EVFILT_WRITE ? "WRITE"
                                                      : "USER";
    if ((event.flags & EV_EOF) != 0) word += "+EOF";
    if ((event.flags & EV_EOF) != 0 && event.fflags != 0) word += "+error";
    const auto udata = (std::uintptr_t)(event.udata);
    if (udata != 1) word += "(" + std::to_string(udata) + ")";
    all.insert(word);
  }
  std::string text;
  for (const std::string& word : all) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "nothing" : text;
}

class Queue {
 public:
  Queue() : fd_{::kqueue()} {}
  ~Queue() { ::close(fd_); }
  Queue(const Queue&) = delete;
  int fd() const { return fd_; }

  // The errno of the receipt.
  int change(int ident, int filter, int flags, std::uintptr_t udata = 1) {
    const struct kevent one = make(ident, filter, flags | EV_RECEIPT, udata);
    struct kevent receipt {};
    const timespec zero{};
    const int count = ::kevent(fd_, &one, 1, &receipt, 1, &zero);
    if (count < 0) return errno;
    return count == 1 && (receipt.flags & EV_ERROR) != 0 ? static_cast<int>(receipt.data) : -1;
  }
  int add(int ident, int filter, std::uintptr_t udata = 1) {
    return change(ident, filter, EV_ADD, udata);
  }
  std::vector<struct kevent> wait(int milliseconds = 0, int room = 16) {
    std::vector<struct kevent> events(static_cast<std::size_t>(room));
    timespec limit{};
    limit.tv_sec = milliseconds / 1000;
    limit.tv_nsec = milliseconds % 1000 * 1'000'000;
    const int count = ::kevent(fd_, nullptr, 0, events.data(), room, &limit);
    events.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return events;
  }
  std::string told(int milliseconds = 0) { return words(wait(milliseconds)); }
  // What comes from another socket may take a moment: waits until `word` is told.
  std::string told_with(const char* word) {
    std::string text;
    for (int i = 0; i < 10'000 && text.find(word) == text.npos; ++i) text = told(1);
    return text;
  }

 private:
  int fd_;
};

struct Pair {
  int ours = -1, theirs = -1;
  void close() {
    ::close(ours);
    ::close(theirs);
  }
};
Pair unix_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
  return {ends[0], ends[1]};
}
Pair new_pipe() {  // ours reads
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  return {ends[0], ends[1]};
}
sockaddr_in loopback(int port = 0) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  name.sin_port = htons(static_cast<std::uint16_t>(port));
  return name;
}
int bound(sockaddr_in& name) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  socklen_t length = sizeof name;
  name = loopback();
  if (::bind(fd, reinterpret_cast<sockaddr*>(&name), length) != 0) std::abort();
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) std::abort();
  return fd;
}
int dial(const sockaddr_in& name, bool blocking) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (!blocking) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  ::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
  return fd;
}
Pair tcp_pair() {
  sockaddr_in name{};
  const int listener = bound(name);
  ::listen(listener, 1);
  Pair pair;
  pair.theirs = dial(name, true);
  pair.ours = ::accept(listener, nullptr, nullptr);
  ::close(listener);
  return pair;
}
void reset(int fd) {
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(fd);
}

void receipts() {
  Queue queue;
  Pair pair = unix_pair();
  if (::send(pair.theirs, "x", 1, 0) != 1) std::abort();
  queue.add(pair.ours, EVFILT_READ);
  const struct kevent changes[] = {make(9999, EVFILT_READ, EV_ADD | EV_RECEIPT, 1),
                                   make(pair.ours, EVFILT_WRITE, EV_ADD | EV_RECEIPT, 1)};
  struct kevent out[2] = {};
  const timespec zero{};
  const int count = ::kevent(queue.fd(), changes, 2, out, 2, &zero);
  fact("each change gives a receipt, and no event comes with them",
       count == 2 && (out[0].flags & out[1].flags & EV_ERROR) != 0);
  fact("a change of a closed descriptor",
       error_name(static_cast<int>(out[0].data)), {"EBADF"});
  fact("the change after one that failed",
       error_name(static_cast<int>(out[1].data)), {"accepted"});
  fact("both filters of one descriptor tell, each for itself", queue.told(), {"READ WRITE"});
  fact("adding again overwrites the udata", queue.add(pair.ours, EVFILT_READ, 2) == 0);
  fact("and only of that filter", queue.told(), {"READ(2) WRITE"});
  fact("what is added by level is told again", queue.told(), {"READ(2) WRITE"});
  fact("deleting", error_name(queue.change(pair.ours, EVFILT_READ, EV_DELETE)), {"accepted"});
  fact("deleting again", error_name(queue.change(pair.ours, EVFILT_READ, EV_DELETE)), {"ENOENT"});
  fact("what is left", queue.told(), {"WRITE"});
  const struct kevent none = make(9999, EVFILT_READ, EV_DELETE, 1);
  fact("without room for a receipt the error is the call's",
       ::kevent(queue.fd(), &none, 1, nullptr, 0, nullptr) == -1);
  pair.close();
}

void ends() {
  Queue queue;
  Pair pair = tcp_pair();
  queue.add(pair.ours, EVFILT_READ);
  queue.add(pair.ours, EVFILT_WRITE);
  if (::send(pair.theirs, "xy", 2, 0) != 2) std::abort();
  ::shutdown(pair.theirs, SHUT_WR);
  fact("the peer's end, with data before it", queue.told_with("EOF"), {"READ+EOF WRITE"});
  char byte;
  if (::recv(pair.ours, &byte, 1, 0) != 1) std::abort();
  fact("after one of two bytes was read", queue.told(), {"READ+EOF WRITE"});
  if (::recv(pair.ours, &byte, 1, 0) != 1) std::abort();
  fact("after both were read", queue.told(), {"READ+EOF WRITE"});
  pair.close();

  pair = tcp_pair();
  queue.add(pair.ours, EVFILT_WRITE);
  ::shutdown(pair.ours, SHUT_WR);
  fact("the write filter after our own end", queue.told(), {"WRITE+EOF"});
  pair.close();

  pair = tcp_pair();
  queue.add(pair.ours, EVFILT_READ);
  queue.add(pair.ours, EVFILT_WRITE);
  reset(pair.theirs);
  fact("a reset", queue.told_with("EOF"), {"READ+EOF+error WRITE+EOF+error"});
  fact("as long as it lasts", queue.told(), {"READ+EOF+error WRITE+EOF+error"});
  ::close(pair.ours);
}

void connects() {
  Queue queue;
  sockaddr_in name{};
  const int nobody = bound(name);
  int fd = dial(name, false);
  queue.add(fd, EVFILT_WRITE);
  fact("a refused connect", queue.told(1000), {"WRITE+EOF+error"});
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  fact("SO_ERROR after that was told", error_name(error), {"ECONNREFUSED"});
  ::close(fd);

  ::listen(nobody, 1);
  queue.add(nobody, EVFILT_READ);
  fact("a listener with an empty queue", queue.told(), {"nothing"});
  fd = dial(name, false);
  fact("with a connection in it", queue.told(1000), {"READ"});
  ::close(nobody);
  ::close(fd);

  fd = ::socket(AF_INET, SOCK_STREAM, 0);
  queue.add(fd, EVFILT_WRITE);
  fact("a socket that was never connected", queue.told(), {"nothing"});
  ::close(fd);
}

void buffers() {
  Queue queue;
  Pair pair = unix_pair();
  ::fcntl(pair.ours, F_SETFL, O_NONBLOCK);
  ::fcntl(pair.theirs, F_SETFL, O_NONBLOCK);
  char much[65536] = {};
  while (::send(pair.ours, much, sizeof much, 0) > 0 || ::send(pair.ours, much, 1, 0) > 0) {
  }
  queue.add(pair.ours, EVFILT_WRITE);
  fact("the write filter of a full socket", queue.told(), {"nothing"});
  while (::recv(pair.theirs, much, sizeof much, 0) > 0) {
  }
  fact("after the peer has read it all", queue.told(1000), {"WRITE"});
  pair.close();
}

void pipes() {
  Queue queue;
  Pair pair = new_pipe();
  queue.add(pair.ours, EVFILT_READ);
  ::close(pair.theirs);
  fact("a pipe whose writer has gone", queue.told(), {"READ+EOF"});
  ::close(pair.ours);

  pair = new_pipe();
  queue.add(pair.theirs, EVFILT_WRITE);
  fact("a pipe with room", queue.told(), {"WRITE"});
  ::close(pair.ours);
  fact("when its reader has gone", queue.told(), {"WRITE+EOF"});
  ::close(pair.theirs);

  pair = new_pipe();
  ::close(pair.ours);
  fact("watching a pipe whose reader has gone", error_name(queue.add(pair.theirs, EVFILT_WRITE)),
       {macos ? "accepted" : "EPIPE"});
  ::close(pair.theirs);

  pair = new_pipe();
  fact("the direction that an end does not have", error_name(queue.add(pair.ours, EVFILT_WRITE)),
       {"accepted"});
  fact("is silent", queue.told(), {"nothing"});
  pair.close();

  const int null = ::open("/dev/null", O_RDWR);
  const std::string answer = error_name(queue.add(null, EVFILT_READ));
  fact("watching /dev/null", answer, {macos ? "EINVAL" : "ENODEV", "accepted"});
  ::close(null);
}

void numbers() {
  Queue queue;
  Pair pair = unix_pair();
  queue.add(pair.ours, EVFILT_WRITE);
  const int copy = ::dup(pair.ours);
  ::close(pair.ours);
  fact("closing takes a note away, also while a duplicate is open", queue.told(), {"nothing"});
  const int again = ::dup2(pair.theirs, pair.ours);
  fact("and the number's next owner is not told", queue.told(), {"nothing"});
  fact("until it is added", error_name(queue.add(again, EVFILT_WRITE, 2)), {"accepted"});
  fact("with its own udata", queue.told(), {"WRITE(2)"});
  ::close(copy);
  pair.close();
}

void fairness() {
  Queue queue;
  std::vector<Pair> pairs;
  for (std::uintptr_t i = 1; i <= 3; ++i) {
    pairs.push_back(unix_pair());
    queue.add(pairs.back().ours, EVFILT_WRITE, i);
  }
  std::set<std::uintptr_t> seen;
  for (int i = 0; i < 3; ++i) {
    for (const auto& event : queue.wait(0, 1)) seen.insert((std::uintptr_t)(event.udata));
  }
  fact("three that are ready, in three calls with room for one", std::to_string(seen.size()),
       {"3"});
  for (Pair& pair : pairs) pair.close();
}

void wakers() {
#ifdef EVFILT_USER
  Queue queue;
  const std::string answer = error_name(queue.change(0, EVFILT_USER, EV_ADD | EV_CLEAR));
  fact("user events", answer, {"accepted"});
  if (answer != "accepted") return;
  const auto trigger = [&] {
    const struct kevent ring = make(0, EVFILT_USER, 0, 1, NOTE_TRIGGER);
    return ::kevent(queue.fd(), &ring, 1, nullptr, 0, nullptr) == 0;
  };
  fact("before one is triggered", queue.told(), {"nothing"});
  fact("triggering, twice", trigger() && trigger());
  const auto events = queue.wait();
  fact("is told", words(events), {"USER"});
  fact("once", std::to_string(events.size()), {"1"});
  fact("and no more", queue.told(), {"nothing"});
  std::thread other{[&] { trigger(); }};
  fact("from another thread", queue.told(10'000), {"USER"});
  other.join();
#else
  fact("user events", "not in this system's headers", {"not in this system's headers"});
#endif
}

void times() {
  Queue queue;
  using Clock = std::chrono::steady_clock;
  const auto began = Clock::now();
  queue.wait(20);
  fact("a wait is not shorter than asked", Clock::now() - began >= std::chrono::milliseconds{20});

  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, nullptr);
  itimerval soon{};
  soon.it_value.tv_usec = 50'000;
  ::setitimer(ITIMER_REAL, &soon, nullptr);
  struct kevent event {};
  const timespec limit{10, 0};
  const int count = ::kevent(queue.fd(), nullptr, 0, &event, 1, &limit);
  fact("a signal ends a wait, though its handler restarts calls",
       error_name(count < 0 ? errno : 0), {"EINTR"});
}

void descriptors() {
  Queue queue;
  const bool closes = (::fcntl(queue.fd(), F_GETFD) & FD_CLOEXEC) != 0;
  fact("a kqueue is closed on exec by itself", closes ? "yes" : "no", {macos ? "yes" : "no"});
  if (emulated) return;
  sockaddr_in name{};
  const int listener = bound(name);
  const int on = 1;
  ::setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(listener, F_SETFL, O_NONBLOCK);
  ::listen(listener, 1);
  queue.add(listener, EVFILT_READ);
  const int client = dial(name, true);
  queue.told(1000);
  const int accepted = ::accept(listener, nullptr, nullptr);
  const bool inherits = (::fcntl(accepted, F_GETFL) & O_NONBLOCK) != 0;
  fact("an accepted socket inherits O_NONBLOCK", inherits);
  int value = 0;
  socklen_t length = sizeof value;
  ::getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &value, &length);
  fact("and TCP_NODELAY", value != 0);
#if defined(__APPLE__)
  socket_fdinfo facts{};
  const auto listens = [&](int fd) {
    facts = {};
    const int size = ::proc_pidfdinfo(::getpid(), fd, PROC_PIDFDSOCKETINFO, &facts, sizeof facts);
    return size == sizeof facts && (facts.psi.soi_options & SO_ACCEPTCONN) != 0;
  };
  fact("proc_pidfdinfo() tells a listener from a connection",
       listens(listener) && !listens(accepted));
#else
  value = 0;
  ::getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, &length);
  fact("SO_ACCEPTCONN tells a listener", value != 0);
#endif
  ::close(listener);
  ::close(accepted);
  ::close(client);
}

volatile sig_atomic_t pipes_broken = 0;

void broken_pipes() {
  if (emulated) return;
  struct sigaction action {};
  action.sa_handler = [](int) { pipes_broken = 1; };
  ::sigaction(SIGPIPE, &action, nullptr);
#ifdef MSG_NOSIGNAL
  Pair pair = unix_pair();
  ::close(pair.theirs);
  const bool refused = ::send(pair.ours, "x", 1, MSG_NOSIGNAL) == -1;
  // ferry does not rely on it on macOS: old kernels.
  fact("MSG_NOSIGNAL keeps SIGPIPE away", refused && pipes_broken == 0 ? "yes" : "no",
       macos ? std::set<std::string>{"yes", "no"} : std::set<std::string>{"yes"});
  ::close(pair.ours);
  pipes_broken = 0;
#endif
#ifdef SO_NOSIGPIPE
  Pair other = unix_pair();
  const int on = 1;
  ::setsockopt(other.ours, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
  ::close(other.theirs);
  const bool failed = ::send(other.ours, "x", 1, 0) == -1;
  fact("SO_NOSIGPIPE keeps SIGPIPE away", failed && pipes_broken == 0);
  ::close(other.ours);
#endif
}

}  // namespace

int main() {
  receipts();
  ends();
  connects();
  buffers();
  pipes();
  numbers();
  fairness();
  wakers();
  times();
  descriptors();
  broken_pipes();
  std::printf(unexpected == 0 ? "all as expected\n" : "%d unexpected\n", unexpected);
  return unexpected == 0 ? 0 : 1;
}
