// One scenario, played on ferry. asyncio_driver.py does the same on asyncio, name by name: keep the
// two side by side.
#pragma once

#include "plain_socket.hpp"
#include "scenario.hpp"
#include "tls.hpp"

#include <ferry/ferry.hpp>

#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <variant>
#include <vector>

namespace conformance {

// What an action answers, if anything.
using Answer = std::optional<std::string>;

// What a scenario throws in a callback: knows whose it was.
struct UserError : std::exception {
  explicit UserError(std::string of) : link{std::move(of)} {}
  const char* what() const noexcept override { return "of the scenario"; }
  std::string link;
};
struct UserOsError : std::system_error {
  explicit UserOsError(std::string of)
      : std::system_error{std::make_error_code(std::errc::no_buffer_space)}, link{std::move(of)} {}
  std::string link;
};

// An error in the word that both drivers have for it.
std::string word(const std::exception_ptr& exception);
std::string word(const ferry::Error& error);
// Bytes that show what was lost, repeated or crossed.
std::string pattern(std::size_t start, std::size_t size);
bool is_pattern(std::size_t start, ferry::BytesView data);
inline std::size_t size_of(const std::string& text) {
  return text == "big" ? big : std::stoul(text);
}
inline std::string yes(bool value) { return value ? "yes" : "no"; }

class Trace {
 public:
  // What differs from the actor's last line by its count only is merged with it.
  void add(const std::string& actor, const std::string& text,
           std::optional<std::size_t> count = std::nullopt);
  // What comes next for this actor stands on a line of its own.
  void merge_no_more(const std::string& actor) { last_.erase(actor); }
  // Where this actor's life stands now, on a line of its own; only if phases are asked for.
  void add_phase(const std::string& actor);
  void print(const std::string& name) const;
  std::size_t size() const { return lines_.size(); }

  int depth = 0;
  bool on = true;
  // Gives each line of a link the phase of its life.
  std::function<std::string(const std::string& actor)> phase_of;

 private:
  struct Line {
    std::string actor;
    int depth = 0;
    std::string text;
    std::optional<std::size_t> count;
    std::string phase = {};
  };
  std::vector<Line> lines_;
  std::map<std::string, std::size_t> last_;
};

class World;
class Link;
class Endpoint;

// The other end of a link: a plain socket that does what the scenario says; over TLS with OpenSSL
// on it, and then `eof` says close_notify. Of a pipe its other end, and then `eof` closes it.
class Peer {
 public:
  explicit Peer(Link& link);

  void listen(const std::string& path);
  ferry::Address listener_address() const { return listener_.view().getsockname(); }
  void watch_listener();
  void accept();
  void connect(const ferry::Address& address);
  void began(ferry::Socket socket);
  void begin_tls();
  Answer perform(const std::string& verb, const std::vector<std::string>& args);
  void log_bytes();
  bool hears() const { return socket_ && !closed && !end_ && (reading_ || shakes_hands()); }
  bool shakes_hands() const { return secret_ && !secret_->is_open(); }
  bool has_socket() const { return began_; }
  // It will not see what the link says, its goodbye least of all.
  bool is_deaf() const { return socket_ && !closed && !end_ && !hears(); }
  std::size_t total() const { return secret_ ? sent : sent + out.size(); }  // of bytes to come
  bool has_sent_all() const { return !socket_ || has_left(socket_.fileno()); }
  // What is on its way to us and must come.
  Answer waits_for() const;
  // Whether something is still between the two kernels that nobody reads yet.
  bool waits_to_arrive() const;

  std::size_t sent = 0, received = 0;
  std::string out;  // to be sent, sealed if it must be
  bool ended = false, closed = false, was_reset = false;
  std::size_t accepted_at_close = 0;
  ferry::Address own, other;  // names

 private:
  void watch();
  void readable();
  void shut();
  void over(const std::string& how);
  void came(std::string_view data);
  void took(std::size_t count);
  Answer send(const std::string& size);
  void push();
  void close();

  Link& link_;
  World& world_;
  std::string name_;
  ferry::Socket listener_, socket_;
  std::unique_ptr<SecretEnd> secret_;  // over TLS
  bool began_ = false;
  bool reading_ = true;
  std::optional<std::size_t> wanted_;  // so many bytes more
  std::size_t unlogged_ = 0;
  Answer end_;  // what it saw at last
};

// A connection: the transport under test, its protocol, and the peer.
class Link {
 public:
  Link(World& of, const LinkDeclared& declared);

  void prepare();
  std::shared_ptr<ferry::StreamProtocol> new_protocol(bool buffered);
  std::shared_ptr<ferry::StreamProtocol> factory();
  bool is_closing() const { return lost || (transport != nullptr && transport->is_closing()); }
  // Whether it is closing, and waits for a peer that does not read.
  bool flushes() const;
  // Whether not all that was written must reach the peer.
  bool was_cut() const;
  bool is_pipe() const { return side == "reader" || side == "writer"; }
  // Whether its other end cannot be shut, but only closed, and goes in one direction.
  bool is_one_way() const { return is_pipe() && kind != "socketpair"; }
  void called(const std::string& callback, const std::string& text,
              std::optional<std::size_t> count = std::nullopt, bool quiet = false);
  Answer perform(const std::string& verb, const std::vector<std::string>& args);
  Answer waits_for() const;
  bool waits_to_arrive() const;

  World& world;
  const std::string name;
  std::string kind;  // of a link that is upgraded: tls
  const std::string side;
  std::string server;
  const bool buffered;
  ferry::Transport* transport = nullptr;
  std::shared_ptr<ferry::Transport> kept;  // what create_connection() and its kin gave
  bool made = false, lost = false, eof = false, cut = false, shut = false;
  std::size_t accepted = 0, received = 0;
  bool answer = false, empty = false;
  Peer peer;

