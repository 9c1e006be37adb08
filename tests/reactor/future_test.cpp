// Futures: what is settled once, by whom, and who hears of it.
#include "support/world.hpp"

#include <memory>
#include <string>

using namespace test;
using ferry::CancelledError;
using ferry::Future;
using ferry::MisuseError;
using ferry::Task;

namespace {

std::exception_ptr boom() { return std::make_exception_ptr(std::runtime_error{"boom"}); }

Task<int> wait_for(Future<int> future) { co_return co_await future; }

}  // namespace

TEST_CASE("a future gives its result once it is there, and throws before", "[S-094]") {
  World world;
  auto future = world.loop.create_future<std::string>();
  CHECK_FALSE(future.done());
  CHECK_THROWS_AS(future.result(), MisuseError);
  CHECK_THROWS_AS(future.exception(), MisuseError);
  future.set_result("here");
  CHECK(future.done());
  CHECK_FALSE(future.cancelled());
  CHECK(future.result() == "here");
  CHECK(future.result() == "here");
  CHECK(future.exception() == nullptr);
  CHECK_THROWS_AS(future.set_result("again"), MisuseError);
  CHECK_THROWS_AS(future.set_exception(boom()), MisuseError);
  CHECK_FALSE(future.cancel());
  CHECK(future.result() == "here");
}

TEST_CASE("a future fails with an exception or an Error", "[S-094]") {
  World world;
  auto thrown = world.loop.create_future<int>();
  thrown.set_exception(boom());
  CHECK_THROWS_AS(thrown.result(), std::runtime_error);
  CHECK_THROWS_AS(thrown.take_result(), std::runtime_error);
  CHECK_THROWS_AS(thrown.set_result(1), MisuseError);
  auto failed = world.loop.create_future<void>();
  failed.set_error(ferry::Error{std::make_error_code(std::errc::broken_pipe), "test"});
  CHECK_THROWS_AS(failed.result(), ferry::OsError);
  auto empty = world.loop.create_future<void>();
  CHECK_THROWS_AS(empty.set_exception(nullptr), std::invalid_argument);
  CHECK_THROWS_AS(empty.set_error(ferry::Error{}), std::invalid_argument);
  CHECK_FALSE(empty.done());
}

TEST_CASE("a cancelled future throws CancelledError and stays cancelled", "[S-094]") {
  World world;
  auto future = world.loop.create_future<void>();
  CHECK(future.cancel());
  CHECK_FALSE(future.cancel());
  CHECK(future.done());
  CHECK(future.cancelled());
  CHECK_THROWS_AS(future.result(), CancelledError);
  CHECK_THROWS_AS(future.exception(), CancelledError);
  CHECK_THROWS_AS(future.set_result(), MisuseError);
}

TEST_CASE("callbacks of a future run in a later turn, in order, each once", "[A-035]") {
  World world;
  auto future = world.loop.create_future<int>();
  std::string order;
  future.add_done_callback([&] { order += "a"; });
  future.add_done_callback([&] {
    order += "b";
    future.add_done_callback([&] { order += "d"; });  // it is done already: soon
  });
  world.turn();
  CHECK(order.empty());
  future.set_result(1);
  future.add_done_callback([&] { order += "c"; });
  CHECK(order.empty());
  world.turn();
  CHECK(order == "abc");
  world.turn();
  CHECK(order == "abcd");
  auto cancelled = world.loop.create_future<int>();
  cancelled.add_done_callback([&] { order += "e"; });
  cancelled.cancel();
  world.turn();
  CHECK(order == "abcde");
}

TEST_CASE("a future that failed and that nobody looked at is reported", "[A-040]") {
  World world;
  { auto future = world.loop.create_future<void>(); }  // pending: nothing to say
  CHECK(world.reports.empty());
  {
    auto future = world.loop.create_future<void>();
    future.set_exception(boom());
    const auto copy = future;
    future = {};
    CHECK(world.reports.empty());
  }
  auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].exception.what() == "boom");
  {
    auto future = world.loop.create_future<void>();
    future.set_exception(boom());
    CHECK(future.exception() != nullptr);  // looked at
  }
  {
    auto future = world.loop.create_future<void>();
    future.cancel();
  }
  {
    auto future = world.loop.create_future<int>();
    auto waiting = world.loop.create_task(wait_for(future));
    future.set_exception(boom());
    world.settle();
    CHECK_THROWS_AS(waiting.result(), std::runtime_error);
  }
  CHECK(world.reports.empty());
}

TEST_CASE("an exception that nobody took is reported for tasks as well", "[A-040][T-011]") {
  World world;
  auto throwing = []() -> Task<void> {
    throw std::runtime_error{"nobody waits for this"};
    co_return;
  };
  static_cast<void>(world.loop.create_task(throwing()));
  world.settle();
  const auto reports = world.take_reports();
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].exception.what() == "nobody waits for this");
}

