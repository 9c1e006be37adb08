// The system's getaddrinfo() on threads of its own.
#include "platform/sockets/calls.hpp"
#include "platform/sockets/parts.hpp"
#include "platform/sockets/socket_address.hpp"
#include "platform/sockets/workers.hpp"

#include <algorithm>

namespace ferry::internal {
namespace {

Error resolver_error(int code, int system_error, const Query& query) {
  std::string context = "resolve '" + (query.host.empty() ? query.service : query.host) + "'";
#ifdef EAI_SYSTEM
  if (code == EAI_SYSTEM) return os_error(system_error, context);
#else
  static_cast<void>(system_error);
#endif
  ResolverErrc meaning = ResolverErrc::other;
  switch (code) {
    case EAI_NONAME: meaning = ResolverErrc::name_not_known; break;
    case EAI_AGAIN: meaning = ResolverErrc::try_again; break;
    case EAI_FAIL: meaning = ResolverErrc::failure; break;
    case EAI_FAMILY: meaning = ResolverErrc::family_unsupported; break;
    case EAI_SERVICE:
      meaning = ResolverErrc::service_unsupported;
      context += " with service '" + query.service + "'";
      break;
    case EAI_MEMORY: meaning = ResolverErrc::out_of_memory; break;
#if defined(EAI_NODATA) && EAI_NODATA != EAI_NONAME
    case EAI_NODATA: meaning = ResolverErrc::no_address; break;
#endif
    default: break;
  }
  return Error{meaning, context};
}

Answer look_up(const Query& query) {
  calls::AddrInfo hints{};
  hints.ai_family = system_family(query.family);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = query.passive ? AI_PASSIVE : 0;
  calls::AddrInfo* list = nullptr;
  const char* host = query.host.empty() ? nullptr : query.host.c_str();
  const int code = calls::getaddrinfo(host, query.service.c_str(), &hints, &list);
  Answer answer;
  if (code != 0) {
    answer.error = resolver_error(code, errno, query);
    return answer;
  }
  for (const calls::AddrInfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    SocketAddress name;
    name.length = static_cast<socklen_t>(entry->ai_addrlen);
    std::copy_n(reinterpret_cast<const char*>(entry->ai_addr), entry->ai_addrlen,
                reinterpret_cast<char*>(&name.storage));
    const Address address = name.address();
    auto& known = answer.addresses;
    if (address && std::find(known.begin(), known.end(), address) == known.end()) {
      known.push_back(address);
    }
  }
  calls::free_addresses(list);
  if (answer.addresses.empty()) {
    answer.error = Error{ResolverErrc::no_address, "resolve '" + query.host + "'"};
  }
  return answer;
}

// A look-up that hangs must not hold up the end of the process (T-135).
constinit SharedWorkers<8> workers;

struct Job {
  Query query;
  Function<void(Answer)> done;
};

class SystemResolver final : public Resolver {
 public:
  void resolve(Query query, Function<void(Answer)> done) override {
    auto job = std::make_shared<Job>(Job{std::move(query), std::move(done)});
    const std::error_code error = workers.get().add([job] { job->done(look_up(job->query)); });
    if (error) job->done({Error{error, "resolve '" + job->query.host + "': new thread"}, {}});
  }
};

}  // namespace

std::unique_ptr<Resolver> make_resolver() { return std::make_unique<SystemResolver>(); }

}  // namespace ferry::internal
