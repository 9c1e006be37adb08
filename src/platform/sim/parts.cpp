#include "platform/sim/parts.hpp"

#include "platform/sim/calls.hpp"
#include "platform/sockets/socket_network.hpp"

#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <string>
#include <utility>

namespace ferry::internal::sim {
namespace {

class SimClock final : public Clock {
 public:
  explicit SimClock(const World& world) noexcept : world_{world} {}
  TimePoint now() const noexcept override { return world_.now(); }

 private:
  const World& world_;
};

class SimSelector final : public Selector {
 public:
  explicit SimSelector(World& world) noexcept : world_{world} {}

  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out) override {
    return world_.poll(timeout, out);
  }
  std::error_code wake() noexcept override {
    world_.wake();
    return {};
  }
  bool edge_triggered() const noexcept override { return world_.edge_triggered(); }
  Error add(NativeHandle handle, std::uint32_t interest, Trigger trigger, Token token) override {
    return modify(handle, interest, trigger, token);
  }
  Error modify(NativeHandle handle, std::uint32_t interest, Trigger trigger,
               Token token) override {
    SimSocket* const socket = world_.find(handle);
    if (socket == nullptr) return os_error(EBADF, "watch a simulated socket");
    const bool by_edge = trigger == Trigger::edge && edge_triggered();
    // What holds already is a change, as with epoll.
    socket->registration = {true, by_edge, interest, World::state_of(*socket), token};
    return {};
  }
  void remove(NativeHandle handle, bool) noexcept override {
    if (SimSocket* const socket = world_.find(handle)) socket->registration = {};
  }

 private:
  World& world_;
};

class SimResolver final : public Resolver {
 public:
  explicit SimResolver(World& world) noexcept : world_{world} {}

  void resolve(Query query, Function<void(Answer)> done) override {
    const auto found = world_.names.find(query.host);
    const auto delay = found == world_.names.end() ? TimePoint::duration{} : found->second.delay;
    world_.note("resolve " + query.host);
    // A virtual thread's: it posts to the loop, which the answer wakes.
    world_.after(delay, [answer = look_up(query), done = std::move(done)]() mutable {
      done(std::move(answer));
    });
  }

 private:
  Answer look_up(const Query& query) const {
    Answer answer;
    std::uint16_t port = 0;
    const char* const end = query.service.data() + query.service.size();
    if (std::from_chars(query.service.data(), end, port).ptr != end) {
      answer.error = Error{ResolverErrc::service_unsupported, "resolve '" + query.host +
                           "' with service '" + query.service + "'"};
      return answer;
    }
    const auto known = world_.names.find(query.host);
    for (const std::string& host : addresses_of(query, known)) {
      const Address address{host, port};
      if (query.family == Family::none || query.family == address.family()) {
        answer.addresses.push_back(address);
      }
    }
    if (answer.addresses.empty()) {
      const auto why = known == world_.names.end() ? ResolverErrc::name_not_known
                       : known->second.addresses.empty() ? known->second.error
                                                         : ResolverErrc::no_address;
      answer.error = Error{why, "resolve '" + query.host + "'"};
    }
    return answer;
  }
  using Known = decltype(World::names)::const_iterator;
  std::vector<std::string> addresses_of(const Query& query, Known known) const {
    if (known != world_.names.end()) return known->second.addresses;
    if (!query.host.empty()) return {};
    return query.passive ? std::vector<std::string>{"0.0.0.0", "::"}
                         : std::vector<std::string>{"127.0.0.1", "::1"};
  }

  World& world_;
};

class SimSignals final : public Signals {
 public:
  explicit SimSignals(World& world) noexcept : world_{world} {}
  void take(int number) override {
    if (!World::is_signal(number)) {
      throw std::invalid_argument{"signal " + std::to_string(number) + " cannot be caught"};
    }
  }
  // One that came and was not fetched is dropped, as everywhere.
  void give_back(int number) noexcept override {
    world_.signals &= ~(std::uint64_t{1} << (number - 1));
  }
  std::uint64_t fetch() noexcept override { return std::exchange(world_.signals, 0u); }

 private:
  World& world_;
};

}  // namespace

std::unique_ptr<BackendParts> make_parts(World& world) {
  auto parts = std::make_unique<BackendParts>();
  parts->name = "sim";
  parts->clock = std::make_unique<SimClock>(world);
  parts->selector = std::make_unique<SimSelector>(world);
  parts->network = std::make_unique<SocketNetwork<SimCalls>>(SimCalls{world});
  parts->resolver = std::make_unique<SimResolver>(world);
  parts->pipes = make_pipes(world);
  parts->children = make_children(world);
  parts->signals = std::make_unique<SimSignals>(world);
  return parts;
}

}  // namespace ferry::internal::sim
