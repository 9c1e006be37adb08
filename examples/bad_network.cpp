#include <ferry/ferry.hpp>
#include <ferry/format.hpp>
#include <ferry/testing.hpp>

#include <stdexcept>
#include <string>

// What is tested: sums up numbers that come a line each.
class Sum : public ferry::Protocol {
 public:
  void data_received(ferry::BytesView data) override {
    text_ += data.text();  // a line may come in pieces
    for (std::size_t end; (end = text_.find('\n')) != text_.npos; text_.erase(0, end + 1)) {
      total += std::stoi(text_.substr(0, end));
    }
  }
  int total = 0;

 private:
  std::string text_;
};

void test(ferry::SimWorld& world) {
  ferry::Loop& loop = world.loop();
  world.set_network({.jitter = ferry::Seconds{0.1}, .short_read = 0.5, .would_block = 0.2});
  auto sum = std::make_shared<Sum>();
  auto server = loop.run_until_complete(loop.create_server([&] { return sum; }, "10.0.0.1", 80));
  auto [transport, protocol] = loop.run_until_complete(
      loop.create_connection(ferry::make<ferry::Protocol>, "10.0.0.1", 80));
  for (int i = 1; i <= 100; ++i) transport->write(fmt::format("{}\n", i));
  transport->close();
  server->close();
  loop.run_until_complete(server->wait_closed());  // until the connection is over
  if (sum->total != 5050) throw std::runtime_error{fmt::format("the sum is {}", sum->total)};
}

int main() {
  const auto seeds = ferry::for_each_seed({.count = 500}, test);  // each is another network
  fmt::print("{} networks, and the sum is right\n", seeds);
}
