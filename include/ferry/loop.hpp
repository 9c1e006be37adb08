// The event loop.
#pragma once

#include <ferry/address.hpp>
#include <ferry/callback.hpp>
#include <ferry/error.hpp>
#include <ferry/export.hpp>
#include <ferry/future.hpp>
#include <ferry/handle.hpp>
#include <ferry/pipe.hpp>
#include <ferry/process.hpp>
#include <ferry/protocols.hpp>
#include <ferry/server.hpp>
#include <ferry/socket.hpp>
#include <ferry/ssl.hpp>
#include <ferry/subprocess.hpp>
#include <ferry/task.hpp>
#include <ferry/transports.hpp>

#include <chrono>
#include <csignal>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ferry {

class Loop;
class SimWorld;

namespace internal {
class BackendParts;
struct PolledBatch;
}  // namespace internal

// The way a loop waits for the system: chosen when the loop is made.
class FERRY_API Backend {
 public:
  static Backend native();  // the best one of this system
  static Backend epoll();   // Linux; throws NotSupported elsewhere
  static Backend kqueue();  // macOS and the BSDs; throws NotSupported elsewhere
  static Backend poll();    // poll(2): the portable reference, on every POSIX system
  static Backend iocp();    // Windows: a completion port; throws NotSupported elsewhere
  // By name, "native", "epoll", "kqueue", "poll", "iocp"; throws std::invalid_argument for another
  // one.
  static Backend named(std::string_view name);

  Backend(Backend&&) noexcept;
  Backend& operator=(Backend&&) noexcept;
  ~Backend();
  std::string_view name() const noexcept;

 private:
  friend class Loop;
  friend class SimWorld;
  explicit Backend(std::unique_ptr<internal::BackendParts> parts) noexcept;
  std::unique_ptr<internal::BackendParts> parts_;
};

// What the exception handler is told. Views and pointers are valid during the call.
struct ExceptionContext {
  std::string_view message;
  Error exception;
  BaseTransport* transport = nullptr;
  BaseProtocol* protocol = nullptr;
  SocketView socket;
  std::source_location where;  // of a plain callback: where it was scheduled
};
using ExceptionHandler = std::function<void(Loop&, const ExceptionContext&)>;

enum class LogLevel { debug, info, warning, error };
using LogSink = std::function<void(LogLevel, std::string_view)>;

// A transport and the protocol that it calls: what create_connection() gives.
template <class P = StreamProtocol>
struct Connection {
  std::shared_ptr<Transport> transport;
  std::shared_ptr<P> protocol;
};

// The same for datagrams: what create_datagram_endpoint() gives.
template <class P = BaseDatagramProtocol>
struct DatagramEndpoint {
  std::shared_ptr<DatagramTransport> transport;
  std::shared_ptr<P> protocol;
};

// The same for pipes: what connect_read_pipe() and connect_write_pipe() give.
template <class P = StreamProtocol>
struct ReadPipe {
  std::shared_ptr<ReadTransport> transport;
  std::shared_ptr<P> protocol;
};
template <class P = StreamProtocol>
struct WritePipe {
  std::shared_ptr<WriteTransport> transport;
  std::shared_ptr<P> protocol;
};

// The same for children: what subprocess_exec() and subprocess_shell() give.
template <class P = SubprocessProtocol>
struct Subprocess {
  std::shared_ptr<SubprocessTransport> transport;
  std::shared_ptr<P> protocol;
};

