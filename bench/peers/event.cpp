// libevent's event layer: persistent read events, with recv and send of one's own.
#include <event2/event.h>
#include <event2/listener.h>

#include <string>
#include <vector>

#include "listen.hpp"

namespace {

event_base* base;
bench::Mode mode;
char buffer[bench::chunk];

struct Connection {
  event* readable = nullptr;
  event* writable = nullptr;
  std::vector<char> unsent;
  std::size_t unsent_from = 0;
};

void destroy(evutil_socket_t fd, Connection* c) {
  event_free(c->readable);
  if (c->writable != nullptr) event_free(c->writable);
  delete c;
  close(fd);
}

void on_writable(evutil_socket_t fd, short, void* argument) {
  auto* c = static_cast<Connection*>(argument);
  while (c->unsent_from < c->unsent.size()) {
    const ssize_t n = send(fd, c->unsent.data() + c->unsent_from, c->unsent.size() - c->unsent_from,
                           MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN)
        event_add(c->writable, nullptr);
      else
        destroy(fd, c);
      return;
    }
    c->unsent_from += static_cast<std::size_t>(n);
  }
  std::vector<char>{}.swap(c->unsent);
  event_add(c->readable, nullptr);
}

void write_later(evutil_socket_t fd, Connection* c, const char* from, const char* to) {
  c->unsent.assign(from, to);
  c->unsent_from = 0;
  event_del(c->readable);
  if (c->writable == nullptr) c->writable = event_new(base, fd, EV_WRITE, on_writable, c);
  event_add(c->writable, nullptr);
}

void on_readable(evutil_socket_t fd, short, void* argument) {
  auto* c = static_cast<Connection*>(argument);
  const ssize_t received = recv(fd, buffer, sizeof buffer, 0);
  if (received < 0 && errno == EAGAIN) return;
  if (received <= 0) return destroy(fd, c);
  if (mode == bench::Mode::sink) return;
  const auto size = static_cast<std::size_t>(received);
  std::size_t done = 0;
  while (done < size) {
    std::size_t length = size - done;
    if (mode == bench::Mode::split && length > bench::message) length = bench::message;
    const ssize_t n = send(fd, buffer + done, length, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) break;
      return destroy(fd, c);
    }
    done += static_cast<std::size_t>(n);
    if (static_cast<std::size_t>(n) < length) break;
  }
  if (done < size) write_later(fd, c, buffer + done, buffer + size);
}

void on_accept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void*) {
  auto* c = new Connection;
  c->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
  event_add(c->readable, nullptr);
}

// Until nothing is left; what a full socket refuses is dropped, as the network might have.
void on_datagram(evutil_socket_t fd, short, void*) {
  for (;;) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    auto* const peer = reinterpret_cast<sockaddr*>(&from);
    const ssize_t n = recvfrom(fd, buffer, sizeof buffer, 0, peer, &length);
    if (n < 0) return;
    sendto(fd, buffer, static_cast<std::size_t>(n), 0, peer, length);
  }
}

int serve_datagrams(std::uint16_t port) {
  event* readable =
      event_new(base, bench::bind_udp(port), EV_READ | EV_PERSIST, on_datagram, nullptr);
  event_add(readable, nullptr);
  bench::ready();
  return event_base_dispatch(base);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version = std::string{"libevent "} + event_get_version();
  const auto arguments =
      bench::parse(argc, argv, version.c_str(), {}, bench::Serves::plain, {bench::Mode::udp});
  mode = arguments.mode;
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
  base = event_base_new_with_config(config);
  if (mode == bench::Mode::udp) return serve_datagrams(arguments.port);
  const int listener = bench::listen_tcp(arguments.port);
  if (evconnlistener_new(base, on_accept, nullptr, LEV_OPT_CLOSE_ON_FREE, bench::backlog,
                         listener) == nullptr)
    bench::fail("listener");
  bench::ready();
  return event_base_dispatch(base);
}
