#include "support/catch.hpp"
#include "support/world.hpp"

#include "platform/sockets/parts.hpp"
#include "platform/windows/errors.hpp"
#include "platform/windows/iocp_selector.hpp"
#include "platform/windows/text.hpp"

#include <psapi.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace test {
namespace {

SOCKET native(ferry::NativeHandle handle) { return static_cast<SOCKET>(handle); }
HANDLE object(ferry::NativeHandle handle) { return reinterpret_cast<HANDLE>(handle); }

// -1 with errno, for calls that answer SOCKET_ERROR.
int checked(int answer) {
  if (answer == SOCKET_ERROR) {
    errno = ferry::internal::errno_of(static_cast<DWORD>(::WSAGetLastError()));
  }
  return answer;
}
bool block(ferry::NativeHandle handle, bool on) {
  u_long nonblocking = on ? 0 : 1;
  return ::ioctlsocket(native(handle), static_cast<long>(FIONBIO), &nonblocking) == 0;
}

// Whether it is what sockets, pipes, AFD's handles, completion ports and children are.
bool counts(ferry::NativeHandle handle) {
  std::array<std::byte, 1024> answer{};
  ULONG size = 0;
  constexpr auto type_information = static_cast<OBJECT_INFORMATION_CLASS>(2);
  const NTSTATUS status = ::NtQueryObject(object(handle), type_information, answer.data(),
                                          static_cast<ULONG>(answer.size()), &size);
  if (status < 0) return false;
  const auto* name = reinterpret_cast<const UNICODE_STRING*>(answer.data());
  const std::wstring_view type{name->Buffer, name->Length / sizeof(wchar_t)};
  return type == L"File" || type == L"IoCompletion" || type == L"Process";
}

}  // namespace

bool has_unix_sockets() {
  ferry::internal::calls::start_sockets();
  static const bool has = static_cast<bool>(new_socket(ferry::Family::unix_socket));
  return has;
}
bool can_reuse_numbers() { return false; }
bool has_unix_pairs() { return false; }
bool can_share_addresses() { return false; }
bool can_tell_blocking(ferry::NativeHandle handle) {
  return static_cast<bool>(ferry::SocketView{handle}.getpeername());
}
bool accepted_from_birth() { return true; }
std::errc error_of_file() { return std::errc::not_a_socket; }
std::errc error_of_closed() { return std::errc::not_a_socket; }
bool is_slow() { return true; }

std::size_t open_descriptors() {
  DWORD handles = 0;
  ::GetProcessHandleCount(::GetCurrentProcess(), &handles);
  const auto last = static_cast<ferry::NativeHandle>(handles) * 8 + 1024;
  std::size_t count = 0;
  for (ferry::NativeHandle handle = 4; handle <= last; handle += 4) count += counts(handle);
  return count;
}
bool is_open(ferry::NativeHandle handle) {
  DWORD flags = 0;
  return ::GetHandleInformation(object(handle), &flags) != 0;
}
// Windows does not tell: so a time-out, which only a socket that blocks obeys.
bool is_nonblocking(ferry::NativeHandle handle) {
  const DWORD soon = 1;
  ::setsockopt(native(handle), SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&soon),
               sizeof soon);
  char byte;
  const int got = ::recv(native(handle), &byte, 1, MSG_PEEK);
  const bool nonblocking = got < 0 && ::WSAGetLastError() == WSAEWOULDBLOCK;
  const DWORD never = 0;
  ::setsockopt(native(handle), SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&never),
               sizeof never);
  return nonblocking;
}
bool is_inherited(ferry::NativeHandle handle) {
  DWORD flags = 0;
  REQUIRE(::GetHandleInformation(object(handle), &flags) != 0);
  return (flags & HANDLE_FLAG_INHERIT) != 0;
}
void set_nonblocking(ferry::NativeHandle handle) { REQUIRE(block(handle, false)); }
ferry::Socket duplicate(ferry::NativeHandle handle) {
  WSAPROTOCOL_INFOW facts{};
  REQUIRE(::WSADuplicateSocketW(native(handle), ::GetCurrentProcessId(), &facts) == 0);
  ferry::Socket copy{static_cast<ferry::NativeHandle>(
      ::WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &facts, 0,
                   WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT))};
  REQUIRE(copy);
  return copy;
}
void reuse_number(ferry::NativeHandle, const ferry::Socket&) {
  FAIL("Windows gives handles their numbers");
}
void close_plainly(ferry::NativeHandle handle) { ::closesocket(native(handle)); }

