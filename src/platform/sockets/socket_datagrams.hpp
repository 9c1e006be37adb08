// A datagram socket as a channel, over readiness: the same on every system, and in a simulated
// world.
#pragma once

#include "platform/datagrams.hpp"
#include "platform/io.hpp"
#include "platform/network.hpp"
#include "platform/sockets/socket_address.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

namespace ferry::internal {

inline PacketInfo info_of(const calls::PacketWay& way) {
  PacketInfo info;
  if (way.local_length != 0) info.local = from_system(way.local, way.local_length);
  info.interface_index = way.interface_index;
  if (way.traffic_class >= 0) info.traffic_class = static_cast<std::uint8_t>(way.traffic_class);
  return info;
}

// `Calls`: SystemCalls, or what has its shape.
template <class Calls>
class SocketDatagrams final : public DatagramChannel, private IoHandler, private Calls {
 public:
  SocketDatagrams(const Calls& calls, IoContext& io, Socket socket, const DatagramSetup& setup)
      : Calls{calls},
        io_{io},
        handle_{socket.detach()},
        family_{setup.family},
        connected_{setup.connected} {
    const bool udp = is_ip(family_);
    what_.way = udp && setup.packet_info;  // else a peer could put its descriptors there
    what_.segments = udp && setup.offload && Calls::join_segments(handle_);
    cut_segments_ = udp && setup.offload && Calls::can_cut_segments(handle_);
  }
  ~SocketDatagrams() override { let_go(); }

  void set_owner(Owner& owner) override { owner_ = &owner; }
  Error open() override {
    const std::uint32_t interest = io_.edge_triggered() ? want_read | want_write : want_none;
    return io_.watch(handle_, interest, Trigger::edge, *this, ticket_);
  }
  void set_reading(bool on) override;
  void send() override;
  bool can_send() const noexcept override { return writable_ && !resting_; }
  void close() noexcept override {
    if (handle_ == invalid_handle) return;
    let_go();
    owner_->closed();
  }
  SocketView socket() const noexcept override { return SocketView{handle_}; }

 private:
  // One endpoint's share of a turn (T-150).
  static constexpr std::size_t read_share = 128;
  static constexpr std::size_t write_share = 1024;
  static constexpr std::size_t most_out = 64;
  // What may be joined to be cut by the system: in sum no larger than one datagram may be, each
  // no larger than Ethernet takes.
  static constexpr std::size_t most_joined = 64'000;
  std::size_t most_cut() const noexcept { return family_ == Family::ipv4 ? 1472 : 1452; }
  // So often is a datagram tried for which there are no buffers: for a second.
  static constexpr int most_rests = 100;

  struct Outgoing;

  void handle_ready(std::uint32_t ready) override;
  void read_some();
  std::size_t deliver(const calls::DatagramIn* in, std::size_t count);
  void deliver(DatagramBatch& batch, std::size_t& used);
  void fill(DatagramBatch& batch, std::size_t& used, const calls::DatagramIn& in);
  void write_some();
  bool write_once(std::size_t& share);
  bool all_written();
  void tell(int error, const PendingDatagram& one);
  bool goes_on(const PendingDatagram& first, std::size_t joined, int error);
  bool fits(const PendingDatagram& first, const PendingDatagram& next,
            std::size_t sum) const noexcept;
  std::size_t join(std::span<const PendingDatagram> pending, Outgoing& out) const;
  void wait_to_write();
  void rest();
  void update_interest();
  void let_go() noexcept;
  static bool is_broken(int error) noexcept { return error == EBADF || error == ENOTSOCK; }

