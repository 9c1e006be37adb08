// Bytes as they come and go: a non-owning view.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ferry {

// A view of bytes that somebody else owns. It never allocates and never copies.
//
// It is made from text, containers of bytes and string literals alike. The view of a literal leaves
// its terminating NUL out, and no other; that of a C string or of an array to write one into ends
// at its first NUL. A view given to a callback is valid until that callback returns (S-067).
class BytesView {
 public:
  constexpr BytesView() noexcept = default;
  BytesView(const void* data, std::size_t size) noexcept
      : data_{static_cast<const std::byte*>(data)}, size_{size} {}
  BytesView(std::string_view text) noexcept : BytesView{text.data(), text.size()} {}
  BytesView(const std::string& text) noexcept : BytesView{text.data(), text.size()} {}
  template <std::size_t N>
  BytesView(const char (&literal)[N]) noexcept : BytesView{literal, N - 1} {}
  template <std::size_t N>
  BytesView(char (&text)[N]) noexcept {
    const std::string_view all{text, N};
    *this = all.substr(0, all.find('\0'));
  }
  // A template, so that it does not come before that of literals.
  template <class Text>
    requires(std::is_same_v<Text, const char*> || std::is_same_v<Text, char*>)
  BytesView(Text text) noexcept : BytesView{std::string_view{text}} {}
  template <std::size_t N>
  BytesView(std::span<const std::byte, N> bytes) noexcept
      : data_{bytes.data()}, size_{bytes.size()} {}
  template <std::size_t N>
  BytesView(std::span<std::byte, N> bytes) noexcept : data_{bytes.data()}, size_{bytes.size()} {}
  BytesView(const std::vector<std::byte>& bytes) noexcept
      : data_{bytes.data()}, size_{bytes.size()} {}
  BytesView(const std::vector<char>& bytes) noexcept : BytesView{bytes.data(), bytes.size()} {}
  BytesView(const std::vector<unsigned char>& bytes) noexcept
      : BytesView{bytes.data(), bytes.size()} {}

  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const std::byte* begin() const noexcept { return data_; }
  const std::byte* end() const noexcept { return data_ + size_; }
  std::byte operator[](std::size_t i) const noexcept { return data_[i]; }

  // The same bytes as text: nothing is decoded, bytes are bytes (S-096).
  std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }
  // From `offset` (clamped to the size), at most `count` bytes.
  BytesView subview(std::size_t offset, std::size_t count = std::size_t(-1)) const noexcept {
    if (offset > size_) offset = size_;
    return {data_ + offset, count < size_ - offset ? count : size_ - offset};
  }
  std::string str() const { return std::string{text()}; }

  friend bool operator==(BytesView a, BytesView b) noexcept { return a.text() == b.text(); }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ferry
