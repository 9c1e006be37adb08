#include "transports/endpoint_transport.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal {
namespace {

constexpr std::uint8_t warn_after_lost_sends = 5;

}  // namespace

EndpointTransport::EndpointTransport(LoopCore& core, std::unique_ptr<DatagramChannel> channel,
                                     std::shared_ptr<BaseDatagramProtocol> protocol,
                                     const EndpointNames& names)
    : control_{core.control()},
      channel_{std::move(channel)},
      caller_{std::move(protocol)},
      local_{names.local},
      remote_{names.remote},
      given_{names.given},
      family_{names.family},
      connected_{names.connected} {
  channel_->set_owner(*this);
}

EndpointTransport::~EndpointTransport() = default;

std::shared_ptr<EndpointTransport> EndpointTransport::begin(
    LoopCore& core, std::unique_ptr<DatagramChannel> channel,
    std::shared_ptr<BaseDatagramProtocol> protocol, const EndpointNames& names, Opened opened) {
  auto made = std::make_shared<EndpointTransport>(core, std::move(channel), std::move(protocol),
                                                  names);
  core.enrol(*made, made, names.made_at);
  made->opened_ = std::move(opened);
  core.soon([transport = made] { transport->open(); });
  return made;
}

void EndpointTransport::open() {
  if (life_.phase() != Phase::opening) return;  // given up meanwhile
  if (const Error error = channel_->open()) return failed(error);
  perform(life_.opened());
  if (Opened waiting = std::move(opened_)) waiting({});
}

// Carries out what the life says, in the order of the bits.
void EndpointTransport::perform(std::uint32_t actions) {
  if ((actions & act::connection_made) != 0) caller_.connection_made(site());
  if ((actions & act::start_reading) != 0 && is_reading()) channel_->set_reading(true);
  if ((actions & act::stop_reading) != 0) channel_->set_reading(false);
  if ((actions & act::drop_queue) != 0) queue_.clear(core().blocks());
  if ((actions & act::finish) != 0) perform(life_.finished());
  if ((actions & act::close_channel) != 0) {
    held_.clear(core().blocks());
    channel_->close();
  }
  if ((actions & (act::connection_lost | act::tell_opener)) != 0) end_soon();
}

// --- Closing ---

void EndpointTransport::close() {
  if (life_.phase() == Phase::lost) return;
  core().check_thread("close");
  attempt();
  perform(life_.close(queue_.empty() && errors_to_tell_ == 0));
}

void EndpointTransport::abort() {
  if (life_.phase() == Phase::lost) return;
  core().check_thread("abort");
  attempt();  // what was gathered has its one try
  perform(life_.abort());
}

void EndpointTransport::give_up() {
  opened_.reset();
  abort();
}

void EndpointTransport::failed(const Error& error) {
  if (life_.phase() == Phase::lost) return;
  reason_ = error;
  perform(life_.abort());
}

// The end comes when the life is over and the channel has let go of its socket: the later of the
// two.
void EndpointTransport::closed() {
  channel_closed_ = true;
  end_soon();
}

// The call of connection_lost(); if the loop ends first, the protocol is let go of all the same.
struct EndpointTransport::End {
  void operator()() const { transport->end(); }
  ~End() {
    if (self) transport->let_go();
  }
  End(std::shared_ptr<void> alive, EndpointTransport* of) noexcept
      : self{std::move(alive)}, transport{of} {}
  End(End&&) noexcept = default;
  std::shared_ptr<void> self;
  EndpointTransport* transport;
};

void EndpointTransport::end_soon() {
  if (life_.phase() != Phase::lost || !channel_closed_ || core().tearing_down()) return;
  if (auto self = core().leave(*this)) core().soon(End{std::move(self), this});
}

void EndpointTransport::end() {
  if (caller_.started()) caller_.connection_lost(site(), reason_);
  if (Opened waiting = std::move(opened_)) {
    waiting(reason_ ? reason_
                    : Error{std::make_error_code(std::errc::connection_aborted),
                            "datagram endpoint"});
  }
  let_go();
}

void EndpointTransport::let_go() noexcept {
  const auto protocol = caller_.release();
  channel_.reset();
  opened_.reset();
}

void EndpointTransport::drop(std::vector<std::shared_ptr<void>>& trash) {
  if (life_.phase() != Phase::lost) {
    life_.abort();
    queue_.clear(core().blocks());
    held_.clear(core().blocks());
    channel_->close();
  }
  channel_.reset();
  trash.push_back(caller_.release());
  if (opened_) trash.push_back(std::make_shared<Opened>(std::move(opened_)));
}

// --- Receiving ---