  IoContext& io_;
  Owner* owner_ = nullptr;
  NativeHandle handle_;
  Ticket ticket_;
  const Family family_;
  const bool connected_;
  calls::ReceiveWhat what_;
  bool cut_segments_ = false;
  // What is known of the socket: kept over turns, because a report may be an edge.
  bool readable_ = false;
  bool writable_ = true;  // until a call says otherwise
  bool reading_ = false;  // what the owner wants
  bool writing_ = false;  // waits to be able to
  bool resting_ = false;  // no report will tell when it can be: a timer does
  bool sending_ = false;  // write_some() is under way
  int met_ = 0;           // the error that the first pending one met at its first try
  int rests_ = 0;         // of the first pending one
  std::size_t alone_ = 0; // so many of those that are pending are not to be joined
  std::size_t expected_ = 2;  // as many as came lately, and room for more
};

// Many, ready to be sent: some of them joined to one message.
template <class Calls>
struct SocketDatagrams<Calls>::Outgoing {
  std::array<calls::OutOf<typename Calls::Part>, most_out> messages;
  std::array<std::size_t, most_out> held;  // how many datagrams a message is
  std::array<typename Calls::Part, most_out> parts;
  std::array<sockaddr_storage, most_out> names;
  std::array<calls::PacketWay, most_out> ways;
};

template <class Calls>
void SocketDatagrams<Calls>::update_interest() {
  if (!ticket_) return;
  const bool by_edge = io_.edge_triggered();
  const bool to_write = (writing_ || by_edge) && !resting_;
  const Error error = io_.rewatch(ticket_, (reading_ || by_edge ? want_read : 0u) |
                                               (to_write ? want_write : 0u));
  if (error) owner_->failed(error);  // else it would wait for ever
}

template <class Calls>
void SocketDatagrams<Calls>::set_reading(bool on) {
  if (reading_ == on || handle_ == invalid_handle) return;
  reading_ = on;
  if (!io_.edge_triggered()) return update_interest();
  if (on && readable_) io_.again(ticket_, ready_read);  // its edge has passed
}

template <class Calls>
void SocketDatagrams<Calls>::handle_ready(std::uint32_t ready) {
  if ((ready & ready_hint) != 0) {
    // What is reported beside the datagrams: else a selector by level went on and on (T-143).
    Calls::drop_error_queue(handle_);
    const int error = Calls::pending_error(handle_);
    if (error != 0) owner_->receive_failed(os_error(error, "receive"));
    if (handle_ == invalid_handle) return;
  }
  if ((ready & ready_read) != 0) readable_ = true;
  if ((ready & ready_write) != 0) {
    writable_ = true;
    if (std::exchange(resting_, false)) update_interest();
  }
  if (readable_ && reading_) read_some();
  if (writable_ && writing_) write_some();
}

// --- Receiving ---

template <class Calls>
void SocketDatagrams<Calls>::read_some() {
  std::size_t share = read_share;
  while (reading_ && readable_ && share > 0) {
    std::array<calls::DatagramIn, DatagramBatch::most> in;
    const std::size_t wanted = std::min({expected_, share, DatagramBatch::most});
    DatagramBatch& batch = io_.datagram_batch();
    for (std::size_t i = 0; i < wanted; ++i) {
      in[i].data = batch.place(i).data();
      in[i].room = DatagramBatch::room;
    }
    const auto [count, error] = Calls::receive_many(handle_, in.data(), wanted, what_);
    if (count < wanted && !Calls::was_cut()) readable_ = error != 0 && !calls::would_block(error);
    std::size_t delivered = 1;
    if (count > 0) {
      expected_ = std::min(2 * count, DatagramBatch::most);
      delivered = deliver(in.data(), count);
      if (handle_ == invalid_handle) return;
    }
    share -= std::min(share, delivered);
    if (error == 0 || error == EINTR || calls::would_block(error)) continue;
    if (is_broken(error)) return owner_->failed(os_error(error, "receive"));
    owner_->receive_failed(os_error(error, "receive"));
    if (handle_ == invalid_handle) return;
  }
  if (!io_.edge_triggered()) {
    readable_ = false;  // the selector reports again what is left
  } else if (readable_ && reading_) {
    io_.again(ticket_, ready_read);
  }
}

// How many it were, with those that had been joined.
template <class Calls>
std::size_t SocketDatagrams<Calls>::deliver(const calls::DatagramIn* in, std::size_t count) {
  DatagramBatch& batch = io_.datagram_batch();
  std::size_t used = 0, all = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!in[i].truncated) {
      fill(batch, used, in[i]);
      continue;
    }
    all += used + 1;
    deliver(batch, used);  // in the order in which they came
    if (handle_ == invalid_handle) return all;
    owner_->receive_failed(
        os_error(EMSGSIZE, "receive a datagram from " +
                               from_system(in[i].from, in[i].from_length).to_string() +
                               " with more than " + std::to_string(in[i].room) + " bytes"));
    if (handle_ == invalid_handle) return all;
  }
  all += used;
  deliver(batch, used);
  return all;
}

