// The fault sweep: each scenario again and again, and each time another one of its system calls
// fails in another one of the ways that its manual names. fault_table.hpp says where the error must
// be told; sweep.hpp checks that, and that nothing crashes, leaks or waits for ever, that each
// connection ends once (by the contract checker), and that the loop works afterwards.
#include "faults/posix/scenes.hpp"

#include <csignal>
#include <filesystem>
#include <thread>

using namespace test;

namespace {

auto adopt(Stage& stage, const std::shared_ptr<Actor>& actor, ferry::Socket socket) {
  return connected(stage, actor, stage.attempt([&] {
    return stage.loop.create_connection(stage.checker.factory([actor] { return actor; }),
                                        std::move(socket));
  }));
}

std::string tcp_echo(Stage& stage) {
  const auto server = serve_tcp(stage, "127.0.0.1", echo_server);
  const auto client = stage.actor();
  echo_and_close(stage, client, connect_to(stage, client, "127.0.0.1", port_of(*server)));
  stage.end(server);
  return stage.outcome();
}

// In a directory of this process; nothing of another run is there.
std::string fresh_path() {
  static const std::string directory = make_directory();
  const std::string path = directory + "/socket";
  ::unlink(path.c_str());
  return path;
}

std::string unix_echo_at(Stage& stage, const std::string& path) {
  const auto server = stage.keep(stage.await(stage.attempt([&] {
    return stage.loop.create_unix_server(stage.serve(echo_server), path);
  }), "a server"));
  const auto client = stage.actor();
  echo_and_close(stage, client, connected(stage, client, stage.attempt([&] {
    return stage.loop.create_unix_connection(stage.checker.factory([client] { return client; }),
                                             path);
  })));
  stage.end(server);
  return stage.outcome();
}

std::string unix_echo(Stage& stage) { return unix_echo_at(stage, fresh_path()); }

std::string stale_path(Stage& stage) {
  const std::string path = fresh_path();
  const ferry::Socket dead = new_socket(ferry::Family::unix_socket);
  CHECK(bind_to(dead, ferry::Address::unix_path(path)));
  close_plainly(ferry::Socket{dup(static_cast<int>(dead.fileno()))}.detach());
  return unix_echo_at(stage, path);
}

std::string several_clients(Stage& stage) {
  stage.checker.allow_closing_elsewhere();  // close_clients()
  const auto server = serve_tcp(stage, "127.0.0.1", echo_server);
  std::vector<std::shared_ptr<Actor>> clients;
  std::vector<std::shared_ptr<ferry::Transport>> transports;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(stage.actor());
    transports.push_back(connect_to(stage, clients.back(), "127.0.0.1", port_of(*server)));
    transports.back()->write(some_text);
  }
  stage.until([&] {
    return std::all_of(clients.begin(), clients.end(),
                       [](const auto& one) { return one->received == some_text; });
  }, "the echoes");
  transports[0]->abort();
  server->close();
  server->close_clients();
  stage.until([&] { return stage.all_lost(); }, "the end of all");
  stage.end(server);
  return "echoed to all";
}

std::string half_close(Stage& stage) {
  const auto server = serve_tcp(stage, "127.0.0.1", [](Actor& one) { one.answer_at_eof = "bye"; });
  const auto client = stage.actor();
  const auto transport = connect_to(stage, client, "127.0.0.1", port_of(*server));
  transport->write(some_text);
  transport->write_eof();
  stage.until([&] { return stage.all_lost(); }, "the answer to the end, and the end");
  stage.end(server);
  return stage.outcome();
}

constexpr std::size_t much = 1 << 20;

// More than the system keeps, to one who reads late.
std::string bulk(Stage& stage) {
  auto [one, other] = stage.attempt([] { return ferry::socketpair(); });
  const auto reader = stage.actor();
  const auto writer = stage.actor();
  const auto from = adopt(stage, reader, std::move(one));
  const auto to = adopt(stage, writer, std::move(other));
  from->pause_reading();
  static const std::string text = pattern(much);
  to->writelines(std::vector{std::string_view{text}.substr(0, much / 2),
                             std::string_view{text}.substr(much / 2)});
  from->resume_reading();
  to->close();
  stage.until([&] { return stage.all_lost(); }, "the end after all has come");
  return stage.outcome() + (reader->received == text ? " all" : " not all") + " paused " +
         std::to_string(writer->pauses) + "/" + std::to_string(writer->resumes);
}

