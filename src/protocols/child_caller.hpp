// The one place from which a child's protocol is called.
#pragma once

#include <ferry/error.hpp>
#include <ferry/loop.hpp>
#include <ferry/protocols.hpp>

#include <array>
#include <cstdint>
#include <memory>

namespace ferry::internal {

// As ProtocolCaller: asserts the order of the calls, in every build; what they throw is reported to
// the loop's exception handler, and the child goes on (C-15).
class ChildCaller {
 public:
  // Who calls, for the reports.
  struct Site {
    Loop& loop;
    SubprocessTransport& transport;
  };

  explicit ChildCaller(std::shared_ptr<SubprocessProtocol> protocol);

  // Throws std::invalid_argument for what is not a SubprocessProtocol.
  void set(std::shared_ptr<BaseProtocol> protocol);
  const std::shared_ptr<SubprocessProtocol>& protocol() const noexcept { return protocol_; }
  // Lets go; destroying the protocol is the caller's.
  std::shared_ptr<SubprocessProtocol> release() noexcept;
  // Whether the protocol has heard of the child.
  bool started() const noexcept { return stage_ != Stage::start; }

  void connection_made(const Site& site);
  void pipe_data_received(const Site& site, int fd, BytesView data);
  void pipe_connection_lost(const Site& site, int fd, const Error& exc);
  void process_exited(const Site& site);
  void pause_writing(const Site& site);
  void resume_writing(const Site& site);
  void connection_lost(const Site& site);

 private:
  enum class Stage : std::uint8_t { start, made, lost };
  template <class Call>
  void call(const Site& site, bool in_order, const char* callback, Call&& call) const;

  std::shared_ptr<SubprocessProtocol> protocol_;
  Stage stage_ = Stage::start;
  bool exited_ = false;
  bool paused_ = false;
  std::array<bool, 3> lost_{};
};

}  // namespace ferry::internal