struct ConnectOptions {
  Family family = Family::none;        // none: any
  std::string_view local_host = {};    // bind to it first; resolved if it is a name
  int local_port = 0;
  Address local_addr = {};             // the same as an address; wins over local_host
  bool all_errors = false;             // name every address's error, even if they are alike
  // As in SslOptions, but server_hostname is the host unless it is given.
  const SslContext* ssl = nullptr;
  std::optional<std::string_view> server_hostname = {};
  std::optional<Seconds> ssl_handshake_timeout = {};
  std::optional<Seconds> ssl_shutdown_timeout = {};
  const SslSession* ssl_session = nullptr;
};
struct ServerOptions {
  Family family = Family::none;              // none: IPv4 and IPv6
  int backlog = 100;
  std::optional<bool> reuse_address = {};    // default: on where that is safe (POSIX)
  bool reuse_port = false;
  bool keep_alive = false;                   // SO_KEEPALIVE on every connection
  bool start_serving = true;                 // false: bound, but connections are refused (T-105)
  const SslContext* ssl = nullptr;           // TLS on every connection; as in SslOptions
  std::optional<Seconds> ssl_handshake_timeout = {};
  std::optional<Seconds> ssl_shutdown_timeout = {};
};
struct UnixServerOptions {
  int backlog = 100;
  bool cleanup_socket = true;  // at close unlink the path, if it is still ours
  bool start_serving = true;
  const SslContext* ssl = nullptr;
  std::optional<Seconds> ssl_handshake_timeout = {};
  std::optional<Seconds> ssl_shutdown_timeout = {};
};
// An endpoint has a local address, a remote one, both, or only a family. Each is an
// address, which wins, or a host and a port, which are resolved.
struct DatagramOptions {
  Address local_addr = {};
  Address remote_addr = {};            // to whom, and from nobody else
  std::string_view local_host = {};
  Port local_port = 0;
  std::string_view remote_host = {};
  Port remote_port = 0;
  Family family = Family::none;
  bool reuse_port = false;
  // SO_BROADCAST. With a remote address the socket is then not connected: datagrams come from
  // whoever answers.
  bool allow_broadcast = false;
  bool packet_info = false;            // fills Datagram::info of what comes
  // Whether the kernel may cut what is sent into datagrams, and join those that came, where it can
  // (GSO, GRO): one call for many of one size. The protocol sees no difference.
  bool offload = true;
};

// Makes protocols, and knows where it was asked to.
template <class P>
class ProtocolFactory {
 public:
  using Make = Function<std::shared_ptr<P>()>;
  ProtocolFactory() noexcept = default;
  ProtocolFactory(Make make, const std::source_location& where) noexcept
      : make_{std::move(make)}, where_{where} {}
  std::shared_ptr<P> operator()() { return make_(); }
  const std::source_location& where() const noexcept { return where_; }
  void reset() noexcept { make_.reset(); }

 private:
  Make make_;
  std::source_location where_;
};
using StreamProtocolFactory = ProtocolFactory<StreamProtocol>;
using DatagramProtocolFactory = ProtocolFactory<BaseDatagramProtocol>;
using SubprocessProtocolFactory = ProtocolFactory<SubprocessProtocol>;

// Runs callbacks, timers, transports and tasks, in one thread. Everything of it but
// call_soon_threadsafe() belongs to the thread that runs it (S-005); in debug mode other threads
// are refused with MisuseError before anything changes (T-199).
//
// ~Loop closes everything that is open and calls nobody: no callback, no protocol. Transports,
// servers, handles and futures may outlive it and do nothing from then on.
class FERRY_API Loop {
 public:
  using Where = std::source_location;

  Loop();  // on Backend::native(); throws OsError
  explicit Loop(Backend backend);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  // --- Callbacks and time (A-035, A-036) ---

  // Runs `callback` in the next turn; callbacks run in the order in which they were scheduled.
  Handle call_soon(Callback callback, Where where = Where::current());
  // In `delay` (0 or less: the next turn), by a steady clock, never early. An infinite delay never
  // comes; NaN throws std::invalid_argument (T-188). Equal deadlines keep their order.
  TimerHandle call_later(Seconds delay, Callback callback, Where where = Where::current());
  TimerHandle call_at(TimePoint when, Callback callback, Where where = Where::current());
  // The same as call_soon(), from any thread, also while the loop sleeps: it is woken. The loop
  // must outlive the call. Throws MisuseError if the loop is closed.
  ThreadsafeHandle call_soon_threadsafe(Callback callback, Where where = Where::current());
  // Now, by the loop's clock; read afresh at every call (T-191).
  TimePoint time() const noexcept;

  // --- Running ---

