#include "world.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace conformance {

using namespace std::chrono_literals;

namespace {

constexpr int idle_turns = 5;  // what a chain of callbacks needs to come to its end

// Those whose exceptions end the connection (C-15).
bool is_fatal(const std::string& callback) {
  return callback == "data_received" || callback == "eof_received" || callback == "get_buffer" ||
         callback == "buffer_updated";
}

std::string word(const std::error_code& code) {
  if (code == std::errc::connection_reset) return "reset";
  if (code == std::errc::broken_pipe) return "broken_pipe";
  if (code == std::errc::timed_out) return "timed_out";
  if (code == std::errc::connection_refused) return "refused";
  if (code == std::errc::no_buffer_space) return "no_buffers";
  if (code == std::errc::no_such_file_or_directory) return "no_entry";
  if (code == std::errc::connection_aborted) return "aborted";
  if (code == std::errc::not_connected) return "not_connected";
  if (code == std::errc::message_size) return "too_large";
  if (code == std::errc::address_family_not_supported) return "other_family";
  if (code == ferry::SslErrc::truncated) return "cut";
  if (code.category() == ferry::ssl_category()) return "tls";
  return "os_" + std::to_string(code.value());
}

// Whose callback threw it; empty: nobody's.
std::string owner_of(const std::exception_ptr& exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const UserError& error) {
    return error.link;
  } catch (const UserOsError& error) {
    return error.link;
  } catch (...) {
  }
  return {};
}

}  // namespace

std::string word(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const UserError&) {
    return "user";
  } catch (const ferry::CancelledError&) {
    return "cancelled";
  } catch (const ferry::NotSupported&) {
    return "unsupported";
  } catch (const ferry::MisuseError&) {
    return "misuse";
  } catch (const std::invalid_argument&) {
    return "invalid";
  } catch (const std::system_error& error) {
    return word(error.code());
  } catch (const std::runtime_error&) {  // an empty get_buffer()
    return "misuse";
  } catch (const std::exception& error) {
    return std::string{"other_"} + error.what();
  }
}

std::string word(const ferry::Error& error) {
  return error ? word(error.to_exception()) : "none";
}

std::string pattern(std::size_t start, std::size_t size) {
  static const std::string period = [] {
    std::string bytes;
    for (unsigned i = 0; i < 251 * 251; ++i) bytes += static_cast<char>((i * 31 + i / 251) % 251);
    return bytes;
  }();
  std::string text = period.substr(start % period.size(), size);
  while (text.size() < size) text.append(period, 0, size - text.size());
  return text;
}

bool is_pattern(std::size_t start, ferry::BytesView data) {
  return data.text() == pattern(start, data.size());
}

void Trace::add(const std::string& actor, const std::string& text,
                std::optional<std::size_t> count) {
  if (!on) return;
  const std::string phase = phase_of ? phase_of(actor) : "";
  const auto last = last_.find(actor);
  if (count && last != last_.end()) {
    Line& line = lines_[last->second];
    if (line.depth == depth && line.text == text && line.phase == phase && line.count) {
      *line.count += *count;
      return;
    }
  }
  last_[actor] = lines_.size();
  lines_.push_back({actor, depth, text, count, phase});
}

void Trace::add_phase(const std::string& actor) {
  if (on && phase_of) lines_.push_back({actor, 0, "~", {}, phase_of(actor)});
}

void Trace::print(const std::string& name) const {
  std::printf("== %s\n", name.c_str());
  for (const Line& line : lines_) {
    std::printf("%s%s%s| %*s%s", line.actor.c_str(), line.phase.empty() ? "" : "@",
                line.phase.c_str(), 2 * line.depth, "", line.text.c_str());
    if (line.count) std::printf(" %zu", *line.count);
    std::printf("\n");
  }
  std::fflush(stdout);
}

World::World(const Scenario& script, std::string folder, ferry::Seconds patience,
             ferry::Backend backend, bool phases)
    : script_{script},
      folder_{std::move(folder)},
      patience_{patience},
      loop{std::move(backend)} {
  loop.set_exception_handler([this](ferry::Loop&, const ferry::ExceptionContext& context) {
    const std::string owner = owner_of(context.exception.exception());
    trace.add(owner.empty() ? "loop" : owner, "handler " + word(context.exception));
  });
  loop.set_log_sink([](ferry::LogLevel, std::string_view) {});
  if (phases) trace.phase_of = [this](const std::string& actor) { return phase_of(actor); };
  for (const std::string& name : script.futures) {
    futures_.emplace(name, loop.create_future<int>());
  }
  for (const ServerDeclared& declared : script.servers) {
    servers[declared.name] = std::make_unique<Server>(*this, declared);
  }
  for (const LinkDeclared& declared : script.links) {
    Link& link = *(links[declared.name] = std::make_unique<Link>(*this, declared));
    if (link.server.empty() && link.side == "server") {
      link.server = link.name + ".server";
      servers[link.server] =
          std::make_unique<Server>(*this, ServerDeclared{link.server, link.kind, false});
    }
    link.prepare();
  }
  for (const EndpointDeclared& declared : script.endpoints) {
    Endpoint& one = *(endpoints[declared.name] = std::make_unique<Endpoint>(*this, declared));
    one.peer.bind();
    one.other.bind();
  }
}

