// The child processes of the oracle, on ferry; children.py does the same on asyncio, name by name:
// keep the two side by side.
//
//   children_driver CHILD     plays each line of standard input, "CALLBACK METHOD"
#include <ferry/ferry.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t much = 1 << 20;
constexpr auto patience = 10s;

struct UserError : std::exception {
  const char* what() const noexcept override { return "of the scenario"; }
};

std::string word(const ferry::Error& error) {
  if (!error) return "none";
  if (error == std::errc::broken_pipe) return "broken_pipe";
  if (error == std::errc::connection_reset) return "reset";
  return "error";
}
std::string yes(bool value) { return value ? "yes" : "no"; }

// One child, and what is done inside one of its callbacks.
class Play {
 public:
  Play(std::string child, std::string callback, std::string method)
      : child_{std::move(child)}, callback_{std::move(callback)}, method_{std::move(method)} {
    if (const char* name = std::getenv("FERRY_TEST_BACKEND"); name != nullptr && *name != '\0') {
      std::string backend = name;
      backend.erase(std::min(backend.size(), backend.find('-')));
      loop_.emplace(ferry::Backend::named(backend));
    } else {
      loop_.emplace();
    }
    loop_->set_exception_handler(
        [this](ferry::Loop&, const ferry::ExceptionContext&) { ++facts_["handler"]; });
    loop_->set_log_sink([](ferry::LogLevel, std::string_view) {});
    is_large_ = callback_ == "pause_writing" || callback_ == "resume_writing";
  }

  void run() {
    auto done = loop_->create_task(play());
    const auto alarm = loop_->call_later(patience, [this] {
      words_["in vain"] = "yes";
      loop_->stop();
    });
    done.add_done_callback([this] { loop_->stop(); });
    for (loop_->run_forever(); !done.done(); loop_->run_forever()) {
      if (words_.contains("in vain")) break;
      ++facts_["stopped"];
    }
    print();
  }

 private:
  class Recorder final : public ferry::SubprocessProtocol {
   public:
    Recorder(Play& play, int number) : play_{play}, number_{number} {}
    void connection_made(ferry::SubprocessTransport& transport) override {
      play_.transport_ = &transport;
      play_.input_ = transport.stdin_pipe();
      play_.output_ = transport.stdout_pipe();
      play_.errors_ = transport.stderr_pipe();
      play_.input_->write(play_.sent());
      called("connection_made");
    }
    void pipe_data_received(int fd, ferry::BytesView data) override {
      play_.data_[fd] += data.text();
      // In one piece or in several: the last one counts.
      if (!play_.has_all() || play_.facts_.contains("pipe_data_received")) return;
      const Wake wake{play_};
      called("pipe_data_received");
    }
    void pipe_connection_lost(int fd, const ferry::Error& exc) override {
      play_.words_["pipe " + std::to_string(fd)] += word(exc);
      called("pipe_connection_lost");
    }
    void process_exited() override {
      play_.words_["exited"] += std::to_string(*play_.transport_->get_returncode());
      called("process_exited");
    }
    void pause_writing() override { called("pause_writing"); }
    void resume_writing() override { called("resume_writing"); }
    void connection_lost(const ferry::Error& exc) override {
      play_.words_["lost"] += word(exc) + " of " + std::to_string(number_);
      play_.lost_ = true;
      const Wake wake{play_};
      called("connection_lost");
    }

   private:
    struct Wake {  // also if the scenario throws
      Play& play;
      ~Wake() { play.wake(); }
    };
    void called(const std::string& callback) {
      if (++play_.facts_[callback] > 1 || callback != play_.callback_) return;
      const Wake wake{play_};  // it may have closed what is waited for
      play_.perform();
    }
    Play& play_;
    const int number_;
  };

  std::string sent() const { return is_large_ ? std::string(much, 'x') : "hello"; }
  bool has_all() const {
    const auto found = data_.find(1);
    return found != data_.end() && found->second.size() >= sent().size();
  }
  void wake() {
    if (waiter_ && !waiter_->done()) waiter_->set_result();
  }

  ferry::Task<void> play() {
    const auto factory = [this] { return std::make_shared<Recorder>(*this, 1); };
    const std::vector<std::string> argv{child_, "cat"};
    const auto made = co_await loop_->subprocess_exec(factory, argv);
    kept_ = made.transport;
    while (!has_all() && !lost_ && !output_->is_closing()) {
      waiter_ = loop_->create_future<void>();
      auto waiting = *waiter_;
      co_await waiting;
    }
    if (callback_ == "call") perform();
    input_->close();
    while (!lost_) {
      waiter_ = loop_->create_future<void>();
      auto waiting = *waiter_;
      co_await waiting;
    }
    co_await loop_->sleep(0s);
    if (callback_ == "after") perform();
    co_await loop_->sleep(0s);
  }

