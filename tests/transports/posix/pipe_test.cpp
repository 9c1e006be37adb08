// FIFOs, terminals, devices, and sockets as pipes.
#include "support/calls.hpp"
#include "support/pipes.hpp"
#include "support/posix/features.hpp"
#include "support/sockets.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

using namespace test;

namespace {

// A FIFO in a directory of its own.
class Fifo {
 public:
  Fifo() { REQUIRE(::mkfifo(path_.c_str(), 0600) == 0); }
  ferry::Pipe open(int how) const {
    return ferry::Pipe{::open(path_.c_str(), how | O_NONBLOCK | O_CLOEXEC)};
  }

 private:
  Directory directory_;
  std::string path_ = directory_ / "fifo";
};

// Both sides of a terminal.
struct Terminal {
  Terminal() {
    master = ferry::Pipe{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    REQUIRE(master);
    const auto fd = static_cast<int>(master.fileno());
    REQUIRE(::grantpt(fd) == 0);
    REQUIRE(::unlockpt(fd) == 0);
    slave = ferry::Pipe{::open(::ptsname(fd), O_RDWR | O_NOCTTY | O_CLOEXEC)};
    REQUIRE(slave);
    termios raw{};
    REQUIRE(::tcgetattr(static_cast<int>(slave.fileno()), &raw) == 0);
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    raw.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    REQUIRE(::tcsetattr(static_cast<int>(slave.fileno()), TCSANOW, &raw) == 0);
  }
  ferry::Pipe master, slave;
};

ferry::Pipe copy_of(const ferry::Pipe& end) {
  return ferry::Pipe{::fcntl(static_cast<int>(end.fileno()), F_DUPFD_CLOEXEC, 0)};
}
void put_all(const ferry::Pipe& end, std::string_view text) {
  REQUIRE(::write(static_cast<int>(end.fileno()), text.data(), text.size()) ==
          static_cast<ssize_t>(text.size()));
}
// How often a loop that has nothing to do looks, while a timer runs.
int turns_while_idle(World& world) {
  bool over = false;
  world.loop.call_later(ferry::Seconds{0.02}, [&] { over = true; });
  int turns = 0;
  for (; !over && turns < 1000; ++turns) {
    world.loop.process_events(world.loop.poll_events());
    world.loop.process_ready();
  }
  return turns;
}

}  // namespace

TEST_CASE("a FIFO has its end when its last writer goes, not before the first", "[T-155]") {
  World world;
  const Fifo fifo;
  auto reading = read_end(world, fifo.open(O_RDONLY));
  world.settle();
  CHECK(reading.protocol->story() == "made");
  {
    const ferry::Pipe one = fifo.open(O_WRONLY);
    put_all(one, "one");
    const ferry::Pipe two = fifo.open(O_WRONLY);
    put_all(two, "two");
    world.run_until([&] { return reading.protocol->received.size() == 6; });
  }
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->story() == "made data:6 eof lost");
}

TEST_CASE("a FIFO that outlives its writers has no end, and does not spin", "[T-155]") {
  World world;
  const Fifo fifo;
  auto reading = read_end(world, fifo.open(O_RDONLY), std::make_shared<Recorder>(),
                          {.outlive_writers = true});
  std::size_t come = 0;
  for (int i = 0; i < 3; ++i) {
    const ferry::Pipe writer = fifo.open(O_WRONLY);
    put_all(writer, "again");
    come += 5;
    world.run_until([&] { return reading.protocol->received.size() == come; });
  }
  CHECK(turns_while_idle(world) < 20);
  CHECK(reading.protocol->story() == "made data:15");
  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
  CHECK_FALSE(reading.protocol->reason);
}

TEST_CASE("the other side of a terminal that goes is the end of input", "[T-156]") {
  World world;
  Terminal terminal;
  auto reading = read_end(world, std::move(terminal.master));
  put_all(terminal.slave, "to the screen");
  world.run_until([&] { return reading.protocol->received.size() == 13; });
  terminal.slave.close();
  world.run_until([&] { return reading.protocol->lost; });
  CHECK(reading.protocol->story() == "made data:13 eof lost");
}

TEST_CASE("a handle is free again as soon as its transport has closed it", "[T-159]") {
  World world;
  ferry::PipePair first = ferry::make_pipe();
  const auto number = first.read.fileno();
  auto protocol = std::make_shared<Recorder>();
  std::optional<ferry::Future<ferry::ReadPipe<Recorder>>> second;
  ferry::PipePair next;
  protocol->on_made = [&] {
    protocol->transport->close();
    next = ferry::make_pipe();
    CHECK(next.read.fileno() == number);
    second = world.loop.create_task(
        world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(next.read)));
  };
  auto reading = read_end(world, std::move(first.read), protocol);
  world.run_until([&] { return protocol->lost && second->done(); });
  auto made = second->take_result();
  put_all(next.write, "hello");
  world.run_until([&] { return made.protocol->received == "hello"; });
  made.transport->close();
  world.run_until([&] { return made.protocol->lost; });
}

