// What a child process is started with.
#pragma once

#include <ferry/export.hpp>
#include <ferry/info.hpp>
#include <ferry/pipe.hpp>
#include <ferry/socket.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferry {

// Where one of a child's first three streams goes.
class Stdio {
 public:
  enum class Kind : std::uint8_t { piped, inherited, null, handle, to_stdout };

  static constexpr Stdio pipe() noexcept { return {Kind::piped, invalid_handle}; }  // to us
  static constexpr Stdio inherit() noexcept { return {Kind::inherited, invalid_handle}; }
  static constexpr Stdio null() noexcept { return {Kind::null, invalid_handle}; }
  // A file, a pipe or a socket of the caller's, who keeps it: open until the start is done. (One
  // that is cancelled may go on for as long as the system takes.)
  static constexpr Stdio handle(NativeHandle of) noexcept { return {Kind::handle, of}; }
  // Standard error only: where standard output goes.
  static constexpr Stdio to_stdout() noexcept { return {Kind::to_stdout, invalid_handle}; }

  constexpr Stdio() noexcept = default;  // a pipe
  constexpr Kind kind() const noexcept { return kind_; }
  constexpr NativeHandle handle() const noexcept { return handle_; }

 private:
  constexpr Stdio(Kind kind, NativeHandle handle) noexcept : handle_{handle}, kind_{kind} {}
  NativeHandle handle_ = invalid_handle;
  Kind kind_ = Kind::piped;
};

// The variables that a child sees. A new one is empty, and so is then what the child has.
class FERRY_API Environment {
 public:
  static Environment current();  // a copy of this process's

  // Replaces. Throws std::invalid_argument for an empty name, one with '=', and a NUL.
  void set(std::string_view name, std::string_view value);
  void unset(std::string_view name);
  std::optional<std::string> get(std::string_view name) const;
  const std::vector<std::string>& entries() const noexcept { return entries_; }  // "NAME=value"

 private:
  std::vector<std::string> entries_;
};

// A program's name and its arguments: {"ls", "-l", path}, or a vector of strings. Refers to them:
// it is for passing on, not for keeping.
class Arguments {
 public:
  static constexpr std::size_t most = 32;  // in braces; there may be any number in a vector

  template <class... Texts>
    requires(sizeof...(Texts) > 0 && (std::convertible_to<const Texts&, std::string_view> && ...))
  Arguments(const Texts&... texts)
      : views_{std::string_view{texts}...}, count_{sizeof...(Texts)} {
    static_assert(sizeof...(Texts) <= most, "so many arguments need a vector");
  }
  Arguments(const std::vector<std::string>& texts) noexcept
      : strings_{&texts}, count_{texts.size()} {}

  std::size_t size() const noexcept { return count_; }
  std::string_view operator[](std::size_t i) const noexcept {
    return strings_ != nullptr ? std::string_view{(*strings_)[i]} : views_[i];
  }

 private:
  const std::vector<std::string>* strings_ = nullptr;
  std::array<std::string_view, most> views_{};
  std::size_t count_;
};

struct SubprocessOptions {
  Stdio in = Stdio::pipe();
  Stdio out = Stdio::pipe();
  Stdio err = Stdio::pipe();
  const Environment* env = nullptr;  // null: this process's, as it is at the call; its PATH counts
  std::string_view cwd = {};         // the child's directory; empty: this process's
  // The file to run, if it is another one than the first argument.
  std::string_view executable = {};
  // Handles that the child has too, under their numbers. It has no others. Open until the start is
  // done, as those of Stdio::handle().
  std::span<const NativeHandle> pass_handles = {};
  // How long a close() waits for the child to end before it kills it (C-04). None: for ever. Not
  // that of the loop, which waits for nobody.
  std::optional<std::chrono::duration<double>> kill_after = {};
  // A process group of its own (0), or this one. On Windows: 0 only; Ctrl+Break can be sent to it.
  std::optional<long> process_group = {};
  // POSIX only; NotSupported elsewhere. User and group: a name, or a number. A user brings his
  // group and all that he is a member of; if the system does not know his number, `group` must be
  // given. `group` alone: that one, and no further ones.
  bool new_session = false;
  std::optional<unsigned> umask = {};
  std::string_view user = {};
  std::string_view group = {};
};

// What get_extra_info(ferry::subprocess) gives (S-020).
struct ProcessView {
  long pid = 0;
  std::optional<int> returncode = {};
  // Linux: a pidfd; Windows: the process's HANDLE. Invalid where there is none, and after the exit.
  NativeHandle handle = invalid_handle;
};
inline constexpr InfoKey<ProcessView> subprocess{"subprocess"};

}  // namespace ferry
