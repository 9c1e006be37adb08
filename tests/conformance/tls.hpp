// TLS of the oracle: ferry's contexts, and a peer's end, which has nothing of ferry's.
#pragma once

#include <ferry/ssl.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace conformance {

class SecretEnd {
 public:
  virtual ~SecretEnd() = default;
  virtual bool is_open() const = 0;
  virtual std::string open(std::string_view cipher) = 0;  // the plaintext that came with it
  virtual void seal(std::string_view plain) = 0;          // before it is open: kept until then
  virtual void say_goodbye() = 0;
  virtual bool heard_goodbye() const = 0;
  virtual std::string take() = 0;  // what is to be sent
};

// These throw NotSupported in a build without TLS.
std::unique_ptr<SecretEnd> new_end(bool server_side);
// ferry's; for "localhost".
const ferry::SslContext& client_context();
const ferry::SslContext& server_context();

}  // namespace conformance