TEST_CASE("one terminal is read and written by two transports", "[T-156][T-159]") {
  World world;
  Terminal terminal;
  ferry::Pipe copy = copy_of(terminal.master);
  ferry::Pipe same{terminal.master.fileno()};
  auto reading = read_end(world, std::move(terminal.master));
  CHECK_THROWS_AS(world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(same)),
                  std::invalid_argument);
  static_cast<void>(same.detach());
  auto writing = write_end(world, std::move(copy));
  auto screen = read_end(world, std::move(terminal.slave));
  writing.transport->write("typed");
  world.run_until([&] { return screen.protocol->received == "typed"; });
  writing.transport->close();
  world.run_until([&] { return writing.protocol->lost; });
  CHECK_FALSE(screen.protocol->lost);
  reading.transport->close();
  world.run_until([&] { return screen.protocol->lost; });
  CHECK(screen.protocol->story() == "made data:5 eof lost");
}

TEST_CASE("a terminal that others share blocks again afterwards", "[A-028]") {
  World world;
  Terminal terminal;
  const ferry::Pipe shared = copy_of(terminal.slave);
  REQUIRE_FALSE(is_nonblocking(shared.fileno()));
  SECTION("when its transport is closed") {
    auto reading = read_end(world, std::move(terminal.slave));
    CHECK(is_nonblocking(shared.fileno()));
    reading.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
  }
  SECTION("when its loop is closed") {
    ferry::Loop loop{backend()};
    loop.run_until_complete(
        loop.connect_write_pipe(ferry::make<Recorder>, std::move(terminal.slave)));
    CHECK(is_nonblocking(shared.fileno()));
  }
  SECTION("when it is refused") {
    Calls calls;
    calls.fail(watching_call(backend_name()), ENOMEM);
    if (backend_name() == "poll") return skip("poll() watches without a system call");
    CHECK_THROWS(world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(terminal.slave)));
    CHECK(terminal.slave);
  }
  CHECK_FALSE(is_nonblocking(shared.fileno()));
}

TEST_CASE("a terminal blocks again when the last of its transports has gone", "[T-156][A-028]") {
  World world;
  Terminal terminal;
  const ferry::Pipe shared = copy_of(terminal.slave);
  auto writing = write_end(world, copy_of(terminal.slave));
  auto reading = read_end(world, std::move(terminal.slave));
  const bool reader_first = GENERATE(false, true);
  const auto end = [&](auto& one) {
    one.transport->close();
    world.run_until([&] { return one.protocol->lost; });
  };
  reader_first ? end(reading) : end(writing);
  CHECK(is_nonblocking(shared.fileno()));
  reader_first ? end(writing) : end(reading);
  CHECK_FALSE(is_nonblocking(shared.fileno()));
}

TEST_CASE("a device that cannot be watched is refused at the call", "[T-157]") {
  World world;
  ferry::Pipe null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (backend_name() == "poll") {
    // poll(2) watches it: always ready, and at its end.
    auto reading = read_end(world, std::move(null));
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->story() == "made eof lost");
    return;
  }
  const ferry::NativeHandle number = null.fileno();
  const auto text = thrown_by<std::invalid_argument>(
      [&] { return world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(null)); });
  CHECK(text == "connect_read_pipe: handle " + std::to_string(number) +
                    " is a device that cannot be watched");
  CHECK(null.fileno() == number);
  CHECK_FALSE(is_nonblocking(number));
}

TEST_CASE("a pipe's end is refused for the direction that it does not have", "[T-157]") {
  World world;
  auto ends = ferry::make_pipe();
  CHECK_THROWS_AS(world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(ends.write)),
                  std::invalid_argument);
  CHECK_THROWS_AS(world.loop.connect_write_pipe(ferry::make<Recorder>, std::move(ends.read)),
                  std::invalid_argument);
  CHECK((ends.read && ends.write));
}

TEST_CASE("a socket is a pipe of either direction", "[A-028][T-152]") {
  World world;
  auto [one, two] = ferry::socketpair();
  SECTION("read") {
    auto reading = read_end(world, ferry::Pipe{one.detach()});
    REQUIRE(two.send("over a socket") == 13);
    two.close();
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->story() == "made data:13 eof lost");
  }
  SECTION("written, by a peer that says something itself, and goes") {
    auto writing = write_end(world, ferry::Pipe{one.detach()});
    writing.transport->write("one way");
    two.close();
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(writing.protocol->story() == "made lost");
  }
}

