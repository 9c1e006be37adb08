// The interfaces of transports and protocols, and the one place from which protocols are called.
#include "protocols/caller.hpp"
#include "protocols/stream_life.hpp"
#include "support/lender.hpp"
#include "support/sockets.hpp"
#include "support/world.hpp"

#include <any>
#include <cctype>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using namespace test;
using ferry::internal::ProtocolCaller;

namespace {

// A transport of a user's own (S-054): what is written stays in memory.
class MemoryTransport final : public ferry::Transport {
 public:
  std::string written;
  bool paused = false, closing = false, ended = false;
  ferry::WriteBufferLimits limits{};
  std::shared_ptr<ferry::StreamProtocol> protocol;

  void close() override { closing = true; }
  bool is_closing() const noexcept override { return closing; }
  void set_protocol(std::shared_ptr<ferry::BaseProtocol> next) override {
    protocol = std::dynamic_pointer_cast<ferry::StreamProtocol>(std::move(next));
  }
  std::shared_ptr<ferry::BaseProtocol> get_protocol() const override { return protocol; }
  std::string describe() const override { return "memory"; }
  bool is_reading() const noexcept override { return !paused && !closing; }
  void pause_reading() override { paused = true; }
  void resume_reading() override { paused = false; }
  void abort() override { closing = true; }
  void write(ferry::BytesView data) override { written += data.text(); }
  void write_eof() override { ended = true; }
  bool can_write_eof() const noexcept override { return true; }
  std::size_t get_write_buffer_size() override { return written.size(); }
  ferry::WriteBufferLimits get_write_buffer_limits() const noexcept override { return limits; }
  void set_write_buffer_limits(ferry::WriteBufferMarks) override {}
  void set_flush_timeout(std::optional<ferry::Seconds>) override {}
  bool abort_with_reset() override { return false; }

 protected:
  std::any extra_info(std::string_view name) const override {
    return name == "peername" ? std::any{ferry::Address{"192.0.2.1", 7}} : std::any{};
  }
  void write_gathered(std::span<const ferry::BytesView> chunks) override {
    for (const ferry::BytesView& chunk : chunks) write(chunk);
  }
};

// Answers each line in capitals: only parsing, no I/O of its own (S-053).
class Shouter final : public ferry::Protocol {
 public:
  std::string seen;
  void connection_made(ferry::Transport& transport) override {
    transport_ = &transport;
    seen = transport.get_extra_info(ferry::peername).to_string();
  }
  void data_received(ferry::BytesView data) override {
    line_ += data.text();
    for (auto end = line_.find('\n'); end != line_.npos; end = line_.find('\n')) {
      std::string line = line_.substr(0, end + 1);
      line_.erase(0, end + 1);
      for (char& letter : line) letter = static_cast<char>(std::toupper(letter));
      transport_->writelines(std::vector<std::string>{"> ", line});
      if (line == "BYE\n") transport_->close();
    }
  }

 private:
  ferry::Transport* transport_ = nullptr;
  std::string line_;
};

template <class T>
concept Reads = requires(T& t) { t.is_reading(), t.pause_reading(), t.resume_reading(); };
template <class T>
concept Writes = requires(T& t, std::vector<std::string> lines) {
  t.write("x"), t.writelines(lines), t.write_eof(), t.can_write_eof(), t.abort();
  t.get_write_buffer_size(), t.get_write_buffer_limits(), t.set_write_buffer_limits({});
};
template <class T>
concept Base = requires(T& t, std::shared_ptr<ferry::BaseProtocol> protocol) {
  t.close(), t.is_closing(), t.set_protocol(protocol), t.get_protocol();
  t.get_extra_info("name"), t.get_extra_info(ferry::peername);
};

// Drives a ProtocolCaller by hand.
struct Driver {
  World world;
  MemoryTransport transport;
  std::shared_ptr<Recorder> protocol = std::make_shared<Recorder>();
  ProtocolCaller caller{protocol};
  bool keep_open = false;