Unwatchable::Unwatchable(Kind kind) {
  const std::filesystem::path folder{make_directory()};
  const auto name = kind == Kind::directory ? folder : folder / "file";
  const DWORD how = kind == Kind::directory ? OPEN_EXISTING : CREATE_NEW;
  handle_ = reinterpret_cast<ferry::NativeHandle>(
      ::CreateFileW(name.c_str(), GENERIC_READ | DELETE, 0, nullptr, how,
                    FILE_FLAG_DELETE_ON_CLOSE | FILE_FLAG_BACKUP_SEMANTICS, nullptr));
  REQUIRE(handle_ != -1);
}
Unwatchable::~Unwatchable() { ::CloseHandle(object(handle_)); }

Pipe::Pipe() {
  auto [reading, writing] = ferry::socketpair();
  set_nonblocking(reading.fileno());
  set_nonblocking(writing.fileno());
  read = std::move(reading);
  write = std::move(writing);
}
void hang_up(ferry::Socket& end) {
  reset_at_close(end.fileno());
  end.close();
}
bool put(const ferry::Socket& into, std::string_view text) {
  return send_plainly(into.fileno(), text.data(), text.size()) ==
         static_cast<std::ptrdiff_t>(text.size());
}
std::string get(const ferry::Socket& from, std::size_t most) {
  std::string text(most, '\0');
  const auto count = receive_plainly(from.fileno(), text.data(), text.size());
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}
void fill_up(const ferry::Socket& into) {
  const std::array<char, 65536> bytes{};
  for (const std::size_t size : {bytes.size(), std::size_t{1}}) {
    while (send_plainly(into.fileno(), bytes.data(), size) > 0) {
    }
  }
}

