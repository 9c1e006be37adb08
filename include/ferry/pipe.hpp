// Native pipes: owned (Pipe) and borrowed (PipeView).
#pragma once

#include <ferry/export.hpp>
#include <ferry/info.hpp>
#include <ferry/socket.hpp>

#include <utility>

namespace ferry {

// What get_extra_info(ferry::pipe) gives: the handle of a pipe's transport. Reading, writing and
// closing it belong to the transport. Empty once the transport has closed it (S-019).
class PipeView {
 public:
  PipeView() noexcept = default;
  explicit PipeView(NativeHandle handle) noexcept : handle_{handle} {}
  explicit operator bool() const noexcept { return handle_ != invalid_handle; }
  NativeHandle fileno() const noexcept { return handle_; }  // a descriptor; Windows: a HANDLE

 private:
  NativeHandle handle_ = invalid_handle;
};
inline constexpr InfoKey<PipeView> pipe{"pipe"};

// One end of a pipe, move-only; its destructor closes it. What connect_read_pipe() and
// connect_write_pipe() take over: also a FIFO, a terminal or another character device that the
// system can watch (not /dev/null), a socket (POSIX), a named pipe that was opened for overlapped
// I/O (Windows).
class FERRY_API Pipe {
 public:
  Pipe() noexcept = default;
  explicit Pipe(NativeHandle handle) noexcept : handle_{handle} {}  // takes over
  Pipe(Pipe&& other) noexcept : handle_{std::exchange(other.handle_, invalid_handle)} {}
  Pipe& operator=(Pipe&& other) noexcept;
  ~Pipe() { close(); }

  explicit operator bool() const noexcept { return handle_ != invalid_handle; }
  NativeHandle fileno() const noexcept { return handle_; }
  PipeView view() const noexcept { return PipeView{handle_}; }
  // Gives the handle away; this object is empty afterwards.
  NativeHandle detach() noexcept { return std::exchange(handle_, invalid_handle); }
  void close() noexcept;

 private:
  NativeHandle handle_ = invalid_handle;
};

// The two ends of a new pipe, for the calls above, or for children (Stdio::handle()): they block,
// until a transport takes them over, and are not inherited. (On Windows both are for overlapped
// I/O, which programs do not expect of their streams.) Throws OsError.
struct PipePair {
  Pipe read;
  Pipe write;
};
FERRY_API PipePair make_pipe();

struct PipeOptions {
  // Of a FIFO that is read: it stays open when its last writer goes, and there is no end. Where the
  // system cannot do that: NotSupported (T-155).
  bool outlive_writers = false;
};

}  // namespace ferry
