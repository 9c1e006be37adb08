// The transport of a child process.
#pragma once

#include "platform/children.hpp"
#include "protocols/child_caller.hpp"
#include "reactor/loop_core.hpp"
#include "reactor/loop_member.hpp"
#include "transports/stream_transport.hpp"

#include <ferry/transports.hpp>

#include <array>
#include <memory>
#include <optional>

namespace ferry::internal {

// A child and up to three pipes, each of which is a StreamTransport of its own. Over when the child
// has been reaped and all its pipes are lost (C-19).
class ChildTransport final : public SubprocessTransport, public LoopMember {
 public:
  // Called once, in the loop's thread: the protocol knows of the child, or why not.
  using Opened = Function<void(const Error&)>;
  struct Setup {
    std::string name;  // for errors and logs
    std::optional<Seconds> kill_after;
    std::source_location made_at;
  };

  ChildTransport(LoopCore& core, std::unique_ptr<Child> child,
                 std::shared_ptr<SubprocessProtocol> protocol, Setup setup);
  ~ChildTransport() override;

  // The loop takes it; connection_made(), then everything else, in a later turn. Throws what making
  // the pipes' channels throws; the child is ended then.
  static std::shared_ptr<ChildTransport> begin(LoopCore& core, Spawned spawned,
                                               std::shared_ptr<SubprocessProtocol> protocol,
                                               Setup setup, Opened opened);

  // BaseTransport, SubprocessTransport
  void close() override;
  bool is_closing() const noexcept override { return closing_; }
  void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
  std::shared_ptr<BaseProtocol> get_protocol() const override { return caller_.protocol(); }
  long get_pid() const noexcept override { return pid_; }
  std::shared_ptr<BaseTransport> get_pipe_transport(int fd) const override;
  std::optional<int> get_returncode() const noexcept override { return returncode_; }
  bool send_signal(int signal) override;
  bool terminate() override;
  bool kill() override;
  std::string describe() const override;

  // Nobody waits for the child any more: it is killed.
  void give_up();

 protected:
  std::any extra_info(std::string_view name) const override;

 private:
  class PipeEnd;
  static constexpr std::size_t stream_count = 3;

  // LoopMember
  void flush() override {}
  void drop(std::vector<std::shared_ptr<void>>& trash) override;

  // Not to be called once we are lost: the loop may be gone.
  LoopCore& core() const noexcept { return *control_.core(); }
  ChildCaller::Site site() noexcept { return {core().loop(), *this}; }
  void check_thread(const char* what) const;
  using Channels = std::array<std::unique_ptr<Channel>, stream_count>;
  void take_pipes(Channels channels);
  void open();
  void pipe_failed(std::size_t i, const Error& error);
  void exited(Child::Exit exit);
  void pipe_lost(int fd, const Error& error);
  void kill_later();
  void ask_to_end(int signal) noexcept;
  struct End;
  void end_if_over();
  void end();
  void let_go() noexcept;

  ControlRef control_;
  std::unique_ptr<Child> child_;  // until the end
  ChildCaller caller_;
  const Setup setup_;
  const long pid_;
  std::array<std::shared_ptr<StreamTransport>, stream_count> pipes_;
  std::array<bool, stream_count> pipe_open_{};  // has not been lost
  std::optional<int> returncode_;
  Opened opened_;
  Error failure_;  // of the start
  TimerHandle kill_timer_;
  bool closing_ = false;
  bool lost_ = false;  // over; connection_lost() is scheduled or was called
};

}  // namespace ferry::internal