  ProtocolCaller::Site site() { return {world.loop, transport}; }
  void call(char what) {
    switch (what) {
      case 'm': caller.connection_made(site()); break;
      case 'd': CHECK_FALSE(caller.data_received(site(), "data")); break;
      case '0': CHECK_FALSE(caller.data_received(site(), "")); break;
      case 'e': CHECK_FALSE(caller.eof_received(site(), keep_open)); break;
      case 'p': caller.pause_writing(site()); break;
      case 'r': caller.resume_writing(site()); break;
      case 'l': caller.connection_lost(site(), ferry::Error{}); break;
      default: FAIL("no such call");
    }
  }
  // How many of the calls were refused, and reported.
  std::size_t refused(const std::string& calls) {
    for (const char what : calls) call(what);
    const auto reports = world.take_reports();
    for (const Report& report : reports) {
      CHECK(report.message.find("broke its contract") != std::string::npos);
      CHECK(report.has_transport);
    }
    return reports.size();
  }
};

// Whether a sequence of calls is one that the contract allows, by a reading of its own.
bool allowed(const std::string& calls) {
  bool made = false, ended = false, lost = false, paused = false;
  for (const char what : calls) {
    const bool living = made && !lost;
    if (what == 'm' ? made : !living) return false;
    if ((what == 'd' || what == 'e') && ended) return false;
    if (what == '0' || (what == 'p' && paused) || (what == 'r' && !paused)) return false;
    made = true;
    ended = ended || what == 'e';
    lost = what == 'l';
    paused = what == 'p' || (paused && what != 'r');
  }
  return true;
}

}  // namespace

TEST_CASE("users cannot construct or copy a transport, only the loop makes them",
          "[S-002][S-006]") {
  static_assert(std::is_abstract_v<ferry::BaseTransport>);
  static_assert(std::is_abstract_v<ferry::ReadTransport>);
  static_assert(std::is_abstract_v<ferry::WriteTransport>);
  static_assert(std::is_abstract_v<ferry::Transport>);
  static_assert(!std::is_copy_constructible_v<MemoryTransport>);
  static_assert(!std::is_move_constructible_v<MemoryTransport>);
  static_assert(!std::is_copy_assignable_v<MemoryTransport>);
  static_assert(std::has_virtual_destructor_v<ferry::BaseTransport>);
  // One base, though Transport is both kinds: the conversion is not ambiguous.
  static_assert(std::is_convertible_v<ferry::Transport*, ferry::BaseTransport*>);
  World world;
  auto protocol = std::make_shared<Recorder>();
  Pair pair = connected_pair(Carrier::tcp);
  auto task = world.loop.create_connection([&] { return protocol; }, std::move(pair.ours));
  CHECK_FALSE(protocol->made);  // nothing has begun
  const auto made = world.run(std::move(task));
  CHECK(protocol->made);
  CHECK(made.transport.get() == protocol->transport);
  CHECK(made.protocol == protocol);
  pair.peer.close();
}

TEST_CASE("the type of a transport shows what it can do", "[S-004][S-021][S-024][S-006]") {
  static_assert(Base<ferry::BaseTransport> && !Reads<ferry::BaseTransport> &&
                  !Writes<ferry::BaseTransport>);
  static_assert(Base<ferry::ReadTransport> && Reads<ferry::ReadTransport> &&
                  !Writes<ferry::ReadTransport>);
  static_assert(Base<ferry::WriteTransport> && !Reads<ferry::WriteTransport> &&
                  Writes<ferry::WriteTransport>);
  static_assert(Base<ferry::Transport> && Reads<ferry::Transport> && Writes<ferry::Transport>);
  static_assert(std::derived_from<ferry::Transport, ferry::ReadTransport>);
  static_assert(std::derived_from<ferry::Transport, ferry::WriteTransport>);
  World world;
  Stream stream = open_stream(world, GENERATE(Carrier::tcp, Carrier::unix_pair));
  ferry::ReadTransport& reader = *stream.transport;
  ferry::WriteTransport& writer = *stream.transport;
  ferry::BaseTransport& base = reader;
  CHECK(&base == &static_cast<ferry::BaseTransport&>(writer));
  reader.pause_reading();
  CHECK_FALSE(stream.transport->is_reading());
  writer.write("as a writer");
  base.close();
  world.run_until([&] { return stream.protocol->lost; });
  CHECK(stream.peer.receive() == "as a writer");
}

