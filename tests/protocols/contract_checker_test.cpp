// The contract checker finds each of the faulty transports, and has nothing against right ones.
#include "support/lender.hpp"
#include "support/memory_transport.hpp"

#include <ferry/contract_checker.hpp>

using namespace test;

namespace {

// A protocol that does what the script says, and checks nothing itself.
class User final : public ferry::Protocol {
 public:
  std::function<void()> on_data, on_pause, on_resume;
  bool keep_open = false;
  void connection_made(ferry::Transport& made) override { transport = &made; }
  void data_received(ferry::BytesView) override { run(on_data); }
  bool eof_received() override { return keep_open; }
  void pause_writing() override { run(on_pause); }
  void resume_writing() override { run(on_resume); }
  ferry::Transport* transport = nullptr;

 private:
  static void run(const std::function<void()>& what) {
    if (what) what();
  }
};

class BufferUser final : public ferry::BufferedProtocol {
 public:
  void connection_made(ferry::Transport& made) override { transport = &made; }
  std::span<std::byte> get_buffer(std::size_t) override { return std::span{memory}.first(size); }
  std::array<std::byte, 16> memory{};
  std::size_t size = 16;
  ferry::Transport* transport = nullptr;
};

template <class P = User>
struct Rig {
  explicit Rig(Fault fault) : wire{fault} { wire.begin(checker.protocol(user)); }
  // The breach's first line.
  std::string finish() {
    wire.turn();
    try {
      checker.finish();
      return "";
    } catch (const ferry::ContractBreach& breach) {
      const std::string text = breach.what();
      CHECK(text.find("\nconnection ") != std::string::npos);
      return text.substr(0, text.find('\n'));
    }
  }
  ferry::Transport& seen() { return *user->transport; }

