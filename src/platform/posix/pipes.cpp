// Pipes, FIFOs, terminals and other devices.
#include "platform/pipes.hpp"

#include "platform/posix/pipe_calls.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/sockets/per_process.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/socket_channel_impl.hpp"

#include <sys/ioctl.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ferry {

PipePair make_pipe() {
  int ends[2];
  // They block: who may get one is a child, whose program counts on that.
  if (internal::calls::pipe(ends, internal::calls::Blocking::yes) != 0) {
    internal::last_error("make a pipe").raise();
  }
  return {Pipe{ends[0]}, Pipe{ends[1]}};
}

namespace internal {
namespace {

std::atomic<int> large_pipes{0};  // at this moment

std::optional<PipeKind> kind_of(int fd) {
  struct stat facts {};
  if (calls::fstat(fd, &facts) != 0) return std::nullopt;
  PipeKind kind;
  kind.fifo = S_ISFIFO(facts.st_mode);
  kind.socket = S_ISSOCK(facts.st_mode);
  kind.device = S_ISCHR(facts.st_mode);
  return kind;
}

// Handles that were given to us. Those that blocked shall block again when we let go (a shell
// shares its terminal with us), but not while another transport of ours has the same open file.
class AdoptedHandles {
 public:
  void take(int fd, bool blocked) {
    struct stat facts {};
    if (calls::fstat(fd, &facts) != 0) return;
    const std::lock_guard lock{mutex_};
    entries_.push_back({fd, facts.st_dev, facts.st_ino, blocked});
  }
  void let_go(int fd) {
    const std::lock_guard lock{mutex_};
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [fd](const Entry& entry) { return entry.fd == fd; });
    if (found == entries_.end()) return;
    const Entry gone = *found;
    entries_.erase(found);
    if (!gone.blocked) return;
    const int flags = calls::fcntl(fd, F_GETFL, 0);
    if (flags == -1) return;
    calls::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    for (Entry& other : entries_) {
      if (other.device != gone.device || other.inode != gone.inode || !blocks(other.fd)) continue;
      calls::fcntl(fd, F_SETFL, flags);  // what changed there too is the same open file
      other.blocked = true;
      return;
    }
  }

 private:
  struct Entry {
    int fd;
    dev_t device;
    ino_t inode;
    bool blocked;
  };
  static bool blocks(int fd) {
    const int flags = calls::fcntl(fd, F_GETFL, 0);
    return flags != -1 && (flags & O_NONBLOCK) == 0;
  }
  std::mutex mutex_;
  std::vector<Entry> entries_;
};
constinit PerProcess<AdoptedHandles> adopted_handles;

std::string name_of(const Pipe& end) { return "handle " + std::to_string(end.fileno()); }

Error no_pipe(const Pipe& end, const char* why) {
  return Error::worded(std::make_error_code(std::errc::invalid_argument), name_of(end) + why);
}

// Some devices cannot be watched (/dev/null, and files that call themselves devices): only the
// selector knows.
Error try_to_watch(IoContext& io, const Pipe& end) {
  struct Nobody final : IoHandler {
    void handle_ready(std::uint32_t) override {}
  } nobody;
  Ticket ticket;
  const Error error = io.watch(end.fileno(), want_read, Trigger::level, nobody, ticket);
  io.unwatch(ticket, false);
  const bool never = error == std::errc::operation_not_permitted ||
                     error == std::errc::invalid_argument || error == std::errc::no_such_device;
  return never ? no_pipe(end, " is a device that cannot be watched") : error;
}

// A second end of the same FIFO, to be written; -1 and errno.
int reopen_for_writing(int fd) {
  constexpr int how = O_WRONLY | O_NONBLOCK | O_CLOEXEC;
#if defined(__linux__)
  return calls::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), how);
#elif defined(F_GETPATH)
  char path[PATH_MAX];
  if (::fcntl(fd, F_GETPATH, path) == -1) return -1;
  return calls::open(path, how);
#else
  static_cast<void>(fd);
  return errno = ENOTSUP, -1;
#endif
}

Pipe take_keeper(const Pipe& end) {
  const int keeper = reopen_for_writing(static_cast<int>(end.fileno()));
  if (keeper != -1) return Pipe{keeper};
  if (errno == ENOTSUP) {
    throw NotSupported{"outlive_writers: this system cannot open a FIFO again by its descriptor"};
  }
  last_error("open " + name_of(end) + " once more, for writing").raise();
  return {};
}

class PosixPipes final : public Pipes {
 public:
  Error check(IoContext& io, const Pipe& end, Direction direction) override {
    const auto fd = static_cast<int>(end.fileno());
    const auto kind = kind_of(fd);
    if (!kind) return last_error(name_of(end));
    if (!kind->fifo && !kind->socket && !kind->device) {
      return no_pipe(end, " is neither a pipe nor a socket nor a character device");
    }
    const int mode = calls::fcntl(fd, F_GETFL, 0);
    if (mode == -1) return last_error(name_of(end));
    if (direction == Direction::read && (mode & O_ACCMODE) == O_WRONLY) {
      return no_pipe(end, " cannot be read");
    }
    if (direction == Direction::write && (mode & O_ACCMODE) == O_RDONLY) {
      return no_pipe(end, " cannot be written");
    }
    if (io.watches(fd)) return no_pipe(end, " is watched already");
    return kind->device ? try_to_watch(io, end) : Error{};
  }

