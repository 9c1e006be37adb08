#include "sim/datagram_lives.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <stdexcept>

namespace sim_lives {
namespace {

using ferry::Address;
using ferry::Seconds;

constexpr std::size_t head = 8;  // the letter's number

[[noreturn]] void breach(const std::string& what) { throw std::runtime_error{what}; }
void require(bool holds, const char* what) {
  if (!holds) breach(what);
}

char char_at(std::uint64_t number, std::size_t at) noexcept {
  if (at < head) return static_cast<char>(number >> (8 * at));
  return static_cast<char>(((number + 1) * 0x9e3779b97f4a7c15 + at * 131) >> 56);
}

}  // namespace

DatagramCounts& DatagramCounts::operator+=(const DatagramCounts& other) {
  endpoints += other.endpoints;
  events += other.events;
  sent += other.sent;
  received += other.received;
  doubled += other.doubled;
  required += other.required;
  pauses += other.pauses;
  errors += other.errors;
  bytes += other.bytes;
  return *this;
}

// What an endpoint's protocol does, one by one or in batches.
class Chatter {
 public:
  Chatter(DatagramLives& lives, bool is_hub) : lives_{lives}, is_hub_{is_hub} {}

  void made(ferry::DatagramTransport& transport) {
    count();
    require(transport_ == nullptr, "connection_made() came twice");
    transport_ = &transport;
    name_ = transport.get_extra_info(ferry::sockname);
    peer_ = transport.get_extra_info(ferry::peername);
    ++lives_.counts_.endpoints;
    budget_ = 6 + static_cast<int>(dice(20));
    if (dice(4) == 0) act();
    act_later();
  }
  void came(ferry::BytesView data, const Address& from) {
    ++lives_.counts_.received;
    lives_.counts_.bytes += data.size();
    require(!peer_ || from == peer_, "a connected endpoint heard somebody else");
    if (data.size() < head) return came_empty(data);
    std::uint64_t number = 0;
    const std::string_view text = data.text();
    for (std::size_t i = head; i-- > 0;) number = number << 8 | static_cast<std::uint8_t>(text[i]);
    if (number >= lives_.letters_.size()) breach("a datagram that nobody has sent");
    Letter& letter = lives_.letters_[number];
    require(letter.size == data.size(), "a datagram was cut or joined");
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (text[i] != char_at(number, i)) breach("a datagram was altered");
    }
    require(letter.to == name_, "a datagram came to somebody else");
    require(letter.from->name_ == from, "a datagram has another sender");
    ++letter.received;
    const ferry::SimNetwork& network = lives_.world_.network();
    if (letter.received == 2) ++lives_.counts_.doubled;
    require(letter.received <= (network.duplicated > 0 ? 2 : 1), "a datagram came too often");
    if (network.reordered > 0) return;
    require(number >= last_of_[letter.from], "a datagram was overtaken");
    last_of_[letter.from] = number;
  }
  void before_datagrams(std::size_t datagrams) {
    count();
    require(datagrams > 0, "datagrams_received() with nothing");
    must_be_there("a datagram");
    require(!closed_, "a datagram after close() or abort()");
    require(!paused_reading_, "a datagram while reading is paused");
  }
  void after_datagrams() {
    if (dice(3) == 0) act();
  }
  void error(const ferry::Error& error) {
    count();
    must_be_there("error_received()");
    require(in_call_ == 0, "error_received() inside a call of ours");
    ++lives_.counts_.errors;
    const bool too_large = error == std::errc::message_size;
    if (!too_large) troubled_ = true;
    const bool refused = peer_ && error == std::errc::connection_refused;
    if (!too_large && !refused) breach(std::string{error.what()});
    if (too_large) require(--too_large_ >= 0, "nothing was too large");
    if (dice(3) == 0) act();
  }
  void pause() {
    count();
    must_be_there("pause_writing()");
    require(!paused_writing_, "pause_writing() came twice");
    require(in_call_ > 0, "pause_writing() outside of a call of ours");
    paused_writing_ = true;
    ++lives_.counts_.pauses;
    if (dice(4) == 0) act();
  }
  void resume() {
    count();
    must_be_there("resume_writing()");
    require(paused_writing_, "resume_writing() without pause_writing()");
    require(in_call_ == 0, "resume_writing() inside a call of ours");
    paused_writing_ = false;
    const std::size_t low = transport_->get_write_buffer_limits().low;
    require(transport_->get_write_buffer_size() <= low, "resumed above the low mark");
    if (dice(2) == 0) act();
  }
  void lost(const ferry::Error& error) {
    count();
    require(transport_ != nullptr, "connection_lost() before connection_made()");
    require(!lost_, "connection_lost() came twice");
    require(in_call_ == 0, "connection_lost() inside a call of ours");
    require(closed_ && !error, "lost, and nobody had closed it");
    require(transport_->is_closing(), "lost, and not closing");
    require(transport_->get_write_buffer_size() == 0, "lost, with datagrams in the queue");
    lost_ = true;
    timer_.cancel();
    if (dice(2) == 0) transport_->sendto("dropped", lives_.hub_);
    transport_ = nullptr;
    kept_.reset();
  }

