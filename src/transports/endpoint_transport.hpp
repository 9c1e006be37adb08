// The transport of datagrams.
#pragma once

#include "platform/datagrams.hpp"
#include "protocols/datagram_caller.hpp"
#include "protocols/stream_life.hpp"
#include "reactor/loop_core.hpp"
#include "reactor/loop_member.hpp"
#include "transports/datagram_queue.hpp"
#include "transports/flow_control.hpp"

#include <ferry/transports.hpp>

#include <memory>

namespace ferry::internal {

struct EndpointNames {
  Family family = Family::none;
  Address local;
  Address remote;          // to whom datagrams without an address go
  Address given;           // the same, as the user wrote it
  bool connected = false;  // by the system
  std::source_location made_at = {};
};

// As StreamTransport, and with the same life: it says what is to be done, DatagramQueue keeps the
// datagrams, FlowControl judges the marks, DatagramCaller calls. The transport carries out.
class EndpointTransport final : public DatagramTransport,
                                public LoopMember,
                                private DatagramChannel::Owner {
 public:
  // Called once, in the loop's thread: the endpoint is made, or why not.
  using Opened = Function<void(const Error&)>;

  EndpointTransport(LoopCore& core, std::unique_ptr<DatagramChannel> channel,
                    std::shared_ptr<BaseDatagramProtocol> protocol, const EndpointNames& names);
  ~EndpointTransport() override;

  // The loop takes it; connection_made(), then reading, then `opened`, in a later turn.
  static std::shared_ptr<EndpointTransport> begin(LoopCore& core,
                                                  std::unique_ptr<DatagramChannel> channel,
                                                  std::shared_ptr<BaseDatagramProtocol> protocol,
                                                  const EndpointNames& names, Opened opened);

  // BaseTransport, ReadTransport, DatagramTransport
  void close() override;
  bool is_closing() const noexcept override { return life_.closing(); }
  void set_protocol(std::shared_ptr<BaseProtocol> protocol) override;
  std::shared_ptr<BaseProtocol> get_protocol() const override { return caller_.protocol(); }
  bool is_reading() const noexcept override { return !read_paused_ && life_.may_read(); }
  void pause_reading() override;
  void resume_reading() override;
  void abort() override;
  void sendto(BytesView data, const Address& addr) override;
  void sendto_many(std::span<const Datagram> datagrams) override;
  std::size_t get_write_buffer_size() override;
  WriteBufferLimits get_write_buffer_limits() const noexcept override { return flow_.limits(); }
  void set_write_buffer_limits(WriteBufferMarks marks) override;
  std::string describe() const override;

  // Nobody waits for the endpoint any more: it is aborted, and tells nobody.
  void give_up();

 protected:
  std::any extra_info(std::string_view name) const override;

 private:
  // LoopMember
  void flush() override;
  void drop(std::vector<std::shared_ptr<void>>& trash) override;
  // DatagramChannel::Owner
  void datagrams_read(std::span<const Datagram> datagrams) override;
  void receive_failed(const Error& error) override;
  std::size_t pending(std::span<PendingDatagram> datagrams) override {
    return queue_.peek(datagrams);
  }
  void send_failed(const Error& error) override;
  void datagrams_sent(std::size_t count) override;
  void failed(const Error& error) override;
  void closed() override;

  // Not to be called once we are lost: the loop may be gone.
  LoopCore& core() const noexcept { return *control_.core(); }
  DatagramCaller::Site site() noexcept { return {core().loop(), *this}; }
  // Whether a datagram needs no address. (A Unix peer may have no name.)
  bool has_remote() const noexcept { return connected_ || remote_; }
  void open();
  void perform(std::uint32_t actions);
  void check_address(const char* what, const Address& addr) const;
  bool may_send(const char* what);
  void enqueue(BytesView data, const Address& addr, const PacketInfo* info);
  void after_queueing();
  void attempt();
  std::size_t deliver(std::span<const Datagram> datagrams);
  void hold(std::span<const Datagram> datagrams);
  void deliver_held();
  void judge_pause();
  void end_if_drained();
  void resume_soon();
  struct End;
  void end_soon();
  void end();
  void let_go() noexcept;

  ControlRef control_;
  std::unique_ptr<DatagramChannel> channel_;
  DatagramCaller caller_;
  DatagramQueue queue_;
  DatagramQueue held_;  // came in a batch whose delivery was paused
  const Address local_, remote_, given_;
  Opened opened_;
  Error reason_;  // of the loss
  FlowControl flow_;
  StreamLife life_{false};
  const Family family_;
  const bool connected_;
  bool read_paused_ = false;
  bool flush_wanted_ = false;  // in the loop's list of those who sent
  bool resume_scheduled_ = false;
  std::size_t errors_to_tell_ = 0;
  bool held_scheduled_ = false;
  bool channel_closed_ = false;
  std::uint8_t lost_sends_ = 0;
};

}  // namespace ferry::internal