  ferry::ContractChecker checker;
  std::shared_ptr<P> user = std::make_shared<P>();
  MemoryTransport wire;
};

struct Case {
  Fault fault;
  std::string message;  // how the breach begins, after "transport: "
  std::function<void(Rig<>&)> script;
};

const std::string text_100(100, 'x');
const std::string text_150(150, 'x');

void just_close(Rig<>& rig) { rig.seen().close(); }
void arrive_and_close(Rig<>& rig) {
  rig.wire.arrive("abc");
  rig.seen().close();
}
void pause_read_and_close(Rig<>& rig) {
  rig.seen().pause_reading();
  rig.wire.arrive("abc");
  rig.seen().resume_reading();
  rig.wire.turn();
  rig.seen().close();
}
void overfill_and_close(Rig<>& rig) {
  rig.seen().write(text_150);
  rig.seen().close();
  rig.wire.take(80);
  rig.wire.take(70);
}
void end_kept(Rig<>& rig) {
  rig.user->keep_open = true;
  rig.wire.peer_ends();
  rig.wire.turn();
  rig.seen().close();
}
void end_not_kept(Rig<>& rig) {
  rig.wire.peer_ends();
  rig.seen().resume_reading();
}

const std::vector<Case> cases = {
    {Fault::lost_twice, "connection_lost() after connection_lost()",
     [](Rig<>& rig) {
       rig.user->on_resume = [&] { rig.seen().close(); };
       rig.seen().write(text_150);
       rig.wire.take(150);  // resume_writing() closes, and the drained buffer ends it as well
     }},
    {Fault::lost_inside_close, "connection_lost() inside close()", just_close},
    {Fault::lost_never, "connection_lost() is missing", just_close},
    {Fault::lost_with_error_after_abort, "abort() came first, and the connection is lost with",
     [](Rig<>& rig) { rig.seen().abort(); }},
    {Fault::lost_before_flush, "connection_lost() with 7 bytes still in the buffer",
     [](Rig<>& rig) {
       rig.seen().write("a flush");
       rig.seen().close();
       rig.wire.turn();
       rig.wire.take(7);
     }},
    {Fault::data_after_close, "data_received() while the connection is closing, after close()",
     [](Rig<>& rig) {
       rig.seen().close();
       rig.wire.arrive("late");
     }},
    {Fault::data_while_paused, "data_received() after pause_reading()", pause_read_and_close},
    {Fault::data_after_eof, "data_received() after eof_received()", end_kept},
    {Fault::data_empty, "data_received() without data", arrive_and_close},
    {Fault::data_before_made, "data_received() before connection_made()", just_close},
    {Fault::data_in_other_thread, "data_received() in another thread", arrive_and_close},
    {Fault::data_inside_resume_reading, "data_received() inside resume_reading()",
     pause_read_and_close},
    {Fault::eof_twice, "eof_received() after eof_received()", end_kept},
    {Fault::eof_ignores_true, "it ended the connection, though eof_received() asked to go on",
     end_kept},
    {Fault::eof_ignores_false, "is_closing() is false after eof_received()", end_not_kept},
    {Fault::made_twice, "connection_made() a second time", just_close},
    {Fault::pause_at_equality, "pause_writing() with no more than 100 bytes",
     [](Rig<>& rig) {
       rig.seen().write(text_100);
       rig.wire.take(100);
       rig.seen().close();
     }},
    {Fault::pause_twice, "pause_writing() a second time", overfill_and_close},
    {Fault::pause_missing_in_writelines, "writelines() left 200 bytes in the buffer, over the high",
     [](Rig<>& rig) {
       rig.seen().writelines(std::vector{text_100, text_100});
       rig.wire.take(200);
       rig.seen().close();
     }},
    {Fault::resume_above_low, "resume_writing() with 70 bytes in the buffer, over the low mark",
     overfill_and_close},
    {Fault::resume_inside_write, "resume_writing() inside write()", overfill_and_close},
    {Fault::resume_missing, "the buffer was flushed without a resume_writing()",
     overfill_and_close},
    {Fault::resume_unasked, "resume_writing() without a pause_writing()",
     [](Rig<>& rig) {
       rig.wire.take(10);
       rig.seen().close();
     }},
    {Fault::size_drifts, "get_write_buffer_size() is 20, and no more than 10 bytes",
     [](Rig<>& rig) {
       rig.wire.take(10);
       rig.seen().write("0123456789");
       rig.seen().get_write_buffer_size();
       rig.seen().close();
     }},
    {Fault::abort_keeps_buffer, "abort() left 3 bytes in the buffer",
     [](Rig<>& rig) {
       rig.seen().write("abc");
       rig.seen().abort();
     }},
    {Fault::closing_untold, "is_closing() is false after close()", just_close},
    {Fault::closing_taken_back, "is_closing() was true and is no more",
     [](Rig<>& rig) {
       rig.seen().close();
       rig.seen().resume_reading();
     }},
    {Fault::reading_untold, "is_reading() is true after pause_reading()", pause_read_and_close},
    {Fault::old_protocol_called, "data_received() on a protocol that set_protocol() has replaced",
     [](Rig<>& rig) {
       const auto second = std::make_shared<User>();
       rig.seen().set_protocol(second);
       rig.wire.arrive("abc");
       rig.seen().close();
     }},
    {Fault::peername_forgotten, "peername is another one", just_close},
    {Fault::write_throws, "write() threw: broken pipe",
     [](Rig<>& rig) {
       try {
         rig.seen().write("abc");
       } catch (const std::runtime_error&) {
       }
       rig.wire.take(3);
       rig.seen().close();
     }},
    {Fault::write_after_eof, "write() did not throw, though it is not allowed now",
     [](Rig<>& rig) {
       rig.seen().write_eof();
       try {
         rig.seen().write("");
       } catch (const ferry::MisuseError&) {
       }
       rig.seen().close();
     }},
    {Fault::limits_changed_by_refusal, "set_write_buffer_limits() refused the marks and changed",
     [](Rig<>& rig) {
       CHECK_THROWS_AS(rig.seen().set_write_buffer_limits({.high = 1, .low = 2}),
                       std::invalid_argument);
       rig.seen().close();
     }},
    {Fault::exception_swallowed, "connection_lost() without an error, though data_received() threw",
     [](Rig<>& rig) {
       rig.user->on_data = [] { throw std::runtime_error{"user"}; };
       rig.wire.arrive("abc");
     }},
};

}  // namespace

TEST_CASE("the checker finds each faulty transport, and clears the right one",
          "[S-054][S-062][S-063][S-073][C-12][C-14][A-001][A-003]") {
  for (const Case& one : cases) {
    INFO("expected: " << one.message);
    Rig<> right{Fault::none};
    one.script(right);
    CHECK(right.finish() == "");

    Rig<> wrong{one.fault};
    one.script(wrong);
    const std::string found = wrong.finish();
    INFO("found: " << found);
    CHECK(found.starts_with("transport: " + one.message));
  }
}

TEST_CASE("the checker finds a connection that ends although nobody closed it", "[S-061]") {
  Rig<> rig{Fault::none};
  rig.wire.end_by_itself();
  CHECK(rig.finish() == "transport: connection_lost() without an error, though nobody closed");
  Rig<> allowed{Fault::none};
  allowed.checker.allow_closing_elsewhere();
  allowed.wire.end_by_itself();
  CHECK(allowed.finish() == "");
  Rig<> failed{Fault::none};
  failed.wire.fail(std::errc::connection_reset);
  CHECK(failed.finish() == "");
}

TEST_CASE("the checker finds a transport that pauses writing on its own", "[S-078]") {
  Rig<> rig{Fault::none};
  rig.seen().write(text_100);
  rig.wire.pause_again();
  rig.seen().abort();
  CHECK(rig.finish().starts_with("transport: pause_writing() outside of write()"));
}

