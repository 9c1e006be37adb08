// Runs programs side by side: shows what they say, line by line with their names in colour, starts
// them again when they fail, ever later, and stops them all on Ctrl+C.
//
//   supervisor [--deadline=SECONDS] [--back-off=SECONDS] NAME=COMMAND …
//
//   supervisor web="python3 -m http.server" clock="sh -c 'while date; do sleep 1; done'"
//
// A program that ends with 0 is done. Ctrl+C asks all of them to stop (SIGTERM; Windows ends them
// at once) and kills what still runs at the deadline, 5 seconds later. Whatever a program has
// started itself and left behind is not waited for.
#include <ferry/ferry.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using ferry::Seconds;

struct Settings {
  Seconds deadline{5.0};
  Seconds back_off{0.5};  // before the first new start; then twice as long each time
  Seconds longest_back_off{30.0};
};

// Words, of which 'some words' in quotes are one.
std::vector<std::string> split(std::string_view command) {
  std::vector<std::string> words;
  bool inside = false;
  char quote = '\0';
  for (const char c : command) {
    if (quote == '\0' && c == ' ') {
      inside = false;
    } else {
      if (!std::exchange(inside, true)) words.emplace_back();
      if (quote == '\0' && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == quote) {
        quote = '\0';
      } else {
        words.back() += c;
      }
    }
  }
  return words;
}

class Program;

class Supervisor {
 public:
  Supervisor(ferry::Loop& loop, const Settings& settings) : loop_{loop}, settings_{settings} {}

  void add(std::string_view name, std::string_view command);
  void start_all();
  void stop_all();
  void one_is_over();

  ferry::Loop& loop() const { return loop_; }
  const Settings& settings() const { return settings_; }
  bool stopping() const { return stopping_; }

 private:
  ferry::Loop& loop_;
  const Settings settings_;
  std::vector<std::shared_ptr<Program>> programs_;
  bool stopping_ = false;
};

// One program through all of its lives: the protocol of each of its processes.
class Program : public ferry::SubprocessProtocol, public std::enable_shared_from_this<Program> {
 public:
  Program(Supervisor& supervisor, std::string_view name, std::string_view command, int colour)
      : supervisor_{supervisor}, name_{name}, command_{split(command)},
        colour_{std::to_string(31 + colour % 6)}, back_off_{supervisor.settings().back_off} {}

  bool over() const { return over_; }
  void start() {
    starting_ = true;
    static_cast<void>(supervisor_.loop().create_task(run(shared_from_this())));
  }

  void stop() {
    if (over_ || starting_) return;  // who is on the way hears of it when he is there
    restart_.cancel();
    if (process_ == nullptr) return finish();
    process_->terminate();
    const auto self = shared_from_this();
    supervisor_.loop().call_later(supervisor_.settings().deadline, [self] {
      if (self->process_ == nullptr) return;
      self->process_->kill();
      self->process_->close();  // its children may hold its pipes, and for ever
    });
  }

  void connection_made(ferry::SubprocessTransport& process) override {
    starting_ = false;
    process_ = &process;
    say("started, pid " + std::to_string(process.get_pid()));
    if (supervisor_.stopping()) stop();
  }
  void pipe_data_received(int fd, ferry::BytesView data) override {
    std::string& line = lines_[fd == 2];
    for (const char c : std::string_view{reinterpret_cast<const char*>(data.data()), data.size()}) {
      if (c != '\n') {
        line += c;
      } else {
        flush(fd);
      }
    }
  }
  void pipe_connection_lost(int fd, const ferry::Error&) override {
    if (fd != 0 && !lines_[fd == 2].empty()) flush(fd);  // a last line without its end
  }
  // All that it said has come.
  void connection_lost(const ferry::Error&) override {
    const int code = *process_->get_returncode();
    process_ = nullptr;
    const bool by_signal = code < 0 && code > -128;  // Windows has other negative codes
    say(by_signal ? "ended by signal " + std::to_string(-code)
                  : "exited with " + std::to_string(code));
    if (code == 0 || supervisor_.stopping()) return finish();
    start_again();
  }

 private:
  static ferry::Task<void> run(std::shared_ptr<Program> self) {
    try {
      auto protocol = [self] { return self; };
      // In a group of its own, so that Ctrl+C is for us alone.
      co_await self->supervisor_.loop().subprocess_exec(
          protocol, self->command_, {.in = ferry::Stdio::null(), .process_group = 0});
    } catch (const std::exception& error) {
      self->starting_ = false;
      self->say(error.what());
      self->supervisor_.stopping() ? self->finish() : self->start_again();
    }
  }

  void start_again() {
    char wait[32];
    std::snprintf(wait, sizeof wait, "%g", back_off_.count());
    say(std::string{"starting again in "} + wait + " s");
    restart_ = supervisor_.loop().call_later(back_off_, [self = shared_from_this()] {
      self->start();
    });
    back_off_ = std::min(back_off_ * 2, supervisor_.settings().longest_back_off);
  }
  void finish() {
    over_ = true;
    supervisor_.one_is_over();
  }

  void flush(int fd) {
    std::string& line = lines_[fd == 2];
    if (!line.empty() && line.back() == '\r') line.pop_back();
    print("", line);
    line.clear();
  }
  void say(const std::string& text) { print("* ", text); }
  void print(const char* mark, const std::string& text) const {
    std::printf("\033[%sm%s |\033[0m %s%s\n", colour_.c_str(), name_.c_str(), mark, text.c_str());
    std::fflush(stdout);
  }

  Supervisor& supervisor_;
  const std::string name_;
  const std::vector<std::string> command_;
  const std::string colour_;
  Seconds back_off_;
  ferry::SubprocessTransport* process_ = nullptr;  // while there is one
  ferry::TimerHandle restart_;
  std::string lines_[2];  // that have begun
  bool starting_ = false;
  bool over_ = false;
};

void Supervisor::add(std::string_view name, std::string_view command) {
  programs_.push_back(std::make_shared<Program>(*this, name, command,
                                                static_cast<int>(programs_.size())));
}

void Supervisor::start_all() {
  for (const auto& program : programs_) program->start();
}

void Supervisor::stop_all() {
  if (std::exchange(stopping_, true)) return;
  for (const auto& program : programs_) program->stop();
}

void Supervisor::one_is_over() {
  const bool all = std::all_of(programs_.begin(), programs_.end(),
                               [](const auto& program) { return program->over(); });
  if (all) loop_.stop();
}

int usage() {
  std::fputs("usage: supervisor [--deadline=SECONDS] [--back-off=SECONDS] NAME=COMMAND ...\n",
             stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  std::vector<std::string_view> programs;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument{argv[i]};
    const auto equals = argument.find('=');
    if (equals == argument.npos || equals == 0 || equals + 1 == argument.size()) return usage();
    if (argument.starts_with("--deadline=")) {
      settings.deadline = Seconds{std::atof(argv[i] + equals + 1)};
    } else if (argument.starts_with("--back-off=")) {
      settings.back_off = Seconds{std::atof(argv[i] + equals + 1)};
    } else {
      programs.push_back(argument);
    }
  }
  if (programs.empty()) return usage();

  ferry::Loop loop;
  Supervisor supervisor{loop, settings};
  for (const std::string_view program : programs) {
    const auto equals = program.find('=');
    supervisor.add(program.substr(0, equals), program.substr(equals + 1));
  }
  for (const int signal : {SIGINT, SIGTERM}) {
    loop.add_signal_handler(signal, [&] { supervisor.stop_all(); });
  }
  supervisor.start_all();
  loop.run_forever();
}
