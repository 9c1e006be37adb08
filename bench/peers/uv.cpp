// libuv. Streams: one shared read buffer; uv_try_write first, which allocates nothing; what it
// leaves goes through uv_write, and reading stops until that is out. Datagrams: many at once from
// the system, uv_udp_try_send for each.
#include <uv.h>

#include <cstring>
#include <string>
#include <vector>

#include "listen.hpp"

namespace {

bench::Mode mode;
char buffer[bench::chunk];

struct Pending {
  uv_write_t request;
  std::vector<char> bytes;
};

void on_closed(uv_handle_t* handle) { delete reinterpret_cast<uv_tcp_t*>(handle); }

void close_stream(uv_stream_t* stream) {
  uv_close(reinterpret_cast<uv_handle_t*>(stream), on_closed);
}

void on_alloc(uv_handle_t*, std::size_t, uv_buf_t* out) {
  *out = uv_buf_init(buffer, sizeof buffer);
}

void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t* data);

void on_written(uv_write_t* request, int status) {
  uv_stream_t* stream = request->handle;
  delete static_cast<Pending*>(request->data);
  if (uv_is_closing(reinterpret_cast<uv_handle_t*>(stream)) != 0) return;
  if (status < 0)
    close_stream(stream);
  else
    uv_read_start(stream, on_alloc, on_read);
}

void write_later(uv_stream_t* stream, const char* from, std::size_t size) {
  auto* pending = new Pending{{}, {from, from + size}};
  pending->request.data = pending;
  uv_buf_t out = uv_buf_init(pending->bytes.data(), static_cast<unsigned>(size));
  uv_read_stop(stream);
  uv_write(&pending->request, stream, &out, 1, on_written);
}

void answer(uv_stream_t* stream, char* from, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    std::size_t length = size - done;
    if (mode == bench::Mode::split && length > bench::message) length = bench::message;
    uv_buf_t out = uv_buf_init(from + done, static_cast<unsigned>(length));
    const int written = uv_try_write(stream, &out, 1);
    if (written < 0) {
      if (written == UV_EAGAIN) break;
      return close_stream(stream);
    }
    done += static_cast<std::size_t>(written);
    if (static_cast<std::size_t>(written) < length) break;
  }
  if (done < size) write_later(stream, from + done, size - done);
}

void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t* data) {
  if (n < 0) return close_stream(stream);
  if (n == 0 || mode == bench::Mode::sink) return;
  answer(stream, data->base, static_cast<std::size_t>(n));
}

// --- datagrams ---

constexpr std::size_t most_datagrams = 20;  // libuv takes no more at once, in 64 KiB each
char datagrams[most_datagrams * bench::chunk];

struct PendingDatagram {
  uv_udp_send_t request;
  std::vector<char> bytes;
};

void on_datagram_alloc(uv_handle_t*, std::size_t, uv_buf_t* out) {
  *out = uv_buf_init(datagrams, sizeof datagrams);
}

void on_datagram_sent(uv_udp_send_t* request, int) {
  delete static_cast<PendingDatagram*>(request->data);
}

void on_datagram(uv_udp_t* socket, ssize_t n, const uv_buf_t* data, const sockaddr* from,
                 unsigned) {
  if (n < 0 || from == nullptr) return;  // no more for now
  uv_buf_t out = uv_buf_init(data->base, static_cast<unsigned>(n));
  if (uv_udp_try_send(socket, &out, 1, from) != UV_EAGAIN) return;
  auto* pending = new PendingDatagram{{}, {data->base, data->base + n}};
  pending->request.data = pending;
  out.base = pending->bytes.data();
  uv_udp_send(&pending->request, socket, &out, 1, from, on_datagram_sent);
}

int serve_datagrams(uv_loop_t* loop, std::uint16_t port) {
  uv_udp_t socket;
  uv_os_fd_t fd = -1;
  uv_udp_init_ex(loop, &socket, AF_INET | UV_UDP_RECVMMSG);
  const sockaddr_in address = bench::loopback(port);
  if (uv_udp_bind(&socket, reinterpret_cast<const sockaddr*>(&address), 0) != 0)
    bench::fail("bind");
  uv_fileno(reinterpret_cast<uv_handle_t*>(&socket), &fd);
  bench::set_datagram_buffers(fd);
  uv_udp_recv_start(&socket, on_datagram_alloc, on_datagram);
  bench::ready();
  return uv_run(loop, UV_RUN_DEFAULT);
}

void on_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* client = new uv_tcp_t;
  auto* stream = reinterpret_cast<uv_stream_t*>(client);
  uv_tcp_init(listener->loop, client);
  if (uv_accept(listener, stream) != 0) return close_stream(stream);
  uv_tcp_nodelay(client, 1);
  uv_read_start(stream, on_alloc, on_read);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version = std::string{"libuv "} + uv_version_string();
  const auto arguments =
      bench::parse(argc, argv, version.c_str(), {}, bench::Serves::plain, {bench::Mode::udp});
  mode = arguments.mode;
  uv_loop_t* loop = uv_default_loop();
  if (mode == bench::Mode::udp) return serve_datagrams(loop, arguments.port);
  uv_tcp_t listener;
  uv_tcp_init(loop, &listener);
  const sockaddr_in address = bench::loopback(arguments.port);
  if (uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0) != 0)
    bench::fail("bind");
  if (uv_listen(reinterpret_cast<uv_stream_t*>(&listener), bench::backlog, on_connection) != 0)
    bench::fail("listen");
  bench::ready();
  return uv_run(loop, UV_RUN_DEFAULT);
}
