// A DNS server for a few names of one's own, for dig and every resolver.
//
//   dns_server [PORT [NAME=VALUE]...]    port 0, the default, is any free one
//
//   dns_server 5353 host.test=192.0.2.1 host.test=2001:db8::1 "host.test=some text"
//   dig @127.0.0.1 -p 5353 host.test AAAA
//
// A value is an address (A, AAAA) or a text (TXT). Other names do not exist. A query for more than
// fits into 512 bytes is told to come by TCP, where nobody is.
#include <ferry/ferry.hpp>
#include <ferry/format.hpp>  // fmt formatters for Address, Error …

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

enum Type : unsigned { type_a = 1, type_txt = 16, type_aaaa = 28, type_any = 255 };
enum Code : unsigned {
  no_error = 0,
  format_error = 1,
  name_error = 3,
  not_implemented = 4,
  refused = 5,
};

struct Record {
  unsigned type;
  std::string data;
};
using Zone = std::multimap<std::string, Record, std::less<>>;

std::string number16(unsigned value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string lower(std::string_view text) {
  std::string made{text};
  for (char& letter : made) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return made;
}

Record record_of(const std::string& value) {
  try {
    const ferry::Address address{value, 0};
    return {address.family() == ferry::Family::ipv4 ? type_a : type_aaaa,
            std::string{address.ip_bytes()}};
  } catch (const std::invalid_argument&) {
    const std::string text = value.substr(0, 255);
    return {type_txt, static_cast<char>(text.size()) + text};
  }
}

struct Question {
  std::string name;    // in small letters, with dots
  std::string_view as_sent;  // name, type and class
  unsigned type = 0, in_class = 0;
};

// Nothing, if it is none. A name in a question is never compressed.
std::optional<Question> parse(std::string_view query) {
  constexpr std::size_t header = 12;
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(query[at]); };
  Question question;
  std::size_t at = header;
  while (at < query.size() && byte(at) != 0) {
    const std::size_t size = byte(at);
    if (size > 63 || at + 1 + size >= query.size() || at - header > 250) return {};
    if (!question.name.empty()) question.name += '.';
    question.name += lower(query.substr(at + 1, size));
    at += 1 + size;
  }
  if (at + 5 > query.size()) return {};
  question.type = byte(at + 1) * 256u + byte(at + 2);
  question.in_class = byte(at + 3) * 256u + byte(at + 4);
  question.as_sent = query.substr(header, at + 5 - header);
  return question;
}

class Dns : public ferry::DatagramProtocol {
 public:
  explicit Dns(const Zone& zone) : zone_{zone} {}

  void connection_made(ferry::DatagramTransport& transport) override { transport_ = &transport; }
  void datagram_received(ferry::BytesView data, const ferry::Address& addr) override {
    constexpr std::size_t header = 12;
    if (data.size() < header || (static_cast<unsigned char>(data.text()[2]) & 0x80) != 0) {
      return;  // no query: who answers answers may answer for ever
    }
    transport_->sendto(answer(data.text()), addr);
  }
  void error_received(const ferry::Error& exc) override { fmt::print(stderr, "{}\n", exc); }

 private:
  std::string answer(std::string_view query) const {
    const unsigned operation = static_cast<unsigned char>(query[2]) & 0x78u;
    const bool one = query.substr(4, 2) == std::string_view{"\0\1", 2};
    const auto question = one ? parse(query) : std::nullopt;
    if (operation != 0) return reply(query, {}, not_implemented, 0, {});
    if (!question) return reply(query, {}, format_error, 0, {});
    constexpr unsigned internet = 1, any_class = 255;
    if (question->in_class != internet && question->in_class != any_class) {
      return reply(query, question->as_sent, refused, 0, {});
    }
    const auto [first, last] = zone_.equal_range(question->name);
    std::string answers;
    unsigned count = 0;
    for (auto it = first; it != last; ++it) {
      const Record& record = it->second;
      if (question->type != record.type && question->type != type_any) continue;
      ++count;
      answers += number16(0xc00c) + number16(record.type) + number16(1) + number16(0) +
                 number16(60) + number16(static_cast<unsigned>(record.data.size())) + record.data;
    }
    const unsigned code = first == last ? name_error : no_error;
    if (12 + question->as_sent.size() + answers.size() <= 512) {
      return reply(query, question->as_sent, code, count, answers);
    }
    std::string truncated = reply(query, question->as_sent, code, 0, {});
    truncated[2] = static_cast<char>(truncated[2] | 2);
    return truncated;
  }

  static std::string reply(std::string_view query, std::string_view question, unsigned code,
                           unsigned count, std::string_view answers) {
    const unsigned asked = static_cast<unsigned char>(query[2]) & 0x79u;  // and recursion desired
    std::string made{query.substr(0, 2)};
    made += static_cast<char>(0x84 | asked);  // an answer, with authority
    made += static_cast<char>(code);
    made += number16(question.empty() ? 0 : 1) + number16(count) + number16(0) + number16(0);
    return made.append(question).append(answers);
  }

  const Zone& zone_;
  ferry::DatagramTransport* transport_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) try {
  Zone zone;
  for (int i = 2; i < argc; ++i) {
    const std::string text = argv[i];
    const std::size_t equal = text.find('=');
    if (equal == text.npos) return fmt::print(stderr, "'{}' is no NAME=VALUE\n", text), 2;
    zone.emplace(lower(text.substr(0, equal)), record_of(text.substr(equal + 1)));
  }
  ferry::Loop loop;
  auto [transport, protocol] = loop.run_until_complete(loop.create_datagram_endpoint(
      [&] { return std::make_shared<Dns>(zone); },
      {.local_addr = ferry::Address{"127.0.0.1", argc > 1 ? std::atoi(argv[1]) : 0}}));
  fmt::print("Serving on {}\n", transport->get_extra_info(ferry::sockname));
  std::fflush(stdout);
  loop.add_signal_handler(SIGINT, [&] { loop.stop(); });
  loop.run_forever();
  transport->close();
} catch (const std::exception& error) {
  return fmt::print(stderr, "{}\n", error.what()), 1;
}
