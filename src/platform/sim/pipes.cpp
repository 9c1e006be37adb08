// Pipes of a simulated world.
#include "platform/pipes.hpp"

#include "platform/sim/calls.hpp"
#include "platform/sim/parts.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_channel_impl.hpp"

#include <cerrno>
#include <string>
#include <utility>

namespace ferry::internal::sim {
namespace {

class SimPipeCalls : public SimCalls {
 public:
  static constexpr bool is_socket = false;
  static constexpr const char* receive_name = "read from the pipe";
  static constexpr const char* send_name = "write to the pipe";

  SimPipeCalls(World& world, Direction direction) noexcept
      : SimCalls{world}, world_{&world}, direction_{direction} {}

  Direction direction() const noexcept { return direction_; }
  bool is_large() const noexcept { return false; }
  int shut_write(NativeHandle) const noexcept { return 0; }  // the transport closes instead
  std::uint32_t idle_interest() const noexcept {
    return direction_ == Direction::write ? want_read : want_none;
  }
  bool reader_has_gone(NativeHandle handle) const {
    const SimSocket* const end = world_->find(handle);
    return end == nullptr || end->link->reset[end->side];
  }

 private:
  World* world_;
  Direction direction_;
};

Error no_pipe(const Pipe& end, const char* why) {
  return Error::worded(std::make_error_code(std::errc::invalid_argument),
                       "handle " + std::to_string(end.fileno()) + why);
}

class SimPipes final : public Pipes {
 public:
  explicit SimPipes(World& world) noexcept : world_{world} {}

  Error check(IoContext& io, const Pipe& end, Direction direction) override {
    const SimSocket* const found = world_.find(end.fileno());
    if (found == nullptr) return last_error("handle " + std::to_string(end.fileno()));
    if (!found->only_reads() && !found->only_writes()) {
      return Error{std::make_error_code(std::errc::not_supported), "a simulated socket as a pipe"};
    }
    if (direction == Direction::read && found->only_writes()) {
      return no_pipe(end, " cannot be read");
    }
    if (direction == Direction::write && found->only_reads()) {
      return no_pipe(end, " cannot be written");
    }
    return io.watches(end.fileno()) ? no_pipe(end, " is watched already") : Error{};
  }
  std::unique_ptr<Channel> channel(IoContext& io, Pipe end, Direction direction,
                                   const PipeOptions& options) override {
    if (options.outlive_writers) throw NotSupported{"outlive_writers is not simulated"};
    return std::make_unique<SocketChannel<SimPipeCalls>>(SimPipeCalls{world_, direction}, io,
                                                         Socket{end.detach()}, false, 0);
  }

  void check_named() const override { throw NotSupported{"pipes with names are not simulated"}; }
  std::unique_ptr<Listener> listener(IoContext&, const std::string&, Listener::Owner&) override {
    return nullptr;  // never asked
  }
  Error connect(const std::string&, Pipe&) override {
    return Error{std::make_error_code(std::errc::not_supported), "a simulated pipe"};
  }

 private:
  World& world_;
};

}  // namespace

std::unique_ptr<Pipes> make_pipes(World& world) { return std::make_unique<SimPipes>(world); }

}  // namespace ferry::internal::sim
