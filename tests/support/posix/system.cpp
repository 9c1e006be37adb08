#include "support/catch.hpp"
#include "support/world.hpp"

#include "platform/posix/features.hpp"
#include "platform/posix/poll_selector.hpp"
#include "platform/sockets/parts.hpp"

#if defined(__APPLE__)
#include <libproc.h>
#include <mach-o/dyld.h>
#endif
#include <ifaddrs.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

extern char** environ;

namespace test {
namespace {

int fd(ferry::NativeHandle handle) { return static_cast<int>(handle); }

// What this system is to do without: what FERRY_TEST_LACKS names, with commas between. An emulated
// macOS lacks all that the real one does.
const bool features_read = [] {
  const char* text = std::getenv("FERRY_TEST_LACKS");
  const char* const backend = std::getenv("FERRY_TEST_BACKEND");
  if (text == nullptr && backend != nullptr && std::string_view{backend} == "kqueue-macos") {
    text = "accept4,pipe2,socket_flags,msg_nosignal,message_batches,segmentation,pidfd,"
           "shared_start,close_range";
  }
  if (text == nullptr && backend != nullptr && std::string_view{backend} == "kqueue-freebsd") {
    text = "segmentation,pidfd,shared_start";
  }
  const std::string lacks = "," + std::string{text != nullptr ? text : ""} + ",";
  const auto has = [&](const char* name) { return lacks.find(name) == lacks.npos; };
  auto& features = ferry::internal::features;
  features.accept4 &= has(",accept4,");
  features.pipe2 &= has(",pipe2,");
  features.socket_flags &= has(",socket_flags,");
  features.msg_nosignal &= has(",msg_nosignal,");
  features.message_batches &= has(",message_batches,");
  features.segmentation &= has(",segmentation,");
  features.pidfd &= has(",pidfd,");
  features.shared_start &= has(",shared_start,");
  features.close_range &= has(",close_range,");
  features.spawn_call |= backend != nullptr && std::string_view{backend} == "kqueue-macos";
  // Every system with kqueue does.
  const bool kqueue = backend != nullptr && std::string_view{backend}.starts_with("kqueue");
  features.drops_datagrams |= kqueue;
  return true;
}();

// Not every system can ask for that at a descriptor's birth.
int not_inherited(int made) {
  if (made != -1) ::fcntl(made, F_SETFD, FD_CLOEXEC);
  return made;
}

// This program's file.
std::string program_path() {
#if defined(__APPLE__)
  std::string path(4096, '\0');
  auto size = static_cast<std::uint32_t>(path.size());
  ::_NSGetExecutablePath(path.data(), &size);
  return path.c_str();
#elif defined(__linux__)
  return "/proc/self/exe";
#else
  return "/proc/curproc/file";
#endif
}

}  // namespace

bool has_unix_sockets() { return true; }
bool can_reuse_numbers() { return true; }
bool has_unix_pairs() { return true; }
bool can_share_addresses() { return true; }
bool can_tell_blocking(ferry::NativeHandle) { return true; }
bool accepted_from_birth() { return ferry::internal::features.accept4; }
std::errc error_of_file() { return std::errc::operation_not_permitted; }
std::errc error_of_closed() { return std::errc::bad_file_descriptor; }
bool is_slow() { return sanitized; }

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/dev/fd"}) {
    static_cast<void>(entry);
    ++count;
  }
  return count - 1;  // the directory's own
}
bool is_open(ferry::NativeHandle handle) { return ::fcntl(fd(handle), F_GETFD) != -1; }
bool is_nonblocking(ferry::NativeHandle handle) {
  return (::fcntl(fd(handle), F_GETFL) & O_NONBLOCK) != 0;
}
bool is_inherited(ferry::NativeHandle handle) {
  return (::fcntl(fd(handle), F_GETFD) & FD_CLOEXEC) == 0;
}
void set_nonblocking(ferry::NativeHandle handle) {
  REQUIRE(::fcntl(fd(handle), F_SETFL, ::fcntl(fd(handle), F_GETFL) | O_NONBLOCK) == 0);
}
ferry::Socket duplicate(ferry::NativeHandle handle) {
  ferry::Socket copy{::fcntl(fd(handle), F_DUPFD_CLOEXEC, 0)};
  REQUIRE(copy);
  return copy;
}
void reuse_number(ferry::NativeHandle number, const ferry::Socket& original) {
  REQUIRE(::dup2(fd(original.fileno()), fd(number)) == number);
}
void close_plainly(ferry::NativeHandle handle) { ::close(fd(handle)); }

Unwatchable::Unwatchable(Kind kind) {
  if (kind == Kind::directory) {
    handle_ = ::open("/", O_RDONLY | O_CLOEXEC);
    REQUIRE(handle_ != -1);
    return;
  }
  std::string name = (std::filesystem::temp_directory_path() / "ferry-XXXXXX").string();
  handle_ = ::mkstemp(name.data());
  REQUIRE(handle_ != -1);
  ::unlink(name.c_str());
}
Unwatchable::~Unwatchable() { ::close(fd(handle_)); }