  // Until stop(). Throws MisuseError inside a running loop or on a closed one (T-194).
  void run_forever();
  // Runs until `task` or `future` is done, and returns its result (of a future a copy, if it can be
  // copied) or throws what it threw. If stop() ends the run first: MisuseError, and the task lives
  // on. MisuseError for another loop's future.
  template <class T>
  T run_until_complete(Task<T> task) {
    check_can_run();  // else it would begin without anybody waiting for it
    Future<T> future = create_task(std::move(task));
    run_until_done(*future.state_);
    return future.take_result();
  }
  template <class T>
  T run_until_complete(Future<T> future) {
    run_until_done(*future.state_);
    if constexpr (std::is_void_v<T> || std::is_copy_constructible_v<T>) {
      return future.result();  // others may have the future as well
    } else {
      return future.take_result();
    }
  }
  // The current turn is finished, then run_forever() returns; before a run: after one turn. If
  // run_until_complete() ends by itself in that very turn, the next run_forever() is meant (T-193).
  void stop();
  bool is_running() const noexcept;
  // Closes what is open, without a callback; the loop cannot run again. Nothing the second time;
  // MisuseError while it runs.
  void close();
  bool is_closed() const noexcept;

  // One turn in three steps, so that another loop can drive this one: wait for events (at
  // most `timeout`; default: as long as the loop itself would), take them in, run what is ready.
  class FERRY_API Events {
   public:
    Events() noexcept;
    Events(Events&&) noexcept;
    Events& operator=(Events&&) noexcept;
    ~Events();
    std::size_t size() const noexcept;

   private:
    friend class internal::LoopCore;
    friend class Loop;
    std::unique_ptr<internal::PolledBatch> batch_;
  };
  Events poll_events(std::optional<Seconds> timeout = std::nullopt);
  void process_events(Events events);
  void process_ready();

  // Before the loop sleeps it looks for events for this long without sleeping: costs CPU, saves the
  // time of a wake-up. Zero, the default: off.
  void set_busy_poll(Seconds duration);

  // --- Futures and tasks ---

  template <class T>
  Future<T> create_future() {
    return Future<T>{std::make_shared<internal::FutureStateOf<T>>(control())};
  }
  // The loop runs the coroutine from its next turn on. The future is its result; cancelling the
  // future cancels the coroutine, dropping it does not.
  template <class T>
  Future<T> create_task(Task<T> task) {
    if (!task) throw MisuseError{"create_task: the task is empty: awaited or moved from already"};
    auto root = std::make_shared<internal::RootTaskOf<T>>(control(),
                                                          std::exchange(task.frame_, nullptr));
    start_task(root);
    return Future<T>{root->future()};
  }
  Task<void> sleep(Seconds delay);

  // --- Streams ---
  //
  // `factory` returns a shared_ptr to a new protocol: a lambda, or ferry::make<P>. Arguments that
  // are wrong throw at the call; what the system refuses is thrown where the task is awaited
  // (C-22).

  // Connects by TCP: a numeric host without a look-up, a name through the resolver's own threads;
  // all addresses are tried in the resolver's order. A port may be a number or a service name.
  template <class Factory>
  auto create_connection(Factory factory, std::string_view host, Port port,
                         ConnectOptions options = {}, Where where = Where::current()) {
    return typed<Factory>(
        connect_tcp(erased(std::move(factory), where), host, port, options));
  }
  // Takes over a connected stream socket (S-092). If it is no such thing: std::invalid_argument at
  // the call, and the socket stays the caller's (T-123).
  template <class Factory>
  auto create_connection(Factory factory, Socket&& sock, SslOptions options = {},
                         Where where = Where::current()) {
    return typed<Factory>(
        connect_socket(erased(std::move(factory), where), std::move(sock), options));
  }
  template <class Factory>
  auto create_unix_connection(Factory factory, std::string_view path, SslOptions options = {},
                              Where where = Where::current()) {
    return typed<Factory>(connect_unix(erased(std::move(factory), where), path, options));
  }
  // As the server's side of a connection that was accepted elsewhere.
  template <class Factory>
  auto connect_accepted_socket(Factory factory, Socket&& sock, SslOptions options = {},
                               Where where = Where::current()) {
    return typed<Factory>(
        accept_socket(erased(std::move(factory), where), std::move(sock), options));
  }

