// What goes wrong inside callbacks: who hears of it, and that everything else goes on.
#include "support/world.hpp"

#include <unistd.h>

#include <cstdio>
#include <stdexcept>

using namespace test;
using ferry::ExceptionContext;
using ferry::Loop;

namespace {

// What is written to standard error while it lives.
class CapturedErrors {
 public:
  CapturedErrors() : before_{::dup(STDERR_FILENO)}, file_{std::tmpfile()} {
    std::fflush(stderr);
    ::dup2(::fileno(file_), STDERR_FILENO);
  }
  ~CapturedErrors() {
    restore();
    std::fclose(file_);
  }
  CapturedErrors(const CapturedErrors&) = delete;
  CapturedErrors& operator=(const CapturedErrors&) = delete;

  std::string text() {
    restore();
    std::rewind(file_);
    std::string all;
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) {
      all += static_cast<char>(c);
    }
    return all;
  }

 private:
  void restore() {
    if (before_ < 0) return;
    std::fflush(stderr);
    ::dup2(before_, STDERR_FILENO);
    ::close(std::exchange(before_, -1));
  }
  int before_;
  std::FILE* file_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

std::string here(int line) { return "report_test.cpp:" + std::to_string(line); }

}  // namespace

TEST_CASE("a callback that throws is reported with its place, and the rest and the loop go on",
          "[T-011][A-040]") {
  World world;
  std::string order, messages;
  std::uint_least32_t line = 0;
  world.loop.set_exception_handler([&](Loop& loop, const ExceptionContext& context) {
    CHECK(&loop == &world.loop);
    CHECK(context.transport == nullptr);
    CHECK(context.protocol == nullptr);
    CHECK_FALSE(context.socket);
    CHECK(context.exception.exception() != nullptr);
    CHECK_FALSE(context.message.empty());
    messages += context.exception.what();
    messages += "; ";
    line = context.where.line();
  });
  const auto thrower = [](const char* text) { throw std::runtime_error{text}; };
  world.loop.call_soon([&] { order += "a"; });
  world.loop.call_soon([&] { thrower("soon"); });
  const std::uint_least32_t expected = __LINE__ - 1;
  world.loop.call_soon([&] { order += "b"; });
  world.turn();
  CHECK(order == "ab");
  CHECK(line == expected);
  world.loop.call_later(0s, [&] { thrower("timer"); });
  world.loop.call_soon_threadsafe([&] { thrower("post"); });
  world.loop.call_soon_threadsafe([&] { order += "c"; });
  world.loop.create_future<void>().add_done_callback([] {});
  world.loop.call_soon([] { throw 42; });
  world.turn();
  CHECK(order == "abc");
  CHECK(has(messages, "soon; "));
  CHECK(has(messages, "timer; "));
  CHECK(has(messages, "post; "));
  CHECK(std::count(messages.begin(), messages.end(), ';') == 4);
}

TEST_CASE("a callback that throws does not end run_forever", "[T-011]") {
  World world;
  world.loop.call_soon([] { throw std::runtime_error{"one"}; });
  world.loop.call_later(1ms, [] { throw std::runtime_error{"two"}; });
  world.loop.call_later(2ms, [&] { world.loop.stop(); });
  world.loop.run_forever();
  CHECK(world.take_reports().size() == 2);
}

TEST_CASE("the exception handler can be set, asked for, called and reset", "[A-040]") {
  World world;
  Loop& loop = world.loop;
  int calls = 0;
  loop.set_exception_handler([&](Loop&, const ExceptionContext&) { ++calls; });
  REQUIRE(loop.get_exception_handler());
  loop.get_exception_handler()(loop, {});
  CHECK(calls == 1);
  ExceptionContext context;
  context.message = "something happened";
  context.exception = ferry::Error{std::make_error_code(std::errc::broken_pipe), "test"};
  loop.call_exception_handler(context);
  CHECK(calls == 2);
  CHECK(world.logs.empty());
  loop.set_exception_handler({});
  CHECK_FALSE(loop.get_exception_handler());
  loop.call_exception_handler(context);
  CHECK(calls == 2);
  auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(has(logs[0], "something happened"));
  CHECK(has(logs[0], "broken pipe"));
  loop.default_exception_handler({});
  logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK_FALSE(logs[0].empty());
}

TEST_CASE("the handler is told which transport and protocol it is about", "[A-040]") {
  World world;
  Stream stream = open_stream(world);
  ferry::BaseTransport* transport = nullptr;
  ferry::BaseProtocol* protocol = nullptr;
  world.loop.set_exception_handler([&](Loop&, const ExceptionContext& context) {
    transport = context.transport;
    protocol = context.protocol;
  });
  stream.protocol->on_lost = [] { throw std::runtime_error{"at the end"}; };
  stream.transport->abort();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(transport == stream.transport.get());
  CHECK(protocol == stream.protocol.get());
}

