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
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
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

// A program's name and its arguments: {"ls", "-l", path}, or as many as a vector, an array or a
// span of strings has, such as std::span{argv + 1, argv + argc}. Refers to them: it is for passing
// on, not for keeping. A null pointer among them throws std::invalid_argument.
class Arguments {
 public:
  static constexpr std::size_t most = 32;  // in braces

  template <class... Texts>
    requires(sizeof...(Texts) > 0 && (std::convertible_to<const Texts&, std::string_view> && ...))
  Arguments(const Texts&... texts) : views_{view_of(texts)...}, count_{sizeof...(Texts)} {
    static_assert(sizeof...(Texts) <= most, "so many arguments need a vector");
  }
  template <std::ranges::contiguous_range Texts>
    requires(std::ranges::sized_range<const Texts> &&
             std::convertible_to<const std::ranges::range_value_t<Texts>&, std::string_view>)
  Arguments(const Texts& texts) : texts_{std::ranges::data(texts)}, count_{std::size(texts)} {
    using Text = std::ranges::range_value_t<Texts>;
    at_ = [](const void* all, std::size_t i) { return view_of(static_cast<const Text*>(all)[i]); };
    for (const Text& text : texts) view_of(text);
  }

  std::size_t size() const noexcept { return count_; }
  std::string_view operator[](std::size_t i) const noexcept {
    return at_ != nullptr ? at_(texts_, i) : views_[i];
  }

 private:
  template <class Text>
  static std::string_view view_of(const Text& text) {
    if constexpr (std::is_pointer_v<Text>) {
      if (text == nullptr) throw std::invalid_argument{"an argument is a null pointer"};
    }
    return text;
  }

  std::string_view (*at_)(const void* all, std::size_t i) = nullptr;
  const void* texts_ = nullptr;
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