TEST_CASE("protocols are classes with empty defaults for every callback",
          "[S-053][S-055][S-056][S-059]") {
  static_assert(!std::is_abstract_v<ferry::BaseProtocol>);
  static_assert(!std::is_abstract_v<ferry::Protocol>);
  static_assert(!std::is_abstract_v<ferry::BufferedProtocol>);
  static_assert(std::derived_from<ferry::Protocol, ferry::BaseProtocol>);
  static_assert(std::derived_from<ferry::BufferedProtocol, ferry::BaseProtocol>);
  static_assert(std::has_virtual_destructor_v<ferry::BaseProtocol>);
  ferry::Protocol plain;
  ferry::BufferedProtocol buffered;
  MemoryTransport transport;
  plain.data_received("data");
  CHECK(buffered.get_buffer(0).empty());
  buffered.buffer_updated(1);
  for (ferry::StreamProtocol* stream : {static_cast<ferry::StreamProtocol*>(&plain),
                                        static_cast<ferry::StreamProtocol*>(&buffered)}) {
    stream->connection_made(transport);
    CHECK_FALSE(stream->eof_received());
    stream->pause_writing();
    stream->resume_writing();
    stream->connection_lost(ferry::Error{std::make_exception_ptr(std::runtime_error{"lost"})});
  }
  CHECK(transport.written.empty());
  CHECK_FALSE(transport.closing);
}

TEST_CASE("a Protocol without a callback of its own lives a whole life", "[S-055][S-056][S-070]") {
  const Carrier carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  World world;
  auto stream = open_as(world, carrier, std::make_shared<ferry::Protocol>());
  stream.peer.send("into the void");
  world.settle();
  CHECK_FALSE(stream.transport->is_closing());
  CHECK_FALSE(stream.peer.receive().size() + stream.peer.ended());
  stream.peer.shut_write();
  world.settle();
  CHECK(stream.transport->is_closing());
  CHECK(stream.transport->get_protocol() == nullptr);
  stream.peer.receive();
  CHECK(stream.peer.ended());
}

TEST_CASE("a transport that a user wrote drives a protocol as ferry's do",
          "[S-054][S-053][S-010]") {
  const auto protocol = std::make_shared<Shouter>();
  MemoryTransport transport;
  transport.set_protocol(protocol);
  CHECK(transport.get_protocol() == protocol);
  protocol->connection_made(transport);
  CHECK(protocol->seen == "192.0.2.1:7");
  for (const char* piece : {"hel", "lo\nwor", "ld\n", "bye\n"}) protocol->data_received(piece);
  CHECK(transport.written == "> HELLO\n> WORLD\n> BYE\n");
  CHECK(transport.is_closing());
  protocol->connection_lost({});
  // The same protocol over one of ferry's.
  World world;
  auto stream = open_as(world, Carrier::unix_pair, std::make_shared<Shouter>());
  for (const char* piece : {"hel", "lo\nwor", "ld\n", "bye\n"}) stream.peer.send(piece);
  world.run_until([&] { return stream.transport->is_closing(); });
  world.settle();
  CHECK(stream.peer.receive() == transport.written);
  CHECK(stream.peer.ended());
}

