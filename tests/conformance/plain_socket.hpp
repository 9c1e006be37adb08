// Sockets without ferry: what a peer is made of. The one file of this folder that calls the system
// is plain_socket.cpp.
#pragma once

#include <ferry/ferry.hpp>

#include <span>
#include <string>

namespace conformance {

// Bounds what the kernel takes: together far below `big`.
void small_buffers(const ferry::SocketView& socket);

// A listener on a port of 127.0.0.1 that the system chose, or at a path.
ferry::Socket listen_tcp();
ferry::Socket listen_unix(const std::string& path);
// Waits for a connection that is on its way. Does not block afterwards.
ferry::Socket accept_one(const ferry::Socket& listener);
// Throws OsError. Does not block afterwards.
ferry::Socket connect_to(const ferry::Address& address);

// The two ends of a new pipe, of a FIFO at this path, or of a pair of sockets. Do not block.
ferry::PipePair new_pipe(const std::string& kind, const std::string& path);

// A new folder; the path ends in XXXXXX, which is replaced.
std::string make_folder(std::string path);
// So that a write to a peer that has gone is an error only, in the whole process (as in Python).
void ignore_broken_pipes();

struct Moved {
  std::size_t count = 0;
  std::error_code error;  // would-block is one
  bool would_block() const { return error == std::errc::operation_would_block; }
};
// Of the end of a pipe too.
Moved send_some(const ferry::Socket& socket, ferry::BytesView data);
Moved receive_some(const ferry::Socket& socket, std::span<char> into);

// A datagram socket on a port of 127.0.0.1 that the system chose, or at a path. Does not block.
ferry::Socket bind_udp();
ferry::Socket bind_unix_datagrams(const std::string& path);
// 0, or an error.
std::error_code send_datagram(const ferry::Socket& socket, ferry::BytesView data,
                              const ferry::Address& to);
// False: there is none.
bool receive_datagram(const ferry::Socket& socket, std::string& data, ferry::Address& from);

void shut_write(const ferry::Socket& socket);
void reset_at_close(const ferry::Socket& socket);

// Whether the connection is over in both directions, by an end or by a reset.
bool is_dead(ferry::NativeHandle handle);
// Whether all that was sent has come to the other system's end.
bool has_left(ferry::NativeHandle handle);
// Whether so many bytes, or an end, wait to be read.
bool has_come(ferry::NativeHandle handle, std::size_t count);

}  // namespace conformance
