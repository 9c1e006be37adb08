#include "world.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace conformance {
namespace {

// What both kinds of protocols do.
class Callbacks {
 public:
  Callbacks(Link& link, int number)
      : link_{link}, prefix_{number == 1 ? "" : "#" + std::to_string(number) + " "} {}

 protected:
  void called(const std::string& callback, const std::string& argument = "",
              std::optional<std::size_t> count = std::nullopt, bool quiet = false) {
    link_.called(callback, prefix_ + callback + argument, count, quiet);
  }
  void made(ferry::Transport& transport) {
    link_.made = true;
    link_.transport = &transport;
    if (!link_.is_pipe()) small_buffers(transport.get_extra_info(ferry::socket));
    called("connection_made");
  }
  bool ended() {
    link_.eof = true;
    link_.answer = false;
    called("eof_received");
    return link_.answer;
  }
  void lost(const ferry::Error& exc) {
    link_.lost = true;
    link_.cut = link_.cut || exc;
    struct Release {
      Link& link;
      ~Release() { link.transport = link.kept.get(); }
    } const release{link_};
    called("connection_lost", " " + word(exc));
  }
  void came(const std::string& callback, ferry::BytesView data) {
    if (!is_pattern(link_.received, data)) {
      link_.world.trace.add(link_.name, "wrong bytes after " + std::to_string(link_.received));
    }
    link_.received += data.size();
    called(callback, "", data.size());
  }

  Link& link_;

 private:
  std::string prefix_;
};

template <class Base>
class WithCallbacks : public Base, protected Callbacks {
 public:
  WithCallbacks(Link& link, int number) : Callbacks{link, number} {}
  void connection_made(ferry::Transport& transport) override { made(transport); }
  bool eof_received() override { return ended(); }
  void pause_writing() override { called("pause_writing"); }
  void resume_writing() override { called("resume_writing"); }
  void connection_lost(const ferry::Error& exc) override { lost(exc); }
};

class Plain : public WithCallbacks<ferry::Protocol> {
 public:
  using WithCallbacks::WithCallbacks;
  void data_received(ferry::BytesView data) override { came("data_received", data); }
};

class Buffered : public WithCallbacks<ferry::BufferedProtocol> {
 public:
  using WithCallbacks::WithCallbacks;
  std::span<std::byte> get_buffer(std::size_t) override {
    link_.empty = false;
    called("get_buffer", "", std::nullopt, true);
    if (link_.empty) return {};
    return memory_;
  }
  void buffer_updated(std::size_t count) override {
    came("buffer_updated", {memory_.data(), count});
  }

 private:
  std::vector<std::byte> memory_ = std::vector<std::byte>(65536);
};

}  // namespace

Link::Link(World& of, const LinkDeclared& declared)
    : world{of},
      name{declared.name},
      kind{declared.kind},
      side{declared.side},
      server{declared.server},
      buffered{declared.buffered},
      peer{*this} {}

void Link::prepare() {
  if (is_pipe()) {
    ferry::PipePair ends = new_pipe(kind, world.new_path());
    end_ = std::move(side == "reader" ? ends.read : ends.write);
    peer.began(ferry::Socket{(side == "reader" ? ends.write : ends.read).detach()});
  }
  if (side != "client") return;
  peer.listen(kind == "unix" ? world.new_path() : "");
  address_ = peer.listener_address();
}

std::shared_ptr<ferry::StreamProtocol> Link::new_protocol(bool lends) {
  ++protocols_;
  if (lends) return std::make_shared<Buffered>(*this, protocols_);
  return std::make_shared<Plain>(*this, protocols_);
}

std::shared_ptr<ferry::StreamProtocol> Link::factory() {
  opening_ = false;  // unless it throws
  called("factory", "factory");
  opening_ = true;
  return new_protocol(buffered);
}

