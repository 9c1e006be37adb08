// Where a world's chances come from: a seed, or the bytes of a fuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ferry::internal::sim {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) noexcept : state_{seed} {}
  explicit Dice(std::span<const std::byte> bytes) noexcept : bytes_{bytes}, from_bytes_{true} {}

  // 0 … below - 1.
  std::uint64_t below(std::uint64_t below) noexcept { return below <= 1 ? 0 : next() % below; }
  bool chance(double probability) noexcept {
    if (probability <= 0) return false;  // costs no throw
    return static_cast<double>(next() & 0xffff) >= (1.0 - probability) * 65536.0;  // zeros: no
  }
  double share() noexcept { return static_cast<double>(next() & 0xffff) / 65536.0; }

 private:
  std::uint64_t next() noexcept {
    if (from_bytes_) return next_of_bytes();
    // splitmix64, by Vigna: any state is as good as another, so a seed is one.
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }
  std::uint64_t next_of_bytes() noexcept {
    std::uint16_t value = 0;
    const std::size_t count = bytes_.size() < sizeof value ? bytes_.size() : sizeof value;
    if (count > 0) std::memcpy(&value, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return value;
  }

  std::uint64_t state_ = 0;
  std::span<const std::byte> bytes_;
  bool from_bytes_ = false;
};

}  // namespace ferry::internal::sim
