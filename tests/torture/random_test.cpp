// Random lives of a connection, each from one seed: write sizes, small kernel buffers, short
// counts, interruptions, pauses, marks, and calls from inside every callback. The contract checker
// stands between both sides; here the bytes are checked.
#include "support/calls.hpp"
#include "support/world.hpp"

#include <ferry/contract_checker.hpp>

#include <cstdlib>
#include <random>

using namespace test;

namespace {

class Chaos final : public ferry::internal::calls::Hook {
 public:
  explicit Chaos(unsigned seed) : random_{seed} { ferry::internal::calls::set_hook(this); }
  ~Chaos() override { ferry::internal::calls::set_hook(nullptr); }
  Chaos(const Chaos&) = delete;
  Chaos& operator=(const Chaos&) = delete;

 private:
  int before(Call call, ferry::NativeHandle, std::size_t& size) override {
    const bool moves = call == Call::recv || call == Call::send || call == Call::sendmsg;
    if (!moves) return 0;
    const unsigned dice = random_() % 8;
    if (dice == 0) return EINTR;
    if (dice < 4 && size > 1) size = 1 + random_() % size;
    return 0;
  }
  std::mt19937 random_;
};

class Scenario {
 public:
  explicit Scenario(unsigned seed) : random_{seed}, seed_{seed} {}

  void run(World& world) {
    tcp_ = chance(2);
    open(world);
    if (!tcp_ && chance(2)) {  // (TCP would wait for its timers when the window is that small)
      stream_.peer.small_buffers();
      transport()->get_extra_info(ferry::socket).setsockopt(SOL_SOCKET, SO_SNDBUF, 4096);
    }
    const Chaos chaos{seed_};
    for (int step = 0; step < 24 && !stream_.protocol->lost; ++step) {
      act();
      peer_acts();
      world.turn();
    }
    end(world);
  }

 private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  std::size_t size() {
    static constexpr std::size_t sizes[] = {1, 7, 100, 4096, 8191, 8192, 20000, 70000};
    return sizes[random_() % std::size(sizes)];
  }

  void open(World& world) {
    Pair pair = connected_pair(tcp_ ? Carrier::tcp : Carrier::unix_pair);
    auto factory = checker_.factory([this] { return protocol(); });
    auto task = world.loop.create_connection(std::move(factory), std::move(pair.ours));
    auto made = checker_.connection<Recorder>(world.run(std::move(task)));
    stream_ = {std::move(made.protocol), std::move(made.transport), std::move(pair.peer)};
  }

  std::shared_ptr<Recorder> protocol() {
    auto recorder = std::make_shared<Recorder>();
    recorder->keep_open = chance(2);
    const auto maybe = [this] {
      if (chance(3)) act();
    };
    recorder->on_made = recorder->on_data = recorder->on_eof = maybe;
    recorder->on_pause = recorder->on_resume = maybe;
    recorder->on_lost = maybe;
    return recorder;
  }

  ferry::Transport* transport() const { return stream_.transport.get(); }

  // One random call of the user's.
  void act() {
    if (transport() == nullptr) return;  // in connection_made: the test has no transport yet
    const bool was_in_call = std::exchange(stream_.protocol->in_call, true);
    switch (random_() % 24) {
      case 0: transport()->pause_reading(); break;
      case 1: case 2: transport()->resume_reading(); break;
      case 3:
        transport()->set_write_buffer_limits({.high = static_cast<std::int64_t>(size()) - 1});
        break;
      case 4: CHECK(transport()->get_write_buffer_size() <= written_.size()); break;
      case 5:
        if (!transport()->is_closing() && chance(4)) transport()->write_eof();
        ended_ = true;
        break;
      case 6:
        if (chance(4)) close();
        break;
      case 7:
        if (chance(8)) abort();
        break;
      case 8: case 9: write_lines(); break;
      default: write(); break;
    }
    stream_.protocol->in_call = was_in_call;
  }

  void close() {
    transport()->close();
    closed_ = true;
  }
  void abort() {
    transport()->abort();
    closed_ = aborted_ = true;
  }

  std::string next(std::size_t count) {
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(number_++ % 251);
    return bytes;
  }
  bool may_write() const { return !ended_ && !closed_ && !transport()->is_closing(); }
  // The model first: a callback inside may write more.
  void write() {
    if (!may_write()) return;
    const std::string bytes = next(size());
    written_ += bytes;
    transport()->write(bytes);
  }
  void write_lines() {
    if (!may_write()) return;
    std::vector<std::string> lines;
    for (auto i = random_() % 5; i > 0; --i) lines.push_back(next(size() / 8));
    for (const std::string& line : lines) written_ += line;
    transport()->writelines(lines);
  }

  void peer_acts() {
    if (chance(3)) got_ += stream_.peer.receive();
    if (peer_ended_ || !stream_.peer) return;
    if (chance(2)) {
      const std::string bytes = pattern(sent_.size() + size()).substr(sent_.size());
      sent_ += bytes.substr(0, stream_.peer.send(bytes));
    }
    if (chance(40)) {
      stream_.peer.shut_write();
      peer_ended_ = true;
    }
  }

  void end(World& world) {
    closed_ = true;
    stream_.transport->close();
    world.run_until([&] {
      got_ += stream_.peer.receive();
      const bool peer_done = stream_.peer.ended() || stream_.peer.error() != 0;
      return stream_.protocol->lost && peer_done;
    });
    world.settle();
    INFO("seed " << seed_ << ": " << stream_.protocol->story());
    // What arrived is a beginning of what was written, and all of it if nobody aborted. (TCP
    // forgets what the peer has not read when a socket is closed that has unread input: RFC 1122,
    // 4.2.2.13.)
    const std::string& received = stream_.protocol->received;
    const bool forgets = (tcp_ || !has_unix_pairs()) && received.size() < sent_.size();
    CHECK(written_.compare(0, got_.size(), got_) == 0);
    if (!aborted_ && !forgets && !stream_.protocol->reason) CHECK(got_.size() == written_.size());
    CHECK(sent_.compare(0, received.size(), received) == 0);
    if (stream_.protocol->eof) CHECK(received.size() == sent_.size());
    CHECK_NOTHROW(checker_.finish());
  }

  std::mt19937 random_;
  unsigned seed_;
  ferry::ContractChecker checker_;
  Stream stream_;
  unsigned number_ = 0;
  std::string written_, got_, sent_;
  bool tcp_ = false, ended_ = false, closed_ = false, aborted_ = false, peer_ended_ = false;
};

void run_seeds(unsigned from, unsigned count) {
  World world;
  for (unsigned seed = from; seed < from + count; ++seed) {
    Scenario scenario{seed};
    scenario.run(world);
    world.take_logs();
  }
}

}  // namespace

constexpr unsigned seeds = 2000;

// FERRY_TEST_SEED=n runs that one alone; FERRY_TEST_SEEDS=n sets how many.
TEST_CASE("thousands of random lives keep the contract, and lose no byte",
          "[S-007][S-038][S-068][S-074][S-080][C-12][C-14]") {
  if (const char* one = std::getenv("FERRY_TEST_SEED")) {
    return run_seeds(static_cast<unsigned>(std::atoi(one)), 1);
  }
  const char* many = std::getenv("FERRY_TEST_SEEDS");
  const unsigned count = is_slow() && !sanitized ? seeds / 20 : seeds;
  run_seeds(1, many != nullptr ? static_cast<unsigned>(std::atoi(many)) : count);
}
