#include "platform/sim/world.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <utility>

namespace ferry::internal::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

constexpr auto connect_gives_up = std::chrono::seconds{127};
constexpr auto call_again = std::chrono::seconds{1};  // the listener's queue was full
constexpr std::size_t most_lines = 1000;
constexpr std::size_t most_pieces = 3;  // that one send is split into

int fail(int error) noexcept {
  errno = error;
  return -1;
}

}  // namespace

World::World(Dice from, std::uint64_t number)
    : dice{from}, seed{number}, slot_{add_simulated_sockets(*this)},
      began_{std::chrono::hours{1}}, now_{began_}, edge_triggered_{dice.chance(0.5)} {
  names["localhost"] = {{"127.0.0.1"}, {}, {}};
}

// What is under way, and processes, close their streams in this world.
World::~World() {
  const auto late = std::exchange(under_way_, {});
  const auto running = std::exchange(processes, {});
  remove_simulated_sockets(slot_);
}

// --- Time ---

void World::after(TimePoint::duration delay, Callback action) {
  under_way_.push_back({now_ + delay, order_++, std::move(action)});
  std::push_heap(under_way_.begin(), under_way_.end(), std::greater<>{});
}

bool World::run_due() {
  bool any = false;
  while (!under_way_.empty() && under_way_.front().at <= now_) {
    std::pop_heap(under_way_.begin(), under_way_.end(), std::greater<>{});
    Callback action = std::move(under_way_.back().action);
    under_way_.pop_back();
    action();
    any = true;
  }
  return any;
}

Error World::poll(std::optional<nanoseconds> timeout, std::vector<Event>& out) {
  const auto stalled = [this](const char* why) {
    return Error{std::make_exception_ptr(SimStalled{why + describe_loop()})};
  };
  if (++turns_ > turn_limit) return stalled("the loop does not come to rest. Open:");
  std::optional<TimePoint> until;
  if (timeout) until = now_ + *timeout;
  for (;;) {
    run_due();
    collect(out);
    if (!out.empty() || std::exchange(woken_, false)) break;
    if (until && *until <= now_) break;
    const bool event_first = !under_way_.empty() && (!until || under_way_.front().at <= *until);
    if (!event_first && !until) {
      return stalled("the loop would sleep for ever: nothing is under way. Open:");
    }
    now_ = event_first ? under_way_.front().at : *until;
  }
  now_ += microseconds{1};  // a turn takes its time: who spins does not stop the clock
  return {};
}

TimePoint::duration World::one_way() {
  return in_ticks(network.latency + network.jitter * dice.share());
}
TimePoint::duration World::one_way(const Link& link) {
  if (!link.pipe) return one_way();
  return dice.chance(0.5) ? moment() : TimePoint::duration{};
}
TimePoint::duration World::moment() {
  return microseconds{1 + static_cast<long>(dice.below(2000))};
}

// --- Readiness ---

std::uint32_t World::state_of(const SimSocket& socket) noexcept {
  if (socket.state == SimSocket::State::listening) {
    return socket.backlog.empty() || socket.accept_held ? 0u : ready_read;
  }
  if (socket.pending_error != 0) return ready_read | ready_write | ready_hint;
  if (socket.datagrams) {
    const bool any = !socket.inbox.empty() && !socket.inbox_held;
    return (any ? ready_read : 0u) | (socket.send_held ? 0u : ready_write);
  }
  if (socket.state != SimSocket::State::connected) return 0;
  const Way& in = socket.link->ways[socket.side];
  const Way& out = socket.link->ways[1 - socket.side];
  std::uint32_t state = 0;
  if (in.arrived > 0 && !in.held) state |= ready_read;
  if (in.end_arrived && !in.held) state |= ready_read | ready_hint;
  if (socket.link->reset[socket.side]) state |= ready_read | ready_write | ready_hint;
  if (!socket.send_held && !out.sender_waits && !socket.only_reads()) state |= ready_write;
  return state;
}

void World::collect(std::vector<Event>& out) {
  const std::size_t before = out.size();
  for (const auto& socket : sockets_) {
    if (!socket || !socket->registration.on) continue;
    SimSocket::Registration& watch = socket->registration;
    if (watch.interest == 0) continue;
    std::uint32_t ready = 0;
    if (!watch.by_edge) {
      ready = state_of(*socket);
    } else if (std::exchange(watch.edges, 0u) != 0) {
      ready = state_of(*socket);  // as epoll: all that holds, whatever has changed
    }
    ready &= watch.interest | ready_hint;
    if (dice.chance(network.spurious_event)) ready |= watch.interest;
    if ((ready & watch.interest) != 0) out.push_back({watch.token, ready});
  }
  for (std::size_t i = out.size() - before; i > 1; --i) {
    std::swap(out[before + i - 1], out[before + dice.below(i)]);
  }
}

