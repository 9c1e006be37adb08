// Error: empty, or a code, an exception and words for a person; and what it throws.
#include "support/catch.hpp"

#include <ferry/error.hpp>

#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using ferry::Error;
using ferry::ResolverErrc;

namespace {

const std::error_code refused = std::make_error_code(std::errc::connection_refused);

std::exception_ptr captured(const auto& exception) { return std::make_exception_ptr(exception); }

}  // namespace

TEST_CASE("an empty error is a clean end", "[S-061]") {
  const Error none;
  CHECK_FALSE(none);
  CHECK_FALSE(none.code());
  CHECK(none.what().empty());
  CHECK(none.exception() == nullptr);
  CHECK(none.to_exception() == nullptr);
  CHECK_NOTHROW(none.raise());
  CHECK_FALSE(Error{std::exception_ptr{}});
}

TEST_CASE("an error of the system says what was tried and why it failed", "[C-22]") {
  const Error error{refused, "connect to 127.0.0.1:8888"};
  CHECK(error);
  CHECK(error.code() == refused);
  CHECK(error == refused);
  CHECK(error == std::errc::connection_refused);
  CHECK_FALSE(error == std::errc::connection_reset);
  CHECK(error.what() == "connect to 127.0.0.1:8888: connection refused");
  CHECK(error.exception() == nullptr);
  try {
    error.raise();
    FAIL("it did not throw");
  } catch (const std::system_error& thrown) {
    CHECK(thrown.code() == refused);
    CHECK(thrown.what() == error.what());
  }
  CHECK_THROWS_AS(error.raise(), ferry::OsError);
}

TEST_CASE("an error without a context is the system's words alone") {
  CHECK(Error{refused, ""}.what() == "connection refused");
}

TEST_CASE("an abbreviation keeps its capitals in the middle of a sentence") {
  struct Capitals final : std::error_category {
    const char* name() const noexcept override { return "capitals"; }
    std::string message(int) const override { return "TCP is not there"; }
  } const category;
  CHECK(Error{std::error_code{1, category}, "connect"}.what() == "connect: TCP is not there");
}

TEST_CASE("an error that is worded already says just that", "[T-124]") {
  const Error error = Error::worded(refused, "two things: one; two");
  CHECK(error);
  CHECK(error.what() == "two things: one; two");
  CHECK(error.code() == refused);
}

TEST_CASE("what a callback threw is kept, and thrown again as it was", "[C-15]") {
  const Error error{captured(std::out_of_range{"too far"})};
  CHECK(error);
  CHECK(error.what() == "too far");
  CHECK_FALSE(error.code());
  CHECK(error.exception() != nullptr);
  CHECK(error.to_exception() == error.exception());
  CHECK_THROWS_AS(error.raise(), std::out_of_range);
  const Error odd{captured(42)};
  CHECK(odd.what() == "an exception that is no std::exception");
  CHECK_THROWS_AS(odd.raise(), int);
}

TEST_CASE("the code of a captured system error can be asked for") {
  const Error error{captured(ferry::OsError{refused, "no luck"})};
  CHECK(error == std::errc::connection_refused);
  CHECK(error.what() == "no luck");
}

TEST_CASE("a cancellation is an error that throws CancelledError") {
  CHECK_THROWS_AS(Error(std::make_error_code(std::errc::operation_canceled), "it").raise(),
                  ferry::CancelledError);
  const Error caught{captured(ferry::CancelledError{})};
  CHECK(caught == std::errc::operation_canceled);
  CHECK(caught.what() == "cancelled");
  CHECK_THROWS_AS(caught.raise(), ferry::CancelledError);
}

TEST_CASE("copies of an error are the same error") {
  const Error error{refused, "connect"};
  Error copy = error;
  CHECK(copy.what() == error.what());
  CHECK(copy.what().data() == error.what().data());  // counted, not copied
  const Error moved = std::move(copy);
  CHECK(moved.what() == error.what());
  copy = {};
  CHECK_FALSE(copy);
  CHECK(moved);
}

TEST_CASE("errors of the resolver have a category and words of their own", "[T-136]") {
  CHECK(std::string{ferry::resolver_category().name()} == "resolver");
  std::set<std::string> texts;
  for (int i = 1; i <= static_cast<int>(ResolverErrc::other); ++i) {
    const std::error_code code = static_cast<ResolverErrc>(i);
    CHECK(code);
    CHECK(code.category() == ferry::resolver_category());
    CHECK_FALSE(code == std::errc::connection_refused);
    CHECK_FALSE(code.message().empty());
    texts.insert(code.message());
  }
  CHECK(texts.size() == static_cast<std::size_t>(ResolverErrc::other));
  const Error error{ResolverErrc::name_not_known, "resolve 'nowhere.test'"};
  CHECK(error.code() == ResolverErrc::name_not_known);
  CHECK(error.what() == "resolve 'nowhere.test': name or service not known");
}

TEST_CASE("misuse is a logic error, and a failure of the system is not", "[C-22]") {
  CHECK_THROWS_AS(throw ferry::NotSupported{"x"}, std::logic_error);
  CHECK_THROWS_AS(throw ferry::MisuseError{"x"}, std::logic_error);
  CHECK_THROWS_AS(throw ferry::OsError(refused, "x"), std::runtime_error);
  CHECK_THROWS_AS(throw ferry::CancelledError{}, std::exception);
}
