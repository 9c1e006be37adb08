// The seam under a datagram endpoint: whole datagrams in and out.
#pragma once

#include <ferry/error.hpp>
#include <ferry/socket.hpp>
#include <ferry/transports.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace ferry::internal {

// (Without initialisers: arrays of it are made for every call.)
struct PendingDatagram {
  const std::byte* data;
  std::size_t size;
  const Address* to;       // null: the connected peer
  const PacketInfo* info;  // null: any way

  BytesView view() const noexcept { return {data, size}; }
};

class DatagramChannel {
 public:
  class Owner {
   public:
    // At least one; their bytes stay put until this returns. Calls of the channel from in here are
    // allowed, close() too: then nothing more is delivered.
    virtual void datagrams_read(std::span<const Datagram> datagrams) = 0;
    virtual void receive_failed(const Error& error) = 0;  // the next one may be received
    // What to send next: fills `datagrams`, returns how many; they stay put until they have left.
    virtual std::size_t pending(std::span<PendingDatagram> datagrams) = 0;
    virtual void send_failed(const Error& error) = 0;  // of the first pending one
    virtual void datagrams_sent(std::size_t count) = 0;  // or given up: they are pending no more
    virtual void failed(const Error& error) = 0;         // it is over
    virtual void closed() = 0;                           // the system has let go of the socket

   protected:
    ~Owner() = default;
  };

  virtual ~DatagramChannel() = default;
  virtual void set_owner(Owner& owner) = 0;
  virtual Error open() = 0;  // an error: nothing has begun
  virtual void set_reading(bool on) = 0;
  // The owner has pending() datagrams: sends what the system takes now, the rest when it can. The
  // owner is told from inside this call.
  virtual void send() = 0;
  // Whether a send() has a chance now.
  virtual bool can_send() const noexcept = 0;
  virtual void close() noexcept = 0;
  virtual SocketView socket() const noexcept = 0;
};

// Where a loop's datagrams come in: memory for many, shared by all who receive and pass on at once.
struct DatagramBatch {
  static constexpr std::size_t most = 32;
  static constexpr std::size_t room = 64 * 1024;  // more than any UDP datagram has
  // Their beginnings lie in different lines of the processor's cache.
  static constexpr std::size_t stride = room + 320;

  std::span<std::byte> place(std::size_t i) noexcept { return {memory.get() + i * stride, room}; }

  std::unique_ptr<std::byte[]> memory{new std::byte[most * stride]};
  std::vector<Datagram> datagrams;  // their `info` is blank between two deliveries
};

}  // namespace ferry::internal
