// libevent's bufferevent_openssl. Echo moves the input buffer to the output buffer without copying;
// reading stops while more than 256 KiB of output waits.
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <string>

#include "listen.hpp"
#include "tls_context.hpp"

namespace {

constexpr std::size_t high_water = std::size_t{256} * 1024;
event_base* base;
SSL_CTX* context;
bool sink;

void on_drained(bufferevent* connection, void*) {
  if ((bufferevent_get_enabled(connection) & EV_READ) == 0) bufferevent_enable(connection, EV_READ);
}

void on_data(bufferevent* connection, void*) {
  evbuffer* input = bufferevent_get_input(connection);
  evbuffer* output = bufferevent_get_output(connection);
  if (sink)
    evbuffer_drain(input, evbuffer_get_length(input));
  else
    evbuffer_add_buffer(output, input);
  if (evbuffer_get_length(output) > high_water) bufferevent_disable(connection, EV_READ);
}

// After an end it does not send what it still has: nobody need wait for it.
void on_event(bufferevent* connection, short what, void*) {
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) bufferevent_free(connection);
}

void on_accept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void*) {
  bufferevent* connection = bufferevent_openssl_socket_new(
      base, fd, SSL_new(context), BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_openssl_set_allow_dirty_shutdown(connection, 1);
  bufferevent_setcb(connection, on_data, on_drained, on_event, nullptr);
  bufferevent_enable(connection, EV_READ | EV_WRITE);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version = bench::with_openssl(std::string{"libevent "} + event_get_version());
  const auto arguments = bench::parse(argc, argv, version.c_str(), {}, bench::Serves::tls);
  sink = arguments.mode == bench::Mode::sink;
  context = bench::server_context();
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
  base = event_base_new_with_config(config);
  const int listener = bench::listen_tcp(arguments.port);
  if (evconnlistener_new(base, on_accept, nullptr, LEV_OPT_CLOSE_ON_FREE, bench::backlog,
                         listener) == nullptr)
    bench::fail("listener");
  bench::ready();
  return event_base_dispatch(base);
}
