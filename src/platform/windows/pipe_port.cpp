#include "platform/windows/pipe_port.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <utility>

namespace ferry::internal {
namespace {

// Copies what comes after the first `skip` bytes of the parts; how much that was.
std::size_t gather(std::span<const calls::Part> parts, std::size_t skip,
                   std::span<std::byte> into) noexcept {
  std::size_t filled = 0;
  for (const calls::Part& part : parts) {
    if (skip >= part.len) {
      skip -= part.len;
      continue;
    }
    const std::size_t size = std::min<std::size_t>(part.len - skip, into.size() - filled);
    std::memcpy(into.data() + filled, part.buf + skip, size);
    filled += size;
    skip = 0;
    if (filled == into.size()) break;
  }
  return filled;
}

}  // namespace

// --- A pipe ---

std::ptrdiff_t OverlappedPipe::recv(void* into, std::size_t size) {
  const NativeHandle event = port_.event();
  if (event == invalid_handle) return -1;
  return calls::read_pipe(handle_, event, by_messages_, into, size);
}

std::ptrdiff_t OverlappedPipe::send(const calls::Part* parts, std::size_t count) {
  if (write_.pending) return errno = EAGAIN, -1;
  if (written_) return account({parts, count});
  if (!buffer_) buffer_.reset(new (std::nothrow) std::byte[room]);
  if (!buffer_) return errno = ENOMEM, -1;
  std::size_t all = 0;
  while (all < send_share) {
    const std::size_t size = gather({parts, count}, all, {buffer_.get(), room});
    if (size == 0) break;
    const std::ptrdiff_t moved = calls::write_pipe(handle_, buffer_.get(), size, write_);
    if (moved < 0) {
      if (errno == EINPROGRESS) {
        port_.began(write_);
        errno = EAGAIN;
      }
      if (all == 0) return -1;
      break;  // an error comes again
    }
    all += static_cast<std::size_t>(moved);
    if (static_cast<std::size_t>(moved) < size) break;
  }
  return static_cast<std::ptrdiff_t>(all);
}

// Tells what became of the last write, to those who give its bytes again: perhaps not all at once.
std::ptrdiff_t OverlappedPipe::account(std::span<const calls::Part> parts) {
  if (write_error_ != 0) {
    written_ = false;
    return errno = write_error_, -1;
  }
  std::size_t given = 0;
  for (const calls::Part& part : parts) given += part.len;
  const std::size_t told = std::min(write_count_, given);
  write_count_ -= told;
  written_ = write_count_ > 0;
  return static_cast<std::ptrdiff_t>(told);
}

int OverlappedPipe::begin_to_wait() {
  return awaits_client_ ? calls::await_client(handle_, read_) : calls::await_bytes(handle_, read_);
}

// --- All pipes of a selector ---

PipePort::~PipePort() {
  for (OverlappedPipe* const end : to_arm_) {
    end->queued_ = false;
    if (end->gone_) reclaim(end);
  }
  while (!pipes_.empty()) release(*pipes_.begin()->second);
  if (event_ != invalid_handle) calls::close_handle(event_);
}

NativeHandle PipePort::event() {
  if (event_ == invalid_handle) event_ = calls::create_event();
  return event_;
}

OverlappedPipe* PipePort::adopt(NativeHandle handle) {
  auto made = std::make_unique<OverlappedPipe>(*this, handle);
  const auto place = pipes_.try_emplace(handle, made.get());
  if (!place.second) return errno = EEXIST, nullptr;
  auto* const receiver = static_cast<PacketReceiver*>(this);
  if (calls::attach_pipe(port_, handle, reinterpret_cast<ULONG_PTR>(receiver)) != 0) {
    const int error = errno;
    pipes_.erase(place.first);
    return errno = error, nullptr;
  }
  return made.release();
}

void PipePort::release(OverlappedPipe& end) noexcept {
  pipes_.erase(end.handle_);
  end.gone_ = true;
  if (end.in_flight()) calls::cancel_all(end.handle_);
  calls::close_pipe(end.handle_);
  reclaim(&end);
}

// Frees what is gone, once nothing points to it any more.
void PipePort::reclaim(OverlappedPipe* end) noexcept {
  if (!end->queued_ && !end->in_flight()) delete end;
}

OverlappedPipe* PipePort::find(NativeHandle handle) const noexcept {
  const auto found = pipes_.find(handle);
  return found == pipes_.end() ? nullptr : found->second;
}

void PipePort::watch(OverlappedPipe& end, std::uint32_t interest, Token token) {
  end.interest_ = interest;
  end.token_ = token;
  if (interest != want_none) queue(end);
}

void PipePort::queue(OverlappedPipe& end) {
  if (std::exchange(end.queued_, true)) return;
  to_arm_.push_back(&end);
}

void PipePort::arm_queued(std::vector<Event>& out) {
  std::swap(arming_, to_arm_);
  for (OverlappedPipe* const end : arming_) {
    end->queued_ = false;
    if (end->gone_) {
      reclaim(end);
      continue;
    }
    const std::uint32_t ready = arm(*end);
    if (ready == 0) continue;
    out.push_back({end->token_, ready});
    queue(*end);  // by level
  }
  arming_.clear();
}

// What is ready already.
std::uint32_t PipePort::arm(OverlappedPipe& end) {
  std::uint32_t ready = 0;
  if ((end.interest_ & want_read) != 0 && !end.read_.pending) {
    if (end.begin_to_wait() == 0) {
      ready |= ready_read;
    } else if (errno == EINPROGRESS) {
      began(end.read_);
    } else {
      if (end.awaits_client_) end.client_error_ = errno;
      ready |= ready_read | ready_hint;  // reading tells what is wrong
    }
  }
  if ((end.interest_ & want_write) != 0 && !end.write_.pending) ready |= ready_write;
  return ready;
}

void PipePort::take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) {
  Operation& operation = *static_cast<Operation*>(packet.lpOverlapped);
  OverlappedPipe& end = *operation.owner;
  operation.pending = false;
  --in_flight_;
  if (end.gone_) return reclaim(&end);
  const int error = calls::error_of(operation);
  std::uint32_t ready = ready_write;
  if (&operation == &end.write_) {
    end.written_ = true;
    end.write_error_ = error;
    end.write_count_ = packet.dwNumberOfBytesTransferred;
  } else {
    if (end.awaits_client_ && error != 0) end.client_error_ = error;
    ready = error == 0 ? ready_read : ready_read | ready_hint;
  }
  if (end.interest_ == want_none) return;
  queue(end);
  const std::uint32_t wanted = ((end.interest_ & want_read) != 0 ? ready_read | ready_hint : 0u) |
                               ((end.interest_ & want_write) != 0 ? ready_write : 0u);
  if ((ready & wanted) != 0) out.push_back({end.token_, ready & wanted});
}

}  // namespace ferry::internal