TEST_CASE("any number of tasks wait for one future, and wake in their order", "[S-094]") {
  World world;
  auto future = world.loop.create_future<int>();
  std::string order;
  auto waiting = [](Future<int> shared, std::string& log, char name) -> Task<int> {
    const int value = co_await shared;
    log += name;
    co_return value;
  };
  std::vector<Future<int>> tasks;
  for (const char name : {'a', 'b', 'c'}) {
    tasks.push_back(world.loop.create_task(waiting(future, order, name)));
  }
  world.settle();
  future.set_result(4);
  CHECK(order.empty());  // never inside set_result()
  world.turn();
  CHECK(order == "abc");
  for (const auto& task : tasks) CHECK(task.result() == 4);
  CHECK(world.run(waiting(future, order, 'd')) == 4);  // done already
  CHECK(order == "abcd");
}

TEST_CASE("tasks and callbacks of a future hear of it in the order in which they came",
          "[A-035]") {
  World world;
  auto future = world.loop.create_future<void>();
  std::string order;
  auto waiting = [](Future<void> shared, std::string& log) -> Task<void> {
    co_await shared;
    log += "b";
  };
  future.add_done_callback([&] { order += "a"; });
  auto task = world.loop.create_task(waiting(future, order));
  world.settle();
  future.add_done_callback([&] { order += "c"; });
  future.set_result();
  world.turn();
  CHECK(order == "abc");
}

TEST_CASE("cancelling who waits cancels what it waits for, as in asyncio", "[S-094]") {
  World world;
  auto future = world.loop.create_future<int>();
  auto first = world.loop.create_task(wait_for(future));
  auto second = world.loop.create_task(wait_for(future));
  auto outer = [](Future<int> inner) -> Task<int> { co_return co_await inner; };
  auto third = world.loop.create_task(outer(first));
  world.settle();
  CHECK(third.cancel());  // goes through the task to the future, and so to its other waiter
  CHECK(future.cancelled());
  CHECK_FALSE(third.done());  // not inside the call
  world.settle();
  CHECK(first.cancelled());
  CHECK(second.cancelled());
  CHECK(third.cancelled());
}

TEST_CASE("a waiter that is gone is not woken", "[S-094]") {
  World world;
  auto future = world.loop.create_future<int>();
  {
    ferry::Loop other{backend()};
    auto waiting = other.create_future<int>();
    auto task = other.create_task(wait_for(waiting));
    other.stop();
    other.run_forever();
    CHECK_FALSE(task.done());
    future.add_done_callback([waiting]() mutable { waiting.set_result(1); });
  }  // its frames are gone; the future lives on
  future.set_result(2);
  world.settle();
}

TEST_CASE("values that cannot be copied are moved out", "[S-094]") {
  World world;
  auto future = world.loop.create_future<std::unique_ptr<int>>();
  auto taking = [](Future<std::unique_ptr<int>> from) -> Task<int> {
    auto value = co_await from;
    co_return *value;
  };
  auto task = world.loop.create_task(taking(future));
  future.set_result(std::make_unique<int>(3));
  world.settle();
  CHECK(task.result() == 3);
}

TEST_CASE("the result of a task is the task's alone to set", "[C-22]") {
  World world;
  auto gate = world.loop.create_future<int>();
  auto task = world.loop.create_task(wait_for(gate));
  CHECK_THROWS_AS(task.set_result(1), MisuseError);
  CHECK_THROWS_AS(task.set_exception(boom()), MisuseError);
  CHECK_FALSE(task.done());
  gate.set_result(2);
  world.settle();
  CHECK(task.result() == 2);
}

TEST_CASE("a future outlives its loop and does nothing then", "[T-024]") {
  Future<int> future, waited;
  {
    ferry::Loop loop{backend()};
    future = loop.create_future<int>();
    future.add_done_callback([] { FAIL("nobody is called after the loop"); });
    waited = loop.create_task(wait_for(future));
    loop.stop();
    loop.run_forever();
  }
  CHECK_FALSE(future.done());
  CHECK(waited.cancelled());  // a task ends with its loop
  future.add_done_callback([] { FAIL("nobody is called after the loop"); });
  future.set_result(1);
  CHECK(future.result() == 1);
  waited.cancel();
  auto failed = Future<int>{};
  {
    ferry::Loop loop{backend()};
    failed = loop.create_future<int>();
  }
  failed.set_exception(boom());  // nobody is there to hear of it
}

TEST_CASE("a future of another loop is refused, not waited for", "[T-199]") {
  World world;
  ferry::Loop other{backend()};
  auto future = other.create_future<int>();
  CHECK_THROWS_WITH(world.loop.run_until_complete(future),
                    "run_until_complete: the future is another loop's");
  auto task = wait_for(future);
  CHECK_THROWS_WITH(world.loop.run_until_complete(std::move(task)),
                    "co_await: the future is another loop's");
  future.set_result(1);
  CHECK(other.run_until_complete(future) == 1);
}

TEST_CASE("the result of a future is still there for others who have it", "[S-094]") {
  World world;
  auto future = world.loop.create_future<std::string>();
  world.loop.call_soon([&] { future.set_result("too long to be kept inside of a string"); });
  const std::string first = world.loop.run_until_complete(future);
  CHECK(first == future.result());
}
