// Systems without the newer calls: descriptors are born the same, and nobody dies of SIGPIPE.
#include "support/calls.hpp"
#include "support/posix/features.hpp"
#include "support/sockets.hpp"

#include "platform/posix/calls.hpp"

#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

using namespace test;
namespace calls = ferry::internal::calls;
using ferry::Socket;

namespace {

bool is_inherited(const Socket& socket) { return test::is_inherited(socket.fileno()); }

sigset_t only(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}
bool is_pending(int number) {
  sigset_t pending;
  REQUIRE(::sigpending(&pending) == 0);
  return sigismember(&pending, number) == 1;
}
bool is_blocked(int number) {
  sigset_t mask;
  REQUIRE(::pthread_sigmask(SIG_BLOCK, nullptr, &mask) == 0);
  return sigismember(&mask, number) == 1;
}

// SIGPIPE ends the process, as it does by default, while this lives.
class DeadlySigpipe {
 public:
  DeadlySigpipe() : before_{std::signal(SIGPIPE, SIG_DFL)} {}
  ~DeadlySigpipe() { std::signal(SIGPIPE, before_); }

 private:
  void (*before_)(int);
};

}  // namespace

TEST_CASE("what is made is not inherited and does not block, whatever the system lacks",
          "[T-116]") {
  const auto lacks = GENERATE(&Features::accept4, &Features::pipe2, &Features::socket_flags,
                              &Features::msg_nosignal);
  const Lacking lacking{lacks};
  const Socket made{calls::stream_socket(AF_INET)};
  CHECK_FALSE(is_inherited(made));
  CHECK(is_nonblocking(made.fileno()));

  auto [a, b] = ferry::socketpair();
  for (const Socket* const end : {&a, &b}) {
    CHECK_FALSE(is_inherited(*end));
    CHECK_FALSE(is_nonblocking(end->fileno()));  // as it is documented
  }

  int ends[2];
  REQUIRE(calls::pipe(ends) == 0);
  for (const Socket& end : {Socket{ends[0]}, Socket{ends[1]}}) {
    CHECK_FALSE(is_inherited(end));
    CHECK(is_nonblocking(end.fileno()));
  }

  const Socket listener = listening_socket();
  const Peer client = dial(listener.view().getsockname());
  const Socket accepted{calls::accept(listener.fileno(), nullptr, nullptr)};
  CHECK_FALSE(is_inherited(accepted));
  CHECK(is_nonblocking(accepted.fileno()));
}

TEST_CASE("what cannot be made fit to keep is closed, and says why", "[T-116]") {
  const Lacking no_flags{&Features::socket_flags}, no_pipe2{&Features::pipe2},
      no_accept4{&Features::accept4};
  const Socket listener = listening_socket();
  const auto fd = listener.fileno();
  ferry::NativeHandle pair[2];
  int ends[2];
  const auto make = [&](int what) -> ferry::NativeHandle {
    switch (what) {
      case 0: return calls::stream_socket(AF_INET);
      case 1: return calls::socket_pair(pair);
      case 2: return calls::pipe(ends);
      default: return calls::accept(fd, nullptr, nullptr);
    }
  };
  const int what = GENERATE(0, 1, 2, 3);
  const int steps = GENERATE(0, 1);  // that succeed before the one that fails
  const Peer client = dial(listener.view().getsockname());
  const std::size_t before = open_descriptors();
  Calls faults;
  faults.fail(Call::fcntl, ENOMEM, 1, -1, steps);
  CHECK(make(what) == -1);
  CHECK(errno == ENOMEM);
  CHECK(faults.count(Call::fcntl) == steps + 1);
  CHECK(open_descriptors() == before);
}

TEST_CASE("a send to a peer that has gone is an error and no SIGPIPE", "[T-044]") {
  const DeadlySigpipe deadly;
  const bool lacks = GENERATE(false, true);
  const Features before = ferry::internal::features;
  if (lacks) ferry::internal::features.msg_nosignal = false;
  auto [a, b] = ferry::socketpair();
  b.close();
  char text[] = "x";
  iovec parts[2] = {{text, 1}, {text, 1}};
  CHECK(calls::send(a.fileno(), "x", 1) == -1);
  CHECK(errno == EPIPE);
  CHECK(calls::sendmsg(a.fileno(), parts, 2) == -1);
  CHECK(errno == EPIPE);
  CHECK_THROWS_AS(a.send("x"), ferry::OsError);
  CHECK_FALSE(is_pending(SIGPIPE));
  CHECK_FALSE(is_blocked(SIGPIPE));
  ferry::internal::features = before;
}

TEST_CASE("a SIGPIPE that was waiting before is left to whom it belongs", "[T-044]") {
  const Lacking lacking{&Features::msg_nosignal};
  const sigset_t set = only(SIGPIPE);
  REQUIRE(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  auto [a, b] = ferry::socketpair();
  b.close();
  CHECK(calls::send(a.fileno(), "x", 1) == -1);
  CHECK_FALSE(is_pending(SIGPIPE));  // ours was taken back, though it was blocked already
  CHECK(is_blocked(SIGPIPE));
  ::raise(SIGPIPE);
  CHECK(calls::send(a.fileno(), "x", 1) == -1);
  CHECK(errno == EPIPE);
  CHECK(is_pending(SIGPIPE));
  int taken = 0;
  REQUIRE(::sigwait(&set, &taken) == 0);
  REQUIRE(::pthread_sigmask(SIG_UNBLOCK, &set, nullptr) == 0);
}

TEST_CASE("transports outlive peers without MSG_NOSIGNAL, inside a run and outside of one",
          "[T-044]") {
  const DeadlySigpipe deadly;
  const Lacking lacking{&Features::msg_nosignal};
  World world;
  const bool in_callback = GENERATE(false, true);
  Stream stream = open_stream(world, Carrier::unix_pair);
  stream.peer.close();
  const auto write = [&] {
    stream.transport->write("x");
    stream.transport->writelines(std::vector<std::string>{"y", "z"});
  };
  if (in_callback) {
    world.loop.call_soon(write);
  } else {
    write();
  }
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(world.take_reports().empty());
}