// The first address refuses, the second one serves.
std::string names(Stage& stage) {
  const auto server = serve_tcp(stage, "127.0.0.1", echo_server);
  const auto client = stage.actor();
  echo_and_close(stage, client, connect_to(stage, client, "two.test", port_of(*server)));
  stage.end(server);
  return client->outcome();
}

// Both addresses on one port that the first one finds.
std::string named_server(Stage& stage) {
  const auto server = serve_tcp(stage, "both.test", echo_server);
  bool one_port = true;
  for (const ferry::SocketView& view : server->sockets()) {
    ferry::internal::SocketAddress name;
    ::getsockname(static_cast<int>(view.fileno()), name.get(), &name.length);
    one_port = one_port && name.address().port() == port_of(*server);
  }
  const auto client = stage.actor();
  echo_and_close(stage, client, connect_to(stage, client, "both.test", port_of(*server)));
  stage.end(server);
  return (one_port ? "one port " : "several ports ") + client->outcome();
}

std::string local_address(Stage& stage) {
  const auto server = serve_tcp(stage, "127.0.0.1", echo_server);
  const auto client = stage.actor();
  const auto transport = connect_to(stage, client, "127.0.0.1", port_of(*server),
                                    {.local_addr = ferry::Address{"127.0.0.1", 0}});
  echo_and_close(stage, client, transport);
  stage.end(server);
  return stage.outcome();
}

std::string refused(Stage& stage) {
  const ferry::Socket nobody = new_socket(ferry::Family::ipv4);
  CHECK(bind_to(nobody, {"127.0.0.1", 0}));
  ferry::internal::SocketAddress name;
  ::getsockname(static_cast<int>(nobody.fileno()), name.get(), &name.length);
  const auto client = stage.actor();
  ferry::Future<ferry::Connection<>> future = stage.loop.create_task(stage.loop.create_connection(
      stage.checker.factory([client] { return client; }), "127.0.0.1", name.address().port()));
  stage.until([&] { return future.done(); }, "the refusal");
  try {
    future.take_result();
  } catch (const ferry::OsError& error) {
    if (error.code() == std::errc::connection_refused) return "refused";
    stage.tell(opener, error.code(), error.what());
  }
  throw Over{};
}

std::string adopted(Stage& stage) {
  auto [one, other] = stage.attempt([] { return ferry::socketpair(); });
  const auto handle = one.fileno();
  const auto server = stage.actor(true);
  const auto client = stage.actor();
  const auto serving = adopt(stage, server, std::move(one));
  const std::string blocks = is_nonblocking(handle) ? "" : "the adopted socket blocks ";
  echo_and_close(stage, client, adopt(stage, client, std::move(other)));
  return blocks + stage.outcome();
}

std::string adopted_listener(Stage& stage) {
  ferry::Socket listener = new_socket(ferry::Family::ipv4);
  CHECK(bind_to(listener, {"127.0.0.1", 0}));
  const auto server = stage.keep(stage.await(stage.attempt([&] {
    return stage.loop.create_server(stage.serve(echo_server), std::move(listener));
  }), "a server"));
  const bool blocks = !is_nonblocking(server->sockets().front().fileno());
  if (blocks) return "the adopted listener blocks";
  const auto client = stage.actor();
  echo_and_close(stage, client, connect_to(stage, client, "127.0.0.1", port_of(*server)));
  stage.end(server);
  return stage.outcome();
}

std::string resets(Stage& stage) {
  const auto server = serve_tcp(stage, "127.0.0.1", [](Actor&) {});
  const auto client = stage.actor();
  const auto transport = connect_to(stage, client, "127.0.0.1", port_of(*server));
  transport->write(some_text);
  stage.until([&] { return stage.served.size() == 1 && !stage.served[0]->received.empty(); },
              "the text");
  stage.expects_reset = true;
  transport->abort_with_reset();
  stage.until([&] { return stage.all_lost(); }, "the end of both");
  stage.end(server);
  return client->outcome();
}

