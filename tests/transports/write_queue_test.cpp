#include "transports/write_queue.hpp"

#include "support/world.hpp"

#include <array>
#include <random>

using namespace test;
using ferry::BytesView;
using ferry::internal::Block;
using ferry::internal::BlockPool;
using ferry::internal::WriteQueue;

namespace {

// What the queue shows of itself in one go.
std::string shown(const WriteQueue& queue, std::size_t most_views = 4096) {
  std::vector<BytesView> views(most_views);
  std::string all;
  for (const BytesView& view : std::span{views}.first(queue.peek(views))) all += view.text();
  return all;
}

}  // namespace

TEST_CASE("a write queue is a string, however it is filled and emptied", "[C-14][S-028][A-055]") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random{seed};
    const auto up_to = [&](std::size_t most) { return random() % (most + 1); };
    BlockPool pool;
    WriteQueue queue;
    std::string model;
    for (int step = 0; step < 400; ++step) {
      const std::size_t most = up_to(9) == 0 ? 50'000 : 300;
      switch (up_to(4)) {
        case 0: case 1: {
          const std::string data = pattern(up_to(most), static_cast<unsigned>(random()));
          queue.append(data, pool);
          model += data;
          break;
        }
        case 2: {
          const std::size_t count = std::min(model.size(), up_to(most));
          queue.consume(count, pool);
          model.erase(0, count);
          break;
        }
        case 3: {
          const std::string some = shown(queue, up_to(3));
          CHECK(some == model.substr(0, some.size()));
          break;
        }
        default:
          if (up_to(9) != 0) break;
          queue.clear(pool);
          model.clear();
      }
      REQUIRE(queue.size() == model.size());
      REQUIRE(queue.empty() == model.empty());
    }
    CHECK(shown(queue) == model);
    queue.clear(pool);
    CHECK(shown(queue).empty());
  }
}

TEST_CASE("a view shows nothing empty and no more than it is asked for", "[C-14][T-032]") {
  BlockPool pool;
  WriteQueue queue;
  std::array<BytesView, 4> views;
  CHECK(queue.peek(views) == 0);
  queue.append("", pool);
  CHECK(queue.empty());
  CHECK(queue.peek(views) == 0);

  for (int i = 0; i < 6; ++i) queue.append(pattern(BlockPool::standard), pool);
  CHECK(queue.peek({}) == 0);
  CHECK(queue.peek(views) == 4);
  for (const BytesView& view : views) CHECK(view.size() == BlockPool::standard);
  queue.clear(pool);
}

TEST_CASE("what is queued never moves, whatever leaves before it", "[T-040]") {
  BlockPool pool;
  WriteQueue queue;
  const std::size_t size = std::size_t{64} << 20;
  const std::string data = pattern(size);
  queue.append(data, pool);
  std::array<BytesView, 2> views;
  REQUIRE(queue.peek(views) == 1);
  const std::byte* const begin = views[0].data();
  bool stays = true, fits = true;
  for (std::size_t sent = 0; sent < size; sent += 2048) {
    queue.peek(views);
    stays = stays && views[0].data() == begin + sent;
    fits = fits && views[0].subview(0, 2048) == BytesView{data}.subview(sent, 2048);
    queue.consume(2048, pool);
  }
  CHECK(stays);
  CHECK(fits);
  CHECK(queue.empty());
}

TEST_CASE("many small writes share their blocks, so that they leave together", "[T-039]") {
  BlockPool pool;
  WriteQueue queue;
  const std::string data = pattern(100'000);
  for (std::size_t i = 0; i < data.size(); ++i) queue.append(BytesView{data}.subview(i, 1), pool);
  std::array<BytesView, 64> views;
  CHECK(queue.peek(views) == (data.size() + BlockPool::standard - 1) / BlockPool::standard);
  CHECK(shown(queue) == data);
  queue.clear(pool);
}

TEST_CASE("a block that has been emptied serves again", "[T-039]") {
  BlockPool pool;
  WriteQueue queue;
  std::array<BytesView, 1> views;
  queue.append("first", pool);
  REQUIRE(queue.peek(views) == 1);
  const std::byte* const block = views[0].data();
  for (int i = 0; i < 100; ++i) {
    queue.consume(queue.size(), pool);
    queue.append("again", pool);
    REQUIRE(queue.peek(views) == 1);
    CHECK(views[0].data() == block);
    CHECK(views[0] == "again");
  }
  queue.clear(pool);
}
