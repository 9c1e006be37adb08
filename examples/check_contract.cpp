#include <ferry/contract_checker.hpp>
#include <ferry/ferry.hpp>

#include <cstdio>

class Echo : public ferry::Protocol {  // the protocol under test
 public:
  explicit Echo(ferry::Loop& loop) : loop_{loop} {}
  void connection_made(ferry::Transport& transport) override { transport_ = &transport; }
  void data_received(ferry::BytesView data) override {
    transport_->write(data);
    transport_->close();
  }
  void connection_lost(const ferry::Error&) override { loop_.stop(); }
  void say_bye() { transport_->write("bye!"); }  // wrong after connection_lost()

 private:
  ferry::Loop& loop_;
  ferry::Transport* transport_ = nullptr;
};

int main(int argc, char**) {
  ferry::Loop loop;
  ferry::ContractChecker checker;
  const auto echo = std::make_shared<Echo>(loop);
  auto [ours, peer] = ferry::socketpair();
  // What the transport calls is the checker's, and so is the transport that Echo is given.
  loop.run_until_complete(
      loop.create_connection(checker.factory([&] { return echo; }), std::move(ours)));
  peer.send("abc");
  loop.run_forever();
  if (argc > 1) echo->say_bye();
  try {
    checker.finish();
    std::puts("The contract was kept");
  } catch (const ferry::ContractBreach& breach) {
    return std::puts(breach.what()), 1;
  }
}