void World::notify(SimSocket* socket, std::uint32_t edges) {
  if (socket == nullptr) return;
  socket->registration.edges |= edges;
  if (socket->changed) socket->changed();
}

// --- Handles ---

std::size_t World::number_of(NativeHandle handle) const noexcept {
  return static_cast<std::size_t>(-2 - handle) -
         slot_ * static_cast<std::size_t>(handles_per_world);
}

SimSocket* World::find(NativeHandle handle) noexcept {
  const std::size_t number = number_of(handle);
  SimSocket* const found = number < sockets_.size() ? sockets_[number].get() : nullptr;
  if (found == nullptr) errno = EBADF;
  return found;
}

// The lowest free number, as systems do: so that a report for its former owner would be noticed.
SimSocket& World::add(Family family) {
  std::size_t number = 0;
  while (number < sockets_.size() && sockets_[number]) ++number;
  if (number == sockets_.size()) sockets_.emplace_back();
  sockets_[number] = std::make_unique<SimSocket>();
  SimSocket& socket = *sockets_[number];
  socket.handle = -2 - static_cast<NativeHandle>(slot_) * handles_per_world -
                  static_cast<NativeHandle>(number);
  socket.id = ++last_id_;
  socket.family = family;
  return socket;
}

NativeHandle World::open(Family family, bool datagrams) {
  SimSocket& socket = add(family);
  socket.datagrams = datagrams;
  return socket.handle;
}

std::pair<NativeHandle, NativeHandle> World::pair() {
  const auto link = std::make_shared<Link>();
  for (std::size_t side : {0u, 1u}) {
    SimSocket& socket = add(Family::unix_socket);
    socket.state = SimSocket::State::connected;
    socket.link = link;
    socket.side = side;
    link->ends[side] = &socket;
  }
  return {link->ends[0]->handle, link->ends[1]->handle};
}

std::pair<NativeHandle, NativeHandle> World::pipe() {
  const auto ends = pair();
  find(ends.first)->link->pipe = true;
  return ends;
}

std::uint16_t World::free_port() noexcept {
  for (;;) {
    if (++next_port_ < 40000) next_port_ = 40000;
    const bool used = std::any_of(sockets_.begin(), sockets_.end(), [this](const auto& socket) {
      return socket && socket->local.port() == next_port_;
    });
    if (!used) return next_port_;
  }
}

bool World::name_is_taken(const Address& address, bool shared, bool datagrams) const {
  return std::any_of(sockets_.begin(), sockets_.end(), [&](const auto& socket) {
    if (!socket || !socket->bound || socket->family != address.family()) return false;
    if (socket->datagrams != datagrams) return false;
    if (socket->local.port() != address.port() || (shared && socket->shared_port)) return false;
    return socket->local == address || socket->local.is_wildcard() || address.is_wildcard();
  });
}

int World::bind(NativeHandle handle, const Address& address) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->bound || socket->family != address.family()) return fail(EINVAL);
  if (address.family() == Family::unix_socket) {
    if (!paths_.emplace(address.path(), handle).second) return fail(EADDRINUSE);
    socket->local = address;
  } else {
    socket->local = address.port() == 0 ? address.with_port(free_port()) : address;
    if (name_is_taken(socket->local, socket->shared_port, socket->datagrams)) {
      socket->local = {};
      return fail(EADDRINUSE);
    }
  }
  socket->bound = true;
  note(handle, "bound to", {}, socket->local.to_string());
  return 0;
}

int World::unlink(const std::string& path) { return paths_.erase(path) > 0 ? 0 : fail(ENOENT); }

std::uint64_t World::path_number(const std::string& path) const {
  const auto found = paths_.find(path);
  return found == paths_.end() ? 0 : static_cast<std::uint64_t>(-found->second);
}

int World::listen(NativeHandle handle, int backlog) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (!socket->bound) return fail(EDESTADDRREQ);
  socket->state = SimSocket::State::listening;
  socket->backlog_size = static_cast<std::size_t>(std::max(backlog, 1));
  note(handle, "listens");
  return 0;
}