  // Listens by TCP. The factory is called once for every connection (S-087). An empty host means
  // every interface; several addresses of port 0 share one port (T-109).
  template <class Factory>
  Task<std::shared_ptr<Server>> create_server(Factory factory, std::string_view host, Port port,
                                              ServerOptions options = {},
                                              Where where = Where::current()) {
    return listen_tcp(erased(std::move(factory), where), std::span{&host, 1}, port, options);
  }
  template <class Factory>
  Task<std::shared_ptr<Server>> create_server(Factory factory,
                                              std::initializer_list<std::string_view> hosts,
                                              Port port, ServerOptions options = {},
                                              Where where = Where::current()) {
    return listen_tcp(erased(std::move(factory), where), std::span{hosts.begin(), hosts.size()},
                      port, options);
  }
  // Serves on a bound stream socket that the caller made.
  template <class Factory>
  Task<std::shared_ptr<Server>> create_server(Factory factory, Socket&& sock,
                                              ServerOptions options = {},
                                              Where where = Where::current()) {
    return listen_socket(erased(std::move(factory), where), std::move(sock), options);
  }
  // A stale socket file at `path` is removed, a live server's is not (T-113).
  template <class Factory>
  Task<std::shared_ptr<Server>> create_unix_server(Factory factory, std::string_view path,
                                                   UnixServerOptions options = {},
                                                   Where where = Where::current()) {
    return listen_unix(erased(std::move(factory), where), path, options);
  }

  // An endpoint for datagrams: UDP, or a Unix socket of that kind if an address is a path,
  // where a stale socket file is removed first. Without any address or family it is a
  // std::invalid_argument; a port is never shared unasked (T-151).
  template <class Factory>
  auto create_datagram_endpoint(Factory factory, DatagramOptions options,
                                Where where = Where::current()) {
    return typed_endpoint<Factory>(
        open_datagrams(erased_datagrams(std::move(factory), where), options));
  }
  // On a datagram socket that the caller made. Of the options only packet_info and offload count.
  template <class Factory>
  auto create_datagram_endpoint(Factory factory, Socket&& sock, DatagramOptions options = {},
                                Where where = Where::current()) {
    return typed_endpoint<Factory>(adopt_datagrams(erased_datagrams(std::move(factory), where),
                                                   std::move(sock), options));
  }

  // --- Pipes (A-028) ---

  // A pipe, FIFO, terminal, character device or (POSIX) socket that is only read, or only written.
  // The protocol is a stream's, its Transport refuses the other direction with NotSupported. The
  // end of a pipe that is read comes as eof_received(); of one that is written, when its reader
  // goes, as connection_lost(): none if nothing waited to be written, else broken pipe (T-152).
  // write_eof() of a write pipe is its close().
  // What cannot be such a pipe (a file, a directory, a handle that the loop knows already) is a
  // std::invalid_argument at the call, and stays the caller's as it was (T-157, T-159). Flags that
  // are changed (O_NONBLOCK) are changed back when the transport, or the loop, closes it; until
  // then whoever shares what is open, a terminal's shell or a child that inherits it, finds it so.
  // `outlive_writers` is refused at the await, and the pipe is closed, where it cannot be.
  template <class Factory>
  auto connect_read_pipe(Factory factory, Pipe&& end, PipeOptions options = {},
                         Where where = Where::current()) {
    return pipe_as<ReadPipe<ProtocolOf<Factory>>>(
        open_read_pipe(erased(std::move(factory), where), std::move(end), options));
  }
  template <class Factory>
  auto connect_write_pipe(Factory factory, Pipe&& end, PipeOptions options = {},
                          Where where = Where::current()) {
    return pipe_as<WritePipe<ProtocolOf<Factory>>>(
        open_write_pipe(erased(std::move(factory), where), std::move(end), options));
  }
  // Windows' named pipes, in both directions; elsewhere NotSupported. The name begins with
  // \\.\pipe\. A server whose instances are all taken is waited for. can_write_eof() is false.
  template <class Factory>
  auto create_pipe_connection(Factory factory, std::string_view name,
                              Where where = Where::current()) {
    return typed<Factory>(connect_named_pipe(erased(std::move(factory), where), name));
  }
  // Serves at a name. The factory is called once for every client.
  template <class Factory>
  Task<std::shared_ptr<PipeServer>> start_serving_pipe(Factory factory, std::string_view name,
                                                       Where where = Where::current()) {
    return serve_named_pipe(erased(std::move(factory), where), name);
  }