  std::unique_ptr<Channel> channel(IoContext& io, Pipe end, Direction direction,
                                   const PipeOptions& options) override {
    const auto fd = static_cast<int>(end.fileno());
    const PipeKind kind = kind_of(fd).value_or(PipeKind{});
    const bool keeps = options.outlive_writers && direction == Direction::read && kind.fifo;
    Pipe keeper = keeps ? take_keeper(end) : Pipe{};
    const int flags = calls::fcntl(fd, F_GETFL, 0);
    const bool blocks = flags != -1 && (flags & O_NONBLOCK) == 0;
    if (flags == -1 || (blocks && calls::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
      last_error("make " + name_of(end) + " non-blocking").raise();
    }
    adopted_handles.get().take(fd, blocks);
    const PipeCalls of{direction, kind, true, static_cast<int>(keeper.detach())};
    return std::make_unique<SocketChannel<PipeCalls>>(of, io, Socket{end.detach()}, false, 0);
  }

  std::unique_ptr<Channel> channel_to_child(IoContext& io, Pipe end,
                                            Direction direction) override {
    PipeKind kind;
    kind.fifo = true;
    return std::make_unique<SocketChannel<PipeCalls>>(PipeCalls{direction, kind, false, -1}, io,
                                                      Socket{end.detach()}, false, 0);
  }

  void check_named() const override {
    throw NotSupported{"pipes have names on Windows only; create_unix_connection() and "
                       "create_unix_server() are their like here"};
  }
  std::unique_ptr<Listener> listener(IoContext&, const std::string&, Listener::Owner&) override {
    return nullptr;  // never asked
  }
  Error connect(const std::string&, Pipe&) override {
    return Error{std::make_error_code(std::errc::not_supported), "connect by name"};
  }
};

}  // namespace

bool PipeCalls::reader_has_gone(NativeHandle handle) const {
  pollfd end{static_cast<int>(handle), POLLOUT, 0};
  int answer;
  do {
    answer = calls::poll(&end, 1, 0);
  } while (answer == -1 && errno == EINTR);
  // Nothing tells of it a second time: rather an end than a wait for ever.
  if (answer == -1 || (answer == 1 && (end.revents & (POLLERR | POLLHUP)) != 0)) return true;
  return kind_.socket && peer_has_ended(handle);
}

// Of a socket: its peer says no more. What it said before is for others, who read another duplicate
// of the socket, and by level would be reported for ever: it is not looked for any more then.
bool PipeCalls::peer_has_ended(NativeHandle handle) const {
  char byte;
  std::ptrdiff_t count;
  do {
    count = ::recv(static_cast<int>(handle), &byte, 1, MSG_PEEK);
  } while (count < 0 && errno == EINTR);
  unread_ = count > 0;
  return count == 0 || (count < 0 && !calls::would_block(errno));
}

std::ptrdiff_t PipeCalls::recv(NativeHandle handle, void* into, std::size_t size) const {
  const std::ptrdiff_t count = calls::read(static_cast<int>(handle), into, size);
  // How Linux tells that the other side of a terminal has gone (T-156).
  if (count < 0 && errno == EIO && kind_.device) return 0;
  if (kind_.fifo) grow_after_full_reads(handle, count == static_cast<std::ptrdiff_t>(size));
  return count;
}

// What comes faster than it is read shall cost fewer turns, if the system lets us.
void PipeCalls::grow_after_full_reads(NativeHandle handle, bool full) const {
#ifdef F_SETPIPE_SZ
  constexpr int most_large_pipes = 16;  // unprivileged users have a bound on the sum
  constexpr int large_pipe = 1024 * 1024;
  constexpr std::uint8_t reads_before_growing = 2;
  if (!full || grown_) {
    if (!grown_) full_reads_ = 0;
    return;
  }
  if (++full_reads_ < reads_before_growing) return;
  full_reads_ = 0;
  if (large_pipes.fetch_add(1) < most_large_pipes &&
      ::fcntl(static_cast<int>(handle), F_SETPIPE_SZ, large_pipe) >= large_pipe) {
    grown_ = true;
  } else {
    large_pipes.fetch_sub(1);
  }
#else
  static_cast<void>(handle);
  static_cast<void>(full);
#endif
}

std::ptrdiff_t PipeCalls::send(NativeHandle handle, const void* from, std::size_t size) const {
  calls::SigpipeHeld held;
  return held.done(calls::write(static_cast<int>(handle), from, size));
}

std::ptrdiff_t PipeCalls::sendmsg(NativeHandle handle, Part* parts, std::size_t count) const {
  calls::SigpipeHeld held;
  return held.done(calls::writev(static_cast<int>(handle), parts, static_cast<int>(count)));
}

int PipeCalls::close(NativeHandle handle) const {
  if (grown_) large_pipes.fetch_sub(1);
  if (adopted_) adopted_handles.get().let_go(static_cast<int>(handle));
  if (keeper_ != -1) calls::close(keeper_);
  return calls::close(handle);
}

void close_pipe(NativeHandle handle) noexcept { calls::close(handle); }

std::unique_ptr<Pipes> make_pipes(Selector&) { return std::make_unique<PosixPipes>(); }

}  // namespace internal
}  // namespace ferry
