// Native sockets: owned (Socket) and borrowed (SocketView).
#pragma once

#include <ferry/address.hpp>
#include <ferry/bytes.hpp>
#include <ferry/export.hpp>

#include <cstdint>
#include <span>
#include <utility>

namespace ferry {

using NativeHandle = std::intptr_t;
inline constexpr NativeHandle invalid_handle = -1;

// A multicast group to be received: from everybody, or from `source` only.
struct MulticastGroup {
  Address group;                      // its port does not matter
  Address source = {};
  std::uint32_t interface_index = 0;  // 0: the system's choice
};

// What get_extra_info(ferry::socket) gives: the handle of a transport, for options and names.
// Reading, writing and closing it belong to the transport. Empty once the transport has closed it.
class FERRY_API SocketView {
 public:
  SocketView() noexcept = default;
  explicit SocketView(NativeHandle handle) noexcept : handle_{handle} {}

  explicit operator bool() const noexcept { return handle_ != invalid_handle; }
  NativeHandle fileno() const noexcept { return handle_; }
  // The empty Address if the system does not know it (any more).
  Address getsockname() const noexcept;
  Address getpeername() const noexcept;
  // The system's own numbers: setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1). Throw OsError.
  void setsockopt(int level, int option, int value) const;
  int getsockopt(int level, int option) const;

  // For datagrams; each knows IPv4's and IPv6's way. They throw OsError that names what was asked,
  // and std::invalid_argument for a group that is none, or a number outside of 0 … 255.
  void join_multicast(const MulticastGroup& group) const;
  void leave_multicast(const MulticastGroup& group) const;
  void set_multicast_interface(std::uint32_t interface_index) const;  // of what is sent
  void set_multicast_hops(int hops) const;  // 1: not beyond this network
  void set_multicast_loop(bool on) const;   // whether this machine hears what is sent
  void set_hops(int hops) const;            // TTL
  void set_traffic_class(int value) const;  // TOS: DSCP, and ECN in the lowest two bits

 private:
  NativeHandle handle_ = invalid_handle;
};

// A socket of one's own, move-only; its destructor closes it. create_connection(), create_server()
// and connect_accepted_socket() take one over: from then on it is theirs, also if they fail
// (T-122).
class FERRY_API Socket {
 public:
  Socket() noexcept = default;
  explicit Socket(NativeHandle handle) noexcept : handle_{handle} {}  // takes over
  Socket(Socket&& other) noexcept : handle_{std::exchange(other.handle_, invalid_handle)} {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { close(); }

  explicit operator bool() const noexcept { return handle_ != invalid_handle; }
  NativeHandle fileno() const noexcept { return handle_; }
  SocketView view() const noexcept { return SocketView{handle_}; }
  // Gives the handle away; this object is empty afterwards.
  NativeHandle detach() noexcept { return std::exchange(handle_, invalid_handle); }
  void close() noexcept;

  // One system call each, on the caller's thread; they return what was moved and throw OsError
  // (also std::errc::operation_would_block, if the socket does not block). recv: 0 is the end.
  std::size_t send(BytesView data) const;
  std::size_t recv(std::span<std::byte> into) const;

 private:
  NativeHandle handle_ = invalid_handle;
};

// Two connected stream sockets of this machine. Throws OsError.
FERRY_API std::pair<Socket, Socket> socketpair();

}  // namespace ferry
