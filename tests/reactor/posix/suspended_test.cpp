// A process that is stopped for a while.
#include "support/world.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

using namespace test;

TEST_CASE("after a suspended process goes on, each overdue timer fires once", "[T-192]") {
  int told[2];
  REQUIRE(::pipe(told) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ferry::Loop loop{backend()};
    const auto start = loop.time();
    std::string fired;
    for (const char name : {'a', 'b', 'c'}) {
      loop.call_at(start + 30ms + std::chrono::milliseconds{name - 'a'}, [&fired, name] {
        fired += name;
      });
    }
    loop.call_later(10s, [] { ::_exit(1); });
    loop.call_at(start + 40ms, [&] { loop.call_later(5ms, [&] { loop.stop(); }); });
    bool ok = ::write(told[1], "r", 1) == 1;
    loop.run_forever();
    ok = ok && ::write(told[1], fired.data(), fired.size()) > 0;
    ::_exit(ok ? 0 : 1);
  }
  ::close(told[1]);
  char buffer[16] = {};
  REQUIRE(::read(told[0], buffer, 1) == 1);
  REQUIRE(::kill(child, SIGSTOP) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  REQUIRE(WIFSTOPPED(status));
  ::usleep(60000);  // all are overdue
  REQUIRE(::kill(child, SIGCONT) == 0);
  const ssize_t count = ::read(told[0], buffer, sizeof buffer);
  REQUIRE(::waitpid(child, &status, 0) == child);
  ::close(told[0]);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(std::string(buffer, count > 0 ? static_cast<std::size_t>(count) : 0) == "abc");
}
