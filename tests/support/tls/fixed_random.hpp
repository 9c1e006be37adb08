// OpenSSL's random numbers from a seed: a handshake is then the same each time, byte by byte. For
// tests that have to replay; the whole process has it from the first call on.
#pragma once

#include <cstdint>

namespace test {

// From now on; not for programs whose threads use OpenSSL at the same time.
void seed_openssl(std::uint64_t seed);

}  // namespace test
