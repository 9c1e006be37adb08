// libuv: uv_spawn, whose pipes are socket pairs.
#include <uv.h>

#include <memory>
#include <string>

#include "child.hpp"

namespace {

uv_loop_t* loop;
char buffer[child::chunk];  // one for all, as libuv calls back before it reads the next
std::int64_t received, begun, ended, wanted;

struct Child {
  uv_process_t process;
  uv_pipe_t pipes[3];
  int open = 0;
};

void begin_next();

void on_closed(uv_handle_t* handle) {
  auto* const child = static_cast<Child*>(handle->data);
  if (--child->open > 0) return;
  delete child;
  ++ended;
  if (begun < wanted) begin_next();
}
void close_once(uv_handle_t* handle) {
  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}
void on_room(uv_handle_t*, size_t, uv_buf_t* room) { *room = uv_buf_init(buffer, sizeof buffer); }
void on_read(uv_stream_t* stream, ssize_t count, const uv_buf_t*) {
  if (count > 0) received += count;
  if (count < 0) close_once(reinterpret_cast<uv_handle_t*>(stream));
}
void on_exit(uv_process_t* process, int64_t status, int signal) {
  if (status != 0 || signal != 0) child::fail("the child's exit");
  auto* const child = static_cast<Child*>(process->data);
  close_once(reinterpret_cast<uv_handle_t*>(process));
  if (child->pipes[0].data != nullptr) close_once(reinterpret_cast<uv_handle_t*>(&child->pipes[0]));
}

// `piped`: a bit for each of its three streams.
void begin(char** arguments, unsigned piped) {
  ++begun;
  auto* const child = new Child{};
  uv_stdio_container_t streams[3]{};
  for (int i = 0; i < 3; ++i) {
    if ((piped >> i & 1u) == 0) {
      streams[i].flags = i == 0 ? UV_IGNORE : UV_INHERIT_FD;
      streams[i].data.fd = i;
      continue;
    }
    uv_pipe_init(loop, &child->pipes[i], 0);
    child->pipes[i].data = child;
    const unsigned way = i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE;
    streams[i].flags = static_cast<uv_stdio_flags>(UV_CREATE_PIPE | way);
    streams[i].data.stream = reinterpret_cast<uv_stream_t*>(&child->pipes[i]);
    ++child->open;
  }
  uv_process_options_t options{};
  options.exit_cb = on_exit;
  options.file = arguments[0];
  options.args = arguments;
  options.stdio = streams;
  options.stdio_count = 3;
  ++child->open;
  child->process.data = child;
  if (uv_spawn(loop, &child->process, &options) != 0) child::fail("uv_spawn");
  for (int i = 1; i < 3; ++i) {
    if ((piped >> i & 1u) == 0) continue;
    uv_read_start(reinterpret_cast<uv_stream_t*>(&child->pipes[i]), on_room, on_read);
  }
}

void begin_next() {
  char name[] = "/bin/true";
  char* arguments[] = {name, nullptr};
  begin(arguments, 7);
}

void spawn(std::int64_t n, std::int64_t together) {
  wanted = n;
  const child::Stopwatch watch;
  while (begun < std::min(n, together)) begin_next();
  uv_run(loop, UV_RUN_DEFAULT);
  if (ended != n) child::fail("the children");
  watch.print_spawned(n);
}

void stream(std::int64_t n) {
  std::string name = child::generator(), count = std::to_string(n);
  char* arguments[] = {name.data(), count.data(), nullptr};
  const child::Stopwatch watch;
  begin(arguments, 2);
  uv_run(loop, UV_RUN_DEFAULT);
  if (received != n) child::fail("the child's output");
  watch.print_streamed(n);
}

constexpr prims::Test tests[] = {
    {"spawn", [](std::int64_t n) { spawn(n, 1); }},
    {"spawn_many", [](std::int64_t n) { spawn(n, child::at_a_time); }},
    {"stream", stream},
};

}  // namespace

int main(int argc, char** argv) {
  loop = uv_default_loop();
  const std::string version = std::string{"libuv "} + uv_version_string();
  return child::run(argc, argv, version.c_str(), tests);
}