void EndpointTransport::pause_reading() {
  if (read_paused_) return;
  if (life_.phase() != Phase::lost) core().check_thread("pause_reading");
  read_paused_ = true;
  if (life_.phase() == Phase::open) channel_->set_reading(false);
}

void EndpointTransport::resume_reading() {
  if (!read_paused_) return;
  if (life_.phase() != Phase::lost) core().check_thread("resume_reading");
  read_paused_ = false;
  if (!is_reading()) return;
  if (held_.empty()) return channel_->set_reading(true);
  // `this` is alive then: connection_lost(), after which we may go, is queued behind.
  if (!std::exchange(held_scheduled_, true)) core().soon([this] { deliver_held(); });
}

void EndpointTransport::datagrams_read(std::span<const Datagram> datagrams) {
  hold(datagrams.subspan(deliver(datagrams)));
  core().flush_now();
}

// How many were delivered, or need not be any more.
std::size_t EndpointTransport::deliver(std::span<const Datagram> datagrams) {
  std::size_t done = 0;
  while (done < datagrams.size()) {
    if (!life_.may_read()) return datagrams.size();
    // Paused, or paused and resumed: then what is held comes first.
    if (!is_reading() || !held_.empty()) return done;
    if (caller_.in_batches()) {
      caller_.datagrams_received(site(), datagrams.subspan(done));
      return datagrams.size();
    }
    caller_.datagram_received(site(), datagrams[done++]);
  }
  return done;
}

void EndpointTransport::hold(std::span<const Datagram> datagrams) {
  for (const Datagram& one : datagrams) {
    held_.append(one.data, &one.addr, &one.info, core().blocks());
  }
}

void EndpointTransport::deliver_held() {
  held_scheduled_ = false;
  if (!is_reading()) return;
  DatagramQueue taken;  // close() in a callback leaves the bytes that it was given alone
  taken.swap(held_);
  std::array<PendingDatagram, DatagramBatch::most> some;
  std::array<Datagram, DatagramBatch::most> datagrams;
  while (is_reading() && !taken.empty()) {
    const std::size_t count = taken.peek(some);
    for (std::size_t i = 0; i < count; ++i) {
      datagrams[i] = {some[i].view(), *some[i].to, *some[i].info};
    }
    taken.pop(deliver({datagrams.data(), count}), core().blocks());
  }
  if (life_.may_read()) {
    taken.swap(held_);
    if (is_reading()) channel_->set_reading(true);
  }
  taken.clear(core().blocks());
  core().flush_now();
}

void EndpointTransport::receive_failed(const Error& error) {
  if (life_.phase() == Phase::lost) return;
  caller_.error_received(site(), error);
  core().flush_now();
}

// --- Sending ---

// Throws what the caller did wrong; then nothing has happened.
void EndpointTransport::check_address(const char* what, const Address& addr) const {
  if (!addr) {
    if (has_remote()) return;
    throw std::invalid_argument{std::string{what} +
                                ": no address, and the endpoint was made without one"};
  }
  if (has_remote() && addr != remote_ && addr != given_) {
    throw std::invalid_argument{std::string{what} + " " + addr.to_string() +
                                ": this endpoint sends to " + remote_.to_string() + " only"};
  }
}

// False: dropped, because it is too late.
bool EndpointTransport::may_send(const char* what) {
  if (life_.phase() != Phase::lost) core().check_thread(what);
  if (life_.may_write()) return true;
  if (lost_sends_ < warn_after_lost_sends) ++lost_sends_;
  LoopCore* const core = control_.core();  // the loop may be gone by now
  if (lost_sends_ == warn_after_lost_sends && core != nullptr) {
    core->log(LogLevel::warning, std::string{what} + "() on an endpoint that is closing or lost");
  }
  return false;
}

void EndpointTransport::sendto(BytesView data, const Address& addr) {
  check_address("sendto", addr);
  if (!may_send("sendto")) return;
  enqueue(data, addr, nullptr);
  after_queueing();
}

void EndpointTransport::sendto_many(std::span<const Datagram> datagrams) {
  for (const Datagram& one : datagrams) check_address("sendto_many", one.addr);
  if (datagrams.empty() || !may_send("sendto_many")) return;
  for (const Datagram& one : datagrams) {
    const PacketInfo& info = one.info;
    const bool plain = !info.local && info.interface_index == 0 && !info.traffic_class;
    enqueue(one.data, one.addr, plain ? nullptr : &info);
    // Not all of a large batch is copied before anything is sent.
    if (flow_.over(queue_.size()) && channel_->can_send()) attempt();
    if (!life_.may_write()) return;
  }
  after_queueing();
}

