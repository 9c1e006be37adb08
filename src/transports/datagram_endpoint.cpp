// create_datagram_endpoint().
#include "transports/endpoint_transport.hpp"
#include "transports/names.hpp"
#include "transports/opening.hpp"

#include <ferry/loop.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace ferry {
namespace internal {
namespace {

using Made = DatagramEndpoint<BaseDatagramProtocol>;
constexpr const char* call = "create_datagram_endpoint";

// One side as it was given.
struct Side {
  Address addr;
  HostPort name;

  static Side of(const Address& addr, std::string_view host, const Port& port, Family family) {
    return {addr, HostPort::checked(host, port, family)};
  }
  bool given() const noexcept {
    return addr || !name.host.empty() || name.port != 0 || !name.service.empty();
  }
};

// Everything that the call was given, copied: the views of the options do not outlive it.
struct EndpointJob {
  LoopCore& core;
  DatagramProtocolFactory factory;
  Side local, remote;
  DatagramSpec spec;
  DatagramSetup setup;
};

// The socket is there: the protocol is made, hears of it, and so does who waits.
Task<Made> hand_over(LoopCore* core, DatagramProtocolFactory factory, Socket socket,
                     DatagramSetup setup, Address remote) {
  const Address peer = setup.connected ? socket.view().getpeername() : Address{};
  const EndpointNames names{setup.family,    socket.view().getsockname(), peer ? peer : remote,
                            remote,          setup.connected,             factory.where()};
  std::shared_ptr<BaseDatagramProtocol> protocol = factory();  // if it throws, the socket closes
  auto channel = core->network().datagrams(*core, std::move(socket), setup);
  Opening<EndpointTransport> opening{core->loop()};
  opening.transport =
      EndpointTransport::begin(*core, std::move(channel), protocol, names, opening.told());
  co_await opening.opened;
  co_return opening.take<Made>(std::move(protocol));
}

Task<std::vector<Address>> addresses(LoopCore* core, const Side* side, bool passive) {
  std::vector<Address> found;
  if (side->addr) {
    found.push_back(side->addr);
  } else if (side->given()) {
    found = co_await resolve(core, side->name, passive);
  } else {
    found.emplace_back();
  }
  co_return found;
}

void remove_stale_path(Network& network, const Address& path) {
  switch (network.look_at_path(path, true)) {
    case Network::PathState::stale_socket: return network.remove_path(path);
    case Network::PathState::in_use:
      Error{std::make_error_code(std::errc::address_in_use), "bind to " + path.to_string()}
          .raise();
      break;
    case Network::PathState::free: break;
  }
}

Task<Made> open_endpoint(std::unique_ptr<EndpointJob> job) {
  const std::vector<Address> locals = co_await addresses(&job->core, &job->local, true);
  const std::vector<Address> remotes = co_await addresses(&job->core, &job->remote, false);
  Error first;  // the one that is told, as asyncio does
  for (const Address& local : locals) {
    for (const Address& remote : remotes) {
      DatagramSpec spec = job->spec;
      const Address& either = local ? local : remote;
      if (either) spec.family = either.family();
      if (local && remote && local.family() != remote.family()) continue;
      if (job->spec.family != Family::none && spec.family != job->spec.family) continue;
      spec.local = local;
      spec.remote = remote;
      if (local.family() == Family::unix_socket) remove_stale_path(job->core.network(), local);
      Socket socket;
      if (Error error = job->core.network().datagram_socket(spec, socket)) {
        if (!first) first = std::move(error);
        continue;
      }
      DatagramSetup setup = job->setup;
      setup.family = spec.family;
      setup.connected = remote && !spec.broadcast;
      co_return co_await hand_over(&job->core, std::move(job->factory), std::move(socket), setup,
                                   remote);
    }
  }
  if (!first) {
    throw std::invalid_argument{std::string{call} +
                                ": no local and remote address of one family"};
  }
  first.raise();
  co_return Made{};  // never reached: there is an error
}

}  // namespace
}  // namespace internal

Task<Loop::ErasedEndpoint> Loop::open_datagrams(DatagramProtocolFactory factory,
                                                const DatagramOptions& options) {
  using internal::Side;
  core_->check_usable(internal::call);
  core_->check_thread(internal::call);
  auto job = std::make_unique<internal::EndpointJob>(internal::EndpointJob{
      *core_, std::move(factory),
      Side::of(options.local_addr, options.local_host, options.local_port, options.family),
      Side::of(options.remote_addr, options.remote_host, options.remote_port, options.family),
      {options.family, {}, {}, options.reuse_port, options.allow_broadcast},
      {options.family, false, options.packet_info, options.offload}});
  if (!job->local.given() && !job->remote.given() && options.family == Family::none) {
    throw std::invalid_argument{std::string{internal::call} +
                                ": neither an address nor a family is given"};
  }
  return internal::open_endpoint(std::move(job));
}

Task<Loop::ErasedEndpoint> Loop::adopt_datagrams(DatagramProtocolFactory factory, Socket&& sock,
                                                 const DatagramOptions& options) {
  core_->check_usable(internal::call);
  core_->check_thread(internal::call);
  const internal::SocketFacts facts = core_->network().inspect(sock);
  if (facts.kind != internal::SocketKind::datagrams || facts.family == Family::none) {
    throw std::invalid_argument{std::string{internal::call} + ": socket " +
                                std::to_string(sock.fileno()) +
                                " is not for datagrams of a known family"};
  }
  const Address remote = facts.has_peer ? sock.view().getpeername() : Address{};
  return internal::hand_over(core_.get(), std::move(factory), std::move(sock),
                             {facts.family, facts.has_peer, options.packet_info, options.offload},
                             remote);
}

}  // namespace ferry
