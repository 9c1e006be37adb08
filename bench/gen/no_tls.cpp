// In place of tls.cpp where OpenSSL is missing.
#include "gen.hpp"
#include "tls.hpp"

namespace gen::tls {

ssl_st* start(int, bool) { die("--tls: built without OpenSSL"); }
void handshake(ssl_st*) {}
ssize_t send(ssl_st*, const std::byte*, std::size_t) { return -1; }
ssize_t receive(ssl_st*, std::byte*, std::size_t) { return -1; }
bool resumed(ssl_st*) { return false; }
void end(ssl_st*) {}
void free(ssl_st*) {}

}  // namespace gen::tls