  void finish() {
    if (closed_ || transport_ == nullptr) return;
    closed_ = true;
    ++in_call_;
    if (dice(4) == 0) {
      aborted_ = true;
      transport_->abort();
    } else {
      transport_->close();
    }
    --in_call_;
    require(transport_->is_closing(), "closed, and not closing");
  }

 private:
  friend class DatagramLives;
  std::uint64_t dice(std::uint64_t below) { return lives_.world_.random(below); }
  void count() { ++lives_.counts_.events; }
  void must_be_there(const char* what) const {
    if (transport_ == nullptr) breach(std::string{what} + " before or after the endpoint's life");
    if (lost_) breach(std::string{what} + " after connection_lost()");
  }
  void came_empty(ferry::BytesView data) {
    require(data.empty(), "a datagram was cut");
    const std::uint64_t most = lives_.world_.network().duplicated > 0 ? 2 : 1;
    require(++lives_.empty_received_ <= most * lives_.empty_sent_, "empty ones came too often");
  }

  void act_later() {
    timer_ = lives_.world_.loop().call_later(Seconds{0.0001 * static_cast<double>(dice(500))},
                                             [this] { act_and_go_on(); });
  }
  void act_and_go_on() {
    if (lost_ || closed_) return;
    if (--budget_ < 0) {
      if (!is_hub_ && dice(2) == 0) finish();
      return;
    }
    act();
    act_later();
  }
  void act() {
    if (lost_ || closed_) return;
    count();
    ++in_call_;
    switch (dice(20)) {
      case 0: pause_for_a_while(); break;
      case 1: set_marks(); break;
      case 2: transport_->get_write_buffer_size(); break;
      case 3: case 4: send_many(); break;
      case 5: if (!is_hub_ && dice(8) == 0) finish(); break;
      case 6: ask_what_cannot_be(); break;
      default: send(); break;
    }
    --in_call_;
    if (!lost_ && !closed_) must_be_paused_above_the_mark();
  }
  Address whom() {
    if (peer_) return dice(2) == 0 ? peer_ : Address{};
    const auto& all = lives_.chatters_;
    const Chatter& other = *all[dice(all.size())];
    return other.name_ ? other.name_ : lives_.hub_;
  }
  std::string new_letter(const Address& to) {
    ++lives_.counts_.sent;
    std::size_t size = head + dice(dice(6) == 0 ? 3000 : 300);
    if (dice(12) == 0) {
      ++lives_.empty_sent_;
      return {};
    }
    const std::uint64_t number = lives_.letters_.size();
    if (size > lives_.world_.network().mtu) ++too_large_;
    lives_.letters_.push_back({size, this, to ? to : peer_, 0});
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = char_at(number, i);
    return text;
  }
  void send() {
    const Address to = whom();
    transport_->sendto(new_letter(to), to);
  }
  void send_many() {
    std::vector<std::string> texts;
    std::vector<ferry::Datagram> datagrams;
    for (std::uint64_t i = dice(40); i > 0; --i) {
      const Address to = whom();
      texts.push_back(new_letter(to));
      datagrams.push_back({{}, to, {}});
    }
    for (std::size_t i = 0; i < texts.size(); ++i) datagrams[i].data = texts[i];
    transport_->sendto_many(datagrams);
  }
  // An error to us, and nothing has happened.
  void ask_what_cannot_be() {
    bool thrown = false;
    const std::size_t before = transport_->get_write_buffer_size();
    try {
      transport_->sendto("wrong", peer_ ? Address{"10.9.9.9", 9} : Address{});
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    require(thrown, "sendto() to nobody, or to somebody else, was no error");
    require(transport_->get_write_buffer_size() <= before, "what was an error is in the queue");
  }
  void set_marks() {
    const auto high = static_cast<std::int64_t>(dice(3000));
    transport_->set_write_buffer_limits({.high = high, .low = high / 3});
  }
  void must_be_paused_above_the_mark() {
    const bool above =
        transport_->get_write_buffer_size() > transport_->get_write_buffer_limits().high;
    require(!above || paused_writing_, "above its mark, and writing is not paused");
  }
  void pause_for_a_while() {
    if (paused_reading_) return;
    transport_->pause_reading();
    paused_reading_ = true;
    lives_.world_.loop().call_later(Seconds{0.001 * static_cast<double>(dice(100))}, [this] {
      if (lost_ || transport_ == nullptr) return;
      paused_reading_ = false;
      ++in_call_;
      transport_->resume_reading();
      --in_call_;
    });
  }

  DatagramLives& lives_;
  const bool is_hub_;
  Address name_, peer_;
  ferry::DatagramTransport* transport_ = nullptr;
  std::shared_ptr<ferry::DatagramTransport> kept_;
  ferry::TimerHandle timer_;
  std::map<const Chatter*, std::uint64_t> last_of_;  // the number of the last letter
  int budget_ = 0, in_call_ = 0, too_large_ = 0;
  bool paused_reading_ = false, paused_writing_ = false, closed_ = false, aborted_ = false;
  bool lost_ = false, troubled_ = false;
};

namespace {

template <class Base>
class Forward : public Base {
 public:
  explicit Forward(std::shared_ptr<Chatter> to) : to_{std::move(to)} {}
  void connection_made(ferry::DatagramTransport& transport) override { to_->made(transport); }
  void error_received(const ferry::Error& error) override { to_->error(error); }
  void pause_writing() override { to_->pause(); }
  void resume_writing() override { to_->resume(); }
  void connection_lost(const ferry::Error& error) override { to_->lost(error); }

