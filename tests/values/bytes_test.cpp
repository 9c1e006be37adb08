// BytesView: a view of bytes made from whatever holds them.
#include "support/catch.hpp"

#include <ferry/bytes.hpp>

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using ferry::BytesView;

static_assert(std::is_trivially_copyable_v<BytesView>);
static_assert(std::is_nothrow_default_constructible_v<BytesView>);

TEST_CASE("an empty view is empty") {
  const BytesView none;
  CHECK(none.empty());
  CHECK(none.size() == 0);
  CHECK(none.data() == nullptr);
  CHECK(none.begin() == none.end());
  CHECK(none.text().empty());
  CHECK(none.str().empty());
  CHECK(none == BytesView{""});
  CHECK(none.subview(0).empty());
  CHECK(none.subview(7, 7).empty());
}

TEST_CASE("a view is made from text and containers of bytes without a copy", "[S-067][S-096]") {
  const std::string text = "abc";
  const std::string_view view = text;
  const std::vector<char> chars{'a', 'b', 'c'};
  const std::vector<unsigned char> octets{'a', 'b', 'c'};
  std::vector<std::byte> bytes{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  std::array<std::byte, 3> array{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  const auto same = [](BytesView bytes_view, const void* data) {
    CHECK(bytes_view == "abc");
    CHECK(static_cast<const void*>(bytes_view.data()) == data);
  };
  same(text, text.data());
  same(view, text.data());
  same(text.c_str(), text.data());
  same(chars, chars.data());
  same(octets, octets.data());
  same(bytes, bytes.data());
  same(std::span<const std::byte>{bytes}, bytes.data());
  same(std::span<std::byte>{bytes}, bytes.data());
  same(std::span<const std::byte, 3>{array}, array.data());
  same(std::span<std::byte, 3>{array}, array.data());
  same({text.data(), text.size()}, text.data());
}

TEST_CASE("the view of a literal leaves its terminating NUL out, and no other", "[S-096]") {
  CHECK(BytesView{"abc"}.size() == 3);
  CHECK(BytesView{""}.empty());
  CHECK(BytesView{"a\0b"}.size() == 3);
  CHECK(BytesView{"a\0b"} == BytesView{std::string{"a\0b", 3}});
  CHECK(BytesView{"\0"}.size() == 1);
  const BytesView implicit = "GET\0";
  CHECK(implicit.size() == 4);
}

TEST_CASE("the view of a character buffer ends at its NUL", "[S-096]") {
  char buffer[16] = "abc";
  CHECK(BytesView{buffer} == "abc");
  const char* text = buffer;
  CHECK(BytesView{text} == "abc");
}

TEST_CASE("bytes are bytes: nothing is decoded", "[S-096]") {
  std::string all(256, '\0');
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<char>(i);
  const BytesView view = all;
  CHECK(view.str() == all);
  CHECK(view.text() == all);
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(view[i] == static_cast<std::byte>(i));
}

TEST_CASE("a subview is clamped to the view") {
  const BytesView view = "0123456789";
  CHECK(view.subview(3) == "3456789");
  CHECK(view.subview(3, 2) == "34");
  CHECK(view.subview(0, 0).empty());
  CHECK(view.subview(10).empty());
  CHECK(view.subview(8, 5) == "89");
  CHECK(view.subview(11, 5).empty());
  CHECK(view.subview(1, std::size_t(-1)) == "123456789");
  CHECK(view.subview(std::size_t(-1), std::size_t(-1)).empty());
  CHECK(view.subview(4, 1).data() == view.data() + 4);
}

TEST_CASE("views are equal if their bytes are") {
  const std::string one = "abc", two = "abc";
  CHECK(BytesView{one} == BytesView{two});
  CHECK_FALSE(BytesView{one} == BytesView{"abd"});
  CHECK_FALSE(BytesView{one} == BytesView{"ab"});
  CHECK_FALSE(BytesView{one} == BytesView{"abcd"});
}

TEST_CASE("a view can be walked") {
  std::string copy;
  for (const std::byte byte : BytesView{"walk"}) copy += static_cast<char>(byte);
  CHECK(copy == "walk");
}
