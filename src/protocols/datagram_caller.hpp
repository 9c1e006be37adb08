// The one place from which a datagram protocol is called.
#pragma once

#include <ferry/error.hpp>
#include <ferry/loop.hpp>
#include <ferry/protocols.hpp>

#include <cstdint>
#include <memory>
#include <span>

namespace ferry::internal {

// As ProtocolCaller: asserts the order of the calls, in every build; what they throw is reported to
// the loop's exception handler, and the endpoint goes on (C-15).
class DatagramCaller {
 public:
  // Who calls, for the reports.
  struct Site {
    Loop& loop;
    DatagramTransport& transport;
  };

  explicit DatagramCaller(std::shared_ptr<BaseDatagramProtocol> protocol);

  // Throws std::invalid_argument for what is not a datagram protocol.
  void set(std::shared_ptr<BaseProtocol> protocol);
  const std::shared_ptr<BaseDatagramProtocol>& protocol() const noexcept { return protocol_; }
  // Lets go; destroying the protocol is the caller's.
  std::shared_ptr<BaseDatagramProtocol> release() noexcept;
  // Whether the protocol has heard of the endpoint.
  bool started() const noexcept { return stage_ != Stage::start; }
  // Whether it takes many at once.
  bool in_batches() const noexcept { return in_batches_; }

  void connection_made(const Site& site);
  void datagram_received(const Site& site, const Datagram& datagram);
  void datagrams_received(const Site& site, std::span<const Datagram> datagrams);
  void error_received(const Site& site, const Error& error);
  void pause_writing(const Site& site);
  void resume_writing(const Site& site);
  void connection_lost(const Site& site, const Error& exc);

 private:
  enum class Stage : std::uint8_t { start, made, lost };
  template <class Call>
  void call(const Site& site, bool in_order, const char* callback, Call&& call) const;

  std::shared_ptr<BaseDatagramProtocol> protocol_;
  Stage stage_ = Stage::start;
  bool in_batches_ = false;
  bool paused_ = false;
};

}  // namespace ferry::internal
