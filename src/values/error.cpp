#include <ferry/error.hpp>
#include <ferry/ssl.hpp>

#include "values/system_text.hpp"

#include <cctype>

namespace ferry {
namespace {

class ResolverCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int code) const override {
    switch (static_cast<ResolverErrc>(code)) {
      case ResolverErrc::name_not_known: return "name or service not known";
      case ResolverErrc::try_again: return "temporary failure in name resolution";
      case ResolverErrc::failure: return "name resolution failed";
      case ResolverErrc::family_unsupported: return "address family not supported for this name";
      case ResolverErrc::service_unsupported: return "service not supported for streams";
      case ResolverErrc::no_address: return "the name has no address";
      case ResolverErrc::out_of_memory: return "out of memory in name resolution";
      case ResolverErrc::other: break;
    }
    return "name resolution error";
  }
};

// "Connection refused" in the middle of a sentence.
std::string lowered(std::string text) {
  const bool word = text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0;
  if (word) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

std::string text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& thrown) {
    return thrown.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

std::error_code code_of(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const std::system_error& thrown) {
    return thrown.code();
  } catch (const CancelledError&) {
    return std::make_error_code(std::errc::operation_canceled);
  } catch (...) {
    return {};
  }
}

}  // namespace

const std::error_category& resolver_category() noexcept {
  static const ResolverCategory category;
  return category;
}
std::error_code make_error_code(ResolverErrc code) noexcept {
  return {static_cast<int>(code), resolver_category()};
}

struct Error::Detail {
  std::error_code code;
  std::string text;
  std::exception_ptr exception;
};

Error::Error(std::error_code code, std::string_view context)
    : Error{worded(code, (context.empty() ? std::string{} : std::string{context} + ": ") +
                             lowered(internal::message_of(code)))} {}

Error::Error(std::exception_ptr exception) {
  if (exception == nullptr) return;
  detail_ = std::make_shared<const Detail>(
      Detail{code_of(exception), text_of(exception), exception});
}

Error Error::worded(std::error_code code, std::string text) {
  Error error;
  error.detail_ = std::make_shared<const Detail>(Detail{code, std::move(text), nullptr});
  return error;
}

std::error_code Error::code() const noexcept { return detail_ ? detail_->code : std::error_code{}; }

std::string_view Error::what() const noexcept {
  return detail_ ? std::string_view{detail_->text} : std::string_view{};
}

std::exception_ptr Error::exception() const noexcept {
  return detail_ ? detail_->exception : nullptr;
}

std::exception_ptr Error::to_exception() const {
  if (!detail_) return nullptr;
  if (detail_->exception) return detail_->exception;
  if (detail_->code == std::errc::operation_canceled) {
    return std::make_exception_ptr(CancelledError{});
  }
  if (detail_->code.category() == ssl_category()) {
    return std::make_exception_ptr(SslError{detail_->code, detail_->text});
  }
  return std::make_exception_ptr(OsError{detail_->code, detail_->text});
}

void Error::raise() const {
  if (auto exception = to_exception()) std::rethrow_exception(exception);
}

OsError::OsError(std::error_code code, std::string text)
    : std::system_error{code}, text_{std::move(text)} {}
OsError::~OsError() = default;
SslError::~SslError() = default;
CancelledError::~CancelledError() = default;
const char* CancelledError::what() const noexcept { return "cancelled"; }
NotSupported::~NotSupported() = default;
MisuseError::~MisuseError() = default;

}  // namespace ferry
