#include "platform/windows/iocp_selector.hpp"

#include "platform/sockets/calls.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/timeout.hpp"
#include "platform/windows/exit_port.hpp"
#include "platform/windows/pipe_port.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>

namespace ferry::internal {
namespace {

using calls::AfdPoll;

// One handle for polls serves so many sockets: AFD looks through all of a handle's polls.
constexpr unsigned most_users = 32;

struct Afd {
  NativeHandle handle = invalid_handle;
  unsigned users = 0;
};

struct Watched;

// A poll for one side, reading or writing. Once begun, its memory is the system's until its packet
// has come, whatever happens to the socket (T-209).
struct Side {
  IO_STATUS_BLOCK status;  // first: its address is the packet's
  AfdPoll poll;
  Watched* owner;
  bool pending;
};

struct Watched {
  Side sides[2] = {};
  NativeHandle handle = invalid_handle, base = invalid_handle;
  Token token = 0;
  Afd* afd = nullptr;
  std::uint32_t interest = want_none;
  bool queued = false;  // to be armed
  bool gone = false;    // removed: only packets are waited for
};

constexpr std::uint32_t side_of(std::size_t i) noexcept { return i == 0 ? want_read : want_write; }

// By level: a poll is for once, and is begun anew before each wait as long as somebody is
// interested. A side that nobody is interested in any more keeps its poll until it fires.
class AfdSelector final : public IocpSelector, private PacketReceiver {
 public:
  AfdSelector() : port_{calls::create_port()}, pipes_{port_}, exits_{port_} {
    if (port_ == invalid_handle) last_error("make a completion port").raise();
    if (Error error = add_afd()) {
      calls::close_handle(port_);
      error.raise();
    }
  }
  ~AfdSelector() {
    while (!watched_.empty()) remove(watched_.begin()->first, true);
    for (Watched* watched : to_arm_) unqueue(*watched);
    // All polls are cancelled, and pipes are closed by those who have them. If a packet does not
    // come, its memory stays the system's.
    std::vector<Event> ignored;
    while (in_flight_ + pipes_->in_flight() > 0 && take_packets(5000, ignored) > 0) {
    }
    pipes_.reset();
    exits_.reset();
    for (const auto& afd : afds_) calls::close_handle(afd->handle);
    calls::close_handle(port_);
  }

  bool edge_triggered() const noexcept override { return false; }

  Error add(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    if (OverlappedPipe* const end = pipes_->find(handle)) {
      pipes_->watch(*end, interest, token);
      return {};
    }
    const NativeHandle base = calls::base_socket(handle);
    if (base == invalid_handle) return refusal(handle);
    remove(handle, false);  // one that was closed behind our back (T-204)
    Afd* const afd = free_afd();
    if (afd == nullptr) return refusal(handle);
    auto watched = std::make_unique<Watched>();
    watched->handle = handle;
    watched->base = base;
    watched->token = token;
    watched->afd = afd;
    watched->interest = interest;
    Watched& entry = *watched_.emplace(handle, std::move(watched)).first->second;
    ++afd->users;
    queue(entry);
    return {};
  }

  Error modify(NativeHandle handle, std::uint32_t interest, Trigger, Token token) override {
    if (OverlappedPipe* const end = pipes_->find(handle)) {
      pipes_->watch(*end, interest, token);
      return {};
    }
    const auto found = watched_.find(handle);
    if (found == watched_.end()) {
      errno = ENOENT;
      return refusal(handle);
    }
    Watched& entry = *found->second;
    entry.interest = interest;
    entry.token = token;
    queue(entry);
    return {};
  }

  void remove(NativeHandle handle, bool) noexcept override {
    if (OverlappedPipe* const end = pipes_->find(handle)) {
      return pipes_->watch(*end, want_none, 0);
    }
    const auto found = watched_.find(handle);
    if (found == watched_.end()) return;
    Watched* const entry = found->second.release();
    watched_.erase(found);
    entry->gone = true;
    for (Side& side : entry->sides) {
      if (side.pending) calls::afd_cancel(entry->afd->handle, side.status);
    }
    reclaim(entry);
  }

  Error add_exit(NativeHandle process, Token token) override {
    return exits_->add(process, token);
  }
  PipePort& pipes() noexcept override { return *pipes_; }

  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) override {
    arm_queued(out);
    pipes_->arm_queued(out);
    if (!out.empty()) timeout = std::chrono::nanoseconds::zero();
    // Windows counts time-outs in ticks of its own and may be early by most of one.
    const auto began = std::chrono::steady_clock::now();
    int count = take_packets(to_milliseconds(timeout), out);
    while (count == 0 && timeout) {
      const auto spent = std::chrono::steady_clock::now() - began;
      if (spent >= *timeout) break;
      count = take_packets(to_milliseconds(*timeout - spent), out);
    }
    return count < 0 ? last_error("wait for the completion port") : Error{};
  }

  // A packet that is on its way counts for all who ring meanwhile.
  std::error_code wake() noexcept override {
    if (rung_.exchange(true)) return {};
    const int before = errno;
    const int error = calls::post(port_, 0, nullptr) == 0 ? 0 : errno;
    errno = before;
    if (error == 0) return {};
    rung_.store(false);
    return system_error(error);
  }

 private:
  static Error refusal(NativeHandle handle) {
    return last_error("watch handle " + std::to_string(handle));
  }

