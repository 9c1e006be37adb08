#include "support/world.hpp"

using namespace test;

TEST_CASE("smoke: a stream opens, carries and closes") {
  World world;
  Stream stream = open_stream(world);
  stream.peer.send("hello");
  world.run_until([&] { return stream.protocol->received == "hello"; });
  stream.transport->write("world");
  stream.transport->close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.peer.receive() == "world");
  CHECK(stream.peer.ended());
  CHECK(stream.protocol->story() == "made data:5 lost");
}
