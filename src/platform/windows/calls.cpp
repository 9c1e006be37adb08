#include "platform/windows/calls.hpp"

#include "platform/windows/errors.hpp"
#include "platform/windows/text.hpp"

#include <algorithm>
#include <climits>

#ifdef _MSC_VER
#pragma comment(lib, "ntdll")
#endif

// In ntdll, but in no header of the SDK.
extern "C" NTSTATUS NTAPI NtCancelIoFileEx(HANDLE file, IO_STATUS_BLOCK* which,
                                           IO_STATUS_BLOCK* status);

namespace ferry::internal::calls {
namespace {

constexpr NTSTATUS pending = 0x103;
constexpr ULONG ioctl_afd_poll = 0x00012024;

SOCKET native(NativeHandle handle) noexcept { return static_cast<SOCKET>(handle); }
HANDLE object(NativeHandle handle) noexcept { return reinterpret_cast<HANDLE>(handle); }

int winsock_failed() noexcept {
  errno = errno_of(static_cast<DWORD>(::WSAGetLastError()));
  return -1;
}
int system_failed(DWORD error) noexcept {
  errno = errno_of(error);
  return -1;
}
int checked(int answer) noexcept { return answer == SOCKET_ERROR ? winsock_failed() : answer; }
int fits(std::size_t size) noexcept {
  return static_cast<int>(std::min<std::size_t>(size, INT_MAX));
}

NativeHandle new_socket(int family, int type) {
  start_sockets();
  const SOCKET socket = ::WSASocketW(family, type, 0, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  return socket == INVALID_SOCKET ? winsock_failed() : static_cast<NativeHandle>(socket);
}

int block(NativeHandle handle, bool on) {
  u_long nonblocking = on ? 0 : 1;
  return checked(::ioctlsocket(native(handle), static_cast<long>(FIONBIO), &nonblocking));
}

// Passes on a new socket that does not block; or closes it.
NativeHandle completed(NativeHandle handle) {
  if (handle == -1 || block(handle, false) == 0) return handle;
  const int error = errno;
  ::closesocket(native(handle));
  return errno = error, -1;
}

}  // namespace

void start_sockets() {
  static const int started = [] {
    WSADATA facts;
    return ::WSAStartup(MAKEWORD(2, 2), &facts);
  }();
  static_cast<void>(started);  // without it every call fails and says so
}

Part part(const void* data, std::size_t size) noexcept {
  return {static_cast<ULONG>(fits(size)), static_cast<char*>(const_cast<void*>(data))};
}

NativeHandle stream_socket(int family) {
  return through(Call::socket, -1, 0, [&](std::size_t) {
    return completed(new_socket(family, SOCK_STREAM));
  });
}
NativeHandle datagram_socket(int family) {
  return through(Call::socket, -1, 0, [&](std::size_t) {
    return completed(new_socket(family, SOCK_DGRAM));
  });
}
int bind(NativeHandle handle, const sockaddr* address, socklen_t length) {
  return through(Call::bind, handle, 0, [&](std::size_t) {
    return checked(::bind(native(handle), address, length));
  });
}
int listen(NativeHandle handle, int backlog) {
  return through(Call::listen, handle, 0,
                 [&](std::size_t) { return checked(::listen(native(handle), backlog)); });
}
NativeHandle accept(NativeHandle handle, sockaddr* address, socklen_t* length) {
  return through(Call::accept, handle, 0, [&](std::size_t) -> NativeHandle {
    const SOCKET socket = ::accept(native(handle), address, length);
    if (socket == INVALID_SOCKET) {
      winsock_failed();
      // That was the client, not the listener (T-208).
      if (errno == ECONNRESET || errno == ENOTCONN) errno = ECONNABORTED;
      return -1;
    }
    // Another thread that starts a program just now may pass it on: Windows has no flag for this.
    ::SetHandleInformation(reinterpret_cast<HANDLE>(socket), HANDLE_FLAG_INHERIT, 0);
    return completed(static_cast<NativeHandle>(socket));
  });
}
int connect(NativeHandle handle, const sockaddr* address, socklen_t length) {
  return through(Call::connect, handle, 0, [&](std::size_t) {
    const int answer = checked(::connect(native(handle), address, length));
    if (answer != 0 && errno == EWOULDBLOCK) errno = EINPROGRESS;
    return answer;
  });
}
std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size) {
  return through(Call::recv, handle, size, [&](std::size_t n) -> std::ptrdiff_t {
    return checked(::recv(native(handle), static_cast<char*>(into), fits(n), 0));
  });
}
std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size) {
  return through(Call::send, handle, size, [&](std::size_t n) -> std::ptrdiff_t {
    return checked(::send(native(handle), static_cast<const char*>(from), fits(n), 0));
  });
}
std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += parts[i].len;
  return through(Call::sendmsg, handle, total, [&](std::size_t allowed) -> std::ptrdiff_t {
    if (allowed < total) {  // only in tests: a short count
      for (std::size_t i = 0; i < count; ++i) {
        parts[i].len = static_cast<ULONG>(std::min<std::size_t>(parts[i].len, allowed));
        allowed -= parts[i].len;
      }
    }
    DWORD sent = 0;
    const int answer = ::WSASend(native(handle), parts, static_cast<DWORD>(count), &sent, 0,
                                 nullptr, nullptr);
    return answer == 0 ? static_cast<std::ptrdiff_t>(sent) : winsock_failed();
  });
}
int shut_write(NativeHandle handle) {
  return through(Call::shutdown, handle, 0,
                 [&](std::size_t) { return checked(::shutdown(native(handle), SD_SEND)); });
}
int close(NativeHandle handle) {
  return through(Call::close, handle, 0,
                 [&](std::size_t) { return checked(::closesocket(native(handle))); });
}
int getsockname(NativeHandle handle, sockaddr* address, socklen_t* length) {
  return through(Call::getsockname, handle, 0, [&](std::size_t) {
    return checked(::getsockname(native(handle), address, length));
  });
}
int getpeername(NativeHandle handle, sockaddr* address, socklen_t* length) {
  return through(Call::getpeername, handle, 0, [&](std::size_t) {
    return checked(::getpeername(native(handle), address, length));
  });
}
int setsockopt(NativeHandle handle, int level, int option, const void* value, socklen_t length) {
  return through(Call::setsockopt, handle, 0, [&](std::size_t) {
    return checked(::setsockopt(native(handle), level, option, static_cast<const char*>(value),
                                length));
  });
}
int getsockopt(NativeHandle handle, int level, int option, void* value, socklen_t* length) {
  return through(Call::getsockopt, handle, 0, [&](std::size_t) {
    return checked(
        ::getsockopt(native(handle), level, option, static_cast<char*>(value), length));
  });
}
int set_nonblocking(NativeHandle handle) {
  return through(Call::fcntl, handle, 0, [&](std::size_t) { return block(handle, false); });
}
bool listens(NativeHandle handle) noexcept {
  int answer = 0;
  socklen_t length = sizeof answer;
  calls::getsockopt(handle, SOL_SOCKET, SO_ACCEPTCONN, &answer, &length);
  return answer != 0;
}
int pending_error(NativeHandle handle) noexcept {
  int error = 0;
  socklen_t length = sizeof error;
  if (calls::getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error == 0 ? 0 : errno_of(static_cast<DWORD>(error));
}
int claim_address(NativeHandle handle, bool) {
  const int on = 1;
  return calls::setsockopt(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, &on, sizeof on);
}
int share_port(NativeHandle) {
  errno = ENOPROTOOPT;
  return -1;
}
bool has_ended(NativeHandle handle) {
  char byte;
  const int count = ::recv(native(handle), &byte, 1, MSG_PEEK);
  return count >= 0 || ::WSAGetLastError() != WSAENOTCONN;
}

namespace {

// Two ends over loopback; another program may have come in between, so the peer is verified.
int connect_pair(NativeHandle listener, NativeHandle (&pair)[2]) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  claim_address(listener, false);
  if (checked(::bind(native(listener), name, length)) != 0) return -1;
  if (checked(::listen(native(listener), 1)) != 0) return -1;
  if (checked(::getsockname(native(listener), name, &length)) != 0) return -1;
  pair[0] = new_socket(AF_INET, SOCK_STREAM);
  if (pair[0] == -1) return -1;
  if (checked(::connect(native(pair[0]), name, length)) != 0) return -1;
  if (checked(::getsockname(native(pair[0]), name, &length)) != 0) return -1;
  for (;;) {
    sockaddr_in peer{};
    length = sizeof peer;
    const SOCKET accepted =
        ::accept(native(listener), reinterpret_cast<sockaddr*>(&peer), &length);
    if (accepted == INVALID_SOCKET) return winsock_failed();
    const bool ours = peer.sin_port == address.sin_port &&
                      peer.sin_addr.s_addr == address.sin_addr.s_addr;
    if (!ours) {
      ::closesocket(accepted);
      continue;
    }
    ::SetHandleInformation(reinterpret_cast<HANDLE>(accepted), HANDLE_FLAG_INHERIT, 0);
    pair[1] = static_cast<NativeHandle>(accepted);
    break;
  }
  const int on = 1;
  for (const NativeHandle end : pair) {
    calls::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return 0;
}

}  // namespace

int socket_pair(NativeHandle (&pair)[2]) {
  return through(Call::socketpair, -1, 0, [&](std::size_t) {
    pair[0] = pair[1] = -1;
    const NativeHandle listener = new_socket(AF_INET, SOCK_STREAM);
    if (listener == -1) return -1;
    const int answer = connect_pair(listener, pair);
    const int error = errno;
    ::closesocket(native(listener));
    if (answer == 0) return 0;
    if (pair[0] != -1) ::closesocket(native(pair[0]));
    errno = error;
    return -1;
  });
}

int look_up(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out) {
  start_sockets();
  const std::wstring wide_host = to_wide(host != nullptr ? host : "");
  if (host != nullptr && wide_host.empty()) return EAI_NONAME;
  const std::wstring wide_service = to_wide(service);
  return ::GetAddrInfoW(host != nullptr ? wide_host.c_str() : nullptr, wide_service.c_str(),
                        hints, out);
}

int stat(const char* path, FileFacts& facts) {
  return through(Call::stat, -1, 0, [&](std::size_t) {
    facts = {};
    const HANDLE file = ::CreateFileW(
        to_wide(path).c_str(), 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
        OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS, nullptr);
    if (file == INVALID_HANDLE_VALUE) return system_failed(::GetLastError());
    BY_HANDLE_FILE_INFORMATION id{};
    FILE_ATTRIBUTE_TAG_INFO tag{};
    const bool known = ::GetFileInformationByHandle(file, &id) != 0;
    const DWORD error = ::GetLastError();
    if (::GetFileInformationByHandleEx(file, FileAttributeTagInfo, &tag, sizeof tag) != 0) {
      constexpr DWORD unix_socket = 0x80000023;  // IO_REPARSE_TAG_AF_UNIX, where headers have it
      facts.is_socket = (tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 &&
                        tag.ReparseTag == unix_socket;
    }
    ::CloseHandle(file);
    if (!known) return system_failed(error);
    facts.device = id.dwVolumeSerialNumber;
    facts.inode = (std::uint64_t{id.nFileIndexHigh} << 32) | id.nFileIndexLow;
    return 0;
  });
}
int unlink(const char* path) {
  return through(Call::unlink, -1, 0, [&](std::size_t) {
    return ::DeleteFileW(to_wide(path).c_str()) != 0 ? 0 : system_failed(::GetLastError());
  });
}

NativeHandle create_port() {
  return through(Call::port_create, -1, 0, [&](std::size_t) -> NativeHandle {
    const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);
    if (port == nullptr) return system_failed(::GetLastError());
    return reinterpret_cast<NativeHandle>(port);
  });
}
int attach(NativeHandle port, NativeHandle handle, ULONG_PTR key) {
  if (::CreateIoCompletionPort(object(handle), object(port), key, 0) == nullptr) {
    return system_failed(::GetLastError());
  }
  return 0;
}
int post(NativeHandle port, ULONG_PTR key, OVERLAPPED* packet) {
  return through(Call::port_post, port, 0, [&](std::size_t) {
    const BOOL posted = ::PostQueuedCompletionStatus(object(port), 0, key, packet);
    return posted != 0 ? 0 : system_failed(::GetLastError());
  });
}
int wait(NativeHandle port, OVERLAPPED_ENTRY* entries, std::size_t count, DWORD milliseconds) {
  return through(Call::port_wait, port, 0, [&](std::size_t) {
    ULONG came = 0;
    if (::GetQueuedCompletionStatusEx(object(port), entries, static_cast<ULONG>(count), &came,
                                      milliseconds, FALSE) != 0) {
      return static_cast<int>(came);
    }
    const DWORD error = ::GetLastError();
    return error == WAIT_TIMEOUT ? 0 : system_failed(error);
  });
}
void close_handle(NativeHandle handle) noexcept { ::CloseHandle(object(handle)); }

NativeHandle open_afd() {
  return through(Call::afd_open, -1, 0, [&](std::size_t) -> NativeHandle {
    start_sockets();
    wchar_t path[] = L"\\Device\\Afd\\ferry";  // what comes after Afd\ may be anything
    UNICODE_STRING name{sizeof path - sizeof *path, sizeof path, path};
    OBJECT_ATTRIBUTES attributes{};
    attributes.Length = sizeof attributes;
    attributes.ObjectName = &name;
    IO_STATUS_BLOCK status{};
    HANDLE afd = nullptr;
    const NTSTATUS answer =
        ::NtCreateFile(&afd, SYNCHRONIZE, &attributes, &status, nullptr, 0,
                       FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN, 0, nullptr, 0);
    if (answer < 0) return system_failed(::RtlNtStatusToDosError(answer));
    ::SetFileCompletionNotificationModes(afd, FILE_SKIP_SET_EVENT_ON_HANDLE);
    return reinterpret_cast<NativeHandle>(afd);
  });
}

NativeHandle base_socket(NativeHandle handle) {
  return through(Call::base_handle, handle, 0, [&](std::size_t) -> NativeHandle {
    constexpr DWORD sio_base_handle = 0x48000022;  // not in every header
    int type = 0;
    socklen_t length = sizeof type;
    if (::getsockopt(native(handle), SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&type),
                     &length) != 0) {
      return errno = ENOTSOCK, -1;  // Wine has other names for it, and goes on below
    }
    SOCKET base = INVALID_SOCKET;
    DWORD size = 0;
    const int answer = ::WSAIoctl(native(handle), sio_base_handle, nullptr, 0, &base, sizeof base,
                                  &size, nullptr, nullptr);
    return answer == 0 ? static_cast<NativeHandle>(base) : winsock_failed();
  });
}

int afd_poll(NativeHandle afd, AfdPoll& poll, IO_STATUS_BLOCK& status) {
  return through(Call::afd_poll, static_cast<NativeHandle>(-1), 0, [&](std::size_t) {
    status.Status = pending;
    const NTSTATUS answer =
        ::NtDeviceIoControlFile(object(afd), nullptr, nullptr, &status, &status, ioctl_afd_poll,
                                &poll, sizeof poll, &poll, sizeof poll);
    // Ready at once is a packet as well.
    return answer >= 0 ? 0 : system_failed(::RtlNtStatusToDosError(answer));
  });
}
void afd_cancel(NativeHandle afd, IO_STATUS_BLOCK& status) noexcept {
  IO_STATUS_BLOCK answer{};
  ::NtCancelIoFileEx(object(afd), &status, &answer);  // its packet may be on its way: as good
}

int console_handler(PHANDLER_ROUTINE handler, bool on) {
  return through(Call::sigaction, -1, 0, [&](std::size_t) {
    return ::SetConsoleCtrlHandler(handler, on ? TRUE : FALSE) != 0
               ? 0
               : system_failed(::GetLastError());
  });
}

}  // namespace ferry::internal::calls