std::string signals(Stage& stage) {
  const auto came = std::make_shared<int>(0);  // the callback may run when this is over
  stage.attempt([&] { stage.loop.add_signal_handler(SIGUSR1, [came] { ++*came; }); });
  raise_now(SIGUSR1);
  stage.until([&] { return *came == 1; }, "the signal's callback");
  stage.attempt([&] { return stage.loop.remove_signal_handler(SIGUSR1); });
  return "came";
}

std::string watches(Stage& stage) {
  const Pipe pipe;
  int read = 0, written = 0;
  struct Removed {  // however it ends: before the pipe is closed
    ferry::Loop& loop;
    const Pipe& pipe;
    ~Removed() {
      loop.remove_writer(pipe.write.fileno());
      loop.remove_reader(pipe.read.fileno());
    }
  } const removed{stage.loop, pipe};
  stage.attempt([&] {
    stage.loop.add_reader(pipe.read.fileno(), [&] {
      get(pipe.read);
      ++read;
    });
    stage.loop.add_writer(pipe.write.fileno(), [&] {
      if (written++ == 0) put(pipe.write);
    });
  });
  stage.until([&] { return read > 0; }, "what was written");
  return "read";
}

// Posted just when the loop is about to sleep.
std::string other_thread(Stage& stage) {
  const auto ran = std::make_shared<bool>(false);  // the callback may run when this is over
  stage.injector.before_waiting = [&stage, ran] {
    std::thread{[&] { stage.loop.call_soon_threadsafe([ran] { *ran = true; }); }}.join();
  };
  stage.until([&] { return *ran; }, "what another thread posted");
  return "ran";
}

std::string loops(Stage& stage) {
  return stage.attempt([&] {
    ferry::Loop second{backend()};
    int ran = 0;
    second.call_soon([&] { ++ran; });
    second.call_later(1ms, [&] { second.stop(); });
    second.run_forever();
    second.close();
    return std::to_string(ran);
  });
}

}  // namespace

TEST_CASE("faults: an echo over TCP", "[S-061][S-062][T-012]") { sweep("tcp echo", tcp_echo); }
TEST_CASE("faults: an echo over a Unix socket", "[S-061][A-025]") { sweep("unix echo", unix_echo); }
// (A probe that is refused is what tells that the file is stale.)
TEST_CASE("faults: a stale socket file", "[T-113]") { sweep("stale path", stale_path, true); }
TEST_CASE("faults: several clients", "[A-009][A-022][T-101]") {
  sweep("several clients", several_clients);
}
TEST_CASE("faults: half close", "[S-040][T-050]") { sweep("half close", half_close); }
TEST_CASE("faults: bulk with back-pressure", "[S-038][T-041][T-044]") { sweep("bulk", bulk); }
// (Another address does.)
TEST_CASE("faults: names", "[T-124][T-136]") { sweep("names", names, true); }
TEST_CASE("faults: a server on several addresses", "[T-109][T-110]") {
  sweep("named server", named_server, true);
}
TEST_CASE("faults: a local address", "[T-127]") { sweep("local address", local_address); }
// (To be refused once more is no harm.)
TEST_CASE("faults: a connection that is refused", "[S-062]") { sweep("refused", refused, true); }
TEST_CASE("faults: adopted sockets", "[S-092][T-122]") { sweep("adopted", adopted); }
TEST_CASE("faults: an adopted listener", "[T-116]") { sweep("adopted listener", adopted_listener); }
// (The reset comes from the peer in any case.)
TEST_CASE("faults: a reset", "[T-058]") { sweep("reset", resets, true); }
// (In a signal's handler nobody can be told that the loop could not be woken: it is served in the
// loop's next turn. Nor is a disposition that cannot be given back, but then it was never taken.)
TEST_CASE("faults: signals", "[A-034]") { sweep("signals", signals, true); }
TEST_CASE("faults: handles of the user's own", "[A-033][T-204]") { sweep("watches", watches); }
TEST_CASE("faults: calls from another thread", "[T-196]") { sweep("other thread", other_thread); }
// (A kqueue that cannot be woken by an event of the user's has a pipe for that.)
TEST_CASE("faults: the making of a loop", "[A-037]") { sweep("loops", loops, true); }
