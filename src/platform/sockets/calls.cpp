#include "platform/sockets/calls.hpp"

#include <thread>

namespace ferry::internal::calls {

#ifdef FERRY_TEST_HOOKS
constinit std::atomic<Hook*> HookUse::current{nullptr};
constinit std::atomic<int> HookUse::uses{0};
thread_local bool cut = false;

void set_hook(Hook* hook) noexcept {
  HookUse::current = hook;
  while (HookUse::uses != 0) std::this_thread::yield();
}

int getaddrinfo(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out) {
  std::size_t none = 0;
  const HookUse use;
  Hook* const hook = use.get();
  if (hook == nullptr) return look_up(host, service, hints, out);
  if (const int code = hook->before(Call::getaddrinfo, -1, none); code != 0) return code;
  const auto* const known = host != nullptr ? hook->answer(host) : nullptr;
  if (known == nullptr) return look_up(host, service, hints, out);
  *out = nullptr;
  AddrInfo** last = out;
  for (const std::string& address : *known) {
    if (look_up(address.c_str(), service, hints, last) != 0) *last = nullptr;
    while (*last != nullptr) last = &(*last)->ai_next;
  }
  return *out != nullptr || known->empty() ? 0 : EAI_NONAME;
}
#else
int getaddrinfo(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out) {
  return look_up(host, service, hints, out);
}
#endif

}  // namespace ferry::internal::calls
