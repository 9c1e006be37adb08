#include "world.hpp"

#include <algorithm>
#include <utility>

namespace conformance {

Peer::Peer(Link& link) : link_{link}, world_{link.world}, name_{link.name + ".peer"} {}

void Peer::listen(const std::string& path) {
  listener_ = path.empty() ? listen_tcp() : listen_unix(path);
}

void Peer::watch_listener() {
  if (listener_) world_.loop.add_reader(listener_.fileno(), [this] { accept(); });
}

void Peer::accept() {
  if (began_ || !listener_) return;
  world_.loop.remove_reader(listener_.fileno());
  began(accept_one(listener_));
}

void Peer::connect(const ferry::Address& address) { began(connect_to(address)); }

void Peer::began(ferry::Socket socket) {
  socket_ = std::move(socket);
  began_ = true;
  own = socket_.view().getsockname();
  other = socket_.view().getpeername();
  if (link_.kind == "tls") begin_tls();
  watch();
  world_.progress();
}

void Peer::begin_tls() {
  secret_ = new_end(link_.side == "client");
  out += secret_->take();
  push();
  watch();
}

void Peer::watch() {
  if (!socket_) return;
  world_.loop.remove_reader(socket_.fileno());
  if (hears()) world_.loop.add_reader(socket_.fileno(), [this] { readable(); });
}

void Peer::readable() {
  if (link_.is_one_way() && link_.side == "reader") {  // the pipe tells that it is read no more
    return is_dead(socket_.fileno()) ? over("end") : void();
  }
  std::string data(wanted_ ? std::min<std::size_t>(*wanted_, 262144) : 262144, '\0');
  const Moved got = receive_some(socket_, data);
  if (got.would_block()) return;
  if (got.error) {
    // What was unread makes it a reset, and how much TLS reads ahead is free.
    return over(secret_ ? "cut" : word(ferry::Error{got.error, ""}));
  }
  if (got.count == 0) return over(secret_ ? "cut" : "end");
  data.resize(got.count);
  if (!secret_) {
    came(data);
  } else {
    came(secret_->open(data));
    watch();  // it may be open now, and not to be read
    const bool goodbye = secret_->heard_goodbye();
    if (goodbye && !std::exchange(ended, true)) secret_->say_goodbye();  // as all do
    out += secret_->take();
    push();
    if (goodbye) return over("end");
  }
  world_.progress();
}

void Peer::came(std::string_view data) {
  if (data.empty()) return;
  if (!is_pattern(received, data)) {
    world_.trace.add(name_, "wrong bytes after " + std::to_string(received));
  }
  took(data.size());
}

void Peer::took(std::size_t count) {
  received += count;
  unlogged_ += count;
  if (!wanted_) return;
  *wanted_ -= count;
  if (*wanted_ > 0) return;
  reading_ = false;
  wanted_.reset();
  watch();
}

void Peer::over(const std::string& how) {
  end_ = how;
  watch();
  log_bytes();
  world_.trace.add(name_, how);
  world_.progress();
}

void Peer::log_bytes() {
  if (end_ && link_.accepted > small && link_.was_cut()) {
    world_.trace.add(name_, "some bytes");
  } else if (unlogged_ > 0) {
    world_.trace.add(name_, "bytes", unlogged_);
  }
  unlogged_ = 0;
}

Answer Peer::perform(const std::string& verb, const std::vector<std::string>& args) {
  if (verb == "refuse") {
    listener_.close();
    return {};
  }
  if (verb == "read" || verb == "take") {
    wanted_.reset();
    if (verb == "take") wanted_ = size_of(args[0]);
    reading_ = verb == "read" ? args[0] == "on" : *wanted_ > 0;
    watch();
    return {};
  }
  if (!began_ && listener_ && link_.made) accept();
  if (!socket_ || closed) return "no peer";
  if (verb == "send") return send(args[0]);
  if (verb == "eof") {
    const bool before = std::exchange(ended, true);
    if (secret_ && !before) {
      secret_->say_goodbye();
      out += secret_->take();
      push();
    } else if (!secret_ && out.empty()) {
      shut();
    }
  } else {
    was_reset = verb == "reset" && link_.kind != "unix";
    if (verb == "reset") reset_at_close(socket_);
    close();
  }
  return {};
}

Answer Peer::send(const std::string& size) {
  if (ended) return "ended";
  // What comes of it when the link is closing is the kernel's choice, unless it waits long.
  if (link_.is_closing() && !(link_.kind != "tcp" && link_.flushes())) return "too late";
  const std::string text = pattern(total(), size_of(size));
  if (secret_) {
    secret_->seal(text);
    sent += text.size();
    out += secret_->take();
  } else {
    out += text;
  }
  push();
  return {};
}

void Peer::push() {
  const Moved gone = send_some(socket_, out);
  if (!secret_) sent += gone.count;
  out.erase(0, gone.error && !gone.would_block() ? out.size() : gone.count);
  if (!out.empty()) {
    world_.loop.add_writer(socket_.fileno(), [this] { push(); });
  } else {
    world_.loop.remove_writer(socket_.fileno());
    if (ended && !secret_) shut();
  }
  world_.progress();
}

void Peer::shut() { link_.is_one_way() ? close() : shut_write(socket_); }

void Peer::close() {
  ended = closed = true;
  unlogged_ = 0;  // of what is on its way, how much had come by now is the kernel's choice
  accepted_at_close = link_.accepted;
  world_.loop.remove_reader(socket_.fileno());
  world_.loop.remove_writer(socket_.fileno());
  socket_.close();
}

Answer Peer::waits_for() const {
  if (!began_) {
    return link_.made && listener_ ? Answer{"the peer's accept"} : std::nullopt;
  }
  if (!hears()) return {};
  if (shakes_hands() && !link_.is_closing()) return name_ + "'s handshake";
  if (wanted_ && received < link_.accepted) {
    return name_ + " to take " + std::to_string(*wanted_) + " bytes more";
  }
  if (received < link_.accepted && !link_.was_cut()) {
    return name_ + ": " + std::to_string(received) + " of " + std::to_string(link_.accepted) +
           " bytes have come";
  }
  if (link_.lost || link_.shut) return name_ + " to see the end";
  return {};
}

bool Peer::waits_to_arrive() const {
  if (link_.is_pipe() || !socket_ || closed || end_ || reading_) return false;
  const std::size_t unread =
      link_.accepted > received ? std::min(link_.accepted - received, small) : 0;
  return unread > 0 && !link_.lost && !has_come(socket_.fileno(), unread);
}

}  // namespace conformance