NativeHandle World::accept(NativeHandle handle, Address& peer) {
  SimSocket* const listening = find(handle);
  if (listening == nullptr) return -1;
  if (listening->state != SimSocket::State::listening) return fail(EINVAL);
  if (listening->backlog.empty() || listening->accept_held) return fail(EAGAIN);
  if (dice.chance(network.would_block)) {
    listening->accept_held = true;
    after(moment(), [this, handle] {
      if (SimSocket* const again = find(handle)) {
        again->accept_held = false;
        notify(again, ready_read);
      }
    });
    return fail(EAGAIN);
  }
  if (dice.chance(network.accept_fails)) {
    note(handle, "accept: out of descriptors");
    return fail(EMFILE);
  }
  const auto link = std::move(listening->backlog.front());
  listening->backlog.pop_front();
  SimSocket& socket = add(listening->family);
  socket.state = SimSocket::State::connected;
  socket.local = link->names[1];
  socket.peer = peer = link->names[0];
  socket.link = link;
  socket.side = 1;
  link->ends[1] = &socket;
  if (link->reset[1]) socket.pending_error = ECONNRESET;
  note(socket.handle, "accepted from", {}, peer.to_string());
  return socket.handle;
}

// --- Connecting ---

SimSocket* World::listener(const Address& address) {
  for (const auto& socket : sockets_) {
    if (!socket || socket->state != SimSocket::State::listening) continue;
    if (socket->family != address.family() || socket->local.port() != address.port()) continue;
    if (socket->local == address || socket->local.is_wildcard()) return socket.get();
  }
  return nullptr;
}

int World::connect(NativeHandle handle, const Address& address) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->datagrams) return connect_datagrams(*socket, address);
  if (socket->state == SimSocket::State::connecting) return fail(EALREADY);
  if (socket->state != SimSocket::State::fresh) return fail(EISCONN);
  if (address.family() == Family::unix_socket) return connect_path(*socket, address);
  if (!socket->bound) name_itself(*socket, address);
  socket->peer = address;
  socket->state = SimSocket::State::connecting;
  auto link = std::make_shared<Link>();
  link->ends[0] = socket;
  link->names = {socket->local, address};
  socket->link = link;
  note(handle, "connects to", {}, address.to_string());
  if (lost_hosts.contains(address.host()) || dice.chance(network.unanswered)) {
    after(connect_gives_up, [this, link] { answer_call(link, ETIMEDOUT); });
  } else if (dice.chance(network.refused)) {
    after(one_way() + one_way(), [this, link] { answer_call(link, ECONNREFUSED); });
  } else {
    after(one_way(), [this, link] { call_arrives(link); });
  }
  return fail(EINPROGRESS);
}

// As who has that peer would see it.
void World::name_itself(SimSocket& socket, const Address& for_peer) {
  const bool loopback = for_peer.host() == "::1" || for_peer.host().starts_with("127.");
  const bool v6 = for_peer.family() == Family::ipv6;
  const char* const here = v6 ? (loopback ? "::1" : "fd00::1")
                              : (loopback ? "127.0.0.1" : "10.0.0.1");
  const std::uint16_t port = socket.local.port() != 0 ? socket.local.port() : free_port();
  socket.local = Address{here, port};
}

void World::call_arrives(std::shared_ptr<Link> link) {
  if (link->closed[0]) return;
  SimSocket* const server = listener(link->names[1]);
  if (server == nullptr) {
    after(one_way(), [this, link] { answer_call(link, ECONNREFUSED); });
    return;
  }
  if (server->backlog.size() >= server->backlog_size) {
    after(call_again, [this, link] { call_arrives(link); });
    return;
  }
  server->backlog.push_back(link);
  notify(server, ready_read);
  after(one_way(), [this, link] { answer_call(link, 0); });
}

void World::answer_call(std::shared_ptr<Link> link, int error) {
  SimSocket* const socket = link->ends[0];
  if (socket == nullptr || socket->state != SimSocket::State::connecting) return;
  note(socket->handle, error == 0 ? "is connected" : "could not connect");
  socket->pending_error = error;
  if (error == 0) {
    socket->state = SimSocket::State::connected;
    if (link->reset[0]) socket->pending_error = ECONNRESET;
  } else {
    socket->state = SimSocket::State::fresh;
    socket->link.reset();
  }
  notify(socket, ready_write);
}

