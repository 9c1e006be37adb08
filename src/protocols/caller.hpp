// The one place from which a protocol is called.
#pragma once

#include <ferry/error.hpp>
#include <ferry/loop.hpp>
#include <ferry/protocols.hpp>

#include <cstdint>
#include <memory>
#include <span>

namespace ferry::internal {

// Asserts the order of the calls, in every build; catches what they throw. What is fatal to the
// connection comes back as an Error; it has been reported to the loop's exception handler, as
// asyncio does, unless it is an error of the system's.
class ProtocolCaller {
 public:
  // Who calls, for the reports.
  struct Site {
    Loop& loop;
    Transport& transport;
  };

  explicit ProtocolCaller(std::shared_ptr<StreamProtocol> protocol);

  // Throws std::invalid_argument for what is neither a Protocol nor a BufferedProtocol.
  void set(std::shared_ptr<BaseProtocol> protocol);
  const std::shared_ptr<StreamProtocol>& protocol() const noexcept { return protocol_; }
  // Lets go; destroying the protocol is the caller's.
  std::shared_ptr<StreamProtocol> release() noexcept;
  // Whether the protocol has heard of the connection.
  bool started() const noexcept { return stage_ != Stage::start; }
  // Whether connection_lost() was called, or never will be.
  bool told_loss() const noexcept { return stage_ == Stage::lost; }
  bool buffered() const noexcept { return buffered_; }

  void connection_made(const Site& site);
  Error data_received(const Site& site, BytesView data);
  Error get_buffer(const Site& site, std::span<std::byte>& buffer);
  Error buffer_updated(const Site& site, std::size_t count);
  Error eof_received(const Site& site, bool& keep_open);
  void pause_writing(const Site& site);
  void resume_writing(const Site& site);
  void connection_lost(const Site& site, const Error& exc);

 private:
  enum class Stage : std::uint8_t { start, made, ended, lost };
  bool expect(const Site& site, bool in_order, const char* callback) const;
  template <class Call>
  Error guarded(const Site& site, const char* callback, bool fatal, Call&& call) const;

  std::shared_ptr<StreamProtocol> protocol_;
  Stage stage_ = Stage::start;
  bool buffered_ = false;
  bool paused_ = false;
};

}  // namespace ferry::internal
