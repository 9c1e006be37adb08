// The other half of the contract: what a transport calls.
//
//   start -> connection_made -> data_received* -> eof_received? -> connection_lost -> end
//
// For datagrams: connection_made -> (datagram_received | error_received)* -> connection_lost.
//
// Derive from Protocol (or BufferedProtocol, DatagramProtocol, DatagramBatchProtocol,
// SubprocessProtocol), override
// what you need: every callback has an empty default (S-055).
// All of them are called by the loop's thread, one at a time, and, but for pause_writing(), never
// from inside a call of yours into the transport.
//
// What a callback throws (C-15):
//   data_received, eof_received, get_buffer, buffer_updated   the connection is lost with it
//   all others                                                reported to the loop's exception
//                                                             handler; the connection goes on
#pragma once

#include <ferry/bytes.hpp>
#include <ferry/error.hpp>
#include <ferry/export.hpp>
#include <ferry/transports.hpp>

#include <cstddef>
#include <memory>
#include <span>

namespace ferry {

class FERRY_API BaseProtocol {
 public:
  BaseProtocol() = default;
  BaseProtocol(const BaseProtocol&) = delete;
  BaseProtocol& operator=(const BaseProtocol&) = delete;
  virtual ~BaseProtocol();

  // The end, exactly once after a connection_made() (S-061, S-062). `exc` is empty if the peer
  // ended or this side closed or aborted. The transport lets go of the protocol when this returns.
  virtual void connection_lost(const Error& exc);
  // The write buffer is over its high mark: please write no more (S-078). Called from inside
  // write().
  virtual void pause_writing();
  // The buffer has drained to its low mark (S-079). Comes once for each pause_writing(), unless
  // connection_lost() comes first (C-10).
  virtual void resume_writing();
};

// What both kinds of stream protocols have in common. Derive from Protocol or BufferedProtocol.
class FERRY_API StreamProtocol : public BaseProtocol {
 public:
  ~StreamProtocol() override;
  // The connection is there. `transport` is valid until connection_lost() has returned (S-060).
  virtual void connection_made(Transport& transport);
  // The peer will send no more (S-069). Return true to keep the connection for writing; false, the
  // default, lets the transport close itself after it has sent what is buffered (S-070, S-071).
  virtual bool eof_received();

 private:
  friend class Protocol;
  friend class BufferedProtocol;
  StreamProtocol() = default;
};

// A stream protocol that is given the bytes (S-056).
class FERRY_API Protocol : public StreamProtocol {
 public:
  Protocol() = default;
  ~Protocol() override;
  // Some bytes, at least one; how a stream is cut is the transport's choice (S-067, S-068). `data`
  // is valid until this returns.
  virtual void data_received(BytesView data);
};

// A stream protocol that says where the bytes shall go.
class FERRY_API BufferedProtocol : public StreamProtocol {
 public:
  BufferedProtocol() = default;
  ~BufferedProtocol() override;
  // Memory to receive into; it must stay in place until buffer_updated(), eof_received() or
  // connection_lost(). `hint` is a size that would suit, 0 if any does. An empty span is an error
  // and ends the connection.
  virtual std::span<std::byte> get_buffer(std::size_t hint);
  // `count` bytes, at least one, have come into the memory that get_buffer() gave.
  virtual void buffer_updated(std::size_t count);
};

// What both kinds of datagram protocols have in common (S-057). Whatever their callbacks throw goes
// to the loop's exception handler, and the endpoint goes on (C-15).
class FERRY_API BaseDatagramProtocol : public BaseProtocol {
 public:
  ~BaseDatagramProtocol() override;
  // The endpoint is there. `transport` is valid until connection_lost() has returned.
  virtual void connection_made(DatagramTransport& transport);
  // A datagram that was sent, or was to be received, failed; the endpoint stays open (S-076). Most
  // datagrams that get lost are never reported.
  virtual void error_received(const Error& exc);

 private:
  friend class DatagramProtocol;
  friend class DatagramBatchProtocol;
  BaseDatagramProtocol() = default;
};

// Datagrams, one by one.
class FERRY_API DatagramProtocol : public BaseDatagramProtocol {
 public:
  DatagramProtocol() = default;
  ~DatagramProtocol() override;
  // A whole datagram, which may be empty, and who sent it: the empty address for a Unix socket
  // without a name (S-075). `data` is valid until this returns.
  virtual void datagram_received(BytesView data, const Address& addr);
};

// Datagrams, as many at once as the system had.
class FERRY_API DatagramBatchProtocol : public BaseDatagramProtocol {
 public:
  DatagramBatchProtocol() = default;
  ~DatagramBatchProtocol() override;
  // At least one. Their bytes are valid until this returns.
  virtual void datagrams_received(std::span<const Datagram> datagrams);
};

// A child process, and what it writes (S-058). Whatever these callbacks throw goes to the loop's
// exception handler, and the child and its pipes go on (C-15).
//
//   connection_made -> (pipe_data_received* -> pipe_connection_lost for each pipe, in any order
//                       with process_exited) -> connection_lost
//
// pause_writing() and resume_writing() speak of the child's stdin (S-077).
class FERRY_API SubprocessProtocol : public BaseProtocol {
 public:
  SubprocessProtocol() = default;
  ~SubprocessProtocol() override;
  // The child runs, or has ended already (T-163). `transport` is valid until connection_lost() has
  // returned.
  virtual void connection_made(SubprocessTransport& transport);
  // Some bytes, at least one, that the child wrote to 1 or 2 (S-064). `data` is valid until this
  // returns.
  virtual void pipe_data_received(int fd, BytesView data);
  // One of the child's pipes, 0 included, has ended or was closed (S-065).
  virtual void pipe_connection_lost(int fd, const Error& exc);
  // Once: the return code is known (S-066). Output may still come: from pipes that are not read to
  // their end yet, or that a child of the child's holds (C-19).
  virtual void process_exited();
};

// A factory for the class itself: create_server(ferry::make<EchoServer>, "127.0.0.1", 8888).
template <class P>
std::shared_ptr<P> make() {
  return std::make_shared<P>();
}

}  // namespace ferry
