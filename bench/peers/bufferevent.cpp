// libevent's bufferevents: its transports. Echo moves the input buffer to the output buffer without
// copying; reading stops while more than 256 KiB of output waits.
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include <algorithm>
#include <string>

#include "listen.hpp"

namespace {

constexpr std::size_t high_water = std::size_t{256} * 1024;
event_base* base;
bench::Mode mode;

void on_drained_after_end(bufferevent* connection, void*) { bufferevent_free(connection); }

void on_drained(bufferevent* connection, void*) {
  if ((bufferevent_get_enabled(connection) & EV_READ) == 0) bufferevent_enable(connection, EV_READ);
}

void on_data(bufferevent* connection, void*) {
  evbuffer* input = bufferevent_get_input(connection);
  evbuffer* output = bufferevent_get_output(connection);
  if (mode == bench::Mode::sink) {
    evbuffer_drain(input, evbuffer_get_length(input));
    return;
  }
  if (mode == bench::Mode::split) {
    const std::size_t size = evbuffer_get_length(input);
    const unsigned char* bytes = evbuffer_pullup(input, -1);
    for (std::size_t i = 0; i < size; i += bench::message)
      bufferevent_write(connection, bytes + i, std::min(bench::message, size - i));
    evbuffer_drain(input, size);
  } else {
    evbuffer_add_buffer(output, input);
  }
  if (evbuffer_get_length(output) > high_water) bufferevent_disable(connection, EV_READ);
}

void on_event(bufferevent* connection, short what, void*) {
  const bool owes = evbuffer_get_length(bufferevent_get_output(connection)) > 0;
  if ((what & BEV_EVENT_ERROR) != 0 || !owes) {
    bufferevent_free(connection);
    return;
  }
  bufferevent_disable(connection, EV_READ);
  bufferevent_setcb(connection, nullptr, on_drained_after_end, on_event, nullptr);
}

void on_accept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void*) {
  bufferevent* connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_set_max_single_read(connection, bench::chunk);
  bufferevent_set_max_single_write(connection, bench::chunk);
  bufferevent_setcb(connection, on_data, on_drained, on_event, nullptr);
  bufferevent_enable(connection, EV_READ | EV_WRITE);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version = std::string{"libevent "} + event_get_version();
  const auto arguments = bench::parse(argc, argv, version.c_str());
  mode = arguments.mode;
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