std::string World::new_path() { return folder_ + std::to_string(++paths_); }

// --- actions ---

std::vector<const Reaction*> World::reactions(const std::string& who, const std::string& callback,
                                              int number) const {
  std::vector<const Reaction*> found;
  const auto all = script_.reactions.find(who);
  if (all == script_.reactions.end() || !reacting_) return found;
  for (const Reaction& reaction : all->second) {
    const bool counts = reaction.number == 0 || reaction.number == number;
    if (reaction.callback == callback && counts) found.push_back(&reaction);
  }
  return found;
}

void World::react(const std::vector<const Reaction*>& reactions, const std::string& owner) {
  struct Deeper {
    int& depth;
    ~Deeper() { --depth; }
  } const deeper{++trace.depth};
  for (const Reaction* reaction : reactions) {
    for (const Action& action : reaction->actions) {
      trace.add(owner, action.text);
      if (action.kind == "self") {
        perform_self(action, reaction->callback, owner);
      } else {
        perform(action, owner);
      }
    }
  }
}

void World::perform(const Action& action, const std::string& owner) {
  ++trace.depth;
  Answer result;
  try {
    result = answer(action, owner);
  } catch (...) {
    result = word(std::current_exception());
  }
  if (result) trace.add(owner, "= " + *result);
  --trace.depth;
  if (action.kind == "link" && action.target == owner) trace.add_phase(owner);
}

Answer World::answer(const Action& action, const std::string& owner) {
  if (action.kind == "loop") return perform_loop(action, owner);
  if (action.kind == "future") return perform_future(action, owner);
  if (action.kind == "server") return servers.at(action.target)->perform(action.verb);
  if (action.kind == "link") return links.at(action.target)->perform(action.verb, action.args);
  if (action.kind == "endpoint") {
    return endpoints.at(action.target)->perform(action.verb, action.args);
  }
  const std::string name = action.target.substr(0, action.target.rfind('.'));
  if (action.kind == "far") {
    Endpoint& of = *endpoints.at(name);
    return (action.target.ends_with(".peer") ? of.peer : of.other)
        .perform(action.verb, action.args);
  }
  return links.at(name)->peer.perform(action.verb, action.args);
}

void World::perform_self(const Action& action, const std::string& callback,
                         const std::string& owner) {
  if (action.verb == "raise") {
    if (is_fatal(callback)) links.at(owner)->cut = true;
    if (action.args[0] == "os") throw UserOsError{owner};
    throw UserError{owner};
  }
  Link& link = *links.at(owner);
  if (action.verb == "answer") link.answer = action.args[0] == "yes";
  if (action.verb == "lend") link.empty = true;
}

// As the transport itself tells it; none: there is no transport that could be asked.
std::string World::phase_of(const std::string& actor) const {
  const auto link = links.find(actor);
  if (link == links.end()) return {};
  if (link->second->transport == nullptr) return link->second->lost ? "closed" : "none";
  const std::string told = link->second->transport->describe();
  const auto end = told.find(" read=");
  const auto begin = told.rfind(' ', end - 1) + 1;
  return told.substr(begin, end - begin);
}

Answer World::perform_loop(const Action& action, const std::string& owner) {
  const std::string name = action.args.empty() ? "" : action.args.back();
  if (action.verb == "stop") {
    loop.stop();
  } else if (action.verb == "cancel") {
    if (!handles_.contains(name)) return "none";
    due_.erase(name);
    std::visit([](auto& handle) { handle.cancel(); }, handles_[name]);
  } else if (action.verb == "cancelled") {
    const auto found = handles_.find(name);
    return yes(found != handles_.end() &&
               std::visit([](const auto& handle) { return handle.cancelled(); }, found->second));
  } else {
    ++due_[name];
    auto callback = [this, name, owner] { call(name, owner); };
    Due& due = handles_[name];
    if (action.verb == "call_soon") due = loop.call_soon(callback);
    if (action.verb == "call_soon_threadsafe") due = loop.call_soon_threadsafe(callback);
    if (action.verb == "call_later") {
      due = ferry::Handle{loop.call_later(std::stoi(action.args[0]) * 1ms, callback)};
    }
  }
  return {};
}

void World::call(const std::string& name, const std::string& owner) {
  const Progress told{*this};
  if (const auto due = due_.find(name); due != due_.end() && due->second > 0) --due->second;
  trace.add(owner, "call " + name);
  react(reactions(name, "call", 0), owner);
}

