// The way out: OpenSSL's own objects under ferry's. Not in ferry.hpp, and it includes nothing of
// OpenSSL's.
#pragma once

#include <ferry/export.hpp>
#include <ferry/info.hpp>

struct ssl_st;      // SSL
struct ssl_ctx_st;  // SSL_CTX

namespace ferry {

class SslContext;

// The connection's SSL, to ask it what ferry does not tell. It lives as long as the transport;
// reading, writing and shutting down are the transport's (S-018).
inline constexpr InfoKey<ssl_st*> ssl_object{"ssl_object"};

// The context's SSL_CTX, for settings that ferry does not have; before the context is used. Lives
// as long as the context. Null for the empty context and in a build without TLS.
FERRY_API ssl_ctx_st* native_handle(const SslContext& context) noexcept;

}  // namespace ferry
