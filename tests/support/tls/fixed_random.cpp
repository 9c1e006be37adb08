// OpenSSL 3 calls RAND_METHOD deprecated; another way in is a whole provider.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "support/tls/fixed_random.hpp"

#include <openssl/rand.h>

#include <stdexcept>

namespace test {
namespace {

std::uint64_t state = 0;

// SplitMix64.
int next_bytes(unsigned char* into, int size) {
  for (int i = 0; i < size; ++i) {
    std::uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    into[i] = static_cast<unsigned char>(mixed >> 56);
  }
  return 1;
}
int always_ready() { return 1; }

const RAND_METHOD method = {nullptr, next_bytes, nullptr, nullptr, next_bytes, always_ready};

}  // namespace

void seed_openssl(std::uint64_t seed) {
  state = seed;
  if (RAND_get_rand_method() == &method) return;
  if (RAND_set_rand_method(&method) != 1) throw std::runtime_error{"RAND_set_rand_method"};
}

}  // namespace test
