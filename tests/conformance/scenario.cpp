#include "scenario.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace conformance {
namespace {

using Words = std::vector<std::string>;

// The kinds of arguments behind each verb: n number, b bytes, m mark, w word; "+": one or more of
// the last kind, "*": any number.
const std::map<std::string, std::map<std::string, std::string>>& verbs() {
  static const std::map<std::string, std::map<std::string, std::string>> all{
      {"link",
       {{"open", ""}, {"write", "b"}, {"writelines", "b+"}, {"write_eof", ""},
        {"can_write_eof", ""}, {"close", ""}, {"abort", ""}, {"pause_reading", ""},
        {"resume_reading", ""}, {"is_closing", ""}, {"is_reading", ""}, {"size", ""},
        {"limits", "m*"}, {"get_limits", ""}, {"set_protocol", "w"}, {"names", ""},
        {"start_tls", ""}, {"has_pipe", ""}}},
      {"endpoint",
       {{"open", ""}, {"send", "b"}, {"sendto", "wb"}, {"flood", ""}, {"close", ""},
        {"abort", ""}, {"is_closing", ""}, {"size", ""}, {"limits", "m*"}, {"get_limits", ""},
        {"set_protocol", ""}, {"names", ""}}},
      {"far", {{"send", "b"}, {"read", "w"}, {"close", ""}}},
      {"peer",
       {{"send", "b"}, {"eof", ""}, {"close", ""}, {"reset", ""}, {"read", "w"}, {"take", "n"},
        {"refuse", ""}}},
      {"server",
       {{"start", ""}, {"close", ""}, {"wait_closed", ""}, {"start_serving", ""},
        {"is_serving", ""}, {"sockets", ""}, {"close_clients", ""}, {"abort_clients", ""}}},
      {"future",
       {{"set_result", ""}, {"set_error", ""}, {"cancel", ""}, {"done", ""}, {"result", ""},
        {"then", "w"}, {"await", "w"}}},
      {"loop",
       {{"call_soon", "w"}, {"call_soon_threadsafe", "w"}, {"call_later", "nw"}, {"cancel", "w"},
        {"cancelled", "w"}, {"stop", ""}, {"turns", "n"}}},
      {"self", {{"raise", "w"}, {"answer", "w"}, {"lend", "w"}}},
  };
  return all;
}

const std::set<std::string> stream_kinds{"tcp", "unix", "tls"};
const std::set<std::string> pipe_kinds{"pipe", "fifo", "socketpair"};
const std::set<std::string> callbacks{
    "factory",        "connection_made", "data_received", "eof_received",  "pause_writing",
    "resume_writing", "connection_lost", "get_buffer",    "buffer_updated"};
const std::set<std::string> datagram_callbacks{
    "factory",       "connection_made", "datagram_received", "error_received",
    "pause_writing", "resume_writing",  "connection_lost"};

Words split(const std::string& text, char separator) {
  Words words;
  std::string word;
  for (std::istringstream in{text}; std::getline(in, word, separator);) words.push_back(word);
  return words;
}

Words words_of(const std::string& text) {
  Words words;
  std::string word;
  for (std::istringstream in{text}; in >> word;) words.push_back(word);
  return words;
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool is_number(const std::string& word) {
  return !word.empty() && word.size() < 8 && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
}

bool fits(char kind, const std::string& word) {
  switch (kind) {
    case 'n': return is_number(word);
    case 'b': return word == "big" || (is_number(word) && std::stoul(word) <= small);
    case 'm': return word.starts_with("high=") || word.starts_with("low=");
    default: return !word.empty();
  }
}

class Reader {
 public:
  explicit Reader(const std::string& file) : file_{file} {}

  std::vector<Scenario> read() {
    std::ifstream in{file_};
    if (!in) throw Mistake{file_ + ":0: expected a file that can be read"};
    for (std::string raw; std::getline(in, raw);) {
      ++number_;
      const std::string line = trimmed(raw.substr(0, raw.find('#')));
      if (!line.empty()) take(line, words_of(line));
    }
    if (scenarios_.empty()) fail("a scenario; this file has none");
    for (const Scenario& scenario : scenarios_) {
      if (scenario.steps.empty()) fail("a step in scenario " + scenario.name);
    }
    return std::move(scenarios_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    throw Mistake{file_ + ":" + std::to_string(number_) + ": expected " + expected};
  }
  Scenario& now() { return scenarios_.back(); }

  void take(const std::string& line, const Words& words) {
    const std::string& first = words[0];
    if (first == "scenario") {
      if (words.size() != 2) fail("'scenario NAME', a name without spaces");
      scenarios_.emplace_back().name = words[1];
      return;
    }
    if (scenarios_.empty()) {
      scenarios_.emplace_back().name = std::filesystem::path{file_}.stem().string();
    }
    // What only the comparison needs is the runner's.
    if (first == "needs:" || first == "rows:" || first == "amend:" || first == "differs:" ||
        first[0] == '|') {
      return;
    }
    if (first == "link") return declare_link(words);
    if (first == "endpoint") return declare_endpoint(words);
    if (first == "server") return declare_server(words);
    if (first == "on") return declare_reaction(line);
    if (first == "future") {
      if (words.size() != 2) fail("'future NAME'");
      now().futures.push_back(words[1]);
      return;
    }
    const bool joined = first == "+";
    now().steps.push_back(action(joined ? trimmed(line.substr(1)) : line, {}, false));
    now().steps.back().joined = joined;
  }

  void declare_link(Words words) {
    LinkDeclared link;
    link.buffered = words.back() == "buffered";
    if (link.buffered) words.pop_back();
    if (words.size() != 4) fail("'link NAME tcp|unix|tls client|server' or 'link NAME at SERVER'");
    link.name = words[1];
    if (words[2] == "at") {
      const ServerDeclared* const server = server_of(words[3]);
      if (server == nullptr) fail("a server's name");
      link.kind = server->kind;
      link.side = "server";
      link.server = server->name;
    } else {
      link.kind = words[2];
      link.side = words[3];
    }
    const bool stream = link.side == "client" || link.side == "server";
    const bool pipe = link.side == "reader" || link.side == "writer";
    if (!(stream && stream_kinds.contains(link.kind)) &&
        !(pipe && pipe_kinds.contains(link.kind))) {
      fail("'link NAME tcp|unix|tls client|server', 'link NAME pipe|fifo|socketpair "
           "reader|writer' or 'link NAME at SERVER'");
    }
    now().links.push_back(link);
  }

  void declare_endpoint(const Words& words) {
    const bool known = words.size() == 4 && (words[2] == "udp" || words[2] == "unix") &&
                       (words[3] == "connected" || words[3] == "unconnected");
    if (!known) fail("'endpoint NAME udp|unix connected|unconnected'");
    now().endpoints.push_back({words[1], words[2], words[3] == "connected"});
  }

  void declare_server(const Words& words) {
    const bool idle = words.size() == 4 && words[3] == "idle";
    if (words.size() != (idle ? 4u : 3u) || !stream_kinds.contains(words[2])) {
      fail("'server NAME tcp|unix|tls [idle]'");
    }
    now().servers.push_back({words[1], words[2], idle});
  }

  void declare_reaction(const std::string& line) {
    const auto colon = line.find(':');
    Words head = words_of(line.substr(0, colon));
    if (colon == std::string::npos || head.size() < 2) fail("'on WHO …: ACTION, ACTION …'");
    const std::string who = head[1];
    Reaction reaction;
    const bool of_link = link_of(who) || endpoint_of(who);
    const auto& known = endpoint_of(who) ? datagram_callbacks : callbacks;
    if (of_link && is_number(head.back())) {
      reaction.number = std::stoi(head.back());
      head.pop_back();
    }
    if (head.size() != (of_link ? 3u : 2u)) fail("'on LINK CALLBACK …' or 'on NAME …'");
    reaction.callback = of_link ? head[2] : "call";
    if (of_link && !known.contains(head[2])) fail("a callback, not '" + head[2] + "'");
    for (const std::string& part : split(line.substr(colon + 1), ',')) {
      reaction.actions.push_back(action(trimmed(part), of_link ? who : "", true));
    }
    now().reactions[who].push_back(std::move(reaction));
  }

  Action action(const std::string& text, const std::string& own, bool reacting) {
    Words words = words_of(text);
    if (words.empty()) fail("an action");
    Action made;
    made.text = text;
    const auto dot = words[0].rfind('.');
    made.verb = dot == std::string::npos ? words[0] : words[0].substr(dot + 1);
    made.target = dot == std::string::npos ? "" : words[0].substr(0, dot);
    made.args.assign(words.begin() + 1, words.end());
    if (reacting && dot == std::string::npos && verbs().at("self").contains(made.verb)) {
      made.kind = "self";
    } else {
      if (!own.empty() && made.target.empty()) made.target = own;
      if (!own.empty() && (made.target == "peer" || made.target == "other")) {
        made.target = own + "." + made.target;
      }
      made.kind = kind_of(made.target);
    }
    check(made);
    return made;
  }

  void check(const Action& made) const {
    const auto& known = verbs().at(made.kind);
    const auto verb = known.find(made.verb);
    if (verb == known.end()) fail("a verb of a " + made.kind + ", not '" + made.verb + "'");
    std::string kinds = verb->second;
    if (kinds.ends_with('+') || kinds.ends_with('*')) {
      const std::size_t least = kinds.back() == '+' ? 1 : 0;
      kinds = std::string(std::max(made.args.size(), least), kinds[0]);
    }
    if (kinds.size() != made.args.size()) {
      fail(std::to_string(kinds.size()) + " argument(s) of '" + made.verb + "'");
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      if (!fits(kinds[i], made.args[i])) fail("another argument than '" + made.args[i] + "'");
    }
  }

  std::string kind_of(const std::string& target) {
    if (link_of(target)) return "link";
    if (endpoint_of(target)) return "endpoint";
    const auto dot = target.rfind('.');
    const std::string side = dot == std::string::npos ? "" : target.substr(dot);
    if (side == ".peer" && link_of(target.substr(0, dot))) return "peer";
    if ((side == ".peer" || side == ".other") && endpoint_of(target.substr(0, dot))) return "far";
    if (server_of(target) != nullptr) return "server";
    const auto& futures = now().futures;
    if (std::find(futures.begin(), futures.end(), target) != futures.end()) return "future";
    if (target == "loop") return "loop";
    fail("a link, a link's peer, an endpoint, a server, a future or the loop, not '" + target +
         "'");
  }
  bool link_of(const std::string& name) {
    const auto& links = now().links;
    return std::any_of(links.begin(), links.end(),
                       [&](const LinkDeclared& link) { return link.name == name; });
  }
  bool endpoint_of(const std::string& name) {
    const auto& endpoints = now().endpoints;
    return std::any_of(endpoints.begin(), endpoints.end(),
                       [&](const EndpointDeclared& one) { return one.name == name; });
  }
  const ServerDeclared* server_of(const std::string& name) {
    for (const ServerDeclared& server : now().servers) {
      if (server.name == name) return &server;
    }
    return nullptr;
  }

  std::string file_;
  int number_ = 0;
  std::vector<Scenario> scenarios_;
};

}  // namespace

std::vector<Scenario> read_scenarios(const std::string& file) { return Reader{file}.read(); }

}  // namespace conformance
