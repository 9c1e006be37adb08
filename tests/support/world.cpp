#include "support/world.hpp"

#include "support/skipped.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace test {

std::string backend_name() {
  const char* const variable = std::getenv("FERRY_TEST_BACKEND");
  const std::string_view name = variable != nullptr ? variable : "";
  if (name.empty()) return std::string{ferry::Backend::native().name()};
  return std::string{name.substr(0, name.find('-'))};  // what follows is the emulation's flavour
}

ferry::Backend backend() { return ferry::Backend::named(backend_name()); }

World::World() : descriptors_before{open_descriptors()}, loop{backend()} {
  loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
    reports.push_back(
        {std::string{context.message}, context.exception, context.transport != nullptr});
  });
  loop.set_log_sink([this](ferry::LogLevel, std::string_view text) { logs.emplace_back(text); });
}

World::~World() {
  for (const Report& report : reports) {
    UNSCOPED_INFO("unexpected report: " << report.message << ": " << report.exception.what());
  }
  CHECK(reports.empty());
  if (!loop.is_closed() && !loop.is_running()) {
    settle();
    CHECK(loop.poll_events(0s).size() == 0);
    loop.close();
  }
  CHECK_FALSE(has_children());
  // The loop's own are its poller's and its waker's, closed with it: an epoll and an eventfd, or a
  // pipe, or a kqueue that is both.
  const std::size_t own = loop.backend() == "kqueue" ? 1 : 2;
  CHECK(open_descriptors() == descriptors_before + own);
}

void World::turn() {
  loop.process_events(loop.poll_events(0s));
  loop.process_ready();
}

void World::settle() {
  for (int quiet = 0, turns = 0; quiet < 3 && turns < 10000; ++turns) {
    auto events = loop.poll_events(0s);
    quiet = events.size() == 0 ? quiet + 1 : 0;
    loop.process_events(std::move(events));
    loop.process_ready();
  }
}

void World::run_until(const std::function<bool()>& done, const char* what) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) {
      FAIL("waited 30 seconds in vain for " << what);
    }
    loop.process_events(loop.poll_events(20ms));
    loop.process_ready();
  }
}

Peer::Peer(ferry::Socket socket) : socket_{std::move(socket)} {
  set_nonblocking(socket_.fileno());
}

std::size_t Peer::send(ferry::BytesView data) {
  const auto count = send_plainly(socket_.fileno(), data.data(), data.size());
  if (count >= 0) return static_cast<std::size_t>(count);
  if (!ferry::internal::calls::would_block(errno)) error_ = errno;
  return 0;
}

std::string Peer::receive() {
  std::string all;
  std::array<char, 65536> buffer;
  for (;;) {
    const auto count = receive_plainly(socket_.fileno(), buffer.data(), buffer.size());
    if (count > 0) {
      all.append(buffer.data(), static_cast<std::size_t>(count));
      continue;
    }
    if (count == 0) ended_ = true;
    if (count < 0 && !ferry::internal::calls::would_block(errno)) error_ = errno;
    return all;
  }
}

void Peer::shut_write() { test::shut_write(socket_.fileno()); }

void Peer::reset() {
  reset_at_close(socket_.fileno());
  socket_.close();
}

void Peer::small_buffers(int bytes) {
  socket_.view().setsockopt(SOL_SOCKET, SO_RCVBUF, bytes);
  socket_.view().setsockopt(SOL_SOCKET, SO_SNDBUF, bytes);
}

Pair connected_pair(Carrier carrier) {
  Pair pair;
  if (carrier == Carrier::unix_pair) {
    auto [ours, theirs] = ferry::socketpair();
    pair.ours = std::move(ours);
    pair.peer = Peer{std::move(theirs)};
    return pair;
  }
  const ferry::Socket listener = new_socket(ferry::Family::ipv4);
  REQUIRE(bind_to(listener, {"127.0.0.1", 0}));
  REQUIRE(listen_on(listener, 1));
  ferry::Socket client = new_socket(ferry::Family::ipv4);
  REQUIRE(try_connect(client.fileno(), listener.view().getsockname()) == 0);
  pair.ours = accept_one(listener);
  REQUIRE(pair.ours);
  pair.peer = Peer{std::move(client)};
  return pair;
}

void Recorder::note(std::string event, const std::function<void()>& then) {
  CHECK_FALSE((in_call && event != "pause"));  // only pause_writing() may run inside a call
  events.push_back(std::move(event));
  if (then) {
    const auto copy = then;  // it may replace itself
    copy();
  }
}

void Recorder::connection_made(ferry::Transport& made_transport) {
  CHECK_FALSE(made);
  transport = &made_transport;
  made = true;
  note("made", on_made);
}

void Recorder::data_received(ferry::BytesView data) {
  CHECK(made);
  CHECK_FALSE(lost);
  CHECK_FALSE(eof);
  CHECK_FALSE(data.empty());
  received += data.text();
  const bool joined = !events.empty() && events.back().starts_with("data:");
  last_data_ = joined ? last_data_ + data.size() : data.size();
  if (joined) events.pop_back();
  note("data:" + std::to_string(last_data_), on_data);
}

bool Recorder::eof_received() {
  CHECK(made);
  CHECK_FALSE(lost);
  CHECK_FALSE(eof);
  eof = true;
  note("eof", on_eof);
  return keep_open;
}

void Recorder::pause_writing() {
  CHECK(made);
  CHECK_FALSE(lost);
  CHECK(pauses == resumes);
  ++pauses;
  note("pause", on_pause);
}

void Recorder::resume_writing() {
  CHECK(made);
  CHECK_FALSE(lost);
  CHECK(pauses == resumes + 1);
  ++resumes;
  note("resume", on_resume);
}

void Recorder::connection_lost(const ferry::Error& exc) {
  CHECK(made);
  CHECK_FALSE(lost);
  lost = true;
  reason = exc;
  note(exc ? "lost:" + std::string{exc.what()} : "lost", on_lost);
}

std::string Recorder::story() const {
  std::string all;
  for (const std::string& event : events) all += (all.empty() ? "" : " ") + event;
  return all;
}

Stream open_stream(World& world, Carrier carrier, std::shared_ptr<Recorder> protocol) {
  Pair pair = connected_pair(carrier);
  Stream stream;
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  auto made = world.run(std::move(task));
  stream.transport = std::move(made.transport);
  stream.protocol = std::move(made.protocol);
  stream.peer = std::move(pair.peer);
  return stream;
}

void block_writing(Stream& stream, std::size_t at_least) {
  const std::string chunk = pattern(65536);
  for (int i = 0; i < 4096 && stream.transport->get_write_buffer_size() < at_least; ++i) {
    stream.transport->write(chunk);
  }
  REQUIRE(stream.transport->get_write_buffer_size() >= at_least);
}

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    text[i] = static_cast<char>((i * 31 + i / 251 + seed * 97) % 251);
  }
  return text;
}

void skip(const std::string& why) { skipped() = why; }

}  // namespace test