  // --- Child processes (A-029) ---

  // Starts a program, `argv` with its own name first: looked for in the child's PATH if that has no
  // slash, else, if it is relative, from the child's directory (Windows: from this process's). The
  // task is done when it runs; if it cannot be started, OsError says so with the program and the
  // step ("exec /bin/nope: no such file or directory"), nothing is left of it, and no
  // connection_made() is called. What nobody could start (no program, a NUL in an argument) is a
  // std::invalid_argument at the call.
  // A new thread starts it, so a slow start does not hold up the loop (T-176); while 16 are slow
  // others wait for one of them. That thread has what this one has now, and so has the child: nice,
  // CPUs, capabilities, namespaces (T-174). On Linux it stays until the child has been reaped: it
  // is the parent for whose end PR_SET_PDEATHSIG waits. Who cancels a start that waits for its turn
  // has nothing started.
  // The child has an empty signal mask, every signal at its default, and of our handles only what
  // the options say (T-165, T-172). Its streams are pipes unless the options say otherwise: what
  // nobody reads holds it up when 64 KiB or so are there. (asyncio's have the parent's.)
  template <class Factory>
  auto subprocess_exec(Factory factory, const Arguments& argv, SubprocessOptions options = {},
                       Where where = Where::current()) {
    return child_as<ProtocolOf<Factory>>(
        start_program(erased_child(std::move(factory), where), argv, options));
  }
  // A command line for the system's shell: /bin/sh -c, or what COMSPEC names.
  template <class Factory>
  auto subprocess_shell(Factory factory, std::string_view command, SubprocessOptions options = {},
                        Where where = Where::current()) {
    return child_as<ProtocolOf<Factory>>(
        start_shell(erased_child(std::move(factory), where), command, options));
  }
  // The same as a Process, for coroutines.
  Task<Process> create_subprocess_exec(const Arguments& argv, SubprocessOptions options = {},
                                       Where where = Where::current());
  Task<Process> create_subprocess_shell(std::string_view command, SubprocessOptions options = {},
                                        Where where = Where::current());

  // Upgrades an open connection of this loop's to TLS, also one that is TLS already (A-010, C-21).
  // The transport stays the same object and keeps its protocol, which hears nothing of it; the
  // task is done when the handshake is.
  //
  // From the call on, whether awaited yet or not, no byte in clear is delivered any more (T-094):
  // what the protocol holds of the peer's TLS goes into `options.received`. What was written before
  // still goes out in clear, what is written from now on in TLS, once the handshake is done
  // (T-066, T-095). Marks that were not set become those of TLS; can_write_eof() turns false.
  //
  // After write_eof() or while closing: MisuseError, and nothing has changed. If the handshake
  // fails, the task throws, and the protocol's connection_lost(error) comes once (T-096); so it
  // does, with none, if the task is dropped or cancelled before.
  Task<void> start_tls(Transport& transport, const SslContext& context,
                       StartTlsOptions options = {});

  // --- Handles of one's own (A-033) ---

  // Calls `callback` whenever `handle` can be read or written; one of each kind per handle, a
  // second one replaces the first. Throws OsError if the system cannot watch it (a regular file),
  // MisuseError for a handle that a transport owns.
  void add_reader(NativeHandle handle, Callback callback, Where where = Where::current());
  void add_writer(NativeHandle handle, Callback callback, Where where = Where::current());
  // Whether there was one.
  bool remove_reader(NativeHandle handle);
  bool remove_writer(NativeHandle handle);

  // --- Signals (A-034) ---

