// Pipes, with names and without.
#include "platform/pipes.hpp"

#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/socket_channel_impl.hpp"
#include "platform/windows/pipe_calls.hpp"
#include "platform/windows/pipe_pair.hpp"
#include "platform/windows/text.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <utility>

namespace ferry {

PipePair make_pipe() {
  PipePair pair;
  internal::make_pipe_pair(internal::TheirEnd::reads, true, pair.write, pair.read).raise();
  return pair;
}

namespace internal {
namespace {

// Nobody else's, and nobody can know it beforehand.
std::wstring new_name() {
  static std::atomic<unsigned> counter{0};
  std::random_device random;
  std::wstring name = LR"(\\.\pipe\ferry)";
  for (const unsigned part : {unsigned{::GetCurrentProcessId()}, ++counter, random(), random()}) {
    name += L'-' + std::to_wstring(part);
  }
  return name;
}

std::string name_of(const Pipe& end) { return "handle " + std::to_string(end.fileno()); }

Error no_pipe(const Pipe& end, const char* why) {
  return Error::worded(std::make_error_code(std::errc::invalid_argument), name_of(end) + why);
}

const char* why_no_pipe(const calls::HandleFacts& facts) noexcept {
  using Kind = calls::HandleFacts::Kind;
  switch (facts.kind) {
    case Kind::file: return " is a file or a directory, and no pipe";
    case Kind::console: return " is a console, which can only be read and written by waiting";
    case Kind::device: return " is a device, and no pipe";
    case Kind::socket: return " is a socket, and no pipe";
    case Kind::pipe_end: break;
  }
  if (!facts.overlapped) return " was not opened for overlapped I/O";
  if (!facts.by_bytes) return " is a pipe that reads messages, or one that does not wait";
  return nullptr;
}

// Of this machine: to open another's takes as long as its network likes, and the loop stands still.
Error check_name(const std::string& name) {
  std::string folder = name.substr(0, 9);
  std::transform(folder.begin(), folder.end(), folder.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
  const bool here = folder == R"(\\.\pipe\)" || folder == R"(\\?\pipe\)";
  if (here && name.size() > folder.size() && !to_wide(name).empty()) return {};
  return Error::worded(std::make_error_code(std::errc::invalid_argument),
                       "'" + name + R"(' is no pipe's name: those are like \\.\pipe\NAME)");
}

std::unique_ptr<Channel> channel_of(IoContext& io, HeldPipe end, Direction direction,
                                    bool readable) {
  const PipeCalls of{direction, *end, readable};
  // Whoever has the channel has the pipe.
  auto made = std::make_unique<SocketChannel<PipeCalls>>(of, io, Socket{end->handle()}, false, 0);
  end.release();
  return made;
}

// Always one instance waits for a client: then clients find the name.
class NamedListener final : public Pipes::Listener, private IoHandler {
 public:
  NamedListener(PipePort& port, IoContext& io, const std::string& name,
                Pipes::Listener::Owner& owner)
      : port_{port}, io_{io}, name_{name}, owner_{owner} {}
  ~NamedListener() { io_.unwatch(ticket_, true); }
  NamedListener(const NamedListener&) = delete;
  NamedListener& operator=(const NamedListener&) = delete;

  Error start() override {
    if (Error error = check_name(name_)) return error;
    Error error = make_instance(calls::Instance::first, waiting_);
    // That is how Windows says that another program has this name, and all that it wants of it.
    if (error == std::errc::permission_denied || error == std::errc::device_or_resource_busy) {
      return os_error(EADDRINUSE, context());
    }
    return error ? error : watch(*waiting_, ticket_);
  }

 private:
  std::string context() const { return "serve the pipe " + name_; }

  Error make_instance(calls::Instance instance, HeldPipe& out) {
    Pipe made{calls::create_pipe(to_wide(name_).c_str(), PIPE_ACCESS_DUPLEX, instance)};
    if (!made) return last_error(context());
    out.reset(port_.adopt(made.fileno()));
    if (!out) return last_error(context());
    made.detach();
    out->await_client();
    return {};
  }
  Error watch(const OverlappedPipe& instance, Ticket& ticket) {
    return io_.watch(instance.handle(), want_read, Trigger::level, *this, ticket);
  }

  void handle_ready(std::uint32_t) override {
    const int failure = waiting_->client_error();
    if (failure != 0 && !failing_) return failed(os_error(failure, context()));
    HeldPipe next;
    if (Error error = make_instance(calls::Instance::next, next)) return failed(error);
    Ticket its_ticket;
    if (Error error = watch(*next, its_ticket)) return failed(error);
    io_.unwatch(ticket_, false);
    ticket_ = its_ticket;
    HeldPipe connected = std::exchange(waiting_, std::move(next));
    failing_ = false;
    if (failure != 0) return;
    connected->has_client();
    owner_.accepted(channel_of(io_, std::move(connected), Direction::both, true));
  }

  // Clients wait meanwhile. A failure that lasts is told once.
  void failed(const Error& error) {
    io_.rewatch(ticket_, want_none);
    io_.again_later(ticket_, ready_read);
    if (!std::exchange(failing_, true)) owner_.accept_failed(error);
  }

  PipePort& port_;
  IoContext& io_;
  const std::string name_;
  Pipes::Listener::Owner& owner_;
  HeldPipe waiting_;
  Ticket ticket_;
  bool failing_ = false;
};

class WindowsPipes final : public Pipes {
 public:
  explicit WindowsPipes(IocpSelector* selector) noexcept : selector_{selector} {}

  Error check(IoContext& io, const Pipe& end, Direction direction) override {
    calls::HandleFacts facts;
    if (calls::facts_of(end.fileno(), facts) != 0) return last_error(name_of(end));
    if (const char* const why = why_no_pipe(facts)) return no_pipe(end, why);
    if (direction == Direction::read && !facts.readable) return no_pipe(end, " cannot be read");
    if (direction == Direction::write && !facts.writable) {
      return no_pipe(end, " cannot be written");
    }
    return io.watches(end.fileno()) ? no_pipe(end, " is watched already") : Error{};
  }

  std::unique_ptr<Channel> channel(IoContext& io, Pipe end, Direction direction,
                                   const PipeOptions& options) override {
    if (options.outlive_writers && direction == Direction::read) {
      throw NotSupported{"outlive_writers: a pipe on Windows ends with its one writer"};
    }
    HeldPipe held{selector_ != nullptr ? selector_->pipes().adopt(end.fileno()) : nullptr};
    if (!held) last_error("attach " + name_of(end) + " to the completion port").raise();
    const bool readable = calls::can_read(end.detach());
    return channel_of(io, std::move(held), direction, readable);
  }

  void check_named() const override {}
  std::unique_ptr<Listener> listener(IoContext& io, const std::string& name,
                                     Listener::Owner& owner) override {
    return std::make_unique<NamedListener>(selector_->pipes(), io, name, owner);
  }
  Error connect(const std::string& name, Pipe& out) override {
    if (Error error = check_name(name)) return error;
    out = Pipe{calls::open_pipe(to_wide(name).c_str(), GENERIC_READ | GENERIC_WRITE, true)};
    return out ? Error{} : last_error("connect to the pipe " + name);
  }

 private:
  IocpSelector* const selector_;  // null: another one, that has no pipes
};

}  // namespace

bool PipeCalls::reader_has_gone(NativeHandle handle) const {
  // What comes the other way is nobody's; its end is the reader's going.
  std::byte nobodys[4096];
  for (int i = 0; i < 64; ++i) {  // what comes faster than it is read is there next time
    const std::ptrdiff_t count = recv(handle, nobodys, sizeof nobodys);
    if (count <= 0) return count == 0 || !calls::would_block(errno);
  }
  return false;
}

Error make_pipe_pair(TheirEnd theirs_is, bool theirs_overlapped, Pipe& ours, Pipe& theirs) {
  const bool reads = theirs_is == TheirEnd::reads;
  const std::wstring name = new_name();
  Pipe server{calls::create_pipe(name.c_str(), reads ? PIPE_ACCESS_DUPLEX : PIPE_ACCESS_INBOUND,
                                 calls::Instance::only)};
  if (!server) return last_error("make a pipe");
  const DWORD access = reads ? GENERIC_READ | FILE_WRITE_ATTRIBUTES
                             : GENERIC_WRITE | FILE_READ_ATTRIBUTES;
  Pipe client{calls::open_pipe(name.c_str(), access, theirs_overlapped)};
  if (!client) return last_error("make a pipe");
  ours = std::move(server);
  theirs = std::move(client);
  return {};
}

void close_pipe(NativeHandle handle) noexcept { calls::close_pipe(handle); }

std::unique_ptr<Pipes> make_pipes(Selector& selector) {
  return std::make_unique<WindowsPipes>(dynamic_cast<IocpSelector*>(&selector));
}

}  // namespace internal
}  // namespace ferry
