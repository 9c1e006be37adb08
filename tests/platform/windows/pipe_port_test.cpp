// Pipes in the completion port: readiness that is made of overlapped calls.
#include "support/calls.hpp"
#include "support/selectors.hpp"
#include "support/sockets.hpp"

#include "platform/windows/iocp_selector.hpp"
#include "platform/windows/pipe_pair.hpp"
#include "platform/windows/pipe_port.hpp"

#include <cerrno>

using namespace test;
using namespace ferry::internal;

namespace {

struct Ends {
  Ends() {
    ferry::Pipe ours;
    REQUIRE_FALSE(make_pipe_pair(TheirEnd::reads, true, ours, reader));
    writer.reset(port.adopt(ours.fileno()));
    REQUIRE(writer);
    ours.detach();
  }
  std::unique_ptr<IocpSelector> selector = make_iocp_selector();
  PipePort& port = selector->pipes();
  HeldPipe writer;
  ferry::Pipe reader;

  HeldPipe adopt_reader() {
    HeldPipe end{port.adopt(reader.fileno())};
    REQUIRE(end);
    static_cast<void>(reader.detach());
    return end;
  }
  // What is ready, by token; nothing after that time.
  std::vector<Event> look(std::chrono::nanoseconds timeout = 0s) const {
    std::vector<Event> events;
    CHECK_FALSE(selector->poll(timeout, events));
    return events;
  }
  Event wait() const {
    const auto events = look(30s);
    REQUIRE_FALSE(events.empty());
    return events[0];
  }
};

std::ptrdiff_t send(OverlappedPipe& end, std::string_view text) {
  const calls::Part part = calls::part(text.data(), text.size());
  return end.send(&part, 1);
}
std::string receive(OverlappedPipe& end, std::size_t most = 100'000) {
  std::string text(most, '\0');
  const std::ptrdiff_t count = end.recv(text.data(), text.size());
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}

}  // namespace

TEST_CASE("a pipe is readable as long as there is something, and at its end", "[T-209][T-154]") {
  Ends ends;
  const HeldPipe reader = ends.adopt_reader();
  CHECK_FALSE(ends.selector->add(reader->handle(), want_read, Trigger::level, 7));
  CHECK(ends.look().empty());
  char one;
  CHECK(reader->recv(&one, 1) == -1);
  CHECK(errno == EAGAIN);
  CHECK(send(*ends.writer, "abc") == 3);
  CHECK(ends.wait().ready == ready_read);
  CHECK(receive(*reader, 2) == "ab");
  CHECK(ends.wait().ready == ready_read);  // by level
  CHECK(receive(*reader) == "c");
  CHECK(ends.look().empty());
  SECTION("not asked") {
    CHECK_FALSE(ends.selector->modify(reader->handle(), want_none, Trigger::level, 7));
    send(*ends.writer, "d");
    CHECK(ends.look(5ms).empty());
    CHECK(ends.look().empty());
    CHECK_FALSE(ends.selector->modify(reader->handle(), want_read, Trigger::level, 9));
    CHECK(ends.wait().token == 9);
  }
  SECTION("the end") {
    ends.writer.reset();
    CHECK(ends.wait().ready == (ready_read | ready_hint));
    CHECK(reader->recv(&one, 1) == 0);
  }
}

TEST_CASE("a write in flight is told to those who give its bytes again", "[S-028][T-209]") {
  Ends ends;
  const HeldPipe reader = ends.adopt_reader();
  const auto handle = ends.writer->handle();
  CHECK_FALSE(ends.selector->add(handle, want_write, Trigger::level, 7));
  CHECK(ends.wait().ready == ready_write);
  CHECK(ends.wait().ready == ready_write);
  const std::string all = pattern(200'000);
  std::string_view left{all};
  const std::ptrdiff_t at_once = send(*ends.writer, left);  // what fits
  if (at_once > 0) left.remove_prefix(static_cast<std::size_t>(at_once));
  while (send(*ends.writer, left) > 0) FAIL("a pipe that nobody reads has no end");
  CHECK(errno == EAGAIN);
  CHECK(ends.look().empty());  // it is in flight
  std::string got;
  const auto read_all = [&] {
    for (std::string part; !(part = receive(*reader)).empty();) got += part;
  };
  read_all();
  CHECK(ends.wait().ready == ready_write);
  CHECK(send(*ends.writer, left.substr(0, 10)) == 10);  // of those that have left
  left.remove_prefix(10);
  while (!left.empty()) {
    const std::ptrdiff_t sent = send(*ends.writer, left);
    if (sent > 0) left.remove_prefix(static_cast<std::size_t>(sent));
    read_all();
    ends.look();
  }
  read_all();
  CHECK((got == all));
}

TEST_CASE("a write in flight fails when its reader goes", "[T-152][T-209]") {
  Ends ends;
  CHECK_FALSE(ends.selector->add(ends.writer->handle(), want_write, Trigger::level, 7));
  const std::string all(300'000, 'x');
  while (send(*ends.writer, all) > 0) {
  }
  CHECK(errno == EAGAIN);
  CHECK(ends.look().empty());
  ends.reader.close();
  CHECK(ends.wait().ready == ready_write);
  for (int i = 0; i < 2; ++i) {  // the one that was in flight, and another
    CHECK(send(*ends.writer, all) == -1);
    CHECK(errno == EPIPE);
  }
}

TEST_CASE("a packet that comes after its pipe was let go of tells nobody", "[T-209][T-202]") {
  Ends ends;
  HeldPipe reader = ends.adopt_reader();
  Ends other;
  CHECK_FALSE(ends.selector->add(reader->handle(), want_read, Trigger::level, 7));
  CHECK_FALSE(ends.selector->add(ends.writer->handle(), want_read, Trigger::level, 8));
  CHECK(ends.look().empty());
  CHECK(ends.port.in_flight() == 2);
  SECTION("cancelled") {}
  SECTION("done already, and waiting in the port") { send(*ends.writer, "x"); }
  const auto handle = reader->handle();
  ends.selector->remove(handle, true);
  reader.reset();
  CHECK_FALSE(is_open(handle));
  CHECK(ends.wait().token == 8);  // its reader has gone
  ends.selector->remove(ends.writer->handle(), true);
  ends.writer.reset();
  ends.look();
  CHECK(ends.port.in_flight() == 0);
}

TEST_CASE("a selector that goes takes back what its pipes lent to the system", "[T-209]") {
  const std::size_t before = open_descriptors();
  {
    Ends ends;
    HeldPipe reader = ends.adopt_reader();
    CHECK_FALSE(ends.selector->add(reader->handle(), want_read, Trigger::level, 7));
    CHECK(ends.look().empty());
    const std::string all(300'000, 'x');
    while (send(*ends.writer, all) > 0) {
    }
    reader.reset();
    ends.writer.reset();
    CHECK(ends.port.in_flight() > 0);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a handle is in one port, once", "[T-159]") {
  Ends ends;
  CHECK(ends.port.adopt(ends.writer->handle()) == nullptr);
  CHECK(errno == EEXIST);
  Ends other;
  CHECK(other.port.adopt(ends.writer->handle()) == nullptr);
  CHECK(other.port.find(ends.writer->handle()) == nullptr);
}
