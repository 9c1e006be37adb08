// The generator's TLS: OpenSSL on the socket itself, so that what the servers do with their memory
// BIOs is checked by another way of using it. TLS 1.3, AES-128-GCM, X25519. A build without OpenSSL
// has no_tls.cpp instead of tls.cpp.
#pragma once

#include <sys/types.h>

#include <cstddef>

struct ssl_st;  // SSL

namespace gen::tls {

// On a connected socket. `resume`: with the session of the connection that was closed before it.
ssl_st* start(int fd, bool resume);
void handshake(ssl_st* ssl);  // of a socket that blocks; else the first send() or receive() does it
// As send(2) and recv(2): -1 and EAGAIN if it would block, 0 at the peer's end. What breaks TLS
// ends the program.
ssize_t send(ssl_st* ssl, const std::byte* data, std::size_t size);
ssize_t receive(ssl_st* ssl, std::byte* data, std::size_t size);
bool resumed(ssl_st* ssl);
void end(ssl_st* ssl);  // close_notify
void free(ssl_st* ssl);

}  // namespace gen::tls
