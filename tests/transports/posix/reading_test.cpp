// Reads that do not fill their buffer though there is more: what a system keeps apart.
#include "support/pipes.hpp"
#include "support/posix/descriptors.hpp"
#include "support/sockets.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

using namespace test;

namespace {

int number(const ferry::Socket& socket) { return static_cast<int>(socket.fileno()); }
int number(const ferry::Pipe& pipe_end) { return static_cast<int>(pipe_end.fileno()); }

void say(int to, std::string_view text, int flags = 0) {
  REQUIRE(::send(to, text.data(), text.size(), flags) == static_cast<ssize_t>(text.size()));
}

struct SocketPair {
  explicit SocketPair(int type) {
    int ends[2];
    if (::socketpair(AF_UNIX, type, 0, ends) != 0) return;
    ours = ferry::Pipe{ends[0]};
    theirs = ferry::Pipe{ends[1]};
  }
  ferry::Pipe ours, theirs;
};

}  // namespace

TEST_CASE("lines of a terminal that came together are read together", "[S-067]") {
  World world;
  const ferry::Pipe master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  REQUIRE(master);
  REQUIRE(::grantpt(number(master)) == 0);
  REQUIRE(::unlockpt(number(master)) == 0);
  ferry::Pipe slave{::open(::ptsname(number(master)), O_RDWR | O_NOCTTY | O_CLOEXEC)};
  REQUIRE(slave);
  const std::string lines = "one\ntwo\nthree\n";
  REQUIRE(::write(number(master), lines.data(), lines.size()) ==
          static_cast<ssize_t>(lines.size()));
  auto reading = read_end(world, std::move(slave));
  world.run_until([&] { return reading.protocol->received == lines; });
  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
}

TEST_CASE("bytes behind a descriptor that a Unix socket's peer sends are read", "[S-067]") {
  World world;
  SocketPair pair{SOCK_STREAM};
  REQUIRE(pair.ours);
  say(number(pair.theirs), "abc");
  send_with_descriptor(number(pair.theirs), "def");
  say(number(pair.theirs), "ghi");
  SECTION("as a pipe") {
    auto reading = read_end(world, std::move(pair.ours));
    world.run_until([&] { return reading.protocol->received == "abcdefghi"; });
    reading.transport->close();
    world.run_until([&] { return reading.protocol->lost; });
  }
  SECTION("as a socket") {
    auto stream = world.run(world.loop.connect_accepted_socket(
        ferry::make<Recorder>, ferry::Socket{pair.ours.detach()}));
    world.run_until([&] { return stream.protocol->received == "abcdefghi"; });
    stream.transport->abort();
    world.run_until([&] { return stream.protocol->lost; });
  }
}

TEST_CASE("messages that came together are read together", "[S-067]") {
  World world;
  SocketPair pair{SOCK_SEQPACKET};
  if (!pair.ours) return skip("this system has no Unix sockets of messages in order");
  for (const char* const message : {"abc", "def", "ghi"}) say(number(pair.theirs), message);
  auto reading = read_end(world, std::move(pair.ours));
  world.run_until([&] { return reading.protocol->received == "abcdefghi"; });
  reading.transport->close();
  world.run_until([&] { return reading.protocol->lost; });
}

TEST_CASE("bytes behind urgent ones are read", "[S-067]") {
  World world;
  Stream stream = open_stream(world);
  const int peer = number(stream.peer.socket());
  say(peer, "abc");
  say(peer, "!", MSG_OOB);
  say(peer, "def");
  world.run_until([&] { return stream.protocol->received == "abcdef"; });
  say(peer, "ghi");
  world.run_until([&] { return stream.protocol->received == "abcdefghi"; });
  stream.peer.shut_write();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.protocol->story() == "made data:9 eof lost");
}

TEST_CASE("the end has a turn of its own, after what the bytes before it set in motion",
          "[S-069]") {
  World world;
  SocketPair pair{SOCK_STREAM};
  auto protocol = std::make_shared<Recorder>();
  std::string order;
  protocol->on_data = [&] { world.loop.call_soon([&] { order += "callback "; }); };
  protocol->on_eof = [&] { order += "eof"; };
  say(number(pair.theirs), "abc");
  send_with_descriptor(number(pair.theirs), "def");
  auto reading = read_end(world, std::move(pair.ours), protocol);
  world.run_until([&] { return protocol->received == "abcdef"; });
  pair.theirs.close();
  world.run_until([&] { return protocol->lost; });
  CHECK(order.ends_with("callback eof"));
}
