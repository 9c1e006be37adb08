// Wakers that are pipes.
#include "support/posix/waker.hpp"

using namespace test;

TEST_CASE("a waker whose other end was closed does not make the loop spin", "[T-184]") {
  World world;
  if (world.loop.backend() != "poll") return skip("this backend's waker has no other end");
  check_closed_waker(world.loop);
}
