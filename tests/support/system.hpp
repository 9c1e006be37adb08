// What tests need of the system itself, by one name on each: posix/system.cpp, windows/system.cpp.
// These calls are the tests' own; only Socket's go through Calls.
#pragma once

#include "platform/backend.hpp"
#include "platform/sockets/calls.hpp"
#include "platform/sockets/socket_address.hpp"

#include <ferry/socket.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace test {

// --- What the system is like ---

bool has_unix_sockets();
// Whether a handle can be put in another one's place, under its number (dup2).
bool can_reuse_numbers();
// Whether ferry::socketpair() gives Unix sockets, which have no names and keep little.
bool has_unix_pairs();
// Whether bind() can be told to share: with connections that are left over, or among servers.
bool can_share_addresses();
// Whether is_nonblocking() knows.
bool can_tell_blocking(ferry::NativeHandle handle);
// Whether accept() gives all that a socket needs in one call.
bool accepted_from_birth();
// What watching a file, and what watching a closed handle fails with.
std::errc error_of_file();
std::errc error_of_closed();
// Whether a datagram that finds no buffers is dropped with an error, rather than let wait (S-082).
bool drops_datagrams();
// Whether a connected datagram socket is told of a port that nobody listens at.
bool hears_of_unreachable_ports();
// Whether the address that a datagram leaves from can be chosen.
bool can_choose_source();
// Whether traffic costs so much that tests of scale do less.
bool is_slow();

// --- Handles ---

// How many of the kind that ferry opens this process has.
std::size_t open_descriptors();
bool is_open(ferry::NativeHandle handle);
bool is_nonblocking(ferry::NativeHandle handle);
bool is_inherited(ferry::NativeHandle handle);
void set_nonblocking(ferry::NativeHandle handle);
// Another handle of the same socket.
ferry::Socket duplicate(ferry::NativeHandle handle);
inline ferry::Socket duplicate(const ferry::Socket& socket) { return duplicate(socket.fileno()); }
// `number`, closed or not, becomes another name of `original`.
void reuse_number(ferry::NativeHandle number, const ferry::Socket& original);
void close_plainly(ferry::NativeHandle handle);

// A handle that cannot be watched: of a file, or of a directory.
class Unwatchable {
 public:
  enum class Kind { file, directory };
  explicit Unwatchable(Kind kind = Kind::file);
  ~Unwatchable();
  Unwatchable(const Unwatchable&) = delete;
  Unwatchable& operator=(const Unwatchable&) = delete;
  ferry::NativeHandle fileno() const { return handle_; }

 private:
  ferry::NativeHandle handle_;
};

// What can be watched by its user: a pipe, or where pipes cannot, a connection. Non-blocking.
struct Pipe {
  Pipe();
  ferry::Socket read, write;
};
// Ends it so that it is neither read nor written any more.
void hang_up(ferry::Socket& end);
bool put(const ferry::Socket& into, std::string_view text = "x");  // all of it
std::string get(const ferry::Socket& from, std::size_t most = 4096);
void fill_up(const ferry::Socket& into);

// --- Sockets, by plain calls; errors are errno values ---

ferry::Socket new_socket(ferry::Family family, int type = SOCK_STREAM);
bool bind_to(const ferry::Socket& socket, const ferry::Address& address);
bool listen_on(const ferry::Socket& socket, int backlog);
ferry::Socket accept_one(const ferry::Socket& listener);
// 0, or the errno of connect().
int try_connect(ferry::NativeHandle handle, const ferry::Address& address);
// -1: errno says why.
std::ptrdiff_t send_plainly(ferry::NativeHandle handle, const void* data, std::size_t size);
std::ptrdiff_t receive_plainly(ferry::NativeHandle handle, void* into, std::size_t size);
std::ptrdiff_t send_datagram(ferry::NativeHandle handle, ferry::BytesView data,
                             const ferry::Address& to);
std::ptrdiff_t receive_datagram(ferry::NativeHandle handle, void* into, std::size_t size,
                                ferry::Address& from);
void shut_write(ferry::NativeHandle handle);
// Of a listening TCP socket; none: the system does not tell.
std::optional<int> backlog_of(ferry::SocketView listener);
// close() will reset the connection.
void reset_at_close(ferry::NativeHandle handle);

std::uint32_t loopback_interface();  // its number
// A link-local IPv6 address of this machine, with its scope; empty if none is found.
ferry::Address link_local();

// --- The process ---

int process_id();
// Whether this process has children: those that have ended and were not reaped are some, where
// there are such.
bool has_children();
void give_up_after(int seconds);  // ends the process
int some_signal();                // that a loop can take
// Delivers a signal before it returns; false: this system cannot.
bool raise_now(int signal);
std::size_t resident_bytes();
void set_environment(const char* name, const char* value);  // null: not in it
// Runs one test of this program in a process of its own; how it exited, -1 if it crashed.
int run_alone(const std::string& test);
std::string make_directory();  // a new one

// --- ferry's insides ---

// For loops that nobody polls.
std::unique_ptr<ferry::internal::BackendParts> plain_parts();

}  // namespace test
