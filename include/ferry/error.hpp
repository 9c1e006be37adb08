// What went wrong, as a value; and the exceptions that it turns into.
#pragma once

#include <ferry/export.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace ferry {

// Name resolution has its own errors (T-136): the same numbers on every system.
enum class ResolverErrc {
  name_not_known = 1,   // EAI_NONAME: no such host or service
  try_again,            // EAI_AGAIN
  failure,              // EAI_FAIL
  family_unsupported,   // EAI_FAMILY, EAI_ADDRFAMILY
  service_unsupported,  // EAI_SERVICE, EAI_SOCKTYPE
  no_address,           // EAI_NODATA, or an empty answer
  out_of_memory,        // EAI_MEMORY
  other,
};
FERRY_API const std::error_category& resolver_category() noexcept;
FERRY_API std::error_code make_error_code(ResolverErrc code) noexcept;

// The reason of a loss or of a failure: one value that is either empty (clean: Python's None) or an
// error code, a captured exception, and words for a person.
//
// Copying is cheap (a counted pointer); an Error may be kept and passed between threads.
class FERRY_API Error {
 public:
  Error() noexcept = default;
  // `context` says what was tried: Error{refused, "connect to [::1]:8888"} reads
  // "connect to [::1]:8888: connection refused".
  Error(std::error_code code, std::string_view context);
  explicit Error(std::exception_ptr exception);
  // Already worded: `text` is what what() returns.
  static Error worded(std::error_code code, std::string text);

  // True if this is an error, false if the end was clean.
  explicit operator bool() const noexcept { return detail_ != nullptr; }
  std::error_code code() const noexcept;
  // Words for a person; empty if this is no error.
  std::string_view what() const noexcept;
  // What was thrown by a callback, if that is the cause.
  std::exception_ptr exception() const noexcept;
  // Throws the captured exception, CancelledError, SslError or OsError. Does nothing if this is no
  // error.
  void raise() const;
  // The same as raise() would throw; null if this is no error.
  std::exception_ptr to_exception() const;

  friend bool operator==(const Error& error, const std::error_code& code) noexcept {
    return error.code() == code;
  }
  friend bool operator==(const Error& error, std::errc code) noexcept {
    return error.code() == code;
  }

 private:
  struct Detail;
  std::shared_ptr<const Detail> detail_;
};

// A failure that the system reported. what() is Error::what().
class FERRY_API OsError : public std::system_error {
 public:
  OsError(std::error_code code, std::string text);
  ~OsError() override;
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// A failure of TLS: code() is an SslErrc (ferry/ssl.hpp).
class FERRY_API SslError : public OsError {
 public:
  using OsError::OsError;
  ~SslError() override;
};

// Thrown into a coroutine that is cancelled, and out of a future that was.
class FERRY_API CancelledError : public std::exception {
 public:
  ~CancelledError() override;
  const char* what() const noexcept override;
};

// A transport cannot do this by its kind, e.g. write_eof() over TLS (S-041, C-22).
class FERRY_API NotSupported : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  ~NotSupported() override;
};

// The caller broke a rule of the contract: write() after write_eof(), a loop run inside itself …
class FERRY_API MisuseError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
  ~MisuseError() override;
};

}  // namespace ferry

template <>
struct std::is_error_code_enum<ferry::ResolverErrc> : std::true_type {};
