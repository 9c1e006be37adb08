#include "transports/names.hpp"

#include "values/system_text.hpp"

#include <stdexcept>

namespace ferry::internal {
namespace {

constexpr std::size_t longest_host = 255;
constexpr Seconds slow_look_up{0.1};

}  // namespace

HostPort HostPort::checked(std::string_view host, const Port& port, Family family) {
  if (host.find('\0') != host.npos) {
    throw std::invalid_argument{"host '" + std::string{host.substr(0, host.find('\0'))} +
                                "…' has a NUL inside"};
  }
  if (host.size() > longest_host) {
    throw std::invalid_argument{"host '" + std::string{host.substr(0, 40)} + "…' has " +
                                std::to_string(host.size()) + " bytes; 255 are the most"};
  }
  return {std::string{host}, std::string{port.service()}, port.number(), family};
}

std::string HostPort::to_string() const {
  const std::string end = service.empty() ? std::to_string(port) : service;
  return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + end;
}

Task<std::vector<Address>> resolve(LoopCore* core, HostPort name, bool passive) {
  IpParts ip;
  const bool plain = name.service.empty() && name.host.find('%') == name.host.npos;
  if (plain && parse_ip(name.host, ip) &&
      (name.family == Family::none || name.family == ip.family)) {
    std::vector<Address> one{Address::from_ip(ip.family, ip.view(), name.port)};
    co_return one;
  }
  Query query;
  query.host = name.host;
  query.service = name.service.empty() ? std::to_string(name.port) : name.service;
  query.family = name.family;
  query.passive = passive;
  const TimePoint began = core->now();
  Future<Answer> asked = core->resolve(std::move(query));
  Answer answer = co_await asked;
  const Seconds took = core->now() - began;
  if (core->settings.debug && took > slow_look_up) {
    core->log(LogLevel::warning, "resolving " + name.to_string() + " took " +
                                     std::to_string(took.count()) + " s");
  }
  answer.error.raise();
  if (answer.addresses.empty()) {
    Error{ResolverErrc::no_address, "resolve '" + name.host + "'"}.raise();
  }
  co_return std::move(answer.addresses);
}

}  // namespace ferry::internal
