// The simulated machine: a virtual clock, sockets, a network between them, and what is under way.
#pragma once

#include "platform/poller.hpp"
#include "platform/sim/dice.hpp"
#include "platform/simulated.hpp"

#include <ferry/callback.hpp>
#include <ferry/handle.hpp>
#include <ferry/sim.hpp>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ferry::internal::sim {

class SimProcess;
class SimSocket;

// One way of a connection: what is sent and not yet received, in order. The first `arrived` bytes
// have come, the others are under way.
struct Way {
  std::string bytes;
  std::size_t head = 0;
  std::size_t arrived = 0;
  TimePoint line_free;     // when the line has sent what it has
  TimePoint last_arrival;
  bool held = false;       // what has arrived is not shown yet
  bool end_sent = false, end_arrived = false;
  bool sender_waits = false;  // for room
  std::size_t size() const noexcept { return bytes.size() - head; }
};

// A connection. Side 0 has connected, side 1 was connected to. ways[s] leads to side s.
struct Link {
  std::array<Way, 2> ways;
  std::array<SimSocket*, 2> ends{};  // null: not made yet, or closed
  std::array<bool, 2> closed{};
  std::array<bool, 2> reset{};       // has arrived at that side
  std::array<Address, 2> names;
  // A pipe of this machine's, which the network has no part in. Side 0 reads, side 1 writes.
  bool pipe = false;
};

// One that has arrived.
struct SimDatagram {
  std::string bytes;
  Address from;
};

class SimSocket {
 public:
  enum class State : std::uint8_t { fresh, listening, connecting, connected };
  struct Registration {
    bool on = false;
    bool by_edge = false;
    std::uint32_t interest = 0;
    std::uint32_t edges = 0;  // changes not reported yet
    Token token = 0;
  };

  NativeHandle handle = invalid_handle;
  std::uint64_t id = 0;     // nobody else's, ever
  Family family = Family::none;
  bool datagrams = false;   // then there is no link: `peer` is who it is connected to
  State state = State::fresh;
  Address local, peer;
  bool bound = false, shared_port = false, reset_at_close = false;
  bool shut = false;        // its writing side
  bool send_held = false;   // until an event says otherwise
  bool accept_held = false;
  int pending_error = 0;
  std::shared_ptr<Link> link;
  std::size_t side = 0;
  bool only_reads() const noexcept { return link && link->pipe && side == 0; }
  bool only_writes() const noexcept { return link && link->pipe && side == 1; }
  std::deque<std::shared_ptr<Link>> backlog;
  std::size_t backlog_size = 0;
  std::map<std::pair<int, int>, int> options;
  std::deque<SimDatagram> inbox;
  std::size_t inbox_size = 0;  // bytes
  bool inbox_held = false;     // what has arrived is not shown yet
  TimePoint last_arrival;      // of what it sent in order
  std::set<std::string> groups;
  Registration registration;
  std::function<void()> changed;  // null: only the selector is told
};

constexpr Seconds longest_time{1e9};
inline bool is_time(Seconds time) noexcept { return time.count() >= 0 && time <= longest_time; }
inline TimePoint::duration in_ticks(Seconds time) {
  return std::chrono::ceil<TimePoint::duration>(time);
}

class World final : public SimulatedSockets {
 public:
  World(Dice dice, std::uint64_t seed);
  ~World();

  // --- Time ---
  TimePoint now() const noexcept { return now_; }
  TimePoint began() const noexcept { return began_; }
  // Runs `action` in so much virtual time, while the loop waits.
  void after(TimePoint::duration delay, Callback action);

  // --- The selector's ---
  Error poll(std::optional<std::chrono::nanoseconds> timeout, std::vector<Event>& out);
  void wake() noexcept { woken_ = true; }
  TimePoint::duration moment();  // a short one
  bool edge_triggered() const noexcept { return edge_triggered_; }
  SimSocket* find(NativeHandle handle) noexcept;  // null, and errno
  static std::uint32_t state_of(const SimSocket& socket) noexcept;

