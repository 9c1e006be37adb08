// Datagram endpoints, and who they talk with.
#include "world.hpp"

#include <utility>

namespace conformance {
namespace {

class Datagrams : public ferry::DatagramProtocol {
 public:
  Datagrams(Endpoint& endpoint, int number)
      : endpoint_{endpoint}, prefix_{number == 1 ? "" : "#" + std::to_string(number) + " "} {}
  void connection_made(ferry::DatagramTransport& transport) override {
    endpoint_.made = true;
    endpoint_.transport = &transport;
    endpoint_.own = transport.get_extra_info(ferry::sockname);
    small_buffers(transport.get_extra_info(ferry::socket));
    called("connection_made");
  }
  void datagram_received(ferry::BytesView data, const ferry::Address& addr) override {
    ++endpoint_.received;
    if (!is_pattern(data.size(), data)) endpoint_.world.trace.add(endpoint_.name, "wrong bytes");
    const std::string from = " from " + endpoint_.who(addr) + " x";
    called("datagram_received", " " + std::to_string(data.size()) + from, 1);
  }
  void error_received(const ferry::Error& exc) override {
    called("error_received", " " + word(exc));
  }
  void pause_writing() override { called("pause_writing"); }
  void resume_writing() override { called("resume_writing"); }
  void connection_lost(const ferry::Error& exc) override {
    endpoint_.lost = true;
    struct Release {
      Endpoint& endpoint;
      ~Release() { endpoint.transport = endpoint.kept.get(); }
    } const release{endpoint_};
    called("connection_lost", " " + word(exc));
  }

 private:
  void called(const std::string& callback, const std::string& argument = "",
              std::optional<std::size_t> count = std::nullopt) {
    endpoint_.called(callback, prefix_ + callback + argument, count);
  }

