// One half of the contract: what a protocol may ask of its transport.
//
// Transports are made by the loop (create_connection(), create_server() …), never by the user
// (S-002), and belong to the loop's thread (S-005). A `Transport&` that a callback is given stays
// valid until connection_lost() has returned (S-060); the shared_ptr that create_connection()
// returns for as long as it is kept. On a lost transport every method is a harmless no-op,
// is_closing() is true, and the extra infos stay readable.
//
// These are interfaces: users may write transports of their own (S-054).
#pragma once

#include <ferry/address.hpp>
#include <ferry/bytes.hpp>
#include <ferry/export.hpp>
#include <ferry/handle.hpp>
#include <ferry/info.hpp>

#include <any>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferry {

class BaseProtocol;

class FERRY_API BaseTransport {
 public:
  BaseTransport() = default;
  BaseTransport(const BaseTransport&) = delete;
  BaseTransport& operator=(const BaseTransport&) = delete;
  virtual ~BaseTransport();

  // Closes: reading stops at once (S-008), what was written is still sent, then
  // connection_lost(none) follows, in a later turn (S-007, S-009). Doing it again changes nothing.
  virtual void close() = 0;
  // True from close(), abort() or a fatal error on.
  virtual bool is_closing() const noexcept = 0;

  // The protocol that is called from now on; connection_made() is not called for it. One of
  // another kind than the transport calls is a std::invalid_argument.
  virtual void set_protocol(std::shared_ptr<BaseProtocol> protocol) = 0;
  // Null once connection_lost() has returned.
  virtual std::shared_ptr<BaseProtocol> get_protocol() const = 0;

  // get_extra_info(ferry::peername): the value, or `fallback` if the transport has none (S-010).
  template <class T>
  T get_extra_info(const InfoKey<T>& key, T fallback = {}) const {
    const std::any value = extra_info(key.name);
    const T* typed = std::any_cast<T>(&value);
    return typed != nullptr ? *typed : fallback;
  }
  // The same by the key's name, for keys that are known at run time only.
  std::any get_extra_info(std::string_view name, std::any fallback = {}) const {
    std::any value = extra_info(name);
    return value.has_value() ? value : fallback;
  }
  // What it is and what it is doing, for logs: "tcp fd=7 127.0.0.1:80 open read=on write=0".
  virtual std::string describe() const = 0;

 protected:
  // Empty: unknown here.
  virtual std::any extra_info(std::string_view name) const = 0;
};

class FERRY_API ReadTransport : public virtual BaseTransport {
 public:
  // Not paused, not closing, and the peer has not ended (A-003, C-16).
  virtual bool is_reading() const noexcept = 0;
  // No data_received() and no eof_received() until resume_reading(), even if data is there (S-022).
  // May be called at any time, in any order, any number of times.
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
};

// What get_write_buffer_limits() gives: in asyncio's order (S-029).
struct WriteBufferLimits {
  std::size_t low = 0;
  std::size_t high = 0;
  friend bool operator==(const WriteBufferLimits&, const WriteBufferLimits&) = default;
};
// What set_write_buffer_limits() takes: both may be left out.
struct WriteBufferMarks {
  std::optional<std::int64_t> high = {};
  std::optional<std::int64_t> low = {};
};

class FERRY_API WriteTransport : public virtual BaseTransport {
 public:
  // Closes at once: what is buffered is lost, connection_lost(none) follows in a later turn
  // (S-025, S-026). Also ends a close() that waits for the flush.
  virtual void abort() = 0;

  // Sends `data`; never blocks (S-038). What the system does not take at once is buffered: the
  // caller's memory is free for use as soon as write() has returned. Inside a callback of the loop
  // the bytes of several writes are gathered and sent when the callback returns.
  // If the buffer grows over the high mark, pause_writing() is called from in here (S-078).
  // After close(), abort() or a loss the bytes are dropped; after write_eof() it throws
  // MisuseError. It never throws for what the network does: that comes as connection_lost(error).
  virtual void write(BytesView data) = 0;
  // The same as a write() of each (S-039, C-13): takes any range of what a BytesView is made from.
  template <class Range>
  void writelines(const Range& chunks) {
    std::vector<BytesView> views;
    for (const auto& chunk : chunks) views.emplace_back(chunk);
    write_gathered(views);
  }
  void writelines(std::span<const BytesView> chunks) { write_gathered(chunks); }
  // Ends the writing side once everything is flushed; data may still be received (S-040). Doing it
  // again, or after close(), changes nothing. Throws NotSupported if !can_write_eof() (S-041).
  virtual void write_eof() = 0;
  virtual bool can_write_eof() const noexcept = 0;

  // Bytes written and not yet taken by the system; exact, O(1) (S-028). May try to send first.
  virtual std::size_t get_write_buffer_size() = 0;
  virtual WriteBufferLimits get_write_buffer_limits() const noexcept = 0;
  // When pause_writing() (size > high) and resume_writing() (size <= low) are called (S-030,
  // S-081). Without low: high / 4; without high: 4 * low; without both: the defaults. Takes effect
  // at once. Throws std::invalid_argument, and keeps the old marks, if low > high or one is
  // negative. A mark of zero is rarely wise: sending and computing then overlap less (S-037).
  virtual void set_write_buffer_limits(WriteBufferMarks marks = {}) = 0;

 protected:
  virtual void write_gathered(std::span<const BytesView> chunks) = 0;
};