  Error add_afd() {
    auto afd = std::make_unique<Afd>();
    afd->handle = calls::open_afd();
    if (afd->handle == invalid_handle) return last_error("open AFD");
    auto* const receiver = static_cast<PacketReceiver*>(this);
    if (calls::attach(port_, afd->handle, reinterpret_cast<ULONG_PTR>(receiver)) != 0) {
      const Error error = last_error("attach AFD to the completion port");
      calls::close_handle(afd->handle);
      return error;
    }
    afds_.push_back(std::move(afd));
    return {};
  }
  // Null: there can be no more.
  Afd* free_afd() {
    for (const auto& afd : afds_) {
      if (afd->users < most_users) return afd.get();
    }
    return add_afd() ? nullptr : afds_.back().get();
  }
  void leave_afd(Afd* afd) noexcept {
    if (--afd->users > 0 || afds_.size() == 1) return;
    calls::close_handle(afd->handle);
    std::erase_if(afds_, [afd](const auto& other) { return other.get() == afd; });
  }

  void queue(Watched& entry) {
    if (std::exchange(entry.queued, true)) return;
    to_arm_.push_back(&entry);
  }
  void unqueue(Watched& entry) noexcept {
    entry.queued = false;
    if (entry.gone) reclaim(&entry);
  }
  // Frees what is gone, once nothing points to it any more.
  void reclaim(Watched* entry) noexcept {
    if (entry->queued || entry->sides[0].pending || entry->sides[1].pending) return;
    leave_afd(entry->afd);
    delete entry;
  }

  void arm_queued(std::vector<Event>& out) {
    std::swap(arming_, to_arm_);
    for (Watched* entry : arming_) {
      const bool failed = !entry->gone && !arm(*entry);
      const bool closed = failed && (errno == EBADF || errno == ENOTSOCK);
      // Whoever reads or writes will find out what is wrong.
      if (failed) out.push_back({entry->token, ready_read | ready_write | ready_hint});
      unqueue(*entry);
      if (failed && !closed) queue(*entry);  // no memory just now
    }
    arming_.clear();
  }
  bool arm(Watched& entry) noexcept {
    for (std::size_t i = 0; i < 2; ++i) {
      Side& side = entry.sides[i];
      if ((entry.interest & side_of(i)) == 0 || side.pending) continue;
      side.owner = &entry;
      side.poll.timeout.QuadPart = std::numeric_limits<std::int64_t>::max();
      side.poll.count = 1;
      side.poll.exclusive = FALSE;
      side.poll.sockets[0].handle = reinterpret_cast<HANDLE>(entry.base);
      side.poll.sockets[0].status = 0;
      side.poll.sockets[0].events =
          AfdPoll::abort | AfdPoll::connect_fail | AfdPoll::local_close |
          (i == 0 ? AfdPoll::receive | AfdPoll::accept | AfdPoll::disconnect : AfdPoll::send);
      if (calls::afd_poll(entry.afd->handle, side.poll, side.status) != 0) return false;
      side.pending = true;
      ++in_flight_;
    }
    return true;
  }

  // How many came, or -1 and errno.
  int take_packets(int milliseconds, std::vector<Event>& out) {
    const int count = calls::wait(port_, packets_.data(), packets_.size(),
                                  static_cast<DWORD>(milliseconds));  // -1: for ever, there too
    for (int i = 0; i < count; ++i) {
      const OVERLAPPED_ENTRY& packet = packets_[static_cast<std::size_t>(i)];
      if (packet.lpCompletionKey == 0) {
        rung_.store(false);
      } else {
        reinterpret_cast<PacketReceiver*>(packet.lpCompletionKey)->take_packet(packet, out);
      }
    }
    return count;
  }

  void take_packet(const OVERLAPPED_ENTRY& packet, std::vector<Event>& out) override {
    Side& side = *reinterpret_cast<Side*>(packet.lpOverlapped);
    Watched& entry = *side.owner;
    side.pending = false;
    --in_flight_;
    if (entry.gone) return reclaim(&entry);
    const std::uint32_t mine = &side == entry.sides ? want_read : want_write;
    if ((entry.interest & mine) == 0) return;
    const bool told = side.status.Status >= 0 && side.poll.count > 0;
    const ULONG seen = told ? side.poll.sockets[0].events : 0;
    // Closed behind our back: nothing more comes, unless its number is used again.
    if ((seen & AfdPoll::local_close) == 0) queue(entry);
    const std::uint32_t ready = translate(seen);
    if (ready != 0) out.push_back({entry.token, ready});
  }

  static std::uint32_t translate(ULONG seen) noexcept {
    std::uint32_t ready = 0;
    if ((seen & AfdPoll::abort) != 0) ready = ready_reset;
    if ((seen & (AfdPoll::abort | AfdPoll::connect_fail | AfdPoll::local_close)) != 0) {
      ready |= ready_read | ready_write | ready_hint;
    }
    if ((seen & AfdPoll::disconnect) != 0) ready |= ready_read | ready_hint;
    if ((seen & (AfdPoll::receive | AfdPoll::accept)) != 0) ready |= ready_read;
    if ((seen & AfdPoll::send) != 0) ready |= ready_write;
    return ready;
  }

  const NativeHandle port_;
  std::optional<PipePort> pipes_;
  std::optional<ExitPort> exits_;
  std::vector<std::unique_ptr<Afd>> afds_;
  std::unordered_map<NativeHandle, std::unique_ptr<Watched>> watched_;
  std::vector<Watched*> to_arm_, arming_;
  std::size_t in_flight_ = 0;  // polls whose packet has not come
  std::atomic<bool> rung_{false};
  std::array<OVERLAPPED_ENTRY, 256> packets_;
};

}  // namespace

std::unique_ptr<IocpSelector> make_iocp_selector() { return std::make_unique<AfdSelector>(); }

}  // namespace ferry::internal