template <class Calls>
void SocketDatagrams<Calls>::deliver(DatagramBatch& batch, std::size_t& used) {
  if (used == 0) return;
  const std::span<Datagram> all{batch.datagrams.data(), std::exchange(used, 0u)};
  owner_->datagrams_read(all);
  if (!what_.way) return;
  for (Datagram& one : all) one.info = {};
}

// The datagram, or the segments that the system had joined.
template <class Calls>
void SocketDatagrams<Calls>::fill(DatagramBatch& batch, std::size_t& used,
                                  const calls::DatagramIn& in) {
  const BytesView all{in.data, in.size};
  const std::size_t step = in.segment != 0 ? in.segment : std::max<std::size_t>(in.size, 1);
  const Address from = from_system(in.from, in.from_length);
  std::size_t at = 0;
  do {
    if (used == batch.datagrams.size()) batch.datagrams.emplace_back();
    Datagram& one = batch.datagrams[used++];
    one.data = all.subview(at, step);
    one.addr = from;
    if (what_.way) one.info = info_of(in.way);
    at += step;
  } while (at < in.size);
}

// --- Sending ---

template <class Calls>
void SocketDatagrams<Calls>::send() {
  if (handle_ == invalid_handle || sending_) return;
  if (can_send()) {
    write_some();
  } else {
    wait_to_write();
  }
}

template <class Calls>
void SocketDatagrams<Calls>::wait_to_write() {
  if (!std::exchange(writing_, true) && !io_.edge_triggered()) update_interest();
}

// Until a timer says otherwise. Meanwhile it is not to be reported as writable: by level it would
// be all the while, and by edge after each attempt.
template <class Calls>
void SocketDatagrams<Calls>::rest() {
  resting_ = writing_ = true;
  update_interest();
  if (ticket_) io_.again_later(ticket_, ready_write);
}

// Whether `next` can be joined to a message that begins with `first` and has `sum` bytes.
template <class Calls>
bool SocketDatagrams<Calls>::fits(const PendingDatagram& first, const PendingDatagram& next,
                                  std::size_t sum) const noexcept {
  if (!cut_segments_ || alone_ > 0) return false;
  if (first.size > most_cut() || first.info != nullptr) return false;
  if (next.size == 0 || next.size > first.size || next.info != nullptr) return false;
  if (sum + next.size > most_joined) return false;
  return first.to == nullptr ? next.to == nullptr : next.to != nullptr && *next.to == *first.to;
}

// How many messages they become.
template <class Calls>
std::size_t SocketDatagrams<Calls>::join(std::span<const PendingDatagram> pending,
                                         Outgoing& out) const {
  std::size_t messages = 0;
  for (std::size_t i = 0; i < pending.size(); ++messages) {
    const PendingDatagram& first = pending[i];
    auto& message = out.messages[messages];
    message = {&out.parts[i], 0, nullptr, 0, 0, nullptr, system_family(family_)};
    if (first.to != nullptr) {
      message.to_length = to_system(*first.to, out.names[messages]);
      message.to = reinterpret_cast<const sockaddr*>(&out.names[messages]);
    }
    if (first.info != nullptr) {
      calls::PacketWay& way = out.ways[messages];
      way.local_length = first.info->local ? to_system(first.info->local, way.local) : 0;
      way.interface_index = first.info->interface_index;
      way.traffic_class = first.info->traffic_class ? *first.info->traffic_class : -1;
      message.way = &way;
    }
    const std::size_t size = first.size;
    std::size_t sum = 0;
    do {
      const PendingDatagram& one = pending[i];
      out.parts[i++] = Calls::part(one.data, one.size);
      sum += one.size;
      ++message.count;
      if (one.size < size) break;  // the last one of a run may be shorter
    } while (i < pending.size() && fits(first, pending[i], sum));
    if (message.count > 1) message.segment = size;
    out.held[messages] = message.count;
  }
  return messages;
}

