#include "platform/windows/errors.hpp"

#include "platform/sockets/socket_address.hpp"
#include "values/system_text.hpp"

#include <cerrno>

namespace ferry::internal {
namespace {

struct Known {
  DWORD native;
  int number;
  const char* words;  // as on other systems
};
// What sockets, ports and files of Windows fail with. Of several with one errno, one has the words.
constexpr Known table[] = {
    {WSAEWOULDBLOCK, EWOULDBLOCK, "resource temporarily unavailable"},
    {WSAEINTR, EINTR, "interrupted system call"},
    {WSAEBADF, EBADF, "bad file descriptor"},
    {ERROR_INVALID_HANDLE, EBADF, nullptr},
    {WSAEACCES, EACCES, "permission denied"},
    {ERROR_ACCESS_DENIED, EACCES, nullptr},
    {740, EACCES, nullptr},  // ERROR_ELEVATION_REQUIRED, which mingw does not know
    {WSAEFAULT, EFAULT, "bad address"},
    {WSAEINVAL, EINVAL, "invalid argument"},
    {ERROR_INVALID_PARAMETER, EINVAL, nullptr},
    {WSAEMFILE, EMFILE, "too many open files"},
    {ERROR_TOO_MANY_OPEN_FILES, EMFILE, nullptr},
    {WSAEINPROGRESS, EINPROGRESS, "operation now in progress"},
    {WSAEALREADY, EALREADY, "operation already in progress"},
    {WSAENOTSOCK, ENOTSOCK, "socket operation on non-socket"},
    {WSAEDESTADDRREQ, EDESTADDRREQ, "destination address required"},
    {WSAEMSGSIZE, EMSGSIZE, "message too long"},
    {WSAEPROTOTYPE, EPROTOTYPE, "protocol wrong type for socket"},
    {WSAENOPROTOOPT, ENOPROTOOPT, "protocol not available"},
    {WSAEPROTONOSUPPORT, EPROTONOSUPPORT, "protocol not supported"},
    {WSAEOPNOTSUPP, EOPNOTSUPP, "operation not supported"},
    {WSAEAFNOSUPPORT, EAFNOSUPPORT, "address family not supported by protocol"},
    {WSAEADDRINUSE, EADDRINUSE, "address already in use"},
    {WSAEADDRNOTAVAIL, EADDRNOTAVAIL, "cannot assign requested address"},
    {WSAENETDOWN, ENETDOWN, "network is down"},
    {WSAENETUNREACH, ENETUNREACH, "network is unreachable"},
    {ERROR_NETWORK_UNREACHABLE, ENETUNREACH, nullptr},
    {WSAENETRESET, ENETRESET, "network dropped connection on reset"},
    {WSAECONNABORTED, ECONNABORTED, "software caused connection abort"},
    {ERROR_CONNECTION_ABORTED, ECONNABORTED, nullptr},
    {WSAECONNRESET, ECONNRESET, "connection reset by peer"},
    {ERROR_NETNAME_DELETED, ECONNRESET, nullptr},
    {WSAENOBUFS, ENOBUFS, "no buffer space available"},
    {ERROR_NO_SYSTEM_RESOURCES, ENOBUFS, nullptr},
    {WSAEISCONN, EISCONN, "transport endpoint is already connected"},
    {WSAENOTCONN, ENOTCONN, "transport endpoint is not connected"},
    {ERROR_BAD_PIPE, ENOTCONN, nullptr},  // a pipe's end that nobody has connected to
    {ERROR_PIPE_LISTENING, ENOTCONN, nullptr},
    {ERROR_BROKEN_PIPE, EPIPE, "broken pipe"},
    {ERROR_NO_DATA, EPIPE, nullptr},
    {WSAESHUTDOWN, EPIPE, nullptr},
    {WSAETIMEDOUT, ETIMEDOUT, "connection timed out"},
    {ERROR_SEM_TIMEOUT, ETIMEDOUT, nullptr},
    {WSAECONNREFUSED, ECONNREFUSED, "connection refused"},
    {ERROR_CONNECTION_REFUSED, ECONNREFUSED, nullptr},
    {WSAEHOSTDOWN, EHOSTDOWN, "host is down"},
    {WSAEHOSTUNREACH, EHOSTUNREACH, "no route to host"},
    {ERROR_HOST_UNREACHABLE, EHOSTUNREACH, nullptr},
    {ERROR_NOT_ENOUGH_MEMORY, ENOMEM, "cannot allocate memory"},
    {ERROR_OUTOFMEMORY, ENOMEM, nullptr},
    {ERROR_FILE_NOT_FOUND, ENOENT, "no such file or directory"},
    {ERROR_PATH_NOT_FOUND, ENOENT, nullptr},
    {ERROR_INVALID_NAME, ENOENT, nullptr},
    {WSAENAMETOOLONG, ENAMETOOLONG, "file name too long"},
    {ERROR_OPERATION_ABORTED, ECANCELED, "operation canceled"},
    {ERROR_PIPE_NOT_CONNECTED, EPIPE, nullptr},
    {ERROR_PIPE_BUSY, EBUSY, "device or resource busy"},
    {ERROR_DIRECTORY, ENOTDIR, "not a directory"},
    {ERROR_BAD_EXE_FORMAT, ENOEXEC, "exec format error"},
    {ERROR_EXE_MACHINE_TYPE_MISMATCH, ENOEXEC, nullptr},
    {ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG, nullptr},
    {ERROR_NOT_SUPPORTED, ENOTSUP, "operation not supported"},
};
// What Windows does not fail with, but has words on other systems.
constexpr Known portable[] = {
    {0, EPERM, "operation not permitted"},
    {0, ENFILE, "too many open files in system"},
    {0, EPROTO, "protocol error"},
    {0, E2BIG, "argument list too long"},
};

// An error that has no errno is its own number and this.
constexpr int unknown = 1 << 20;

const char* words_of(int number) noexcept {
  for (const Known& known : table) {
    if (known.number == number && known.words != nullptr) return known.words;
  }
  for (const Known& known : portable) {
    if (known.number == number) return known.words;
  }
  return nullptr;
}

}  // namespace

int errno_of(DWORD error) noexcept {
  for (const Known& known : table) {
    if (known.native == error) return known.number;
  }
  return unknown + static_cast<int>(error);
}

// Portable codes, because not every standard library knows Winsock's numbers for what they are.
std::error_code system_error(int number) noexcept {
  if (number >= unknown) return {number - unknown, std::system_category()};
  return {number, std::generic_category()};
}
int errno_of(const std::error_code& code) noexcept {
  const bool native = code.category() == std::system_category();
  return native ? errno_of(static_cast<DWORD>(code.value())) : code.value();
}

std::string message_of(const std::error_code& code) {
  const bool ours = code.category() == std::system_category() ||
                    code.category() == std::generic_category();
  const char* const words = ours ? words_of(errno_of(code)) : nullptr;
  if (words != nullptr) return words;
  std::string text = code.message();  // a sentence, perhaps with its line's end
  while (!text.empty() && (text.back() == '.' || text.back() == '\n' || text.back() == '\r')) {
    text.pop_back();
  }
  return text;
}

}  // namespace ferry::internal