Pipe::Pipe() {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  for (const int end : ends) {
    REQUIRE(::fcntl(end, F_SETFD, FD_CLOEXEC) == 0);
    set_nonblocking(end);
  }
  read = ferry::Socket{ends[0]};
  write = ferry::Socket{ends[1]};
}
void hang_up(ferry::Socket& end) { end.close(); }
bool put(const ferry::Socket& into, std::string_view text) {
  return ::write(fd(into.fileno()), text.data(), text.size()) ==
         static_cast<ssize_t>(text.size());
}
std::string get(const ferry::Socket& from, std::size_t most) {
  std::string text(most, '\0');
  const ssize_t count = ::read(fd(from.fileno()), text.data(), text.size());
  text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return text;
}
void fill_up(const ferry::Socket& into) {
  const std::array<char, 4096> bytes{};
  for (const std::size_t size : {bytes.size(), std::size_t{1}}) {
    while (::write(fd(into.fileno()), bytes.data(), size) > 0) {
    }
  }
}

ferry::Socket new_socket(ferry::Family family, int type) {
  return ferry::Socket{
      not_inherited(::socket(ferry::internal::system_family(family), type, 0))};
}
bool bind_to(const ferry::Socket& socket, const ferry::Address& address) {
  const ferry::internal::SocketAddress name{address};
  return ::bind(fd(socket.fileno()), name.get(), name.length) == 0;
}
bool listen_on(const ferry::Socket& socket, int backlog) {
  return ::listen(fd(socket.fileno()), backlog) == 0;
}
ferry::Socket accept_one(const ferry::Socket& listener) {
  return ferry::Socket{not_inherited(::accept(fd(listener.fileno()), nullptr, nullptr))};
}
int try_connect(ferry::NativeHandle handle, const ferry::Address& address) {
  const ferry::internal::SocketAddress name{address};
  return ::connect(fd(handle), name.get(), name.length) == 0 ? 0 : errno;
}
std::ptrdiff_t send_plainly(ferry::NativeHandle handle, const void* data, std::size_t size) {
  ferry::internal::calls::no_sigpipe(handle);
  return ::send(fd(handle), data, size, ferry::internal::msg_nosignal);
}
std::ptrdiff_t receive_plainly(ferry::NativeHandle handle, void* into, std::size_t size) {
  return ::recv(fd(handle), into, size, 0);
}
std::ptrdiff_t send_datagram(ferry::NativeHandle handle, ferry::BytesView data,
                             const ferry::Address& to) {
  const ferry::internal::SocketAddress name{to};
  return ::sendto(fd(handle), data.data(), data.size(), 0, name.get(), name.length);
}
std::ptrdiff_t receive_datagram(ferry::NativeHandle handle, void* into, std::size_t size,
                                ferry::Address& from) {
  ferry::internal::SocketAddress name;
  const ssize_t count = ::recvfrom(fd(handle), into, size, 0, name.get(), &name.length);
  from = count >= 0 ? name.address() : ferry::Address{};
  return count;
}
bool drops_datagrams() { return ferry::internal::features.drops_datagrams; }
bool hears_of_unreachable_ports() { return true; }
bool can_choose_source() { return true; }
void shut_write(ferry::NativeHandle handle) { ::shutdown(fd(handle), SHUT_WR); }
std::optional<int> backlog_of(ferry::SocketView listener) {
#ifdef __linux__
  tcp_info info{};
  socklen_t size = sizeof info;
  const int answer =
      ::getsockopt(fd(listener.fileno()), IPPROTO_TCP, TCP_INFO, &info, &size);
  return answer == 0 ? std::optional{static_cast<int>(info.tcpi_sacked)} : std::nullopt;
#else
  static_cast<void>(listener);
  return std::nullopt;
#endif
}
void reset_at_close(ferry::NativeHandle handle) {
  const linger at_once{1, 0};
  ::setsockopt(fd(handle), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

std::uint32_t loopback_interface() {
  for (const char* name : {"lo", "lo0"}) {
    if (const unsigned index = ::if_nametoindex(name); index != 0) return index;
  }
  return 0;
}
ferry::Address link_local() {
  ferry::Address found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET6) continue;
    const auto* name = reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr);
    if (IN6_IS_ADDR_LINKLOCAL(&name->sin6_addr)) {
      found = ferry::Address::from_ip(ferry::Family::ipv6,
                                      {reinterpret_cast<const char*>(&name->sin6_addr), 16}, 0,
                                      name->sin6_scope_id);
    }
  }
  ::freeifaddrs(list);
  return found;
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}
int process_id() { return ::getpid(); }
void give_up_after(int seconds) { ::alarm(static_cast<unsigned>(seconds)); }
int some_signal() { return SIGUSR1; }
bool raise_now(int signal) { return ::raise(signal) == 0; }
std::size_t resident_bytes() {
#if defined(__APPLE__)
  proc_taskinfo info{};
  ::proc_pidinfo(::getpid(), PROC_PIDTASKINFO, 0, &info, sizeof info);
  return static_cast<std::size_t>(info.pti_resident_size);
#else
  std::ifstream file{"/proc/self/statm"};
  std::size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
#endif
}
void set_environment(const char* name, const char* value) {
  value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
}
int run_alone(const std::string& test) {
  std::string program = program_path(), name = test;
  char* arguments[] = {program.data(), name.data(), nullptr};
  pid_t child = 0;
  REQUIRE(::posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
std::string make_directory() {
  std::string name = (std::filesystem::temp_directory_path() / "ferry-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  return name;
}

std::unique_ptr<ferry::internal::BackendParts> plain_parts() {
  return ferry::internal::parts_over("poll", ferry::internal::make_poll_selector());
}

}  // namespace test
