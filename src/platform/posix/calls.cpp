#include "platform/posix/calls.hpp"

namespace ferry::internal::calls {

#ifdef FERRY_TEST_HOOKS
Hook* hook = nullptr;
thread_local bool cut = false;
#endif

ssize_t sendmsg(int fd, iovec* parts, std::size_t count, int flags) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += parts[i].iov_len;
  return through(Call::sendmsg, fd, total, [&](std::size_t allowed) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    if (allowed < total) {  // only in tests: a short count
      for (std::size_t i = 0; i < count; ++i) {
        if (parts[i].iov_len > allowed) parts[i].iov_len = allowed;
        allowed -= parts[i].iov_len;
      }
    }
    return ::sendmsg(fd, &message, flags);
  });
}

int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** out) {
#ifdef FERRY_TEST_HOOKS
  std::size_t none = 0;
  if (hook != nullptr) {
    if (const int code = hook->before(Call::getaddrinfo, -1, none); code != 0) return code;
    return hook->look_up(host, service, hints, out);
  }
#endif
  return ::getaddrinfo(host, service, hints, out);
}

}  // namespace ferry::internal::calls
