#include "sim/lives.hpp"

#include <algorithm>
#include <stdexcept>
#include <string_view>

namespace sim_lives {
namespace {

using ferry::Seconds;

// What both sides say before start_tls().
constexpr std::size_t preface = 5;

[[noreturn]] void breach(const std::string& what) { throw std::runtime_error{what}; }
void require(bool holds, const char* what) {
  if (!holds) breach(what);
}

std::byte byte_at(std::uint64_t offset, std::uint16_t port, int way) noexcept {
  const std::uint64_t mixed = (offset + 1) * 0x9e3779b97f4a7c15 + port * 131u + 7u * unsigned(way);
  return static_cast<std::byte>(mixed >> 56);
}

// What a bad network may do to the making of a connection.
bool is_the_networks(const ferry::OsError& error) {
  return error.code() == std::errc::connection_refused || error.code() == std::errc::timed_out ||
         error.code() == std::errc::connection_reset ||
         error.code() == std::errc::connection_aborted;
}

}  // namespace

class Talker final : public ferry::Protocol, public std::enable_shared_from_this<Talker> {
 public:
  Talker(Lives& lives, int side) : lives_{lives}, side_{side} {}

  void connection_made(ferry::Transport& transport) override {
    count();
    require(transport_ == nullptr, "connection_made() came twice");
    transport_ = &transport;
    const ferry::Address name = side_ == 0 ? transport.get_extra_info(ferry::sockname)
                                           : transport.get_extra_info(ferry::peername);
    port_ = name.port();
    pair_ = &lives_.pairs_[port_];
    mine().made = true;
    pair_->talkers[side_] = this;
    ++lives_.counts_.connections;
    // Two that close and read no more would wait for each other for ever; over TLS they read.
    if (lives_.secrets_ == nullptr) transport.set_flush_timeout(Seconds{60.0});
    budget_ = 4 + static_cast<int>(dice(12));
    if (!lives_.upgrades_) return act_later();
    in_clear_ = true;
    if (side_ == 0) transport.write(next_bytes(preface));
    if (side_ == 0 && !lives_.asks_first_) upgrade({});
  }
  void data_received(ferry::BytesView data) override {
    count();
    must_be_open("data_received()");
    require(!data.empty(), "data_received() with nothing");
    require(!paused_reading_, "data_received() while reading is paused");
    require(!in().end_seen, "data_received() after the end");
    if (in_clear_) return hear_preface(data);
    take(data);
    if (dice(3) == 0) act();
  }
  bool eof_received() override {
    count();
    must_be_open("eof_received()");
    require(!paused_reading_, "eof_received() while reading is paused");
    require(!in().end_seen, "eof_received() came twice");
    in().end_seen = true;
    if (in_clear_) return false;
    if (dice(3) == 0) act();
    return !finished_ && dice(2) == 0;
  }
  void pause_writing() override {
    count();
    must_be_open("pause_writing()", true);
    require(!paused_writing_, "pause_writing() came twice");
    paused_writing_ = true;
    if (dice(4) == 0) act();
  }
  void resume_writing() override {
    count();
    must_be_open("resume_writing()", true);
    require(paused_writing_, "resume_writing() without pause_writing()");
    require(in_call_ == 0, "resume_writing() inside a call of ours");
    paused_writing_ = false;
    if (dice(2) == 0) act();
  }
  void connection_lost(const ferry::Error& error) override {
    count();
    require(transport_ != nullptr, "connection_lost() before connection_made()");
    require(!mine().lost, "connection_lost() came twice");
    require(in_call_ == 0, "connection_lost() inside a call of ours");
    require(transport_->is_closing(), "lost, and not closing");
    require(transport_->get_write_buffer_size() == 0, "lost, with bytes in the buffer");
    mine().lost = true;
    pair_->talkers[side_] = nullptr;
    mine().clean = !error;
    mine().why = error.what();
    timer_.cancel();
  }

 private:
  Side& mine() const { return pair_->sides[side_]; }
  Ledger& in() const { return pair_->ways[1 - side_]; }
  Ledger& out() const { return pair_->ways[side_]; }
  std::uint64_t dice(std::uint64_t below) { return lives_.world_.random(below); }
  void count() { ++lives_.counts_.events; }
  void must_be_open(const char* what, bool also_closing = false) const {
    if (transport_ == nullptr) breach(std::string{what} + " before connection_made()");
    if (mine().lost) breach(std::string{what} + " after connection_lost()");
    if (!also_closing && closed_) breach(std::string{what} + " after close() or abort()");
  }

  void take(ferry::BytesView data) {
    for (const std::byte byte : std::span{data.data(), data.size()}) {
      if (byte != byte_at(in().received, port_, 1 - side_)) {
        breach("byte " + std::to_string(in().received) + " is not the one that was sent");
      }
      ++in().received;
    }
    require(in().received <= pair_->ways[1 - side_].written, "more came than was written");
    lives_.counts_.bytes += data.size();
  }

