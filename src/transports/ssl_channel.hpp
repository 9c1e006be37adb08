// TLS as a channel over another channel. Nothing of OpenSSL's here.
#pragma once

#include "platform/channel.hpp"
#include "reactor/loop_core.hpp"
#include "transports/ssl_spec.hpp"
#include "transports/write_queue.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ferry::internal {

class SslObject;
enum class SslStatus : std::uint8_t;

// Of a channel that is open already (start_tls).
struct InMidStream {
  std::size_t clear = 0;  // that many of the owner's pending bytes go out as they are (T-095)
  BytesView received;     // of the peer's TLS, which the protocol was given (T-093)
};
// TLS over `below`, which it takes unless it throws (SslError). `peer` names it in errors. open()
// begins the handshake.
std::unique_ptr<Channel> ssl_channel(LoopCore& core, std::unique_ptr<Channel>& below,
                                     const SslSpec& spec, std::string peer,
                                     const InMidStream* in_mid_stream = nullptr);

// Moves the bytes between the TLS object and the channel below, and owns the two time-outs.
//
// Plaintext that is sealed stays in its owner's queue, and is counted there, until its ciphertext
// has left; so the marks mean what they mean on TCP. There is ciphertext for one batch at most: the
// next one is made when the channel below has taken it (T-068).
class SslChannel final : public Channel, private Channel::Owner {
 public:
  SslChannel(LoopCore& core, std::shared_ptr<SslObject> object, std::unique_ptr<Channel> below,
             const SslSpec& spec, std::string peer, const InMidStream* in_mid_stream);
  ~SslChannel() override;

  // Channel
  void set_owner(Channel::Owner& owner) override { owner_ = &owner; }
  Error open() override;
  void set_reading(bool on) override;
  std::size_t try_write(std::span<const BytesView> views) override;
  bool can_try() const noexcept override;
  void start_writing() override;
  void shut_write() noexcept override {}
  bool can_half_close() const noexcept override { return false; }
  void flush_and_finish() override;
  void finish() override;
  void close(bool reset) noexcept override;
  std::size_t default_high_mark() const noexcept override { return 512 * 1024; }  // C-20
  std::shared_ptr<const ChannelInfo> info() const override;
  std::size_t scratch_level() const noexcept override { return level_ + scratches; }
  SocketView socket() const noexcept override { return below_->socket(); }

 private:
  enum class Stage : std::uint8_t {
    waiting,    // the channel below is not open, or has to send bytes in clear first
    handshake,
    open,
    finishing,  // our close_notify is said
    leaving,    // the peer's as well; the channel below ends
    over,
  };
  // What is needed until the handshake is done.
  struct Handshake;
  // A record of a batch: what is still to leave of it, and what it holds.
  struct Sealed {
    std::uint32_t cipher = 0;
    std::uint32_t plain = 0;
  };

  // Channel::Owner, of the channel below
  void opened() override { begin_handshake(); }
  std::span<std::byte> read_buffer() override;
  void bytes_read(std::size_t count) override;
  std::size_t pending(std::span<BytesView> views) override;
  void bytes_written(std::size_t count) override;
  void finished() override { owner_->finished(); }
  void failed(const Error& error) override;
  void closed() override { owner_->closed(); }

  void start_handshake_timer();
  void begin_handshake();
  void advance(BytesView ciphertext);
  void advance_later();
  void shake_hands();
  void handshake_done();
  void read_plaintext();
  bool read_step(bool discarding);
  void peer_said_goodbye();
  void end_of_input();
  void fail(const Error& error);
  void fail_object();
  void fail_handshake(const Error& error);
  void take_output();
  void queue_output(BytesView bytes);
  std::size_t seal(std::span<const BytesView> views, std::size_t& position);
  std::size_t left(std::size_t cipher) noexcept;
  void update_reading();
  void finish_if_done();
  void watch_shutdown();
  void check_shutdown();
  bool held_back() const noexcept { return !reading_ && !closing_; }
  bool input_waits() const noexcept;
  std::span<std::byte> scratch(std::size_t which) const { return core_.scratch(level_ + which); }

  static constexpr std::size_t scratches = 3;  // in, out, and to put small pieces together
  static constexpr std::size_t most_records = 4;

  LoopCore& core_;
  std::unique_ptr<Channel> below_;
  Channel::Owner* owner_ = nullptr;
  std::shared_ptr<SslObject> object_;
  std::unique_ptr<Handshake> handshake_;
  std::vector<std::byte> input_;  // came and is not yet read: reading is paused
  WriteQueue output_;             // sealed, not yet taken by the channel below
  std::array<Sealed, most_records> sealed_;  // what the first bytes of `output_` are
  std::size_t clear_ = 0;         // of the owner's bytes, to be sent as they are
  Handle advance_call_;
  TimerHandle shutdown_timer_;
  TimePoint last_progress_;
  Seconds shutdown_timeout_;
  std::size_t level_;             // of our scratch buffers
  Stage stage_ = Stage::waiting;
  std::uint8_t first_sealed_ = 0, sealed_count_ = 0;
  bool server_side_;
  bool reading_ = false;          // what the owner wants
  bool writing_ = false;
  bool closing_ = false;          // the owner's output is flushed, what comes is thrown away
  bool below_is_open_;
  bool advancing_ = false;
  bool advance_scheduled_ = false;
  bool stalled_ = false;          // nothing is read until some output has left
  bool peer_ended_ = false;       // close_notify
  bool below_ended_ = false;      // the end of the stream below
  bool end_waits_ = false;        // for reading to be resumed
};

}  // namespace ferry::internal