  // Calls `callback` in the loop's thread after `signal` came, to whichever thread of the process;
  // several that come at once may be one call. Any loop may take it, in any thread: all that have
  // it are called. A loop has one callback for it, the last. Throws std::invalid_argument for what
  // cannot be caught, and for SIGSEGV and its like, which come to the thread that is at fault.
  // After a fork() the child's copy of a loop hears of no signal of the child's: to those it is as
  // if no loop had taken them.
  // On Windows: SIGINT is Ctrl+C, SIGBREAK is Ctrl+Break, SIGTERM is the console's end: the window
  // closed, or shutdown; the system gives the process a few seconds then.
  void add_signal_handler(int signal, Callback callback, Where where = Where::current());
  // One that came and was not called for yet is dropped. After the last loop's, the former
  // disposition comes back, unless somebody has replaced ferry's meanwhile. Whether there was a
  // handler.
  bool remove_signal_handler(int signal);

  // --- Errors, logs, debugging ---

  // Empty: back to the default, which logs.
  void set_exception_handler(ExceptionHandler handler);
  ExceptionHandler get_exception_handler() const;
  // Never throws: a handler that throws is reported itself (T-011).
  void call_exception_handler(const ExceptionContext& context) noexcept;
  void default_exception_handler(const ExceptionContext& context);
  // Where log lines go; empty: standard error.
  void set_log_sink(LogSink sink);
  void log(LogLevel level, std::string_view text) noexcept;

  // Debug mode: callbacks slower than slow_callback_duration are logged with the place
  // where they were scheduled, calls from a wrong thread are refused, close() names what was left
  // open and where it was made.
  // On from the start if the environment has FERRY_DEBUG set to something but 0.
  void set_debug(bool on);
  bool get_debug() const noexcept;
  void set_slow_callback_duration(Seconds duration);  // 100 ms

  std::string_view backend() const noexcept;
  // What is open, a line each: transports and servers with the place where they were made, handles
  // that are watched, how many tasks there are. For logs and tests; the words may change.
  std::string describe() const;

 private:
  friend class internal::LoopCore;
  using Erased = Connection<StreamProtocol>;

  template <class Factory>
  using ProtocolOf =
      typename std::invoke_result_t<std::decay_t<Factory>&>::element_type;

  template <class Factory>
  static StreamProtocolFactory erased(Factory factory, const Where& where) {
    static_assert(std::is_base_of_v<StreamProtocol, ProtocolOf<Factory>>,
                  "the factory returns a shared_ptr to a Protocol or a BufferedProtocol");
    return {std::move(factory), where};
  }
  template <class Factory>
  static Task<Connection<ProtocolOf<Factory>>> typed(Task<Erased> task) {
    return typed_as<ProtocolOf<Factory>>(std::move(task));
  }
  template <class P>
  static Task<Connection<P>> typed_as(Task<Erased> task) {
    Erased made = co_await std::move(task);
    Connection<P> result;
    result.transport = std::move(made.transport);
    result.protocol = std::static_pointer_cast<P>(std::move(made.protocol));
    co_return result;
  }

  using ErasedEndpoint = DatagramEndpoint<BaseDatagramProtocol>;
  template <class Factory>
  static DatagramProtocolFactory erased_datagrams(Factory factory, const Where& where) {
    static_assert(std::is_base_of_v<BaseDatagramProtocol, ProtocolOf<Factory>>,
                  "the factory returns a shared_ptr to a DatagramProtocol or a "
                  "DatagramBatchProtocol");
    return {std::move(factory), where};
  }
  template <class Factory>
  static Task<DatagramEndpoint<ProtocolOf<Factory>>> typed_endpoint(Task<ErasedEndpoint> task) {
    return endpoint_as<ProtocolOf<Factory>>(std::move(task));
  }
  template <class P>
  static Task<DatagramEndpoint<P>> endpoint_as(Task<ErasedEndpoint> task) {
    ErasedEndpoint made = co_await std::move(task);
    DatagramEndpoint<P> result;
    result.transport = std::move(made.transport);
    result.protocol = std::static_pointer_cast<P>(std::move(made.protocol));
    co_return result;
  }