TEST_CASE("the transport of connection_made() is valid until connection_lost() has returned",
          "[S-060][S-003]") {
  const Carrier carrier = GENERATE(Carrier::tcp, Carrier::unix_pair);
  World world;
  auto protocol = std::make_shared<Recorder>();
  bool checked = false;
  protocol->on_lost = [&] {
    ferry::Transport& transport = *protocol->transport;
    CHECK(transport.is_closing());
    CHECK(transport.get_protocol() == protocol);
    transport.write("too late");
    transport.close();
    transport.abort();
    transport.pause_reading();
    transport.resume_reading();
    transport.write_eof();
    CHECK(transport.get_write_buffer_size() == 0);
    CHECK((carrier == Carrier::unix_pair || transport.get_extra_info(ferry::sockname)));
    CHECK_FALSE(transport.describe().empty());
    checked = true;
  };
  std::weak_ptr<ferry::Transport> watched;
  Peer peer;
  {
    auto stream = open_as(world, carrier, protocol);
    watched = stream.transport;
    peer = std::move(stream.peer);
  }
  CHECK_FALSE(watched.expired());
  peer.close();
  world.run_until([&] { return checked; });
  world.settle();
  CHECK(watched.expired());
  CHECK(protocol->story() == "made eof lost");
}

TEST_CASE("neither connection_made() nor connection_lost() comes where a connect failed",
          "[S-062][S-002]") {
  World world;
  const auto refusing = bound_socket({"127.0.0.1", 0});
  auto protocol = std::make_shared<Recorder>();
  int made = 0;
  auto task = world.loop.create_connection(
      [&] {
        ++made;
        return protocol;
      },
      "127.0.0.1", refusing.view().getsockname().port());
  CHECK(error_of(world, std::move(task)) == std::errc::connection_refused);
  world.settle();
  CHECK(made == 0);
  CHECK(protocol->events.empty());
}

TEST_CASE("every sequence of callbacks that breaks the contract is stopped at the breach",
          "[S-063][S-062][S-067][S-073][S-074][C-12]") {
  const std::string calls = "md0eprl";
  std::size_t kept = 0, broken = 0;
  std::vector<std::string> level{""};  // the allowed sequences of one length
  for (int length = 1; length <= 6; ++length) {
    std::vector<std::string> next;
    for (const std::string& before : level) {
      for (const char what : calls) {
        INFO("after '" << before << "' comes '" << what << "'");
        Driver driver;
        CHECK(driver.refused(before) == 0);
        const std::size_t events = driver.protocol->events.size();
        const bool good = allowed(before + what);
        CHECK(driver.refused(std::string{what}) == (good ? 0u : 1u));
        const bool joined = what == 'd' && before.ends_with('d');
        CHECK(driver.protocol->events.size() == events + (good && !joined ? 1 : 0));
        good ? ++kept : ++broken;
        if (good) next.push_back(before + what);
      }
    }
    level = std::move(next);
  }
  CHECK(kept > 100);
  CHECK(broken > 300);
}

TEST_CASE("without half-close, eof_received() that answers true closes all the same", "[S-072]") {
  namespace act = ferry::internal::act;
  const bool half_close = GENERATE(false, true), empty = GENERATE(false, true);
  ferry::internal::StreamLife life{half_close};
  life.opened();
  CHECK(life.eof() == act::eof_received);
  const std::uint32_t actions = life.eof_answered(true, empty);
  CHECK((actions & act::stop_reading) != 0);
  CHECK(life.closing() == !half_close);
  CHECK(((actions & act::finish) != 0) == (!half_close && empty));  // what is queued goes out first
  if (!half_close && !empty) CHECK(life.drained() == act::finish);
  CHECK(life.eof() == act::none);
  CHECK(life.bytes() == act::none);
}

TEST_CASE("a caller refuses what is no stream protocol, and keeps the one that it has",
          "[S-003][A-002]") {
  Driver driver;
  CHECK_THROWS_AS(driver.caller.set(nullptr), std::invalid_argument);
  CHECK_THROWS_AS(driver.caller.set(std::make_shared<ferry::BaseProtocol>()),
                  std::invalid_argument);
  CHECK_THROWS_AS(ProtocolCaller{nullptr}, std::invalid_argument);
  CHECK(driver.caller.protocol() == driver.protocol);
  CHECK_FALSE(driver.caller.buffered());
  driver.caller.set(std::make_shared<Lender>());
  CHECK(driver.caller.buffered());
  CHECK(driver.caller.release() != nullptr);
  CHECK(driver.caller.protocol() == nullptr);
}