Answer World::perform_future(const Action& action, const std::string& owner) {
  ferry::Future<int>& future = futures_.at(action.target);
  if (action.verb == "cancel") return yes(future.cancel());
  if (action.verb == "done") return yes(future.done());
  if (action.verb == "result") return std::to_string(future.result());
  if (action.verb == "set_result") {
    future.set_result(7);
  } else if (action.verb == "set_error") {
    future.set_exception(std::make_exception_ptr(UserError{"loop"}));
  } else if (action.verb == "then") {
    future.add_done_callback([this, name = action.args[0], owner] { call(name, owner); });
  } else {
    const std::string& name = action.args[0];
    tasks.push_back(loop.create_task(wait(future, name, owner)));
    handles_[name] = tasks.back();
  }
  return {};
}

ferry::Task<void> World::wait(ferry::Future<int> future, std::string name, std::string owner) {
  std::string text;
  try {
    text = std::to_string(co_await future);
  } catch (...) {
    text = word(std::current_exception());
  }
  trace.add(owner, name + ": " + text);
  progress();
}

// --- barriers ---

void World::progress() {
  if (waiter_ && !waiter_->done()) waiter_->set_result();
}

Answer World::waits_for() const {
  for (const auto& [name, server] : servers) {
    if (server->begun > 0) return name + "'s call to return";
  }
  for (const auto& [name, count] : due_) {
    if (count > 0) return "call " + name;
  }
  for (const auto& declared : script_.links) {
    const Link& link = *links.at(declared.name);
    if (Answer reason = link.waits_for()) return reason;
    if (Answer reason = link.peer.waits_for()) return reason;
  }
  for (const auto& [name, endpoint] : endpoints) {
    if (Answer reason = endpoint->waits_for()) return reason;
  }
  return {};
}

bool World::waits_to_arrive() const {
  return std::any_of(links.begin(), links.end(), [](const auto& entry) {
    return entry.second->waits_to_arrive() || entry.second->peer.waits_to_arrive();
  });
}

// Until nothing is on its way any more; false: it did not come in time.
ferry::Task<bool> World::settle() {
  const auto end = loop.time() + std::chrono::duration_cast<std::chrono::nanoseconds>(patience_);
  ferry::Handle alarm = loop.call_at(end, [this] { progress(); });
  std::size_t seen = std::size_t(-1);
  for (int quiet = 0; quiet < idle_turns;) {
    const Answer reason = waits_for();
    if (loop.time() >= end) {
      trace.depth = 0;
      trace.add("loop", "in vain: " + reason.value_or("bytes to arrive"));
      co_return false;
    }
    if (reason) {
      waiter_ = loop.create_future<void>();
      const auto waiting = *waiter_;
      co_await waiting;
    } else {
      co_await loop.sleep(0s);
    }
    const bool calm = !reason && seen == trace.size() && !waits_to_arrive();
    quiet = calm ? quiet + 1 : 0;
    seen = trace.size();
  }
  alarm.cancel();
  for (const auto& declared : script_.links) links.at(declared.name)->peer.log_bytes();
  co_return true;
}

ferry::Task<void> World::play() {
  for (const auto& declared : script_.links) {
    const auto own = servers.find(declared.name + ".server");
    if (own != servers.end()) co_await own->second->start();
  }
  for (const Action& step : script_.steps) {
    if (!step.joined) {
      const bool settled = co_await settle();
      if (!settled) co_return;
    }
    const std::string actor = step.kind == "future" ? "loop" : step.target;
    trace.add(actor, "* " + step.text);
    if (step.verb != "turns") {
      perform(step, actor);
      continue;
    }
    for (int i = std::stoi(step.args[0]); i > 0; --i) co_await loop.sleep(0s);
  }
  const bool settled = co_await settle();
  if (!settled) co_return;
  for (const auto& declared : script_.links) {
    const Link& link = *links.at(declared.name);
    const char* const state = link.lost                      ? "lost"
                              : !link.made                   ? "never made"
                              : link.transport->is_closing() ? "closing"
                                                             : "open";
    trace.add(link.name, std::string{"at the end: "} + state);
  }
  for (const auto& [name, endpoint] : endpoints) {
    trace.add(name, std::string{"at the end: "} + endpoint->state());
  }
}

void World::run() {
  const auto done = loop.create_task(play());
  auto watched = done;
  watched.add_done_callback([this] { loop.stop(); });
  for (;;) {
    loop.run_forever();
    if (done.done()) break;
    trace.add("loop", "stopped");
  }
  trace.print(script_.name);
  done.result();
  clean_up();
}

void World::clean_up() {
  trace.on = false;
  reacting_ = false;
  for (const auto& [name, link] : links) {
    if (link->transport != nullptr) link->transport->abort();
  }
  for (const auto& [name, endpoint] : endpoints) {
    if (endpoint->transport != nullptr) endpoint->transport->abort();
  }
  for (auto& task : tasks) task.cancel();
  for (const auto& [name, server] : servers) {
    if (server->server) server->server->close();
  }
  loop.call_soon([this] { loop.call_soon([this] { loop.call_soon([this] { loop.stop(); }); }); });
  loop.run_forever();
}

}  // namespace conformance
