// An address in 16 bytes, for what every connection keeps.
#pragma once

#include <ferry/address.hpp>

#include <cstring>
#include <memory>

namespace ferry::internal {

// IPv4 inside, the others on the heap: an idle connection shall cost little.
class PackedAddress {
 public:
  PackedAddress() noexcept = default;
  PackedAddress& operator=(const Address& address) {
    large_.reset();
    small_ = address.family() == Family::ipv4;
    if (small_) {
      std::memcpy(ip_, address.ip_bytes().data(), sizeof ip_);
      port_ = address.port();
    } else if (address) {
      large_ = std::make_unique<Address>(address);
    }
    return *this;
  }
  Address get() const {
    if (small_) return Address::from_ip(Family::ipv4, {ip_, sizeof ip_}, port_);
    return large_ ? *large_ : Address{};
  }

 private:
  std::unique_ptr<Address> large_;
  char ip_[4] = {};
  std::uint16_t port_ = 0;
  bool small_ = false;
};

}  // namespace ferry::internal