bool Link::flushes() const {
  const bool stuck = !peer.closed && !peer.hears() && !cut;
  if (kind == "tls" && peer.is_deaf() && !peer.ended) return stuck && !lost;
  return stuck && !lost && accepted > peer.received + small;
}

bool Link::was_cut() const {
  return cut || (kind == "tcp" && peer.sent > received && is_closing());
}

void Link::called(const std::string& callback, const std::string& text,
                  std::optional<std::size_t> count, bool quiet) {
  const Progress told{world};
  const auto reactions = world.reactions(name, callback, ++counts_[callback]);
  if (!reactions.empty()) world.trace.merge_no_more(name);
  if (!reactions.empty() || !quiet) world.trace.add(name, text, count);
  world.react(reactions, name);
}

Answer Link::open() {
  opening_ = true;
  if (side != "server") {
    peer.watch_listener();
    returning_ = true;
    world.tasks.push_back(world.loop.create_task(connect()));
    return {};
  }
  Server& at = *world.servers.at(server);
  at.expected.push_back(this);
  try {
    peer.connect(at.address);
  } catch (...) {
    at.expected.pop_back();
    opening_ = false;
    world.trace.add(name, "open failed " + word(std::current_exception()));
  }
  return {};
}

ferry::Task<std::shared_ptr<ferry::Transport>> Link::made_by_loop() {
  auto make = [this] { return factory(); };
  if (side == "reader") {
    auto read = co_await world.loop.connect_read_pipe(make, std::move(end_));
    co_return std::dynamic_pointer_cast<ferry::Transport>(read.transport);
  }
  if (side == "writer") {
    auto write = co_await world.loop.connect_write_pipe(make, std::move(end_));
    co_return std::dynamic_pointer_cast<ferry::Transport>(write.transport);
  }
  ferry::ConnectOptions options;
  if (kind == "tls") {
    options.ssl = &client_context();
    options.server_hostname = "localhost";
  }
  auto task = kind != "unix"
                  ? world.loop.create_connection(make, "127.0.0.1", int{address_.port()}, options)
                  : world.loop.create_unix_connection(make, address_.path());
  auto connection = co_await std::move(task);
  co_return std::move(connection.transport);
}

ferry::Task<void> Link::connect() {
  try {
    auto making = made_by_loop();
    kept = co_await std::move(making);
    transport = kept.get();
    world.trace.add(name, "opened");
  } catch (...) {
    opening_ = false;
    world.trace.add(name, "open failed " + word(std::current_exception()));
  }
  returning_ = false;
  world.progress();
}

void Link::start_tls() {
  const bool server_side = side == "server";
  ferry::StartTlsOptions options{.server_side = server_side};
  if (!server_side) options.server_hostname = "localhost";
  auto upgrade = world.loop.start_tls(
      *transport, server_side ? server_context() : client_context(), options);
  kind = "tls";
  upgrading_ = true;
  world.tasks.push_back(world.loop.create_task(upgraded(std::move(upgrade))));
  peer.begin_tls();
}

ferry::Task<void> Link::upgraded(ferry::Task<void> upgrade) {
  try {
    co_await std::move(upgrade);
    world.trace.add(name, "upgraded");
  } catch (...) {
    world.trace.add(name, "start_tls failed " + word(std::current_exception()));
  }
  upgrading_ = false;
  world.progress();
}

Answer Link::perform(const std::string& verb, const std::vector<std::string>& args) {
  if (verb == "open") return open();
  if (transport == nullptr) return "no transport";
  return ask(verb, args);
}