  void perform() {
    if (method_ == "raise") throw UserError{};
    std::string answer;
    try {
      answer = act();
    } catch (const ferry::NotSupported&) {
      answer = "unsupported";
    } catch (const ferry::MisuseError&) {
      answer = "misuse";
    } catch (const std::invalid_argument&) {
      answer = "invalid";
    } catch (const std::exception& error) {
      answer = error.what();
    }
    if (!answer.empty()) words_["answer"] = answer;
  }

  std::string act() {
    if (method_ == "kill") return transport_->kill() ? "" : "gone";
    if (method_ == "terminate") return transport_->terminate() ? "" : "gone";
    if (method_ == "send_signal") return transport_->send_signal(SIGTERM) ? "" : "gone";
    if (method_ == "get_returncode") {
      const auto code = transport_->get_returncode();
      return code ? std::to_string(*code) : "none";
    }
    if (method_ == "get_pid") return yes(transport_->get_pid() > 0);
    if (method_ == "get_pipe_transport") {
      std::string all;
      for (const int fd : {0, 1, 2, 3}) all += yes(transport_->get_pipe_transport(fd) != nullptr);
      return all;
    }
    if (method_ == "get_protocol") return yes(transport_->get_protocol() != nullptr);
    if (method_ == "is_closing") return yes(transport_->is_closing());
    if (method_ == "can_write_eof") return yes(input_->can_write_eof());
    if (method_ == "stdin_is_closing") return yes(input_->is_closing());
    if (method_ == "stdout_is_closing") return yes(output_->is_closing());
    if (method_ == "stdin_size") return yes(input_->get_write_buffer_size() > 0);
    if (method_ == "stderr_is_closing") return yes(errors_->is_closing());
    if (method_ == "get_limits") {
      const auto limits = input_->get_write_buffer_limits();
      return std::to_string(limits.low) + " " + std::to_string(limits.high);
    }
    if (method_ == "process_info") {
      return yes(transport_->get_extra_info(ferry::subprocess).pid == transport_->get_pid());
    }
    if (method_ == "pipe_info") return yes(static_cast<bool>(input_->get_extra_info(ferry::pipe)));
    change();
    return "";
  }

  void change() {
    static const std::map<std::string, std::function<void(Play&)>> all{
        {"close", [](Play& play) { play.transport_->close(); }},
        {"write", [](Play& play) { play.input_->write("more"); }},
        {"write_eof", [](Play& play) { play.input_->write_eof(); }},
        {"close_stdin", [](Play& play) { play.input_->close(); }},
        {"abort_stdin", [](Play& play) { play.input_->abort(); }},
        {"close_stdout", [](Play& play) { play.output_->close(); }},
        {"close_stderr", [](Play& play) { play.errors_->close(); }},
        {"pause_stdout", [](Play& play) { play.pause(); }},
        {"resume_stdout", [](Play& play) { play.output_->resume_reading(); }},
        {"writelines", [](Play& play) {
          play.input_->writelines(std::vector<ferry::BytesView>{"mo", "re"});
        }},
        {"set_limits", [](Play& play) {
          play.input_->set_write_buffer_limits({.high = 200'000, .low = 100});
        }},
        {"set_protocol", [](Play& play) {
          play.transport_->set_protocol(std::make_shared<Recorder>(play, 2));
        }},
        {"stop", [](Play& play) { play.loop_->stop(); }},
    };
    all.at(method_)(*this);
  }
  void pause() {
    output_->pause_reading();
    loop_->call_soon([output = output_] { output->resume_reading(); });
  }

  void print() {
    std::string data = "none";
    if (const auto found = data_.find(1); found != data_.end()) {
      const std::string& text = found->second;
      const std::string whole = sent() + (text.ends_with("more") ? "more" : "");
      data = std::to_string(text.size()) + (whole.starts_with(text) ? "" : " wrong");
    }
    words_["data"] = data;
    std::printf("== %s %s\n", callback_.c_str(), method_.c_str());
    for (const auto& [name, count] : facts_) std::printf("%s x%d\n", name.c_str(), count);
    for (const auto& [name, text] : words_) std::printf("%s: %s\n", name.c_str(), text.c_str());
    std::fflush(stdout);
  }

  std::string child_, callback_, method_;
  bool is_large_ = false, lost_ = false;
  ferry::SubprocessTransport* transport_ = nullptr;
  std::shared_ptr<ferry::SubprocessTransport> kept_;
  std::shared_ptr<ferry::WriteTransport> input_;
  std::shared_ptr<ferry::ReadTransport> output_, errors_;
  std::map<int, std::string> data_;
  std::map<std::string, int> facts_;
  std::map<std::string, std::string> words_;
  std::optional<ferry::Future<void>> waiter_;
  std::optional<ferry::Loop> loop_;  // last: it lets go of all others
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words{line};
    std::string callback, method;
    words >> callback >> method;
    Play{argv[1], callback, method}.run();
  }
}
