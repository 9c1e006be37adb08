// What a child's protocol is told.
#pragma once

#include "support/catch.hpp"

#include <ferry/ferry.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace test {

// Records what it is told of a child, and checks the order.
class ChildRecorder : public ferry::SubprocessProtocol {
 public:
  // "made", "exited", "lost", "pipe 1" (lost), "pipe 0:<what>", "pause", "resume"; data by fd.
  std::vector<std::string> events;
  std::map<int, std::string> data;
  ferry::SubprocessTransport* transport = nullptr;
  bool made = false, exited = false, lost = false;
  std::optional<int> code;  // as process_exited() saw it
  std::map<int, bool> pipe_lost;
  std::map<int, ferry::Error> pipe_error;
  std::function<void()> on_made, on_exited, on_lost, on_pause;
  std::function<void(int)> on_data, on_pipe_lost;

  void connection_made(ferry::SubprocessTransport& of) override {
    CHECK((!made && !lost));
    made = true;
    transport = &of;
    note("made", on_made);
  }
  void pipe_data_received(int fd, ferry::BytesView bytes) override {
    CHECK((made && !lost && !pipe_lost[fd]));
    CHECK((fd == 1 || fd == 2));
    CHECK_FALSE(bytes.empty());
    data[fd].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto call = on_data) call(fd);
  }
  void pipe_connection_lost(int fd, const ferry::Error& exc) override {
    CHECK((made && !lost && !pipe_lost[fd]));
    pipe_lost[fd] = true;
    pipe_error[fd] = exc;
    const std::string what = exc ? ":" + std::string{exc.code().message()} : "";
    events.push_back("pipe " + std::to_string(fd) + what);
    if (const auto call = on_pipe_lost) call(fd);
  }
  void process_exited() override {
    CHECK((made && !lost && !exited));
    exited = true;
    code = transport->get_returncode();
    CHECK(code.has_value());
    note("exited", on_exited);
  }
  void pause_writing() override { note("pause", on_pause); }
  void resume_writing() override { note("resume", {}); }
  void connection_lost(const ferry::Error& exc) override {
    CHECK((made && exited && !lost));
    CHECK_FALSE(exc);
    for (const auto& [fd, gone] : pipe_lost) CHECK(gone);
    lost = true;
    note("lost", on_lost);
  }

  bool has(const std::string& event) const {
    return std::find(events.begin(), events.end(), event) != events.end();
  }

 private:
  void note(std::string event, const std::function<void()>& then) {
    events.push_back(std::move(event));
    if (const auto call = then) call();
  }
};

}  // namespace test
