// {fmt} formatters for ferry's values. The only public header that needs {fmt}.
#pragma once

#include <ferry/address.hpp>
#include <ferry/bytes.hpp>
#include <ferry/error.hpp>

#include <fmt/format.h>

#include <string>
#include <string_view>

template <>
struct fmt::formatter<ferry::Address> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const ferry::Address& address, Context& context) const {
    return fmt::formatter<std::string_view>::format(address.to_string(), context);
  }
};

// A clean end prints as "none".
template <>
struct fmt::formatter<ferry::Error> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const ferry::Error& error, Context& context) const {
    return fmt::formatter<std::string_view>::format(error ? error.what() : "none", context);
  }
};

template <>
struct fmt::formatter<ferry::BytesView> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(ferry::BytesView bytes, Context& context) const {
    return fmt::formatter<std::string_view>::format(bytes.text(), context);
  }
};
