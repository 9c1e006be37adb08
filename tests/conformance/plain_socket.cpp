#include "plain_socket.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace conformance {
namespace {

constexpr int buffer = 65536;

int fd_of(const ferry::Socket& socket) { return static_cast<int>(socket.fileno()); }

int check(int result, const char* what) {
  if (result >= 0) return result;
  const std::error_code code{errno, std::generic_category()};
  throw ferry::OsError{code, std::string{what} + ": " + code.message()};
}

void unblock(int fd) { check(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK), "fcntl"); }
void unblock(const ferry::Socket& socket) { unblock(fd_of(socket)); }

struct Name {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Name tcp_name(std::uint16_t port) {
  Name name;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  std::memcpy(&name.storage, &address, name.length = sizeof address);
  return name;
}

Name unix_name(std::string_view path) {
  Name name;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::length_error{"the path is too long"};
  std::memcpy(address.sun_path, path.data(), path.size());
  std::memcpy(&name.storage, &address, name.length = sizeof address);
  return name;
}

ferry::Socket new_socket(int family, int type = SOCK_STREAM) {
  ferry::Socket socket{check(::socket(family, type, 0), "socket")};
  check(::fcntl(fd_of(socket), F_SETFD, FD_CLOEXEC), "fcntl");
  small_buffers(socket.view());
  return socket;
}

ferry::Socket listen_at(const Name& name) {
  ferry::Socket socket = new_socket(name.get()->sa_family);
  check(::bind(fd_of(socket), name.get(), name.length), "bind");
  check(::listen(fd_of(socket), 100), "listen");
  return socket;
}

ferry::Socket datagrams_at(const Name& name) {
  ferry::Socket socket = new_socket(name.get()->sa_family, SOCK_DGRAM);
  check(::bind(fd_of(socket), name.get(), name.length), "bind");
  unblock(socket);
  return socket;
}

Name name_of(const ferry::Address& address) {
  const bool ip = address.family() == ferry::Family::ipv4;
  return ip ? tcp_name(address.port()) : unix_name(address.path());
}

ferry::Address address_of(const Name& name) {
  if (name.length <= sizeof name.storage.ss_family) return {};
  if (name.storage.ss_family == AF_UNIX) {
    return ferry::Address::unix_path(reinterpret_cast<const sockaddr_un&>(name.storage).sun_path);
  }
  return {"127.0.0.1", ntohs(reinterpret_cast<const sockaddr_in&>(name.storage).sin_port)};
}

void no_delay(const ferry::Socket& socket, ferry::Family family) {
  if (family == ferry::Family::ipv4) socket.view().setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
}

Moved moved(ssize_t count) {
  if (count >= 0) return {static_cast<std::size_t>(count), {}};
  return {0, {errno, std::generic_category()}};
}

}  // namespace

void small_buffers(const ferry::SocketView& socket) {
  socket.setsockopt(SOL_SOCKET, SO_SNDBUF, buffer);
  socket.setsockopt(SOL_SOCKET, SO_RCVBUF, buffer);
}

ferry::Socket listen_tcp() { return listen_at(tcp_name(0)); }
ferry::Socket listen_unix(const std::string& path) { return listen_at(unix_name(path)); }

ferry::Socket accept_one(const ferry::Socket& listener) {
  ferry::Socket socket{check(::accept(fd_of(listener), nullptr, nullptr), "accept")};
  unblock(socket);
  no_delay(socket, socket.view().getsockname().family());
  return socket;
}

ferry::Socket bind_udp() { return datagrams_at(tcp_name(0)); }
ferry::Socket bind_unix_datagrams(const std::string& path) {
  return datagrams_at(unix_name(path));
}

std::error_code send_datagram(const ferry::Socket& socket, ferry::BytesView data,
                              const ferry::Address& to) {
  const Name name = name_of(to);
  return moved(::sendto(fd_of(socket), data.data(), data.size(), 0, name.get(), name.length))
      .error;
}

bool receive_datagram(const ferry::Socket& socket, std::string& data, ferry::Address& from) {
  data.resize(65536);
  Name name;
  name.length = sizeof name.storage;
  const ssize_t size = ::recvfrom(fd_of(socket), data.data(), data.size(), 0,
                                  reinterpret_cast<sockaddr*>(&name.storage), &name.length);
  if (size < 0) return false;
  data.resize(static_cast<std::size_t>(size));
  from = address_of(name);
  return true;
}

ferry::Socket connect_to(const ferry::Address& address) {
  const bool tcp = address.family() == ferry::Family::ipv4;
  const Name name = tcp ? tcp_name(address.port()) : unix_name(address.path());
  ferry::Socket socket = new_socket(tcp ? AF_INET : AF_UNIX);
  check(::connect(fd_of(socket), name.get(), name.length), "connect");
  unblock(socket);
  no_delay(socket, address.family());
  return socket;
}

ferry::PipePair new_pipe(const std::string& kind, const std::string& path) {
  if (kind == "pipe") {
    ferry::PipePair ends = ferry::make_pipe();
    for (const ferry::Pipe* end : {&ends.read, &ends.write}) {
      unblock(static_cast<int>(end->fileno()));
    }
    return ends;
  }
  if (kind == "fifo") {
    check(::mkfifo(path.c_str(), 0600), "mkfifo");
    const auto opened = [&](int how) {
      return ferry::Pipe{check(::open(path.c_str(), how | O_NONBLOCK | O_CLOEXEC), "open")};
    };
    ferry::Pipe read = opened(O_RDONLY);  // the first: else nobody is there to write to
    return {std::move(read), opened(O_WRONLY)};
  }
  auto [read, write] = ferry::socketpair();
  for (const ferry::Socket* socket : {&read, &write}) {
    small_buffers(socket->view());
    unblock(*socket);
  }
  return {ferry::Pipe{read.detach()}, ferry::Pipe{write.detach()}};
}

Moved send_some(const ferry::Socket& socket, ferry::BytesView data) {
  return moved(::write(fd_of(socket), data.data(), data.size()));
}
Moved receive_some(const ferry::Socket& socket, std::span<char> into) {
  return moved(::read(fd_of(socket), into.data(), into.size()));
}
std::string make_folder(std::string path) {
  if (::mkdtemp(path.data()) == nullptr) check(-1, "mkdtemp");
  return path;
}
void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }
void shut_write(const ferry::Socket& socket) { ::shutdown(fd_of(socket), SHUT_WR); }

void reset_at_close(const ferry::Socket& socket) {
  const linger at_once{1, 0};
  ::setsockopt(fd_of(socket), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

bool is_dead(ferry::NativeHandle handle) {
  pollfd watched{static_cast<int>(handle), 0, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & (POLLERR | POLLHUP)) != 0;
}

bool has_left(ferry::NativeHandle handle) {
  int waiting = 0;
  return ::ioctl(static_cast<int>(handle), TIOCOUTQ, &waiting) != 0 || waiting == 0;
}

bool has_come(ferry::NativeHandle handle, std::size_t count) {
  std::vector<char> memory(count);
  const ssize_t got = ::recv(static_cast<int>(handle), memory.data(), count,
                             MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) return errno != EAGAIN && errno != EWOULDBLOCK;
  return got == 0 || static_cast<std::size_t>(got) >= count;
}

}  // namespace conformance