// A stream in both directions: TCP, Unix sockets.
class FERRY_API Transport : public ReadTransport, public WriteTransport {
 public:
  // How long close() may wait for a peer that does not read, from close() on; then the connection
  // is lost with std::errc::timed_out. Off by default: it then waits as long as the peer does
  // (T-043).
  virtual void set_flush_timeout(std::optional<Seconds> timeout) = 0;
  // As abort(), but the peer sees a reset (RST) instead of an end, where the network has one
  // (T-058). Refused (false, nothing changed) once write_eof() or close() has begun an orderly end.
  virtual bool abort_with_reset() = 0;
};

// Which way a datagram came (DatagramOptions::packet_info), or shall go.
struct PacketInfo {
  Address local = {};                 // here, without a port; empty: the system's choice
  std::uint32_t interface_index = 0;  // 0: the system's choice (FreeBSD tells none for IPv4)
  // Not on Windows.
  std::optional<std::uint8_t> traffic_class = {};  // DSCP and, in the lowest two bits, ECN
};

// One datagram among many. `addr` is who sent it, or who shall have it.
struct Datagram {
  BytesView data;
  Address addr = {};
  PacketInfo info = {};
};

// Datagrams in both directions: UDP, Unix sockets of that kind. What comes and goes is whole
// datagrams, an empty one too (C-17); what comes has at most 64 KiB. Whether one arrives, and in
// which order, only the network knows.
class FERRY_API DatagramTransport : public ReadTransport {
 public:
  // Closes at once: what is queued is dropped, connection_lost(none) follows in a later turn
  // (S-045).
  virtual void abort() = 0;

  // Sends `data` to `addr`; never blocks (S-044). Without an address, or with the same one, to the
  // one that the endpoint was made with (S-043); another one is a std::invalid_argument there
  // (C-18), and so is none where there is none. The caller's memory is free for use afterwards.
  // Inside a callback of the loop datagrams are gathered, and leave in as few system calls as the
  // system allows when all that had come was delivered.
  // What the network or the system refuses (too large, another family's address, no leave to
  // broadcast, nobody listens) comes as error_received(), in a later turn; the other datagrams and
  // the endpoint are not harmed. After close(), abort() or a loss it is dropped.
  virtual void sendto(BytesView data, const Address& addr = {}) = 0;
  // The same as a sendto() of each, and each may say which way it shall leave. One that is refused
  // as sendto() would throws, and then none of them is sent.
  virtual void sendto_many(std::span<const Datagram> datagrams) = 0;

  // Bytes of what was given to sendto() and not yet taken by the system; each datagram counts 8
  // more, so that empty ones count too. Exact, O(1) (C-14). May try to send first.
  virtual std::size_t get_write_buffer_size() = 0;
  virtual WriteBufferLimits get_write_buffer_limits() const noexcept = 0;
  // As WriteTransport's. Systems with kqueue never let a datagram wait: they drop it (S-082).
  virtual void set_write_buffer_limits(WriteBufferMarks marks = {}) = 0;
};

// A child process. What it writes to its pipes comes to the SubprocessProtocol, not to protocols of
// the pipes' own; their transports are for writing, pausing and closing.
class FERRY_API SubprocessTransport : public virtual BaseTransport {
 public:
  virtual long get_pid() const noexcept = 0;  // S-046
  // The parent's end of the child's stream 0, 1 or 2 (S-047); null if that is no pipe, and for any
  // other number. From the parent's side (C-03): 0 is written, 1 and 2 are read. (asyncio's page
  // calls 0 readable and the others writable: that is the child's side.)
  virtual std::shared_ptr<BaseTransport> get_pipe_transport(int fd) const = 0;
  std::shared_ptr<WriteTransport> stdin_pipe() const {
    return std::dynamic_pointer_cast<WriteTransport>(get_pipe_transport(0));
  }
  std::shared_ptr<ReadTransport> stdout_pipe() const {
    return std::dynamic_pointer_cast<ReadTransport>(get_pipe_transport(1));
  }
  std::shared_ptr<ReadTransport> stderr_pipe() const {
    return std::dynamic_pointer_cast<ReadTransport>(get_pipe_transport(2));
  }
  // What the child exited with; minus the signal's number if a signal ended it; none while it runs
  // (S-048). 255, with a warning in the log, if another part of the process took the status
  // (T-169). On Windows codes from 0x80000000 on (of a crash) are negative, and no signals.
  virtual std::optional<int> get_returncode() const noexcept = 0;

  // Signals. False: the child has been reaped, or the loop is closed; then nobody is signalled,
  // above all no process that was given the same pid (C-06).
  // Any signal of the system's (S-050). Throws std::invalid_argument for what is none, OsError if
  // the system refuses. On Windows SIGTERM and SIGKILL end the process, SIGINT and SIGBREAK are
  // sent as Ctrl+Break to one that has a process group of its own.
  virtual bool send_signal(int signal) = 0;
  // SIGTERM: asks the child to stop; the pipes stay open (C-05). Windows: ends it (S-051).
  virtual bool terminate() = 0;
  // SIGKILL (S-049). Windows: the same as terminate().
  virtual bool kill() = 0;

  // close(): terminate(), if the child runs, and close() of each pipe (S-052). connection_lost()
  // follows when the child has ended and its pipes are lost; SubprocessOptions::kill_after bounds
  // the wait for the former (C-04).
};

}  // namespace ferry