ferry::Socket new_socket(ferry::Family family, int type) {
  ferry::internal::calls::start_sockets();
  return ferry::Socket{static_cast<ferry::NativeHandle>(
      ::WSASocketW(ferry::internal::system_family(family), type, 0, nullptr, 0,
                   WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT))};
}
bool bind_to(const ferry::Socket& socket, const ferry::Address& address) {
  const ferry::internal::SocketAddress name{address};
  return checked(::bind(native(socket.fileno()), name.get(), name.length)) == 0;
}
bool listen_on(const ferry::Socket& socket, int backlog) {
  return checked(::listen(native(socket.fileno()), backlog)) == 0;
}
ferry::Socket accept_one(const ferry::Socket& listener) {
  const SOCKET socket = ::accept(native(listener.fileno()), nullptr, nullptr);
  if (socket != INVALID_SOCKET) {
    ::SetHandleInformation(reinterpret_cast<HANDLE>(socket), HANDLE_FLAG_INHERIT, 0);
  }
  return ferry::Socket{static_cast<ferry::NativeHandle>(socket)};
}
int try_connect(ferry::NativeHandle handle, const ferry::Address& address) {
  const ferry::internal::SocketAddress name{address};
  return checked(::connect(native(handle), name.get(), name.length)) == 0 ? 0 : errno;
}
std::ptrdiff_t send_plainly(ferry::NativeHandle handle, const void* data, std::size_t size) {
  return checked(::send(native(handle), static_cast<const char*>(data), static_cast<int>(size),
                        0));
}
// Wine's recv() takes a reset for an end.
std::ptrdiff_t receive_plainly(ferry::NativeHandle handle, void* into, std::size_t size) {
  const int count = ::recv(native(handle), static_cast<char*>(into), static_cast<int>(size), 0);
  WSAPOLLFD facts{native(handle), POLLOUT, 0};
  if (count == 0 && ::WSAPoll(&facts, 1, 0) == 1 && (facts.revents & POLLERR) != 0) {
    errno = ECONNRESET;
    return -1;
  }
  return checked(count);
}
std::ptrdiff_t send_datagram(ferry::NativeHandle handle, ferry::BytesView data,
                             const ferry::Address& to) {
  const ferry::internal::SocketAddress name{to};
  return checked(::sendto(native(handle), reinterpret_cast<const char*>(data.data()),
                          static_cast<int>(data.size()), 0, name.get(), name.length));
}
std::ptrdiff_t receive_datagram(ferry::NativeHandle handle, void* into, std::size_t size,
                                ferry::Address& from) {
  ferry::internal::SocketAddress name;
  const int count = checked(::recvfrom(native(handle), static_cast<char*>(into),
                                       static_cast<int>(size), 0, name.get(), &name.length));
  from = count >= 0 ? name.address() : ferry::Address{};
  return count;
}
bool drops_datagrams() { return false; }
// Windows does both, Wine neither.
bool hears_of_unreachable_ports() { return false; }
bool can_choose_source() { return false; }
void shut_write(ferry::NativeHandle handle) { ::shutdown(native(handle), SD_SEND); }
std::optional<int> backlog_of(ferry::SocketView) { return std::nullopt; }
void reset_at_close(ferry::NativeHandle handle) {
  const linger at_once{1, 0};
  ::setsockopt(native(handle), SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
               sizeof at_once);
}

std::uint32_t loopback_interface() { return 1; }
ferry::Address link_local() { return {}; }

bool has_children() { return false; }  // there are handles, which are counted
int process_id() { return static_cast<int>(::GetCurrentProcessId()); }
void give_up_after(int seconds) {
  std::thread{[seconds] {
    std::this_thread::sleep_for(std::chrono::seconds{seconds});
    std::_Exit(3);
  }}.detach();
}
int some_signal() { return SIGINT; }
bool raise_now(int) { return false; }
std::size_t resident_bytes() {
  PROCESS_MEMORY_COUNTERS facts{};
  ::GetProcessMemoryInfo(::GetCurrentProcess(), &facts, sizeof facts);
  return facts.WorkingSetSize;
}
void set_environment(const char* name, const char* value) {
  ::_putenv_s(name, value != nullptr ? value : "");  // an empty one is none
}
int run_alone(const std::string& test) {
  wchar_t program[MAX_PATH] = {};
  ::GetModuleFileNameW(nullptr, program, MAX_PATH);
  std::wstring line = L"ferry_tests \"" + ferry::internal::to_wide(test) + L"\"";
  STARTUPINFOW start{};
  start.cb = sizeof start;
  PROCESS_INFORMATION child{};
  REQUIRE(::CreateProcessW(program, line.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr,
                           &start, &child) != 0);
  ::WaitForSingleObject(child.hProcess, INFINITE);
  DWORD status = 0;
  ::GetExitCodeProcess(child.hProcess, &status);
  ::CloseHandle(child.hThread);
  ::CloseHandle(child.hProcess);
  return static_cast<int>(status);
}
std::string make_directory() {
  static int number = 0;
  const auto path = std::filesystem::temp_directory_path() /
                    ("ferry-" + std::to_string(process_id()) + "-" + std::to_string(++number));
  std::filesystem::create_directories(path);
  return path.string();
}

std::unique_ptr<ferry::internal::BackendParts> plain_parts() {
  return ferry::internal::parts_over("iocp", ferry::internal::make_iocp_selector());
}

}  // namespace test
