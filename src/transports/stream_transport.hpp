// The transport of all streams.
#pragma once

#include "platform/channel.hpp"
#include "protocols/caller.hpp"
#include "protocols/stream_life.hpp"
#include "reactor/loop_core.hpp"
#include "reactor/loop_member.hpp"
#include "transports/flow_control.hpp"
#include "transports/packed_address.hpp"
#include "transports/ssl_spec.hpp"
#include "transports/write_queue.hpp"

#include <ferry/transports.hpp>

#include <memory>

namespace ferry::internal {

// Whom an accepted connection belongs to.
class ConnectionHome {
 public:
  virtual void connection_ended() noexcept = 0;

 protected:
  ~ConnectionHome() = default;
};

struct StreamNames {
  Address peer;
  Address local;
  std::source_location made_at = {};
};

// Joins the four: StreamLife says what is to be done, WriteQueue keeps the bytes, FlowControl
// judges the marks, ProtocolCaller calls. The transport carries out.
class StreamTransport final : public Transport, public LoopMember, private Channel::Owner {
 public:
  // Called once, in the loop's thread: the connection is made, or why not.
  using Opened = Function<void(const Error&)>;

  StreamTransport(LoopCore& core, std::unique_ptr<Channel> channel,
                  std::shared_ptr<StreamProtocol> protocol, const StreamNames& names);
  ~StreamTransport() override;

  // The loop takes it; open() is to follow.
  static std::shared_ptr<StreamTransport> prepare(LoopCore& core, std::unique_ptr<Channel> channel,
                                                  std::shared_ptr<StreamProtocol> protocol,
                                                  const StreamNames& names, Opened opened);
  // connection_made(), then reading, then `opened`: now, if the channel needs no time.
  void open();
  // The same, with open() in a later turn.
  static std::shared_ptr<StreamTransport> begin(LoopCore& core, std::unique_ptr<Channel> channel,
                                                std::shared_ptr<StreamProtocol> protocol,
                                                const StreamNames& names,
                                                std::shared_ptr<ConnectionHome> home,
                                                Opened opened);

  // BaseTransport, ReadTransport, WriteTransport, Transport
  void close() override;
  bool is_closing() const noexcept override { return life_.closing(); }
  void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
  std::shared_ptr<BaseProtocol> get_protocol() const override {
    return keeps_protocol_ ? nullptr : caller_.protocol();
  }
  bool is_reading() const noexcept override {
    return !read_paused_ && direction_ != Direction::write && life_.may_read();
  }
  void pause_reading() override;
  void resume_reading() override;
  void abort() override;
  void write(BytesView data) override;
  void write_eof() override;
  bool can_write_eof() const noexcept override {
    return direction_ != Direction::read && life_.can_half_close();
  }
  std::size_t get_write_buffer_size() override;
  WriteBufferLimits get_write_buffer_limits() const noexcept override { return flow_.limits(); }
  void set_write_buffer_limits(WriteBufferMarks marks) override;
  void set_flush_timeout(std::optional<Seconds> timeout) override;
  bool abort_with_reset() override;
  std::string describe() const override;

  const void* group() const noexcept override { return home_.get(); }

  // It belongs to a child, whose protocol hears of it: its own stays.
  void keep_protocol() noexcept { keeps_protocol_ = true; }
  // Nobody waits for the connection, or for its upgrade, any more: it is aborted, and tells nobody.
  void give_up();
  bool belongs_to(const LoopCore& core) const noexcept { return control_.core() == &core; }
  // Puts TLS between this and its channel; `upgraded` hears of the handshake, in a later turn.
  // Throws MisuseError, SslError; then nothing has changed.
  void start_tls(const SslSpec& spec, BytesView received, Opened upgraded);

 protected:
  std::any extra_info(std::string_view name) const override;
  void write_gathered(std::span<const BytesView> chunks) override;

 private:
  // LoopMember
  void flush() override;
  void drop(std::vector<std::shared_ptr<void>>& trash) override;
  // Channel::Owner
  void opened() override;
  std::span<std::byte> read_buffer() override;
  void bytes_read(std::size_t count) override;
  std::size_t pending(std::span<BytesView> views) override { return queue_.peek(views); }
  void bytes_written(std::size_t count) override;
  void finished() override { perform(life_.finished()); }
  void failed(const Error& error) override;
  void closed() override;

  // Not to be called once we are lost: the loop may be gone.
  LoopCore& core() const noexcept { return *control_.core(); }
  ProtocolCaller::Site site() noexcept { return {core().loop(), *this}; }
  bool may_write(const char* what, bool nothing);
  Opened take_opener() noexcept;
  void perform(std::uint32_t actions);
  void callback_threw(const Error& error);
  void deliver_eof();
  void attempt();
  void queue_rest(BytesView data);
  void after_queueing();
  void judge_pause();
  void resume_if_low();
  void begin_flush();
  void arm_flush_timer();
  struct End;
  void end_soon();
  void end();
  void let_go() noexcept;

  // A write of this size or more, with nothing queued, is tried from the caller's memory.
  static constexpr std::size_t direct_size = 8 * 1024;

  // What an idle connection has none of.
  struct Rare {
    ~Rare() { flush_timer.cancel(); }
    Opened opened;  // who waits for the connection, or for its upgrade
    std::optional<Seconds> flush_timeout;
    TimerHandle flush_timer;
    bool flush_armed = false;
    Error reason;  // of the loss, from failed() to connection_lost()
    std::shared_ptr<const ChannelInfo> info;  // of the channel that is gone
  };
  Rare& rare() { return *(rare_ ? rare_ : rare_ = std::make_unique<Rare>()); }

  ControlRef control_;
  std::unique_ptr<Channel> channel_;
  ProtocolCaller caller_;
  WriteQueue queue_;
  std::shared_ptr<ConnectionHome> home_;
  std::unique_ptr<Rare> rare_;
  PackedAddress peer_, local_;
  // An idle connection is to be small: what follows fills the hole at this one's end.
  [[no_unique_address]] FlowControl flow_;
  StreamLife life_;
  Direction direction_;
  bool is_pipe_;
  bool keeps_protocol_ = false;
  bool read_paused_ = false;
  bool flush_wanted_ = false;  // in the loop's list of those who wrote
  bool resume_scheduled_ = false;
  bool reset_ = false;
  bool channel_closed_ = false;
  std::uint8_t lost_writes_ = 0;
};

}  // namespace ferry::internal