int World::connect_path(SimSocket& socket, const Address& address) {
  const auto found = paths_.find(std::string{address.path()});
  if (found == paths_.end()) return fail(ENOENT);
  SimSocket* const server = find(found->second);
  if (server == nullptr || server->state != SimSocket::State::listening) return fail(ECONNREFUSED);
  if (server->backlog.size() >= server->backlog_size) return fail(EAGAIN);
  socket.peer = address;
  socket.state = SimSocket::State::connected;
  socket.link = std::make_shared<Link>();
  socket.link->ends[0] = &socket;
  socket.link->names = {socket.local, address};
  server->backlog.push_back(socket.link);
  notify(server, ready_read);
  note(socket.handle, "is connected to", {}, address.to_string());
  return 0;
}

// --- Bytes ---

std::ptrdiff_t World::recv(NativeHandle handle, void* into, std::size_t size) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->state != SimSocket::State::connected) return fail(ENOTCONN);
  Way& way = socket->link->ways[socket->side];
  if (way.held) return fail(EAGAIN);
  if (way.arrived == 0) {
    if (socket->pending_error != 0) return fail(std::exchange(socket->pending_error, 0));
    if (way.end_arrived || socket->link->reset[socket->side]) return 0;
    return fail(EAGAIN);
  }
  if (dice.chance(network.would_block)) {
    hold_reading(socket->link, socket->side);
    return fail(EAGAIN);
  }
  std::size_t count = std::min(size, way.arrived);
  if (count > 1 && dice.chance(network.short_read)) {
    count = 1 + dice.below(count - 1);
    hold_reading(socket->link, socket->side);
  }
  way.bytes.copy(static_cast<char*>(into), count, way.head);
  way.head += count;
  way.arrived -= count;
  if (way.head == way.bytes.size() || way.head > 64 * 1024) {
    way.bytes.erase(0, std::exchange(way.head, 0));
  }
  note(handle, "received", count);
  if (std::exchange(way.sender_waits, false)) {
    notify(socket->link->ends[1 - socket->side], ready_write);
  }
  return static_cast<std::ptrdiff_t>(count);
}

// A short count, or none, means to the caller that nothing is left: the rest has to come anew.
void World::hold_reading(const std::shared_ptr<Link>& link, std::size_t side) {
  link->ways[side].held = true;
  after(moment(), [link, side] {
    link->ways[side].held = false;
    notify(link->ends[side], ready_read);
  });
}

void World::hold_sending(SimSocket& socket) {
  socket.send_held = true;
  after(moment(), [link = socket.link, side = socket.side] {
    if (SimSocket* const end = link->ends[side]) {
      end->send_held = false;
      notify(end, ready_write);
    }
  });
}

std::ptrdiff_t World::send(NativeHandle handle, const void* from, std::size_t size) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->pending_error != 0) return fail(std::exchange(socket->pending_error, 0));
  if (socket->state != SimSocket::State::connected || socket->shut ||
      socket->link->reset[socket->side]) {
    return fail(EPIPE);
  }
  if (socket->send_held) return fail(EAGAIN);
  if (size == 0) return 0;
  if (dice.chance(network.would_block)) {
    hold_sending(*socket);
    return fail(EAGAIN);
  }
  const std::size_t to = 1 - socket->side;
  Way& way = socket->link->ways[to];
  const std::size_t room = network.buffer - std::min(network.buffer, way.size());
  std::size_t count = std::min(size, room);
  if (count > 1 && dice.chance(network.short_write)) {
    count = 1 + dice.below(count - 1);
    hold_sending(*socket);
  } else if (count < size) {
    way.sender_waits = true;
  }
  if (count == 0) return fail(EAGAIN);
  way.bytes.append(static_cast<const char*>(from), count);
  note(handle, "sent", count);
  transmit(socket->link, to, count);
  return static_cast<std::ptrdiff_t>(count);
}

void World::transmit(const std::shared_ptr<Link>& link, std::size_t to, std::size_t size) {
  Way& way = link->ways[to];
  for (std::size_t piece = 1; size > 0; ++piece) {
    const bool last = piece == most_pieces || size < 2 || dice.chance(0.5);
    const std::size_t some = last ? size : 1 + dice.below(size);
    size -= some;
    if (!link->pipe && dice.chance(network.reset)) {
      note("the network resets a connection");
      send_reset(link, 0);
      send_reset(link, 1);
    }
    way.line_free = std::max(way.line_free, now_);
    if (network.bandwidth > 0 && !link->pipe) {
      way.line_free += in_ticks(Seconds{static_cast<double>(some) / network.bandwidth});
    }
    way.last_arrival = std::max(way.last_arrival, way.line_free + one_way(*link));
    after(way.last_arrival - now_, [this, link, to, some] { arrive(link, to, some); });
  }
}

