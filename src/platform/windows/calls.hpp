// Every system call of the Windows platform, in one table.
//
// Windows' errors become errno values, which is what sockets/ knows and what users compare with.
#pragma once

#include "platform/poller.hpp"
#include "platform/sockets/hook.hpp"

#include "platform/windows/system.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>

// Windows has the error but no errno for it.
#ifndef EHOSTDOWN
#define EHOSTDOWN WSAEHOSTDOWN
#endif

namespace ferry::internal::calls {

// --- What sockets/ uses: the same on every system ---

using AddrInfo = ADDRINFOW;
using Part = WSABUF;  // of what is sent by one call
}  // namespace ferry::internal::calls

#include "platform/sockets/datagram_parts.hpp"

namespace ferry::internal::calls {
Part part(const void* data, std::size_t size) noexcept;
// Whether the selector tells of the peer's reset: here it may be the only one that knows.
constexpr bool selector_tells_resets = true;

NativeHandle stream_socket(int family);
NativeHandle datagram_socket(int family);
DatagramsMoved receive_many(NativeHandle handle, DatagramIn* in, std::size_t count,
                            ReceiveWhat what);
DatagramsMoved send_many(NativeHandle handle, DatagramOut* out, std::size_t count);
constexpr bool can_cut_segments(NativeHandle) noexcept { return false; }
constexpr bool join_segments(NativeHandle) noexcept { return false; }
int tell_packet_ways(NativeHandle handle, int family);
int membership(NativeHandle handle, int family, const Membership& of, bool join);
int set_option(NativeHandle handle, int family, DatagramOption option, int value);
constexpr bool drops_datagrams(int) noexcept { return false; }
inline void drop_error_queue(NativeHandle) noexcept {}
// AF_UNSPEC, and errno: it does not tell.
int family_of(NativeHandle handle);
// Whether a socket without a name can be asked for what has come.
constexpr bool receives_without_a_name = false;
// An unconnected socket is not to hear of ports that nobody listens at: it could not tell whose.
void ignore_unreachable(NativeHandle handle) noexcept;
int bind(NativeHandle handle, const sockaddr* address, socklen_t length);
int listen(NativeHandle handle, int backlog);
NativeHandle accept(NativeHandle handle, sockaddr* address, socklen_t* length);
// EINPROGRESS: under way.
int connect(NativeHandle handle, const sockaddr* address, socklen_t length);
std::ptrdiff_t recv(NativeHandle handle, void* into, std::size_t size);
std::ptrdiff_t send(NativeHandle handle, const void* from, std::size_t size);
// `parts` may be changed by the call.
std::ptrdiff_t sendmsg(NativeHandle handle, Part* parts, std::size_t count);
int shut_write(NativeHandle handle);  // ends the writing side
int close(NativeHandle handle);
int getsockname(NativeHandle handle, sockaddr* address, socklen_t* length);
int getpeername(NativeHandle handle, sockaddr* address, socklen_t* length);
int setsockopt(NativeHandle handle, int level, int option, const void* value, socklen_t length);
int getsockopt(NativeHandle handle, int level, int option, void* value, socklen_t* length);
int set_nonblocking(NativeHandle handle);
bool listens(NativeHandle handle) noexcept;
inline void no_sigpipe(NativeHandle) noexcept {}
// The error that the socket keeps, which this takes; 0: none.
int pending_error(NativeHandle handle) noexcept;
// Before bind(). A port can always be bound again here, whatever connections it had before; what
// SO_REUSEADDR would allow is to take it from its owner, so nobody gets that (T-112).
int claim_address(NativeHandle handle, bool reuse);
int share_port(NativeHandle handle);  // there is no such thing: ENOPROTOOPT
int socket_pair(NativeHandle (&pair)[2]);
// Whether a stream that has no peer (any more) once had one.
bool has_ended(NativeHandle handle);
inline std::uint32_t look(NativeHandle) noexcept { return ready_read; }  // it may be there

int look_up(const char* host, const char* service, const AddrInfo* hints, AddrInfo** out);
inline void free_addresses(AddrInfo* list) noexcept { ::FreeAddrInfoW(list); }
inline long process_id() noexcept { return static_cast<long>(::GetCurrentProcessId()); }
inline void block_signals() noexcept {}  // there are none that interrupt a thread

struct FileFacts {
  bool is_socket = false;
  std::uint64_t device = 0, inode = 0;
};
int stat(const char* path, FileFacts& facts);  // not through links
int unlink(const char* path);

// --- What the completion port uses ---

// Winsock, for as long as the process lives.
void start_sockets();

// A kernel object, closed by close_handle().
NativeHandle create_port();
int attach(NativeHandle port, NativeHandle handle, ULONG_PTR key);
int post(NativeHandle port, ULONG_PTR key, OVERLAPPED* packet);
// How many packets came; 0 when the time is over; -1 and errno.
int wait(NativeHandle port, OVERLAPPED_ENTRY* entries, std::size_t count, DWORD milliseconds);
void close_handle(NativeHandle handle) noexcept;

// AFD is the driver below Winsock. Polling it is how a completion port learns of readiness.
struct AfdPoll {
  static constexpr ULONG receive = 0x1, send = 0x4, disconnect = 0x8, abort = 0x10,
                         local_close = 0x20, accept = 0x80, connect_fail = 0x100;
  LARGE_INTEGER timeout;
  ULONG count;
  ULONG exclusive;
  struct {
    HANDLE handle;
    ULONG events;
    NTSTATUS status;
  } sockets[1];
};
// A handle of AFD's own, to ask through.
NativeHandle open_afd();
// The socket below the layers that somebody may have put around it.
NativeHandle base_socket(NativeHandle handle);
// Begins a poll; its packet is `status` itself. -1 and errno: there will be no packet. The memory
// of both belongs to the system until the packet has come.
int afd_poll(NativeHandle afd, AfdPoll& poll, IO_STATUS_BLOCK& status);
void afd_cancel(NativeHandle afd, IO_STATUS_BLOCK& status) noexcept;

// --- What signals use ---

int console_handler(PHANDLER_ROUTINE handler, bool on);

}  // namespace ferry::internal::calls