  // --- The calls on sockets: -1 and errno ---
  NativeHandle open(Family family, bool datagrams = false);
  std::pair<NativeHandle, NativeHandle> pair();
  std::pair<NativeHandle, NativeHandle> pipe();  // to be read, to be written
  int bind(NativeHandle handle, const Address& address);
  int listen(NativeHandle handle, int backlog);
  NativeHandle accept(NativeHandle handle, Address& peer);
  int connect(NativeHandle handle, const Address& address);
  std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) override;
  std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) override;
  // Whole datagrams. `to` may be empty: the connected peer.
  int send_datagram(NativeHandle handle, std::string bytes, const Address& to);
  int receive_datagram(NativeHandle handle, SimDatagram& into);
  int membership(NativeHandle handle, const Address& group, const Address& source,
                 bool join) override;
  int set_datagram_option(NativeHandle handle, int option, int value) override;
  int shut_write(NativeHandle handle);
  int close(NativeHandle handle) override;
  Address local_address(NativeHandle handle) override;
  Address peer_address(NativeHandle handle) override;
  int set_option(NativeHandle handle, int level, int option, int value) override;
  int get_option(NativeHandle handle, int level, int option, int& value) override;
  int pending_error(NativeHandle handle);
  int unlink(const std::string& path);
  // The number of the Unix socket that has this name; 0: nobody.
  std::uint64_t path_number(const std::string& path) const;

  // --- What SimWorld sets ---
  SimNetwork network;
  std::set<std::string> lost_hosts;
  struct Name {
    std::vector<std::string> addresses;
    TimePoint::duration delay{};
    ResolverErrc error = ResolverErrc::name_not_known;
  };
  std::map<std::string, Name, std::less<>> names;
  using Program = std::function<SimProgram(const SimStart&)>;
  std::map<std::string, Program, std::less<>> programs;
  std::uint64_t turn_limit = 10'000'000;
  std::uint64_t signals = 0;  // that came
  static bool is_signal(int number) noexcept { return number >= 1 && number <= 64; }
  std::function<std::string()> describe_loop;
  std::vector<std::shared_ptr<SimProcess>> processes;  // that run
  long last_pid = 1L << 30;  // no system has such: a signal to one of them hits nobody
  Dice dice;
  const std::uint64_t seed;

  // --- The trace ---
  // `count`: of bytes. `what` is a literal.
  void note(NativeHandle handle, const char* what, std::optional<std::size_t> count = {},
            std::string_view text = {});
  void note(std::string_view text) { note(invalid_handle, "", {}, text); }
  std::string trace() const;

 private:
  struct Due {
    TimePoint at;
    std::uint64_t order;
    Callback action;
    bool operator>(const Due& other) const noexcept {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Line {
    TimePoint at;
    NativeHandle handle;
    const char* what;
    std::optional<std::size_t> count;
    std::string text;
  };

  bool run_due();
  void collect(std::vector<Event>& out);
  static void notify(SimSocket* socket, std::uint32_t edges);
  SimSocket& add(Family family);
  void name_itself(SimSocket& socket, const Address& for_peer);
  int connect_datagrams(SimSocket& socket, const Address& address);
  void send_off(SimSocket& socket, const std::string& bytes, const Address& from,
                const Address& to);
  void datagram_arrives(const SimDatagram& datagram, const Address& to, std::uint64_t sender);
  static bool receives(const SimSocket& socket, const Address& from, const Address& to);
  void unreachable(std::uint64_t sender);
  TimePoint::duration one_way();
  TimePoint::duration one_way(const Link& link);
  bool name_is_taken(const Address& address, bool shared, bool datagrams) const;
  SimSocket* listener(const Address& address);
  std::uint16_t free_port() noexcept;
  void call_arrives(std::shared_ptr<Link> link);
  void answer_call(std::shared_ptr<Link> link, int error);
  int connect_path(SimSocket& socket, const Address& address);
  void transmit(const std::shared_ptr<Link>& link, std::size_t to, std::size_t size);
  void arrive(const std::shared_ptr<Link>& link, std::size_t to, std::size_t size);
  void send_end(const std::shared_ptr<Link>& link, std::size_t to);
  void send_reset(const std::shared_ptr<Link>& link, std::size_t to);
  void reset_arrives(const std::shared_ptr<Link>& link, std::size_t to);
  void hold_reading(const std::shared_ptr<Link>& link, std::size_t side);
  void hold_sending(SimSocket& socket);
  std::size_t number_of(NativeHandle handle) const noexcept;

  const std::size_t slot_;
  const TimePoint began_;
  TimePoint now_;
  std::vector<Due> under_way_;  // a heap
  std::uint64_t order_ = 0;
  std::uint64_t turns_ = 0;
  std::uint64_t last_id_ = 0;
  bool woken_ = false;
  bool edge_triggered_;
  std::vector<std::unique_ptr<SimSocket>> sockets_;  // by number; null: free
  std::map<std::string, NativeHandle> paths_;
  std::uint16_t next_port_ = 40000;
  std::deque<Line> lines_;
};

}  // namespace ferry::internal::sim