void EndpointTransport::enqueue(BytesView data, const Address& addr, const PacketInfo* info) {
  const Address& to = addr ? addr : remote_;
  // What is larger, no system takes: it need not be copied.
  const bool by_ip = is_ip(family_);
  const std::size_t largest = by_ip ? 65535 : 16 * 1024 * 1024;
  std::errc refused{};
  const bool crossed = info != nullptr && info->local && info->local.family() != family_;
  if (to && to.family() != family_) refused = std::errc::address_family_not_supported;
  if (crossed) refused = std::errc::address_family_not_supported;
  if (info != nullptr && !by_ip) refused = std::errc::operation_not_supported;
  if (data.size() > largest) refused = std::errc::message_size;
  if (refused == std::errc{}) {
    return queue_.append(data, connected_ ? nullptr : &to, info, core().blocks());
  }
  send_failed(Error{std::make_error_code(refused), "send " + std::to_string(data.size()) +
                                                       " bytes to " + to.to_string()});
}

// The queue has grown: send now or when the callback returns, and judge the mark.
void EndpointTransport::after_queueing() {
  if (core().gathering() && channel_->can_send() && !flow_.over(queue_.size())) {
    if (!std::exchange(flush_wanted_, true)) core().flush_soon(*this);
    return;
  }
  attempt();
  judge_pause();
}

void EndpointTransport::flush() {
  flush_wanted_ = false;
  attempt();
}

// One attempt to send what is queued, without waiting; calls nobody.
void EndpointTransport::attempt() {
  if (!queue_.empty() && life_.phase() != Phase::lost) channel_->send();
}

void EndpointTransport::datagrams_sent(std::size_t count) {
  queue_.pop(count, core().blocks());
  if (flow_.must_resume(queue_.size())) resume_soon();
  end_if_drained();
}

// Who waits to be resumed is, before the end (C-10), and errors are told.
void EndpointTransport::end_if_drained() {
  if (queue_.empty() && !resume_scheduled_ && errors_to_tell_ == 0) perform(life_.drained());
}

// In a turn of its own: this may be inside of sendto().
void EndpointTransport::send_failed(const Error& error) {
  ++errors_to_tell_;
  core().soon([this, error, alive = self()] {
    --errors_to_tell_;
    receive_failed(error);
    end_if_drained();
  });
}

std::size_t EndpointTransport::get_write_buffer_size() {
  if (life_.phase() != Phase::lost) core().check_thread("get_write_buffer_size");
  attempt();
  return queue_.size();
}

void EndpointTransport::set_write_buffer_limits(WriteBufferMarks marks) {
  if (life_.phase() != Phase::lost) core().check_thread("set_write_buffer_limits");
  flow_.set(marks);
  if (life_.phase() == Phase::lost || life_.phase() == Phase::opening) return;
  attempt();
  judge_pause();
  // pause_writing() may have ended us.
  if (life_.phase() != Phase::lost && flow_.must_resume(queue_.size())) resume_soon();
}

void EndpointTransport::judge_pause() {
  if (life_.phase() == Phase::lost || !flow_.must_pause(queue_.size())) return;
  flow_.set_paused(true);
  caller_.pause_writing(site());
}

void EndpointTransport::resume_soon() {
  if (std::exchange(resume_scheduled_, true)) return;
  core().soon([this, alive = self()] {
    resume_scheduled_ = false;
    if (life_.phase() == Phase::lost) return;
    if (flow_.must_resume(queue_.size())) {
      flow_.set_paused(false);
      caller_.resume_writing(site());
      core().flush_now();
    }
    end_if_drained();
  });
}

// --- The rest ---

void EndpointTransport::set_protocol(std::shared_ptr<BaseProtocol> protocol) {
  // Also between abort() and connection_lost(), which is the new one's then.
  if (caller_.protocol() == nullptr || control_.core() == nullptr) return;
  core().check_thread("set_protocol");
  caller_.set(std::move(protocol));
}

std::any EndpointTransport::extra_info(std::string_view name) const {
  if (name == peername.name) return connected_ ? remote_ : Address{};
  if (name == sockname.name) return local_;
  if (name == ferry::socket.name) return channel_ ? channel_->socket() : SocketView{};
  return {};
}

std::string EndpointTransport::describe() const {
  const SocketView socket = channel_ ? channel_->socket() : SocketView{};
  std::string text = "datagrams";
  if (socket) text += " fd=" + std::to_string(socket.fileno());
  text += " " + local_.to_string() + (has_remote() ? " -> " + remote_.to_string() : "");
  text += life_.phase() == Phase::open ? " open" : life_.closing() ? " closing" : " opening";
  text += std::string{" read="} + (is_reading() ? "on" : "off");
  return text + " write=" + std::to_string(queue_.size());
}

}  // namespace ferry::internal
