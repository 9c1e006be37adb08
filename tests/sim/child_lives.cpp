#include "sim/child_lives.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

namespace sim_lives {
namespace {

using ferry::Seconds;
using ferry::SimProgram;
using ferry::SimWorld;
using ferry::Stdio;

#ifdef SIGSTOP
constexpr int signal_stop = SIGSTOP, signal_continue = SIGCONT;
#else
constexpr int signal_stop = 19, signal_continue = 18;
#endif
constexpr int signal_kill = 9, signal_pipe = 13, signal_term = 15;
constexpr const char* last_words = "asked to end, and ending";

[[noreturn]] void breach(const std::string& what) { throw std::runtime_error{what}; }
void require(bool holds, const char* what) {
  if (!holds) breach(what);
}

std::string some_text(SimWorld& world) {
  const std::size_t first = world.random(26);
  std::string text(world.random(world.random(8) == 0 ? 20'000 : 300), '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('0' + (first + i) % 64);
  return text;
}
Seconds some_time(SimWorld& world) {
  return Seconds{0.001 * static_cast<double>(world.random(3000))};
}

// A program, and what it comes to if nobody disturbs it.
struct Plan {
  SimProgram program;
  std::array<std::string, 3> before, after;  // the input that it copies, if it does, is between
  int copies_to = 0;
  std::size_t reads = 0;  // of the input, before that
  int code = 0;
  bool waits = false;     // for a signal
  bool takes_term = false;

  std::string output(std::size_t fd, const std::string& input) const {
    const bool copied = copies_to == static_cast<int>(fd);
    return before[fd] + (copied ? input.substr(std::min(reads, input.size())) : "") + after[fd];
  }
};

void draw_end(SimWorld& world, Plan& plan) {
  switch (world.random(5)) {
    case 0: break;
    case 1: plan.program.wait(), plan.waits = true; break;
    case 2: plan.code = -6, plan.program.die(6); break;
    default: plan.code = static_cast<int>(world.random(256)), plan.program.exit(plan.code); break;
  }
}

Plan draw_plan(SimWorld& world) {
  Plan plan;
  const auto dice = [&](std::uint64_t below) { return world.random(below); };
  std::array<bool, 3> closed{};
  if (dice(6) == 0) plan.program.outlived(some_time(world));
  if (dice(4) == 0) {
    plan.takes_term = true;
    const SimProgram then = SimProgram{}.write(1, last_words).exit(0);
    dice(2) == 0 ? plan.program.ignore(signal_term) : plan.program.on_signal(signal_term, then);
  }
  for (std::uint64_t steps = dice(7); steps > 0; --steps) {
    const auto fd = 1 + static_cast<std::size_t>(dice(2));
    switch (dice(8)) {
      case 0: case 1: plan.program.sleep(some_time(world)); break;
      case 2: {
        if (plan.copies_to != 0) break;
        const auto bytes = static_cast<std::size_t>(dice(2000));
        plan.program.read(bytes);
        plan.reads += bytes;
        break;
      }
      case 3: plan.program.close(static_cast<int>(fd)), closed[fd] = true; break;
      case 4:
        if (plan.copies_to != 0 || closed[fd]) break;
        plan.program.copy(static_cast<int>(fd));
        plan.copies_to = static_cast<int>(fd);
        break;
      default: {
        const std::string text = some_text(world);
        plan.program.write(static_cast<int>(fd), text);
        if (!closed[fd]) (plan.copies_to != 0 ? plan.after : plan.before)[fd] += text;
      }
    }
  }
  draw_end(world, plan);
  return plan;
}

}  // namespace

// A child's protocol, and what is done with it.
class Parent final : public ferry::SubprocessProtocol {
 public:
  Parent(ChildLives& lives, Plan plan) : lives_{lives}, plan_{std::move(plan)} {}

  void connection_made(ferry::SubprocessTransport& made) override {
    count();
    require(transport_ == nullptr && !lost_, "connection_made() came twice");
    transport_ = &made;
    for (int fd : {0, 1, 2}) open_[index(fd)] = made.get_pipe_transport(fd) != nullptr;
    ++lives_.counts_.children;
    budget_ = 5 + static_cast<int>(dice(15));
    if (dice(3) == 0) act();
    act_later();
  }
  void pipe_data_received(int fd, ferry::BytesView data) override {
    must_be_there("pipe_data_received()");
    require(fd == 1 || fd == 2, "data of no stream that is read");
    require(open_[index(fd)], "data after the end of its pipe");
    require(!closing_[index(fd)], "data of a pipe that was closed");
    require(!paused_[index(fd)], "data while reading is paused");
    require(!data.empty(), "data that is empty");
    lives_.counts_.bytes += data.size();
    received_[index(fd)] += data.text();
    if (dice(4) == 0) act();
  }
  void pipe_connection_lost(int fd, const ferry::Error& error) override {
    must_be_there("pipe_connection_lost()");
    require(open_[index(fd)], "a pipe was lost twice");
    open_[index(fd)] = false;
    if (error && (fd != 0 || error != std::errc::broken_pipe)) breach(std::string{error.what()});
    if (fd == 0) paused_writing_ = false;
    if (dice(4) == 0) act();
  }
  void process_exited() override {
    must_be_there("process_exited()");
    require(!exited_, "process_exited() came twice");
    exited_ = transport_->get_returncode();
    require(exited_.has_value(), "exited, and without a code");
    require(!transport_->kill(), "a process that has been reaped was signalled");
    if (dice(4) == 0) act();
  }
  void pause_writing() override {
    must_be_there("pause_writing()", true);
    require(!paused_writing_, "pause_writing() came twice");
    paused_writing_ = true;
  }
  void resume_writing() override {
    must_be_there("resume_writing()");
    require(paused_writing_, "resume_writing() without pause_writing()");
    paused_writing_ = false;
    if (dice(2) == 0) act();
  }
  void connection_lost(const ferry::Error& error) override {
    must_be_there("connection_lost()");
    require(exited_.has_value(), "lost before its exit");
    require(!open_[0] && !open_[1] && !open_[2], "lost before its pipes");
    require(!error, "lost with an error");
    lost_ = true;
    timer_.cancel();
    require(!transport_->terminate(), "a child that is lost was signalled");
    transport_->close();
    transport_ = nullptr;
    kept_.reset();
  }

  // Whoever is left shall come to its end.
  void finish() {
    budget_ = 0;
    if (transport_ == nullptr) return;
    if (plan_.waits && !exited_) disturb(-signal_kill), transport_->kill();
    if (can_write()) end_input();
  }
  void judge() const {
    if (!lost_) breach("a child is not lost");
    const bool complete = !disturbed_;
    for (const int fd : {1, 2}) {
      const std::string& got = received_[index(fd)];
      if (!piped_[index(fd)]) continue;
      if (complete && got != plan_.output(index(fd), input_)) breach("output was lost");
      if (!complete && !may_be_output(index(fd), got)) breach("output was altered");
    }
    const bool as_planned = *exited_ == plan_.code && !plan_.waits;
    if (!as_planned && (complete || !may_end_with_.contains(*exited_))) {
      breach("it ended with " + std::to_string(*exited_));
    }
    if (complete) ++lives_.counts_.complete;
  }

 private:
  friend class ChildLives;
  static std::size_t index(int fd) noexcept { return static_cast<std::size_t>(fd); }
  std::uint64_t dice(std::uint64_t below) { return lives_.world_.random(below); }
  void count() { ++lives_.counts_.events; }
  void must_be_there(const char* what, bool inside = false) {
    count();
    if (transport_ == nullptr || lost_) breach(std::string{what} + " outside of the child's life");
    if (!inside && in_call_ > 0) breach(std::string{what} + " inside a call of ours");
  }
  // From now on it may end so, too.
  void disturb(int code) {
    disturbed_ = true;
    may_end_with_.insert(code);
  }

  // The words of a program that was asked to end come after any of its output; of input that was
  // dropped by us, the copy is cut.
  bool may_be_output(std::size_t fd, const std::string& got) const {
    const std::string words = fd == 1 && plan_.takes_term ? last_words : "";
    for (std::size_t said = 0; said <= std::min(words.size(), got.size()); ++said) {
      const std::string_view rest{got.data(), got.size() - said};
      const std::string_view spoken{got.data() + rest.size(), said};
      if (!words.starts_with(spoken)) continue;
      if (plan_.output(fd, input_).starts_with(rest)) return true;
      for (std::size_t taken = 0; input_dropped_ && taken < input_.size(); ++taken) {
        if (plan_.output(fd, input_.substr(0, taken)).starts_with(rest)) return true;
      }
    }
    return false;
  }

  // --- What it does ---

  void act_later() {
    timer_ = lives_.world_.loop().call_later(some_time(lives_.world_), [this] {
      if (lost_ || --budget_ < 0) return;
      act();
      act_later();
    });
  }
  bool can_write() const { return open_[0] && !closing_[0] && !input_ended_; }
  ferry::WriteTransport& input() {
    return dynamic_cast<ferry::WriteTransport&>(*transport_->get_pipe_transport(0));
  }
  ferry::ReadTransport& output(int fd) {
    return dynamic_cast<ferry::ReadTransport&>(*transport_->get_pipe_transport(fd));
  }
  void act() {
    if (lost_) return;
    count();
    ++in_call_;
    const int fd = 1 + static_cast<int>(dice(2));
    switch (dice(40)) {
      case 0: case 1: if (can_write()) end_input(); break;
      case 2: disturb(-signal_kill), transport_->kill(); break;
      case 3: terminate(); break;
      case 4: close(); break;
      case 5: case 6: if (open_[index(fd)]) close_pipe(fd); break;
      case 7: if (can_write()) drop_input(); break;
      case 8: case 9: case 10: case 11: pause_for_a_while(fd); break;
      case 13: stop_for_a_while(); break;
      case 12: require(transport_->send_signal(0) || exited_, "it should be there"); break;
      case 14: if (can_write()) input().set_write_buffer_limits({.high = 500, .low = 100}); break;
      default: if (can_write()) write(); break;
    }
    --in_call_;
  }
  void write() {
    const std::string text = some_text(lives_.world_);
    input_ += text;
    input().write(text);
  }
  void end_input() {
    input_ended_ = true;
    input().write_eof();
  }
  void drop_input() {
    closing_[0] = input_dropped_ = disturbed_ = true;
    input().abort();
  }
  void terminate() {
    disturb(-signal_term);
    may_end_with_.insert(0);
    transport_->terminate();
  }
  void close_pipe(int fd) {
    disturb(-signal_pipe);
    closing_[index(fd)] = true;
    output(fd).close();
  }
  void close() {
    disturb(-signal_term);
    for (const int code : {0, -signal_kill, -signal_pipe}) may_end_with_.insert(code);
    closing_ = {true, true, true};
    transport_->close();
    require(transport_->is_closing(), "closed, and not closing");
  }
  // It goes on as if nothing had been; what comes meanwhile waits.
  void stop_for_a_while() {
    transport_->send_signal(signal_stop);
    lives_.world_.loop().call_later(some_time(lives_.world_), [this] {
      if (!lost_) transport_->send_signal(signal_continue);
    });
  }
  void pause_for_a_while(int fd) {
    if (!open_[index(fd)] || closing_[index(fd)] || paused_[index(fd)]) return;
    paused_[index(fd)] = true;
    output(fd).pause_reading();
    lives_.world_.loop().call_later(some_time(lives_.world_), [this, fd] {
      paused_[index(fd)] = false;
      if (!lost_ && open_[index(fd)]) output(fd).resume_reading();
    });
  }

  ChildLives& lives_;
  const Plan plan_;
  ferry::SubprocessTransport* transport_ = nullptr;
  std::shared_ptr<ferry::SubprocessTransport> kept_;
  ferry::TimerHandle timer_;
  std::string input_;
  std::array<std::string, 3> received_;
  std::array<bool, 3> piped_{}, open_{}, closing_{}, paused_{};
  std::optional<int> exited_;
  std::set<int> may_end_with_;
  int budget_ = 0, in_call_ = 0;
  bool paused_writing_ = false, input_ended_ = false, input_dropped_ = false, disturbed_ = false;
  bool lost_ = false;
};

ChildLives::~ChildLives() = default;

ferry::Task<void> ChildLives::start(std::shared_ptr<Parent> parent) {
  const auto stream = [this] { return world_.random(6) == 0 ? Stdio::null() : Stdio::pipe(); };
  ferry::SubprocessOptions options{.in = stream(), .out = stream(), .err = stream()};
  parent->piped_ = {options.in.kind() == Stdio::Kind::piped,
                    options.out.kind() == Stdio::Kind::piped,
                    options.err.kind() == Stdio::Kind::piped};
  if (world_.random(2) == 0) options.kill_after = some_time(world_) + Seconds{0.001};
  const std::string name = "program " + std::to_string(parents_.size());
  world_.set_program(name, parent->plan_.program);
  auto task = world_.loop().subprocess_exec([parent] { return parent; }, {name}, options);
  auto made = co_await std::move(task);
  if (!parent->lost_) parent->kept_ = std::move(made.transport);
}

// Nobody waits for it in the end: whoever was started is killed.
void ChildLives::give_up_a_start() {
  ferry::Loop& loop = world_.loop();
  world_.set_program("given up", SimProgram{}.write(1, "x").wait());
  auto task = loop.create_task(loop.create_subprocess_exec({"given up"}));
  const Seconds soon{0.0001 * static_cast<double>(world_.random(40))};
  loop.run_until_complete(loop.sleep(soon));
  if (!task.done()) task.cancel();
  loop.run_until_complete(loop.sleep(Seconds{1.0}));
  require(task.done(), "a start that was cancelled goes on");
  if (!task.cancelled()) task.take_result().kill();
}

// By the other face.
ferry::Task<void> ChildLives::communicate(int number) {
  Plan plan = draw_plan(world_);
  while (plan.waits) plan = draw_plan(world_);
  const std::string name = "talker " + std::to_string(number), input = some_text(world_);
  world_.set_program(name, plan.program);
  auto task = world_.loop().create_subprocess_exec({name});
  const ferry::Process process = co_await std::move(task);
  auto talk = process.communicate(input);
  const ferry::Process::Output output = co_await std::move(talk);
  require(output.returncode == plan.code, "communicate(): another code");
  require(output.out == plan.output(1, input), "communicate(): another output");
  require(output.err == plan.output(2, input), "communicate(): other errors");
  ++counts_.children;
  ++counts_.complete;
}

void ChildLives::run() {
  ferry::Loop& loop = world_.loop();
  loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
    if (report_.empty()) report_ = std::string{context.exception.what()};
  });
  loop.set_log_sink([](ferry::LogLevel, std::string_view) {});
  ferry::SimNetwork network = world_.draw_network();
  world_.set_network(network);
  std::vector<ferry::Future<void>> talks;
  if (world_.random(4) == 0) give_up_a_start();
  const int count = 2 + static_cast<int>(world_.random(5));
  for (int i = 0; i < count; ++i) {
    if (world_.random(4) == 0) {
      talks.push_back(loop.create_task(communicate(i)));
      continue;
    }
    parents_.push_back(std::make_shared<Parent>(*this, draw_plan(world_)));
    loop.run_until_complete(start(parents_.back()));
  }
  loop.run_until_complete(loop.sleep(Seconds{20.0}));
  for (const auto& one : parents_) one->finish();
  for (int turn = 0; world_.running_children() > 0 && report_.empty(); ++turn) {
    require(turn < 1000, "a child does not come to its end");
    loop.run_until_complete(loop.sleep(Seconds{1.0}));
  }
  if (report_.empty()) loop.run_until_complete(loop.sleep(Seconds{10.0}));
  if (!report_.empty()) breach(report_);
  for (auto& talk : talks) {
    require(talk.done(), "communicate() does not come back");
    talk.take_result();
  }
  judge();
}

void ChildLives::judge() const {
  for (const auto& one : parents_) one->judge();
}

}  // namespace sim_lives