template <class Calls>
void SocketDatagrams<Calls>::write_some() {
  struct Under {  // also if memory ends
    bool& flag;
    ~Under() { flag = false; }
  } const under{sending_ = true};
  std::size_t share = write_share;
  while (write_once(share)) {
  }
}

// Whether to go on.
template <class Calls>
bool SocketDatagrams<Calls>::write_once(std::size_t& share) {
  std::array<PendingDatagram, most_out> pending;
  const std::size_t count = owner_->pending(pending);
  if (count == 0) return all_written();
  if (share == 0) {
    wait_to_write();
    if (io_.edge_triggered()) io_.again(ticket_, ready_write);
    return false;
  }
  Outgoing out;
  const std::size_t messages = join({pending.data(), count}, out);
  const auto [sent, error] = Calls::send_many(handle_, out.messages.data(), messages);
  std::size_t gone = 0;
  for (std::size_t i = 0; i < sent; ++i) gone += out.held[i];
  share -= std::min(share, std::max<std::size_t>(gone, 1));
  if (gone > 0) {
    rests_ = 0;
    alone_ -= std::min(alone_, gone);
    // It was not this one's.
    if (const int earlier = std::exchange(met_, 0)) tell(earlier, pending[0]);
    owner_->datagrams_sent(gone);
    if (handle_ == invalid_handle) return false;
  }
  if (gone == count && count < most_out) return all_written();
  if (error == 0 || error == EINTR) return true;
  return goes_on(pending[gone], out.messages[sent].segment != 0 ? out.held[sent] : 0, error);
}

// There is nothing to go on with.
template <class Calls>
bool SocketDatagrams<Calls>::all_written() {
  if (std::exchange(writing_, false) && !io_.edge_triggered()) update_interest();
  return false;
}

template <class Calls>
void SocketDatagrams<Calls>::tell(int error, const PendingDatagram& one) {
  owner_->send_failed(os_error(
      error, "send " + std::to_string(one.size) + " bytes" +
                 (one.to != nullptr ? " to " + one.to->to_string() : std::string{})));
}

// Whether to, after this error, with what is pending then. `joined`: so many of them were one
// message.
template <class Calls>
bool SocketDatagrams<Calls>::goes_on(const PendingDatagram& first, std::size_t joined,
                                     int error) {
  // Whether the receiver of a Unix socket has room is seen by who is connected to it only.
  const bool unseen = family_ == Family::unix_socket && !connected_;
  const bool no_buffers = error == ENOBUFS && !Calls::drops_datagrams(system_family(family_));
  if ((no_buffers && ++rests_ <= most_rests) || (unseen && calls::would_block(error))) {
    rest();
    return false;
  }
  if (calls::would_block(error)) {
    writable_ = false;
    wait_to_write();
    return false;
  }
  if (is_broken(error)) {
    owner_->failed(os_error(error, "send"));
    return false;
  }
  const bool not_cut = error == EINVAL || error == EIO || error == EOPNOTSUPP;
  if (joined > 0 && not_cut) {  // the network does not cut for us: from now on each goes by itself
    cut_segments_ = false;
    return true;
  }
  // A connected socket tells so what became of an earlier one: this one has its try.
  if (connected_ && family_ != Family::unix_socket && met_ == 0) {
    met_ = error;
    return true;
  }
  if (joined > 0) {  // whose error it is, each will tell by itself
    alone_ = joined;
    return true;
  }
  // What the second try met again was this one's own.
  if (const int earlier = std::exchange(met_, 0); earlier != 0 && earlier != error) {
    tell(earlier, first);
  }
  rests_ = 0;
  tell(error, first);
  alone_ -= std::min<std::size_t>(alone_, 1);
  owner_->datagrams_sent(1);
  return handle_ != invalid_handle;
}

template <class Calls>
void SocketDatagrams<Calls>::let_go() noexcept {
  reading_ = writing_ = false;
  if (handle_ == invalid_handle) return;
  io_.unwatch(ticket_, true);
  Calls::close(std::exchange(handle_, invalid_handle));
}

}  // namespace ferry::internal