void World::arrive(const std::shared_ptr<Link>& link, std::size_t to, std::size_t size) {
  Way& way = link->ways[to];
  if (link->reset[to]) return;  // what was under way went with the connection
  way.arrived += size;
  if (link->closed[to]) return send_reset(link, 1 - to);
  notify(link->ends[to], ready_read);
}

void World::send_end(const std::shared_ptr<Link>& link, std::size_t to) {
  Way& way = link->ways[to];
  if (std::exchange(way.end_sent, true)) return;
  way.last_arrival = std::max(way.last_arrival, now_ + one_way(*link));
  after(way.last_arrival - now_, [link, to] {
    if (link->reset[to]) return;
    link->ways[to].end_arrived = true;
    notify(link->ends[to], ready_read);
  });
}

void World::send_reset(const std::shared_ptr<Link>& link, std::size_t to) {
  after(one_way(*link), [this, link, to] { reset_arrives(link, to); });
}

void World::reset_arrives(const std::shared_ptr<Link>& link, std::size_t to) {
  if (std::exchange(link->reset[to], true)) return;
  Way& way = link->ways[to];
  way.bytes.resize(way.head + way.arrived);
  if (SimSocket* const socket = link->ends[to]) {
    note(socket->handle, link->pipe ? "has no reader any more" : "is reset");
    const bool tells = socket->state == SimSocket::State::connected && !link->pipe;
    if (tells) socket->pending_error = ECONNRESET;
    notify(socket, ready_read | ready_write);
  }
}

int World::shut_write(NativeHandle handle) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  if (socket->state != SimSocket::State::connected) return fail(ENOTCONN);
  socket->shut = true;
  note(handle, "ends its side");
  send_end(socket->link, 1 - socket->side);
  return 0;
}

int World::close(NativeHandle handle) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  note(handle, "closed");
  if (const auto link = socket->link) {
    const std::size_t peer = 1 - socket->side;
    link->ends[socket->side] = nullptr;
    link->closed[socket->side] = true;
    // What nobody will read is answered by a reset, and so is who gives up while connecting.
    const bool hard = socket->reset_at_close || link->ways[socket->side].arrived > 0 ||
                      socket->state == SimSocket::State::connecting || socket->only_reads();
    if (hard && !link->reset[socket->side]) {
      send_reset(link, peer);
    } else {
      send_end(link, peer);
    }
  }
  for (const auto& waiting : socket->backlog) {
    waiting->closed[1] = true;
    send_reset(waiting, 0);
  }
  sockets_[number_of(handle)].reset();
  return 0;
}

// --- Facts ---

Address World::local_address(NativeHandle handle) {
  const SimSocket* const socket = find(handle);
  return socket != nullptr ? socket->local : Address{};
}

Address World::peer_address(NativeHandle handle) {
  const SimSocket* const socket = find(handle);
  if (socket == nullptr) return {};
  const bool known = socket->state == SimSocket::State::connected;
  if (!known) errno = ENOTCONN;
  return known ? socket->peer : Address{};
}

int World::set_option(NativeHandle handle, int level, int option, int value) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  socket->options[{level, option}] = value;
  return 0;
}

int World::get_option(NativeHandle handle, int level, int option, int& value) {
  SimSocket* const socket = find(handle);
  if (socket == nullptr) return -1;
  value = socket->options[{level, option}];
  return 0;
}

int World::pending_error(NativeHandle handle) {
  SimSocket* const socket = find(handle);
  return socket == nullptr ? errno : std::exchange(socket->pending_error, 0);
}

// --- The trace ---

void World::note(NativeHandle handle, const char* what, std::optional<std::size_t> count,
                 std::string_view text) {
  if (lines_.size() == most_lines) lines_.pop_front();
  lines_.push_back({now_, handle, what, count, std::string{text}});
}

std::string World::trace() const {
  std::string all;
  for (const Line& line : lines_) {
    char start[64];
    const double at = Seconds{line.at - began_}.count();
    if (line.handle == invalid_handle) {
      std::snprintf(start, sizeof start, "%12.6f  ", at);
    } else {
      std::snprintf(start, sizeof start, "%12.6f  #%zu ", at, number_of(line.handle));
    }
    all += start;
    all += line.what;
    if (line.count) all += " " + std::to_string(*line.count);
    if (!line.text.empty()) all += (*line.what != '\0' ? " " : "") + line.text;
    all += '\n';
  }
  return all;
}

}  // namespace ferry::internal::sim