  Endpoint& endpoint_;
  std::string prefix_;
};

}  // namespace

// --- Who it talks with ---

Far::Far(Endpoint& endpoint, std::string side)
    : endpoint_{endpoint}, world_{endpoint.world}, name_{endpoint.name + "." + std::move(side)} {}

void Far::bind() {
  socket_ = endpoint_.kind == "unix" ? bind_unix_datagrams(world_.new_path()) : bind_udp();
  address = socket_.view().getsockname();
  watch();
}

void Far::watch() {
  if (!socket_) return;
  world_.loop.remove_reader(socket_.fileno());
  if (reading_) world_.loop.add_reader(socket_.fileno(), [this] { readable(); });
}

void Far::readable() {
  std::string data;
  ferry::Address from;
  while (receive_datagram(socket_, data, from)) {
    if (!is_pattern(data.size(), data)) world_.trace.add(name_, "wrong bytes");
    ++received_;
    const std::string who = from == endpoint_.own ? endpoint_.name : "a stranger";
    world_.trace.add(name_, "datagram " + std::to_string(data.size()) + " from " + who + " x", 1);
  }
  world_.progress();
}

Answer Far::perform(const std::string& verb, const std::vector<std::string>& args) {
  if (!socket_) return "closed";
  if (verb == "send") return send(size_of(args[0]));
  if (verb == "close") {
    world_.loop.remove_reader(socket_.fileno());
    socket_.close();
  } else {
    reading_ = args[0] == "on";
    watch();
  }
  return {};
}

Answer Far::send(std::size_t size) {
  if (!endpoint_.made) return "no endpoint";
  if (endpoint_.is_closing()) return "too late";
  const std::error_code error = send_datagram(socket_, pattern(size, size), endpoint_.own);
  if (error) return word(ferry::Error{error, ""});
  // A connected socket gets those of its peer only.
  if (!endpoint_.connected || this == &endpoint_.peer) ++sent;
  return {};
}

Answer Far::waits_for() const {
  // What stands behind the peer's waits too.
  if (endpoint_.kind == "unix" && !endpoint_.peer.hears()) return {};
  if (!hears() || received_ >= awaited || endpoint_.cut) return {};
  return name_ + ": " + std::to_string(received_) + " of " + std::to_string(awaited) +
         " datagrams have come";
}

// --- The endpoint ---

Endpoint::Endpoint(World& of, const EndpointDeclared& declared)
    : world{of},
      name{declared.name},
      kind{declared.kind},
      connected{declared.connected},
      peer{*this, "peer"},
      other{*this, "other"} {}

std::shared_ptr<ferry::DatagramProtocol> Endpoint::new_protocol() {
  return std::make_shared<Datagrams>(*this, ++protocols_);
}

std::shared_ptr<ferry::DatagramProtocol> Endpoint::factory() {
  called("factory", "factory");
  return new_protocol();
}

void Endpoint::called(const std::string& callback, const std::string& text,
                      std::optional<std::size_t> count) {
  const Progress told{world};
  const auto reactions = world.reactions(name, callback, ++counts_[callback]);
  if (!reactions.empty()) world.trace.merge_no_more(name);
  world.trace.add(name, text, count);
  world.react(reactions, name);
}

std::string Endpoint::who(const ferry::Address& from) const {
  if (!from) return "nobody";
  return from == peer.address ? "peer" : from == other.address ? "other" : "a stranger";
}

ferry::Task<void> Endpoint::open() {
  ferry::DatagramOptions options;
  if (connected) options.remote_addr = peer.address;
  if (kind == "unix") {
    options.local_addr = ferry::Address::unix_path(world.new_path());
  } else if (!connected) {
    options.local_host = "127.0.0.1";
  }
  try {
    auto result = co_await world.loop.create_datagram_endpoint([this] { return factory(); },
                                                               options);
    kept = std::move(result.transport);
    transport = kept.get();
    world.trace.add(name, "opened");
  } catch (...) {
    world.trace.add(name, "open failed " + word(std::current_exception()));
  }
  opening_ = false;
  world.progress();
}

Answer Endpoint::perform(const std::string& verb, const std::vector<std::string>& args) {
  if (verb == "open") {
    opening_ = true;
    world.tasks.push_back(world.loop.create_task(open()));
    return {};
  }
  if (transport == nullptr) return "no transport";
  if (verb == "send") {
    send(size_of(args[0]), "");
  } else if (verb == "sendto") {
    send(size_of(args[1]), args[0]);
  } else if (verb == "flood") {
    for (int i = 0; i < 100; ++i) send(1000, "peer");
  } else if (verb == "abort") {
    cut = cut || !lost;
    transport->abort();
  } else if (verb == "limits") {
    limits(args);
  } else if (verb == "set_protocol") {
    transport->set_protocol(new_protocol());
  } else {
    return ask(verb);
  }
  return {};
}

Answer Endpoint::ask(const std::string& verb) {
  if (verb == "is_closing") return yes(transport->is_closing());
  if (verb == "size") return std::to_string(transport->get_write_buffer_size());
  if (verb == "get_limits") {
    const auto [low, high] = transport->get_write_buffer_limits();
    return std::to_string(low) + " " + std::to_string(high);
  }
  if (verb == "names") {
    return yes(transport->get_extra_info(ferry::sockname) == own) + " " +
           who(transport->get_extra_info(ferry::peername));
  }
  transport->close();
  return {};
}

void Endpoint::send(std::size_t size, const std::string& to) {
  const bool late = transport->is_closing();
  Far& far = to == "other" ? other : peer;
  ferry::Address there;
  if (to == "v6") {
    there = ferry::Address{"::1", 9};
  } else if (!to.empty()) {
    there = far.address;
  }
  // Counted before: pause_writing may ask from inside.
  const bool counts = !late && size < big && to != "v6";
  if (counts) ++far.awaited;
  try {
    transport->sendto(pattern(size, size), there);
  } catch (...) {
    if (counts) --far.awaited;
    throw;
  }
}

void Endpoint::limits(const std::vector<std::string>& marks) {
  ferry::WriteBufferMarks given;
  for (const std::string& mark : marks) {
    const std::int64_t number = std::stoll(mark.substr(mark.find('=') + 1));
    (mark.starts_with("high=") ? given.high : given.low) = number;
  }
  transport->set_write_buffer_limits(given);
}

const char* Endpoint::state() const {
  if (lost) return "lost";
  if (!made) return "never made";
  return transport->is_closing() ? "closing" : "open";
}

Answer Endpoint::waits_for() const {
  if (opening_) return name + " to be opened";
  if (!made) return {};
  if (is_closing() && !lost && (cut || peer.hears())) return name + " to be lost";
  const std::size_t expected = peer.sent + other.sent;
  if (!is_closing() && received < expected) {
    return name + ": " + std::to_string(received) + " of " + std::to_string(expected) +
           " datagrams have come";
  }
  if (Answer reason = peer.waits_for()) return reason;
  return other.waits_for();
}

}  // namespace conformance