TEST_CASE("of a socket that is read and written by two transports none takes the other's",
          "[A-028]") {
  World world;
  auto [one, two] = ferry::socketpair();
  ferry::Pipe copy{duplicate(one.fileno()).detach()};
  auto reading = read_end(world, ferry::Pipe{one.detach()});
  reading.transport->pause_reading();
  auto writing = write_end(world, std::move(copy));
  REQUIRE(two.send("for the reader") == 14);
  world.settle();
  CHECK(turns_while_idle(world) < 20);
  CHECK(writing.protocol->story() == "made");
  reading.transport->resume_reading();
  world.run_until([&] { return reading.protocol->received.size() == 14; });
  writing.transport->write("an answer");
  CHECK(get(two) == "an answer");
  two.close();
  world.run_until([&] { return reading.protocol->lost; });
  writing.transport->write("nobody hears");
  world.run_until([&] { return writing.protocol->lost; });
}

TEST_CASE("a pipe that is given blocking is so again", "[A-028]") {
  World world;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const ferry::Pipe reader{ends[0]};
  ferry::Pipe shared = copy_of(ferry::Pipe{::dup(ends[1])});
  auto writing = write_end(world, ferry::Pipe{ends[1]});
  CHECK(is_nonblocking(shared.fileno()));
  writing.transport->close();
  world.run_until([&] { return writing.protocol->lost; });
  CHECK_FALSE(is_nonblocking(shared.fileno()));
}

TEST_CASE("a broken pipe raises no SIGPIPE, whatever the process does with it", "[T-152]") {
  World world;
  auto* const before = std::signal(SIGPIPE, SIG_DFL);  // which ends the process
  auto ends = ferry::make_pipe();
  auto writing = write_end(world, std::move(ends.write));
  world.settle();
  ends.read.close();
  SECTION("one part") { writing.transport->write("x"); }
  SECTION("many parts") {
    writing.transport->writelines(std::vector<ferry::BytesView>(40, std::string_view{"xy"}));
  }
  world.run_until([&] { return writing.protocol->lost; });
  CHECK(writing.protocol->reason == std::errc::broken_pipe);
  sigset_t pending;
  ::sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
  sigset_t mask;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  CHECK(sigismember(&mask, SIGPIPE) == 0);
  std::signal(SIGPIPE, before);
}

TEST_CASE("pipes have no names here, and say so", "[A-048]") {
  World world;
  CHECK_THROWS_AS(world.loop.create_pipe_connection(ferry::make<Recorder>, "x"),
                  ferry::NotSupported);
  CHECK_THROWS_AS(world.loop.start_serving_pipe(ferry::make<Recorder>, "x"), ferry::NotSupported);
}

TEST_CASE("a failing call on a pipe is told once, and nothing is left", "[T-160]") {
  World world;
  auto ends = ferry::make_pipe();
  SECTION("read") {
    auto reading = read_end(world, std::move(ends.read));
    Calls calls;
    calls.fail(Call::read, EIO, 1, reading.transport->get_extra_info(ferry::pipe).fileno());
    put_all(ends.write, "x");
    world.run_until([&] { return reading.protocol->lost; });
    CHECK(reading.protocol->reason == std::errc::io_error);
    CHECK(std::string{reading.protocol->reason.what()}.find("read from the pipe") == 0);
  }
  SECTION("write") {
    auto writing = write_end(world, std::move(ends.write));
    Calls calls;
    calls.fail(Call::write, EIO, 1, writing.transport->get_extra_info(ferry::pipe).fileno());
    writing.transport->write("x");
    world.run_until([&] { return writing.protocol->lost; });
    CHECK(std::string{writing.protocol->reason.what()}.find("write to the pipe") == 0);
  }
  SECTION("adopting") {
    int blocking[2];
    REQUIRE(::pipe(blocking) == 0);
    const ferry::Pipe other{blocking[1]};
    ferry::Pipe end{blocking[0]};
    auto task = world.loop.connect_read_pipe(ferry::make<Recorder>, std::move(end));
    Calls calls;
    calls.fail(Call::fcntl, EBADF, 1, blocking[0], 1);
    const auto error = error_of(world, std::move(task));
    CHECK(std::string{error.what()}.find("non-blocking") != std::string::npos);
    CHECK_FALSE(is_open(blocking[0]));
  }
}