  // What comes with it or after it is TLS already.
  void hear_preface(ferry::BytesView data) {
    const std::size_t size = std::min<std::size_t>(preface - in().received, data.size());
    take(data.subview(0, size));
    if (in().received < preface) return;
    if (side_ == 1 && lives_.asks_first_) transport_->write(next_bytes(preface));
    upgrade(data.subview(size));
  }
  void upgrade(ferry::BytesView received) {
    if (transport_->is_closing()) return;  // the network was quicker
    in_clear_ = false;
    const Secrets& secrets = *lives_.secrets_;
    const bool server = side_ == 1;
    ferry::StartTlsOptions options{.server_side = server, .received = received};
    if (!server) options.server_hostname = "localhost";
    ferry::Loop& loop = lives_.world_.loop();
    mine().upgrading = true;
    loop.create_task(lives_.upgraded(
        loop.start_tls(*transport_, server ? secrets.server : secrets.client, options), mine()));
    act_later();
  }

  void act_later() {
    timer_ = lives_.world_.loop().call_later(Seconds{0.0001 * static_cast<double>(dice(500))},
                                             [this] { act_and_go_on(); });
  }
  void act_and_go_on() {
    if (mine().lost || closed_) return;
    if (--budget_ < 0) return finish();
    act();
    act_later();
  }
  void act() {
    if (mine().lost || closed_) return;
    ++in_call_;
    ++lives_.counts_.events;
    switch (dice(16)) {
      case 0: pause_for_a_while(); break;
      case 1: set_marks(); break;
      case 2: require(transport_->get_write_buffer_size() <= out().written, "a buffer too large");
        break;
      case 3: write_many(); break;
      case 4: if (dice(20) == 0) finish(); break;
      case 5: if (dice(20) == 0) abort_the_other(); break;
      default: write(); break;
    }
    --in_call_;
  }
  std::string next_bytes() { return next_bytes(dice(8) == 0 ? dice(12'000) : dice(400)); }
  std::string next_bytes(std::size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(byte_at(out().written++, port_, side_));
    return bytes;
  }
  bool may_write() const { return !finished_ && !transport_->is_closing(); }
  void write() {
    if (!may_write()) return;
    transport_->write(next_bytes());
    must_be_paused_above_the_mark();
  }
  void write_many() {
    if (!may_write()) return;
    const std::vector<std::string> chunks{next_bytes(), next_bytes(), next_bytes()};
    transport_->writelines(chunks);
    must_be_paused_above_the_mark();
  }
  void set_marks() {
    const auto high = static_cast<std::int64_t>(dice(5000));
    transport_->set_write_buffer_limits({.high = high, .low = high / 3});
    must_be_paused_above_the_mark();
  }
  void must_be_paused_above_the_mark() {
    const std::size_t size = transport_->get_write_buffer_size();
    const bool above = size > transport_->get_write_buffer_limits().high;
    require(!above || paused_writing_, "the buffer is above its mark, and writing is not paused");
  }
  void pause_for_a_while() {
    if (paused_reading_) return;
    transport_->pause_reading();
    paused_reading_ = true;
    const Seconds time{0.001 * static_cast<double>(dice(300))};
    lives_.world_.loop().call_later(time, [this, self = shared_from_this()] {
      if (mine().lost) return;
      paused_reading_ = false;
      ++in_call_;
      transport_->resume_reading();
      --in_call_;
    });
  }
  // Whose event may be waiting in this very turn; whoever gets its place must not see it.
  void abort_the_other() {
    Talker* const other = pair_->talkers[1 - side_];
    if (other == nullptr || other->closed_) return;
    other->closed_ = other->finished_ = true;
    other->mine().hard = true;
    other->transport_->abort();
    lives_.watch_what_is_quiet();
  }
  void finish() {
    if (std::exchange(finished_, true)) return;
    ++in_call_;
    const std::uint64_t how = dice(8);
    if (how < 3 && !in().end_seen && transport_->can_write_eof()) {
      transport_->write_eof();  // and the peer's end will close it
    } else if (how < 3 && side_ == 0 && !transport_->can_write_eof()) {
      // The server's end will close it.
    } else {
      closed_ = true;
      mine().closed_early = !in().end_seen;
      mine().hard = how == 7 || mine().upgrading;  // before there is a stream to be ended
      if (how == 7) dice(2) == 0 ? transport_->abort() : void(transport_->abort_with_reset());
      if (!transport_->is_closing()) transport_->close();
    }
    --in_call_;
  }

  Lives& lives_;
  const int side_;
  std::uint16_t port_ = 0;
  ferry::Transport* transport_ = nullptr;
  Pair* pair_ = nullptr;
  ferry::TimerHandle timer_;
  int budget_ = 0, in_call_ = 0;
  bool in_clear_ = false;  // before start_tls()
  bool paused_reading_ = false, paused_writing_ = false, finished_ = false, closed_ = false;
};

ferry::Task<void> Lives::connect(int number) {
  ferry::Loop& loop = world_.loop();
  co_await loop.sleep(Seconds{0.01 * static_cast<double>(world_.random(50))});
  try {
    auto made = checker_.factory([this] { return std::make_shared<Talker>(*this, 0); });
    ferry::ConnectOptions options;
    if (tls_) {
      options.ssl = &secrets_->client;
      options.server_hostname = "localhost";
    }
    auto task =
        loop.create_connection(made, number % 2 == 0 ? "10.0.0.2" : "server", port_, options);
    co_await std::move(task);
  } catch (const ferry::OsError& error) {
    if (!is_the_networks(error)) throw;
  }
}

ferry::Task<void> Lives::upgraded(ferry::Task<void> upgrade, Side& side) {
  try {
    co_await std::move(upgrade);
    side.upgrading = false;
    ++counts_.upgrades;
  } catch (const ferry::OsError& error) {
    // Truncated: the TLS below.
    const bool expected = is_the_networks(error) || error.code() == ferry::SslErrc::truncated;
    if (!expected && report_.empty()) report_ = error.what();
  }
}

void Lives::run() {
  ferry::Loop& loop = world_.loop();
  loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
    // Out of descriptors is told and survived; everything else is a breach.
    if (context.exception == std::errc::too_many_files_open) return;
    if (report_.empty()) report_ = std::string{context.exception.what()};
  });
  loop.set_log_sink([](ferry::LogLevel, std::string_view) {});
  world_.set_network(world_.draw_network());
  world_.set_name("server", {"10.0.0.2"}, Seconds{0.01});
  auto made = checker_.factory([this] { return std::make_shared<Talker>(*this, 1); });
  ferry::ServerOptions options;
  if (secrets_ != nullptr) {
    tls_ = world_.random(4) != 0;
    upgrades_ = !tls_ || world_.random(2) == 0;
    asks_first_ = world_.random(2) == 0;
    if (tls_) options.ssl = &secrets_->server;
  }
  auto server = loop.run_until_complete(loop.create_server(made, "10.0.0.2", 0, options));
  port_ = server->sockets().front().getsockname().port();
  std::vector<ferry::Future<void>> clients;
  const int count = 4 + static_cast<int>(world_.random(3));
  for (int i = 0; i < count; ++i) clients.push_back(loop.create_task(connect(i)));
  for (auto& client : clients) loop.run_until_complete(client);
  const auto over = [this] {
    return std::all_of(pairs_.begin(), pairs_.end(), [](const auto& entry) {
      const Side* const sides = entry.second.sides;
      return sides[0].made == sides[0].lost && sides[1].made == sides[1].lost;
    });
  };
  server->close();
  while (!over() && report_.empty()) loop.run_until_complete(loop.sleep(Seconds{1.0}));
  if (report_.empty()) loop.run_until_complete(server->wait_closed());
  if (!report_.empty()) breach(report_);
  checker_.finish();
  judge();
}

void Lives::watch_what_is_quiet() {
  if (world_.network().spurious_event > 0) return;
  auto [one, other] = world_.socketpair();
  const ferry::NativeHandle handle = one.fileno();
  ferry::Loop& loop = world_.loop();
  loop.add_reader(handle, [] { breach("a reader is called, and there is nothing to read"); });
  loop.call_later(Seconds{0.01}, [&loop, handle] { loop.remove_reader(handle); });
  quiet_.push_back(std::move(one));
  quiet_.push_back(std::move(other));
}

// Over TLS no side is lost by an error, and none waits in vain, unless something cuts it short. (A
// bare socket that is closed with input unread is reset by its system.)
void Lives::judge_ends(std::uint16_t port, const Pair& pair) const {
  const Side& one = pair.sides[0];
  const Side& other = pair.sides[1];
  if (!one.made || !other.made || one.hard || other.hard || world_.network().reset > 0) return;
  // Whoever has said goodbye gives a peer up that still has 30 s of sending to do.
  const auto gave_up = [](const Side& side) {
    return side.why.find("TLS shutdown: no progress") != side.why.npos;
  };
  if (gave_up(one) || gave_up(other)) return;
  for (const Side* const side : {&one, &other}) {
    if (!side->clean) breach("port " + std::to_string(port) + ": lost by an error: " + side->why);
  }
}

// What a side wrote before an orderly end has come in full to the other, unless that one did not
// want it or the network cut the connection.
void Lives::judge() const {
  for (const auto& [port, pair] : pairs_) {
    if (secrets_ != nullptr) judge_ends(port, pair);
    for (int from : {0, 1}) {
      const Side& writer = pair.sides[from];
      const Side& reader = pair.sides[1 - from];
      const Ledger& way = pair.ways[from];
      const bool orderly = writer.clean && !writer.hard && reader.clean && !reader.hard &&
                           !reader.closed_early && reader.made && writer.made;
      if (orderly && (way.received != way.written || !way.end_seen)) {
        breach("port " + std::to_string(port) + ": " + std::to_string(way.received) + " of " +
               std::to_string(way.written) + " bytes came" + (way.end_seen ? "" : ", and no end"));
      }
    }
  }
}

}  // namespace sim_lives
