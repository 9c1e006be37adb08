// A child process for coroutines (asyncio.subprocess.Process).
#pragma once

#include <ferry/bytes.hpp>
#include <ferry/export.hpp>
#include <ferry/subprocess.hpp>
#include <ferry/task.hpp>
#include <ferry/transports.hpp>

#include <memory>
#include <optional>
#include <string>

namespace ferry {

namespace internal {
class ProcessProtocol;
}

// What create_subprocess_exec() gives: a shared reference, that belongs to the loop's thread. An
// empty one can only be asked whether it is, and be assigned to. When the last one is dropped, the
// child runs on and is reaped when it ends; what it writes is read and forgotten. When the loop is
// closed, it is asked to end, as by close() without kill_after; then what would wait throws
// MisuseError.
class FERRY_API Process {
 public:
  struct Output {
    int returncode = 0;
    std::string out;
    std::string err;
  };

  Process() noexcept = default;
  explicit operator bool() const noexcept { return transport_ != nullptr; }

  long pid() const noexcept { return transport_->get_pid(); }
  std::optional<int> returncode() const noexcept { return transport_->get_returncode(); }
  // The return code, when the child has exited; its pipes may still be open (C-19). A child that
  // waits for somebody to read what it writes does not exit: see communicate() (T-177).
  Task<int> wait() const;

  // Writes `input` (copied at the call) to stdin and closes it, reads both outputs to their end,
  // waits for the exit. A child that does not take all of its input is no error; throws OsError if
  // reading or writing fails otherwise; MisuseError at the call if there is input and stdin is no
  // pipe, or somebody reads already.
  Task<Output> communicate(BytesView input = {}) const;

  // Gives `data` to stdin at the call; the task is done when writing need not pause any more
  // (at once if it need not). Throws OsError there if the child takes no more, MisuseError at the
  // call if stdin is no pipe or was closed by close_stdin() or communicate().
  Task<void> write(BytesView data) const;
  void close_stdin() const;
  // Some bytes from the child's 1 or 2, when there are any; empty: its end, or it is no pipe. One
  // reader at a time: MisuseError at the call for a second one, and for a communicate() beside it.
  // Without a reader, reading pauses at 128 KiB. Throws OsError, after all bytes that came, if
  // reading failed.
  Task<std::string> read(int fd = 1) const;

  // As SubprocessTransport's.
  bool send_signal(int signal) const { return transport_->send_signal(signal); }
  bool terminate() const { return transport_->terminate(); }
  bool kill() const { return transport_->kill(); }
  void close() const { transport_->close(); }
  const std::shared_ptr<SubprocessTransport>& transport() const noexcept { return transport_; }

 private:
  friend class internal::ProcessProtocol;
  Process(std::shared_ptr<SubprocessTransport> transport,
          std::shared_ptr<internal::ProcessProtocol> protocol) noexcept;

  std::shared_ptr<SubprocessTransport> transport_;
  std::shared_ptr<internal::ProcessProtocol> protocol_;
};

}  // namespace ferry