 protected:
  std::shared_ptr<Chatter> to_;
};

class OneByOne final : public Forward<ferry::DatagramProtocol> {
 public:
  using Forward::Forward;
  void datagram_received(ferry::BytesView data, const Address& addr) override {
    to_->before_datagrams(1);
    to_->came(data, addr);
    to_->after_datagrams();
  }
};

class InBatches final : public Forward<ferry::DatagramBatchProtocol> {
 public:
  using Forward::Forward;
  void datagrams_received(std::span<const ferry::Datagram> datagrams) override {
    to_->before_datagrams(datagrams.size());
    for (const ferry::Datagram& one : datagrams) to_->came(one.data, one.addr);
    to_->after_datagrams();
  }
};

}  // namespace

DatagramLives::~DatagramLives() = default;

// The first is the hub; of the others some are connected to it.
ferry::DatagramOptions DatagramLives::options_of(int number) {
  ferry::DatagramOptions options;
  const bool connected = number > 0 && world_.random(2) == 0;
  if (connected) options.remote_addr = hub_;
  if (unix_) {
    options.local_addr = Address::unix_path("/chatter/" + std::to_string(number));
  } else if (!connected) {
    options.local_addr = Address{"10.0.0." + std::to_string(2 + number), 53};
  }
  if (number == 0) hub_ = options.local_addr;
  return options;
}

ferry::Task<void> DatagramLives::open(std::shared_ptr<Chatter> chatter,
                                      ferry::DatagramOptions options) {
  ferry::Loop& loop = world_.loop();
  if (world_.random(2) == 0) {
    auto make = [chatter] { return std::make_shared<OneByOne>(chatter); };
    auto task = loop.create_datagram_endpoint(make, options);
    auto made = co_await std::move(task);
    if (!chatter->lost_) chatter->kept_ = std::move(made.transport);
  } else {
    auto make = [chatter] { return std::make_shared<InBatches>(chatter); };
    auto task = loop.create_datagram_endpoint(make, options);
    auto made = co_await std::move(task);
    if (!chatter->lost_) chatter->kept_ = std::move(made.transport);
  }
}

void DatagramLives::run() {
  ferry::Loop& loop = world_.loop();
  loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
    if (report_.empty()) report_ = std::string{context.exception.what()};
  });
  loop.set_log_sink([](ferry::LogLevel, std::string_view) {});
  ferry::SimNetwork network = world_.draw_network();
  if (world_.random(4) == 0) network.lost = 0, network.buffer = 1 << 20;  // then all must arrive
  world_.set_network(network);
  unix_ = world_.random(4) == 0;
  const int count = 4 + static_cast<int>(world_.random(3));
  for (int i = 0; i < count; ++i) chatters_.push_back(std::make_shared<Chatter>(*this, i == 0));
  for (int i = 0; i < count; ++i) {
    loop.run_until_complete(open(chatters_[static_cast<std::size_t>(i)], options_of(i)));
  }
  const auto wait = [&](const auto& done, const char* what) {
    for (int turn = 0; !done() && report_.empty(); ++turn) {
      require(turn < 1000, what);
      loop.run_until_complete(loop.sleep(Seconds{1.0}));
    }
  };
  const auto each = [this](const auto& holds) {
    return std::all_of(chatters_.begin(), chatters_.end(), holds);
  };
  wait([&] { return each([](const auto& one) { return one->lost_ || one->budget_ < 0; }); },
       "somebody does not come to an end");
  if (report_.empty()) loop.run_until_complete(loop.sleep(Seconds{5.0}));
  if (report_.empty()) judge();
  for (const auto& one : chatters_) one->finish();
  wait([&] { return each([](const auto& one) { return one->lost_; }); }, "somebody is not lost");
  if (!report_.empty()) breach(report_);
}

// When all is quiet.
void DatagramLives::judge() {
  for (const auto& one : chatters_) {
    if (one->transport_ == nullptr) continue;
    require(one->closed_ || !one->paused_writing_, "writing was not resumed");
    require(one->transport_->get_write_buffer_size() == 0, "datagrams are left in the queue");
  }
  judge_arrivals();
}

// Of a network that loses nothing, with room for all.
void DatagramLives::judge_arrivals() {
  const ferry::SimNetwork& network = world_.network();
  if (network.lost > 0 || network.buffer < 1 << 20) return;
  std::map<std::string, const Chatter*> there;
  for (const auto& one : chatters_) {
    if (!one->closed_) there[one->name_.to_string()] = one.get();
  }
  for (std::size_t number = 0; number < letters_.size(); ++number) {
    const Letter& letter = letters_[number];
    const auto found = there.find(letter.to.to_string());
    if (letter.size > network.mtu || letter.from->aborted_ || letter.from->troubled_) continue;
    if (found == there.end()) continue;
    const Chatter& to = *found->second;
    if (to.peer_ && to.peer_ != letter.from->name_) continue;
    if (letter.received == 0) breach("datagram " + std::to_string(number) + " has not come");
    ++counts_.required;
  }
}

}  // namespace sim_lives