  template <class Made>
  static Task<Made> pipe_as(Task<Erased> task) {
    Erased made = co_await std::move(task);
    Made result;
    result.transport = std::move(made.transport);
    using P = typename decltype(result.protocol)::element_type;
    result.protocol = std::static_pointer_cast<P>(std::move(made.protocol));
    co_return result;
  }

  using ErasedChild = Subprocess<SubprocessProtocol>;
  template <class Factory>
  static SubprocessProtocolFactory erased_child(Factory factory, const Where& where) {
    static_assert(std::is_base_of_v<SubprocessProtocol, ProtocolOf<Factory>>,
                  "the factory returns a shared_ptr to a SubprocessProtocol");
    return {std::move(factory), where};
  }
  template <class P>
  static Task<Subprocess<P>> child_as(Task<ErasedChild> task) {
    ErasedChild made = co_await std::move(task);
    Subprocess<P> result;
    result.transport = std::move(made.transport);
    result.protocol = std::static_pointer_cast<P>(std::move(made.protocol));
    co_return result;
  }

  Task<Erased> open_read_pipe(StreamProtocolFactory factory, Pipe&& end,
                              const PipeOptions& options);
  Task<Erased> open_write_pipe(StreamProtocolFactory factory, Pipe&& end,
                               const PipeOptions& options);
  Task<Erased> connect_named_pipe(StreamProtocolFactory factory, std::string_view name);
  Task<std::shared_ptr<PipeServer>> serve_named_pipe(StreamProtocolFactory factory,
                                                     std::string_view name);
  Task<ErasedChild> start_program(SubprocessProtocolFactory factory, const Arguments& argv,
                                  const SubprocessOptions& options);
  Task<ErasedChild> start_shell(SubprocessProtocolFactory factory, std::string_view command,
                                const SubprocessOptions& options);
  Task<Erased> connect_tcp(StreamProtocolFactory factory, std::string_view host, Port port,
                           const ConnectOptions& options);
  Task<Erased> connect_socket(StreamProtocolFactory factory, Socket&& sock,
                              const SslOptions& options);
  Task<Erased> accept_socket(StreamProtocolFactory factory, Socket&& sock,
                             const SslOptions& options);
  Task<Erased> connect_unix(StreamProtocolFactory factory, std::string_view path,
                            const SslOptions& options);
  Task<std::shared_ptr<Server>> listen_tcp(StreamProtocolFactory factory,
                                           std::span<const std::string_view> hosts, Port port,
                                           const ServerOptions& options);
  Task<std::shared_ptr<Server>> listen_socket(StreamProtocolFactory factory, Socket&& sock,
                                              const ServerOptions& options);
  Task<std::shared_ptr<Server>> listen_unix(StreamProtocolFactory factory, std::string_view path,
                                            const UnixServerOptions& options);
  Task<ErasedEndpoint> open_datagrams(DatagramProtocolFactory factory,
                                      const DatagramOptions& options);
  Task<ErasedEndpoint> adopt_datagrams(DatagramProtocolFactory factory, Socket&& sock,
                                       const DatagramOptions& options);
  void check_can_run() const;
  void run_until_done(internal::FutureState& future);
  void start_task(std::shared_ptr<internal::RootTask> task);
  internal::ControlRef control() const noexcept;

  std::unique_ptr<internal::LoopCore> core_;
};

static_assert(std::is_trivially_destructible_v<ConnectOptions>);
static_assert(std::is_trivially_destructible_v<ServerOptions>);
static_assert(std::is_trivially_destructible_v<UnixServerOptions>);
static_assert(std::is_trivially_destructible_v<DatagramOptions>);
static_assert(std::is_trivially_destructible_v<PipeOptions>);
static_assert(std::is_trivially_destructible_v<Arguments>);
static_assert(std::is_trivially_destructible_v<SubprocessOptions>);
static_assert(std::is_trivially_destructible_v<SslOptions>);
static_assert(std::is_trivially_destructible_v<StartTlsOptions>);

}  // namespace ferry