 private:
  Answer open();
  ferry::Task<void> connect();
  ferry::Task<std::shared_ptr<ferry::Transport>> made_by_loop();
  ferry::Task<void> upgraded(ferry::Task<void> upgrade);
  void start_tls();
  Answer ask(const std::string& verb, const std::vector<std::string>& args);
  void write(const std::vector<std::string>& sizes, bool lines);
  void limits(const std::vector<std::string>& marks);
  std::string names() const;

  bool opening_ = false;    // open() was asked for, and not refused
  bool returning_ = false;  // its task is not done yet
  bool upgrading_ = false;  // start_tls() is not
  ferry::Address address_;
  ferry::Pipe end_;  // of a pipe, until its transport takes it over
  std::map<std::string, int> counts_;
  int protocols_ = 0;
};

// A plain datagram socket that an endpoint talks with.
class Far {
 public:
  Far(Endpoint& endpoint, std::string side);

  void bind();
  Answer perform(const std::string& verb, const std::vector<std::string>& args);
  Answer waits_for() const;
  bool hears() const { return reading_ && socket_; }

  ferry::Address address;
  std::size_t sent = 0;     // of what the endpoint shall receive
  std::size_t awaited = 0;  // what the endpoint has sent to it

 private:
  void watch();
  void readable();
  Answer send(std::size_t size);

  Endpoint& endpoint_;
  World& world_;
  std::string name_;
  ferry::Socket socket_;
  bool reading_ = true;
  std::size_t received_ = 0;
};

// A datagram endpoint: the transport under test, its protocol, and two to talk with.
class Endpoint {
 public:
  Endpoint(World& of, const EndpointDeclared& declared);

  std::shared_ptr<ferry::DatagramProtocol> new_protocol();
  std::shared_ptr<ferry::DatagramProtocol> factory();
  void called(const std::string& callback, const std::string& text,
              std::optional<std::size_t> count = std::nullopt);
  Answer perform(const std::string& verb, const std::vector<std::string>& args);
  Answer waits_for() const;
  const char* state() const;
  bool is_closing() const { return lost || (transport != nullptr && transport->is_closing()); }
  std::string who(const ferry::Address& from) const;

  World& world;
  const std::string name, kind;
  const bool connected;
  ferry::DatagramTransport* transport = nullptr;
  std::shared_ptr<ferry::DatagramTransport> kept;  // what create_datagram_endpoint() gave
  bool made = false, lost = false, cut = false;
  std::size_t received = 0;
  ferry::Address own;
  Far peer, other;

 private:
  ferry::Task<void> open();
  Answer ask(const std::string& verb);
  void send(std::size_t size, const std::string& to);
  void limits(const std::vector<std::string>& marks);

  bool opening_ = false;
  std::map<std::string, int> counts_;
  int protocols_ = 0;
};

class Server {
 public:
  Server(World& world, const ServerDeclared& declared);

  ferry::Task<void> start();
  Answer perform(const std::string& verb);
  bool listens() const { return server && server->is_serving(); }

  const std::string name;
  std::shared_ptr<ferry::Server> server;
  ferry::Address address;
  std::deque<Link*> expected;  // in the order in which their peers connect
  int begun = 0;               // calls that must return

 private:
  void soon(const std::string& what, ferry::Task<void> task, bool must = true);
  ferry::Task<void> wait(std::string what, ferry::Task<void> task, bool must);

  World& world_;
  std::string kind_;
  bool idle_;
};

class World {
 public:
  World(const Scenario& script, std::string folder, ferry::Seconds patience,
        ferry::Backend backend, bool phases);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void run();
  std::string new_path();
  void progress();
  // What somebody does in the call of this number of a callback.
  std::vector<const Reaction*> reactions(const std::string& who, const std::string& callback,
                                         int number) const;
  void react(const std::vector<const Reaction*>& reactions, const std::string& owner);

  Trace trace;
  std::map<std::string, std::unique_ptr<Link>> links;
  std::map<std::string, std::unique_ptr<Endpoint>> endpoints;
  std::map<std::string, std::unique_ptr<Server>> servers;

 private:
  void perform(const Action& action, const std::string& owner);
  Answer answer(const Action& action, const std::string& owner);
  void perform_self(const Action& action, const std::string& callback, const std::string& owner);
  Answer perform_loop(const Action& action, const std::string& owner);
  void call(const std::string& name, const std::string& owner);
  Answer perform_future(const Action& action, const std::string& owner);
  ferry::Task<void> wait(ferry::Future<int> future, std::string name, std::string owner);
  Answer waits_for() const;
  bool waits_to_arrive() const;
  ferry::Task<bool> settle();
  ferry::Task<void> play();
  void clean_up();
  std::string phase_of(const std::string& actor) const;

  // A named call or task that can be cancelled.
  using Due = std::variant<ferry::Handle, ferry::ThreadsafeHandle, ferry::Future<void>>;

  const Scenario script_;
  std::string folder_;
  ferry::Seconds patience_;
  int paths_ = 0;
  bool reacting_ = true;
  std::map<std::string, Due> handles_;
  std::map<std::string, int> due_;
  std::map<std::string, ferry::Future<int>> futures_;
  std::optional<ferry::Future<void>> waiter_;

 public:
  ferry::Loop loop;  // last: it lets go of all others
  std::vector<ferry::Future<void>> tasks;
};

// Says so at the end of a callback, also when the scenario throws.
struct Progress {
  World& world;
  ~Progress() { world.progress(); }
};

}  // namespace conformance