Answer Link::ask(const std::string& verb, const std::vector<std::string>& args) {
  if (verb == "can_write_eof") return yes(transport->can_write_eof());
  if (verb == "is_closing") return yes(transport->is_closing());
  if (verb == "is_reading") return yes(transport->is_reading());
  if (verb == "size") return transport->get_write_buffer_size() > 0 ? "some" : "0";
  if (verb == "names") return names();
  if (verb == "has_pipe") return yes(bool{transport->get_extra_info(ferry::pipe)});
  if (verb == "get_limits") {
    const auto [low, high] = transport->get_write_buffer_limits();
    return std::to_string(low) + " " + std::to_string(high);
  }
  if (verb == "write" || verb == "writelines") {
    write(args, verb == "writelines");
  } else if (verb == "write_eof") {
    transport->write_eof();
    shut = true;
  } else if (verb == "close") {
    transport->close();
  } else if (verb == "abort") {
    cut = cut || !lost;
    transport->abort();
  } else if (verb == "pause_reading") {
    transport->pause_reading();
  } else if (verb == "resume_reading") {
    transport->resume_reading();
  } else if (verb == "start_tls") {
    start_tls();
  } else if (verb == "limits") {
    limits(args);
  } else {
    transport->set_protocol(new_protocol(args[0] == "buffered"));
  }
  return {};
}

void Link::write(const std::vector<std::string>& sizes, bool lines) {
  const bool late = transport->is_closing();
  const std::size_t before = accepted;
  std::size_t at = accepted;
  std::vector<std::string> chunks;
  for (const std::string& size : sizes) {
    chunks.push_back(pattern(at, size_of(size)));
    at += chunks.back().size();
  }
  if (!late) accepted = at;  // before the call: pause_writing may ask from inside
  try {
    if (lines) {
      transport->writelines(chunks);
    } else {
      transport->write(chunks[0]);
    }
  } catch (...) {
    accepted = before;
    throw;
  }
}

void Link::limits(const std::vector<std::string>& marks) {
  ferry::WriteBufferMarks given;
  for (const std::string& mark : marks) {
    const bool high = mark.starts_with("high=");
    std::string value = mark.substr(mark.find('=') + 1);
    const bool more = value.starts_with('+');
    std::int64_t number = std::stoll(value);
    if (more) number += static_cast<std::int64_t>(transport->get_write_buffer_size());
    (high ? given.high : given.low) = number;
  }
  transport->set_write_buffer_limits(given);
}

std::string Link::names() const {
  if (!peer.has_socket()) return "no peer";
  const auto match = [](const ferry::Address& told, const ferry::Address& is) {
    return told ? yes(told == is) : "none";
  };
  return match(transport->get_extra_info(ferry::sockname), peer.other) + " " +
         match(transport->get_extra_info(ferry::peername), peer.own);
}

Answer Link::waits_for() const {
  if (opening_ && !made) {
    const auto at = world.servers.find(server);
    if (at == world.servers.end() || at->second->listens()) return name + " to be made";
  }
  if (returning_) return name + "'s open() to return";
  if (upgrading_) return name + " to be upgraded";
  if (!made || lost) return {};
  if (transport->is_closing()) {
    return flushes() ? std::nullopt : Answer{name + " to be lost"};
  }
  if (side == "writer") {
    return peer.closed ? Answer{name + " to see that its reader has gone"} : std::nullopt;
  }
  if (eof || !transport->is_reading()) return {};
  if (received < peer.total() && !peer.was_reset) {
    return name + ": " + std::to_string(received) + " of " + std::to_string(peer.sent) +
           " bytes have come";
  }
  return peer.ended ? Answer{name + " to see the end"} : std::nullopt;
}

bool Link::waits_to_arrive() const {
  if (is_pipe() || !made || lost || transport->is_closing()) return false;
  const ferry::NativeHandle handle = transport->get_extra_info(ferry::socket).fileno();
  if (peer.was_reset || (kind != "unix" && peer.closed && accepted > peer.accepted_at_close)) {
    return !is_dead(handle);
  }
  // TLS may have read what it does not hand on yet.
  if (kind == "tls") return !peer.closed && peer.sent > received && !eof && !peer.has_sent_all();
  const std::size_t unread = std::min(peer.sent - received, small);
  return unread > 0 && !eof && !has_come(handle, unread);
}

}  // namespace conformance