TEST_CASE("the checker finds wrong counts of a lent buffer", "[A-005]") {
  const auto found = [](Fault fault, std::size_t size) {
    Rig<BufferUser> rig{fault};
    rig.user->size = size;
    if (size > 0) rig.wire.arrive("abc");
    if (size == 0) {
      const auto face = std::static_pointer_cast<ferry::BufferedProtocol>(rig.wire.get_protocol());
      CHECK(face->get_buffer(0).empty());
    }
    rig.seen().close();
    return rig.finish();
  };
  CHECK(found(Fault::none, 16) == "");
  CHECK(found(Fault::count_beyond_buffer, 16) ==
        "transport: buffer_updated(17) of 16 bytes lent");
  CHECK(found(Fault::updated_without_buffer, 16) ==
        "transport: buffer_updated(3) of no memory: get_buffer() comes before it");
  CHECK(found(Fault::none, 0) == "protocol: get_buffer() gave no memory");
}

TEST_CASE("the checker finds a transport that is used after its end", "[S-060]") {
  Rig<> rig{Fault::none};
  rig.seen().close();
  rig.wire.turn();
  rig.seen().write("late");
  CHECK(rig.finish() ==
        "protocol: write() on a transport after connection_lost() has returned");
}

TEST_CASE("the checker finds a transport that is called from another thread", "[S-005]") {
  Rig<> rig{Fault::none};
  bool refused = false;
  std::thread{[&] {
    try {
      rig.seen().write("abc");
    } catch (const ferry::MisuseError&) {
      refused = true;
    }
  }}.join();
  CHECK(refused);
  rig.seen().abort();
  CHECK(rig.finish() == "protocol: write() in another thread than connection_made()");
}

TEST_CASE("the checker finds a transport that lets its protocol go without an end", "[S-062]") {
  ferry::ContractChecker checker;
  {
    MemoryTransport wire{Fault::none};
    wire.begin(checker.protocol(std::make_shared<User>()));
  }
  CHECK_THROWS_AS(checker.finish(), ferry::ContractBreach);
  CHECK(checker.breach().starts_with("transport: it let go of the protocol without"));
}

TEST_CASE("a breach is told at once, with what led to it, and only the first one", "[S-063]") {
  std::vector<std::string> told;
  ferry::ContractChecker checker{[&](const std::string& breach) { told.push_back(breach); }};
  const auto user = std::make_shared<User>();
  MemoryTransport wire{Fault::data_after_close};
  wire.begin(checker.protocol(user));
  user->on_data = [&] { user->transport->write("answer"); };
  wire.arrive("abc");
  user->transport->close();
  CHECK(told.empty());
  wire.arrive("late");
  wire.arrive("later");
  REQUIRE(told.size() == 1);
  CHECK(told[0] ==
        "transport: data_received() while the connection is closing, after close()\n"
        "connection 1:\n"
        "  connection_made(192.0.2.1:80)\n"
        "  data_received(3 bytes)\n"
        "    > write(6 bytes)\n"
        "  > close()\n"
        "  data_received(4 bytes)");
  CHECK(checker.breach() == told[0]);
  wire.take(6);
  wire.turn();
}

TEST_CASE("ferry's own servers and clients keep the contract", "[S-054][S-087][A-022]") {
  World world;
  ferry::ContractChecker checker;
  checker.allow_closing_elsewhere();  // close_clients()
  auto server = world.run(world.loop.create_server(
      checker.factory([] { return std::make_shared<Recorder>(); }), "127.0.0.1", 0));
  const int port = server->sockets().front().getsockname().port();
  std::vector<ferry::Connection<Lender>> clients;
  for (int i = 0; i < 3; ++i) {
    auto task = world.loop.create_connection(
        checker.factory([] { return std::make_shared<Lender>(); }), "127.0.0.1", port);
    clients.push_back(checker.connection<Lender>(world.run(std::move(task))));
    CHECK(clients.back().transport->get_protocol() == clients.back().protocol);
    clients.back().transport->write(pattern(100000));
  }
  clients[0].transport->close();
  clients[1].transport->abort();
  world.settle();
  server->close();
  server->close_clients();
  world.run(server->wait_closed());
  world.run_until([&] { return clients[2].protocol->lost; });
  CHECK_NOTHROW(checker.finish());
  // What connection() gave may be used after the end.
  clients[2].transport->write("late");
  CHECK(clients[2].transport->get_extra_info(ferry::peername).port() == port);
  CHECK_NOTHROW(checker.finish());
}

TEST_CASE("connection() refuses what is not checked", "[C-22]") {
  World world;
  const Stream stream = open_stream(world);
  ferry::ContractChecker checker;
  const ferry::Connection<> plain{stream.transport, stream.protocol};
  CHECK_THROWS_AS(checker.connection(plain), std::invalid_argument);
  stream.transport->abort();
  world.settle();
}
