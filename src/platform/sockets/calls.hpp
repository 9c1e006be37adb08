// The calls that stream sockets need, by whatever name this system has them.
//
// Each system's own calls.hpp gives them the same shape: sockets are NativeHandles, a failure is -1
// with errno set. Sockets are non-blocking and not inherited from birth (T-116), but those of
// socket_pair(), which block.
#pragma once

#include "platform/sockets/hook.hpp"

#if defined(_WIN32)
#include "platform/windows/calls.hpp"
#else
#include "platform/posix/calls.hpp"
#endif

namespace ferry::internal::calls {

inline bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

// Answers an EAI_ code, as the call does. The list is given back by free_addresses().
int getaddrinfo(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out);

}  // namespace ferry::internal::calls
