// The code of SocketChannel, for those who instantiate it.
#pragma once

#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/socket_channel.hpp"

#include <array>
#include <cerrno>
#include <utility>

namespace ferry::internal {
// One connection's share of a turn (A-008, T-040); then others have theirs.
inline constexpr std::size_t read_share = 256 * 1024;
inline constexpr std::size_t write_share = 1024 * 1024;
inline constexpr std::size_t max_parts = 64;

struct Moved {
  std::size_t count = 0;
  int error = 0;
};

template <class Calls>
Moved send_views(const Calls& calls, NativeHandle handle, std::span<const BytesView> views) {
  for (bool once_more = true;;) {
    std::ptrdiff_t sent;
    if (views.size() == 1) {
      sent = calls.send(handle, views[0].data(), views[0].size());
    } else {
      std::array<typename Calls::Part, max_parts> parts;
      const std::size_t count = std::min(views.size(), max_parts);
      for (std::size_t i = 0; i < count; ++i) {
        parts[i] = calls.part(views[i].data(), views[i].size());
      }
      sent = calls.sendmsg(handle, parts.data(), count);
    }
    if (sent >= 0) return {static_cast<std::size_t>(sent), 0};
    if (errno == EINTR) continue;
    // EPROTOTYPE: macOS, while the peer is closing; the next call tells the real error (T-044).
    if (errno != EPROTOTYPE || !std::exchange(once_more, false)) return {0, errno};
  }
}

inline std::size_t total(std::span<const BytesView> views) noexcept {
  std::size_t sum = 0;
  for (const BytesView& view : views) sum += view.size();
  return sum;
}

template <class Calls>
Error SocketChannel<Calls>::open() {
  // By edges once and for all; by level only what is waited for.
  const std::uint32_t interest = io_.edge_triggered() ? want_read | want_write : idle_interest();
  Error error = io_.watch(handle_, interest, Trigger::edge, *this, ticket_);
  if (!error) owner_->opened();
  return error;
}

template <class Calls>
void SocketChannel<Calls>::update_interest() {
  if (io_.edge_triggered() || !ticket_) return;
  const bool waits_to_write = writing_ && !resting_;
  const Error error =
      io_.rewatch(ticket_, (reading_ ? want_read : 0u) | (waits_to_write ? want_write : 0u) |
                               idle_interest());
  if (error) owner_->failed(error);  // else it would wait for ever
}

template <class Calls>
void SocketChannel<Calls>::set_reading(bool on) {
  if (reading_ == on || handle_ == invalid_handle) return;
  reading_ = on;
  if (io_.edge_triggered()) {
    if (on && readable_) io_.again(ticket_, ready_read);  // its edge has passed
  } else {
    update_interest();
  }
}

template <class Calls>
void SocketChannel<Calls>::handle_ready(std::uint32_t ready) {
  if ((ready & ready_hint) != 0) hint_ = true;
  if constexpr (Calls::selector_tells_resets) {
    if ((ready & ready_reset) != 0) died_ = ECONNRESET;
  }
  if constexpr (!Calls::is_socket) {
    const bool tells_of_reader = calls().direction() == Direction::write &&
                                 (ready & (ready_read | ready_hint)) != 0;
    if (tells_of_reader && calls().reader_has_gone(handle_)) {
      return owner_->failed(writing_ ? os_error(EPIPE, Calls::send_name) : Error{});
    }
    if (tells_of_reader) update_interest();  // there may be no use in looking again
  }
  if ((ready & ready_read) != 0) readable_ = true;
  if ((ready & ready_write) != 0) {
    writable_ = true;
    if (std::exchange(resting_, false)) update_interest();
  }
  if (readable_ && reading_) read_some();
  if (writable_ && writing_) write_some();
}

template <class Calls>
void SocketChannel<Calls>::read_some() {
  std::size_t share = read_share;
  while (reading_ && readable_) {
    if (!read_once(share)) return;
  }
  // By level the selector reports again what is left.
  if (!io_.edge_triggered()) readable_ = false;
}

// False: nothing more in this turn.
template <class Calls>
bool SocketChannel<Calls>::read_once(std::size_t& share) {
  Owner* const asked = owner_;
  std::span<std::byte> into = asked->read_buffer();
  if (owner_ != asked) return true;  // start_tls() in there: the new one's buffer then
  if (into.size() > share) into = into.first(share);
  if (into.empty() || handle_ == invalid_handle || !reading_) return false;
  std::ptrdiff_t count;
  do {
    count = calls().recv(handle_, into.data(), into.size());
  } while (count < 0 && errno == EINTR);
  if (count == 0 && died_ != 0) {  // no end but what is known already
    errno = died_;
    count = -1;
  }
  if (count < 0) {
    readable_ = false;
    if (!calls::would_block(errno)) owner_->failed(last_error(Calls::receive_name));
    return false;
  }
  const auto size = static_cast<std::size_t>(count);
  if (size == 0 && share < read_share && io_.edge_triggered()) {
    io_.again(ticket_, ready_read);  // after bytes the end has a turn of its own
    return false;
  }
  if (size < into.size() && !hint_ && !calls().was_cut()) {
    const bool trusted = short_is_all_ || !io_.edge_triggered();
    const std::uint32_t there = trusted ? 0u : calls().look(handle_);
    readable_ = (there & ready_read) != 0;
    hint_ = (there & ready_hint) != 0;
  }
  owner_->bytes_read(size);
  if (size == 0 || handle_ == invalid_handle) return false;
  share -= std::min(share, size);
  // After a short read with a hint the end is likely to come next: in a turn of its own, so that
  // what this data set in motion runs before.
  const bool end_is_near = hint_ && size < into.size();
  if (share > 0 && !end_is_near) return true;
  if (!io_.edge_triggered()) {
    readable_ = false;  // the selector reports again what is left
  } else if (readable_ && reading_) {
    io_.again(ticket_, ready_read);
  }
  return false;
}

template <class Calls>
std::size_t SocketChannel<Calls>::try_write(std::span<const BytesView> views) {
  if (!can_try() || handle_ == invalid_handle) return 0;
  const Moved sent = send_views(calls(), handle_, views);
  if (sent.error != 0) {
    send_failed(sent.error);
    return 0;
  }
  const bool all = sent.count == total(views) || views.size() > max_parts;
  if (!all && !calls().was_cut()) writable_ = false;
  return sent.count;
}

template <class Calls>
void SocketChannel<Calls>::start_writing() {
  if (writing_ || handle_ == invalid_handle) return;
  writing_ = true;
  if (!io_.edge_triggered()) return update_interest();
  if (writable_) io_.again(ticket_, ready_write);
}

template <class Calls>
void SocketChannel<Calls>::write_some() {
  std::size_t share = write_share;
  std::array<BytesView, max_parts> views;
  while (writing_ && writable_) {
    const std::size_t count = owner_->pending(views);
    if (count == 0) {
      writing_ = false;
      return update_interest();
    }
    const std::span<const BytesView> parts{views.data(), count};
    const std::size_t wanted = total(parts);
    const Moved sent = send_views(calls(), handle_, parts);
    if (sent.error != 0) return send_failed(sent.error);
    if (sent.count < wanted && !calls().was_cut()) writable_ = false;
    // With nothing left, what the owner writes when it hears of that is tried at once.
    if (sent.count == wanted && count < max_parts) writing_ = false;
    owner_->bytes_written(sent.count);
    if (!writing_) return update_interest();
    share -= std::min(share, sent.count);
    if (share == 0 && writing_ && writable_) return io_.again(ticket_, ready_write);
  }
}

template <class Calls>
void SocketChannel<Calls>::send_failed(int error) {
  writable_ = false;
  if (calls::would_block(error)) return;
  if (error == ENOBUFS) {
    resting_ = true;  // by level the selector would report it as writable all the while
    update_interest();
    return io_.again_later(ticket_, ready_write);
  }
  owner_->failed(os_error(died_ != 0 ? died_ : error, Calls::send_name));
}

template <class Calls>
void SocketChannel<Calls>::shut_write() noexcept {
  if (handle_ != invalid_handle) calls().shut_write(handle_);
}

template <class Calls>
void SocketChannel<Calls>::close(bool reset) noexcept {
  if (handle_ == invalid_handle) return;
  if constexpr (Calls::is_socket) {
    const linger at_once{1, 0};
    if (reset) calls().setsockopt(handle_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  let_go();
  owner_->closed();
}

template <class Calls>
void SocketChannel<Calls>::let_go() noexcept {
  reading_ = writing_ = false;
  if (handle_ == invalid_handle) return;
  io_.unwatch(ticket_, true);
  calls().close(std::exchange(handle_, invalid_handle));
}

}  // namespace ferry::internal
