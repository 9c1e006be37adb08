// The seam under a stream: one endpoint's bytes in and out.
#pragma once

#include <ferry/address.hpp>
#include <ferry/bytes.hpp>
#include <ferry/error.hpp>
#include <ferry/pipe.hpp>
#include <ferry/socket.hpp>

#include <any>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace ferry::internal {

// What a layer above the system's channel can tell of itself; outlives its channel.
class ChannelInfo {
 public:
  virtual ~ChannelInfo() = default;
  // Empty: not known here.
  virtual std::any info(std::string_view name) const = 0;
};

// Which way the bytes of a stream go, seen from here.
enum class Direction : std::uint8_t { both, read, write };

// Completion-shaped: over readiness the call is made when the handle is ready, over completion it
// is already in flight; the owner cannot tell which.
class Channel {
 public:
  class Owner {
   public:
    virtual void opened() = 0;  // what open() has begun is done: the bytes are the owner's now
    // Where the next bytes go; empty: do not read now. Stays put until they have come.
    virtual std::span<std::byte> read_buffer() = 0;
    virtual void bytes_read(std::size_t count) = 0;  // 0: the end of the stream
    // What to send next: fills `views`, returns how many; they stay put until they have left.
    virtual std::size_t pending(std::span<BytesView> views) = 0;
    virtual void bytes_written(std::size_t count) = 0;
    virtual void finished() = 0;  // what finish() asked for is done
    // The stream is over. No error: the reader of a pipe has gone, and nothing waited for it.
    virtual void failed(const Error& error) = 0;
    virtual void closed() = 0;  // the system has let go of every buffer

   protected:
    ~Owner() = default;
  };

  virtual ~Channel() = default;
  // Whom to tell; before anything else.
  virtual void set_owner(Owner& owner) = 0;
  // Begins to live, then Owner::opened(): from inside this call, or later. Reading only after
  // set_reading(true). An error: nothing has begun.
  virtual Error open() = 0;
  virtual void set_reading(bool on) = 0;
  // Sends at once what the system takes, from the caller's memory; what went. A failure is told by
  // Owner::failed(), from inside this call. Answers 0 while it waits to be able to send.
  virtual std::size_t try_write(std::span<const BytesView> views) = 0;
  // Whether a try_write() has a chance now.
  virtual bool can_try() const noexcept = 0;
  // The owner has pending() bytes: send them as the system takes them.
  virtual void start_writing() = 0;
  // Ends the writing side. What fails here shows in reading or writing, not here (T-050).
  virtual void shut_write() noexcept = 0;
  // Whether shut_write() leaves reading open.
  virtual bool can_half_close() const noexcept { return true; }
  // The owner has closed: from now on it takes no input, and finish() follows when what it has
  // pending has left.
  virtual void flush_and_finish() {}
  // Ends in an orderly way, then Owner::finished().
  virtual void finish() = 0;
  // Lets go of everything, then Owner::closed(): at once, or when the system has.
  virtual void close(bool reset) noexcept = 0;

  virtual Direction direction() const noexcept { return Direction::both; }
  // The handle below: one of the two is empty.
  virtual SocketView socket() const noexcept = 0;
  virtual PipeView pipe() const noexcept { return {}; }
  // Null: nothing but the socket.
  virtual std::shared_ptr<const ChannelInfo> info() const { return nullptr; }
  // Whether so much comes that a larger buffer than usual saves turns.
  virtual bool reads_much() const noexcept { return false; }
  // The high mark of who owns such a channel (C-20).
  virtual std::size_t default_high_mark() const noexcept { return 64 * 1024; }
  // The first of the loop's scratch buffers that who stands above may use; 0 is the loop's own.
  virtual std::size_t scratch_level() const noexcept { return 1; }
};

}  // namespace ferry::internal