TEST_CASE("the default handler says what, where and about whom", "[A-040]") {
  World world;
  world.loop.set_exception_handler({});
  world.loop.call_soon([] { throw std::runtime_error{"just so"}; });
  const int line = __LINE__ - 1;
  world.turn();
  auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  INFO(logs[0]);
  CHECK(has(logs[0], "just so"));
  CHECK(has(logs[0], here(line)));
  Stream stream = open_stream(world);
  const auto handle = stream.transport->get_extra_info(ferry::socket).fileno();
  stream.protocol->on_data = [] { throw std::runtime_error{"bad data"}; };
  stream.peer.send("x");
  world.run_until([&] { return stream.protocol->lost; });
  logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  INFO(logs[0]);
  CHECK(has(logs[0], "bad data"));
  CHECK(has(logs[0], "fd=" + std::to_string(handle)));
}

TEST_CASE("an exception handler that throws is reported itself, and the loop goes on",
          "[T-011][A-040]") {
  World world;
  bool after = false;
  world.loop.set_exception_handler([](Loop&, const ExceptionContext&) {
    throw std::runtime_error{"the handler's own"};
  });
  world.loop.call_soon([] { throw std::runtime_error{"the first one"}; });
  world.loop.call_soon([&] { after = true; });
  world.turn();
  CHECK(after);
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(has(logs[0], "the handler's own"));
  CHECK(has(logs[0], "the first one"));
}

TEST_CASE("a default handler that fails is caught as well", "[T-011]") {
  // Its description fails when the default handler asks for it.
  struct Broken : ferry::BaseTransport {
    void close() override {}
    bool is_closing() const noexcept override { return true; }
    void set_protocol(std::shared_ptr<ferry::BaseProtocol>) override {}
    std::shared_ptr<ferry::BaseProtocol> get_protocol() const override { return nullptr; }
    std::string describe() const override { throw std::runtime_error{"beyond words"}; }
    std::any extra_info(std::string_view) const override { return {}; }
  } broken;
  World world;
  world.loop.set_exception_handler({});
  ExceptionContext context;
  context.message = "about a broken transport";
  context.transport = &broken;
  world.loop.call_exception_handler(context);
  const auto logs = world.take_logs();
  REQUIRE(logs.size() == 1);
  CHECK(has(logs[0], "beyond words"));
  CHECK(has(logs[0], "about a broken transport"));
}

TEST_CASE("a log sink that fails does not lose the line", "[T-011]") {
  World world;
  world.loop.set_exception_handler({});
  world.loop.set_log_sink([](ferry::LogLevel, std::string_view) { throw 1; });
  bool after = false;
  CapturedErrors errors;
  world.loop.call_soon([] { throw std::runtime_error{"nobody shall miss this"}; });
  world.loop.call_soon([&] { after = true; });
  world.turn();
  CHECK(after);
  CHECK(has(errors.text(), "nobody shall miss this"));
}

TEST_CASE("without a sink, log lines go to standard error, and a sink gets the level", "[A-040]") {
  World world;
  std::string seen;
  world.loop.set_log_sink([&](ferry::LogLevel level, std::string_view text) {
    seen += std::to_string(static_cast<int>(level)) + std::string{text} + " ";
  });
  world.loop.log(ferry::LogLevel::warning, "one");
  world.loop.log(ferry::LogLevel::error, "two");
  CHECK(seen == "2one 3two ");
  world.loop.set_log_sink({});
  CapturedErrors errors;
  world.loop.log(ferry::LogLevel::info, "three");
  const std::string text = errors.text();
  CHECK(has(text, "info"));
  CHECK(has(text, "three"));
}

TEST_CASE("a handler may replace itself, and use the loop", "[A-040]") {
  World world;
  std::string order;
  world.loop.set_exception_handler([&, pad = std::string(100, 'p')](Loop& loop,
                                                                    const ExceptionContext&) {
    order += "1";
    loop.set_exception_handler([&](Loop&, const ExceptionContext&) { order += "2"; });
    loop.call_soon([&] { order += "s"; });
    CHECK(pad.size() == 100);
  });
  for (int i = 0; i < 2; ++i) world.loop.call_soon([] { throw 1; });
  world.turn();
  CHECK(order == "12");
  world.turn();
  CHECK(order == "12s");
}
