// A child for the tests: what it does is its first argument. On every system the same.
//
//   cat              stdin to stdout, as it comes, until stdin ends
//   wait             reads stdin until its end
//   print N          N bytes, "abc…z" again and again
//   both             "out" to stdout, "err" to stderr
//   args …           each further argument in brackets, on a line of its own
//   main-args …      the same, as main() is given them
//   env NAME         the value of a variable; exit code 1: there is none
//   environment      all of them, one per line
//   cwd              the current directory
//   exit CODE        nothing else
//   isatty           for each of the three streams "tty" or "no", on one line
//   handle H         "open" or "closed": the handle of that number
//   read-handle H    what can be read from it, until its end
//   close-stdin      closes stdin, says "closed", and reads from nothing until it is killed
//   sleepforever     says "ready", and does nothing until it is killed
//   spawn-holder     starts a child that has the same streams and waits for the end of stdin;
//                    says "held", and exits
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#ifdef _WIN32
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#else
#include <fcntl.h>
#include <unistd.h>
extern char** environ;
#endif

namespace {

using Words = std::vector<std::string>;

void say(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}
[[noreturn]] void sleep_forever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours{1});
}

#ifdef _WIN32

int read_some(int fd, char* into, unsigned size) { return ::_read(fd, into, size); }
int write_some(int fd, const char* from, int size) {
  return ::_write(fd, from, static_cast<unsigned>(size));
}
void close_stdin() {
  ::CloseHandle(::GetStdHandle(STD_INPUT_HANDLE));  // _close() would not say if it fails
}
bool is_tty(int fd) { return ::_isatty(fd) != 0; }
int open_handle(const std::string& number) {
  return ::_open_osfhandle(static_cast<std::intptr_t>(std::strtoll(number.c_str(), nullptr, 10)),
                           _O_RDONLY | _O_BINARY);
}
bool is_open(const std::string& number) {
  DWORD flags = 0;
  const auto handle = static_cast<std::intptr_t>(std::strtoll(number.c_str(), nullptr, 10));
  return ::GetHandleInformation(reinterpret_cast<HANDLE>(handle), &flags) != 0;
}
std::string narrow(const wchar_t* text) {
  const int size = ::WideCharToMultiByte(CP_UTF8, 0, text, -1, nullptr, 0, nullptr, nullptr);
  std::string result(static_cast<std::size_t>(size), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text, -1, result.data(), size, nullptr, nullptr);
  result.pop_back();  // the NUL
  return result;
}
Words whole_arguments(int, char**) {
  int count = 0;
  wchar_t** const list = ::CommandLineToArgvW(::GetCommandLineW(), &count);
  Words words;
  for (int i = 0; i < count; ++i) words.push_back(narrow(list[i]));
  ::LocalFree(list);
  return words;
}
Words environment() {
  Words entries;
  wchar_t* const block = ::GetEnvironmentStringsW();
  for (const wchar_t* at = block; *at != 0; at += std::wcslen(at) + 1) {
    entries.push_back(narrow(at));
  }
  ::FreeEnvironmentStringsW(block);
  return entries;
}
std::string directory() {
  wchar_t path[32768];
  ::GetCurrentDirectoryW(32768, path);
  return narrow(path);
}
bool start_holder() {
  wchar_t program[MAX_PATH] = {};
  ::GetModuleFileNameW(nullptr, program, MAX_PATH);
  wchar_t line[] = L"holder wait";
  STARTUPINFOW start{};
  start.cb = sizeof start;
  start.dwFlags = STARTF_USESTDHANDLES;
  start.hStdInput = ::GetStdHandle(STD_INPUT_HANDLE);
  start.hStdOutput = ::GetStdHandle(STD_OUTPUT_HANDLE);
  start.hStdError = ::GetStdHandle(STD_ERROR_HANDLE);
  PROCESS_INFORMATION child{};
  return ::CreateProcessW(program, line, nullptr, nullptr, TRUE, 0, nullptr, nullptr, &start,
                          &child) != 0;
}
void use_bytes() {
  for (const int fd : {0, 1, 2}) ::_setmode(fd, _O_BINARY);
}

#else

int read_some(int fd, char* into, unsigned size) {
  return static_cast<int>(::read(fd, into, size));
}
int write_some(int fd, const char* from, int size) {
  return static_cast<int>(::write(fd, from, static_cast<std::size_t>(size)));
}
void close_stdin() { ::close(0); }
bool is_tty(int fd) { return ::isatty(fd) != 0; }
int open_handle(const std::string& number) { return std::atoi(number.c_str()); }
bool is_open(const std::string& number) {
  return ::fcntl(std::atoi(number.c_str()), F_GETFD) != -1;
}
Words whole_arguments(int argc, char** argv) { return {argv, argv + argc}; }
Words environment() {
  Words entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries.emplace_back(*entry);
  return entries;
}
std::string directory() {
  char path[4096];
  return ::getcwd(path, sizeof path) != nullptr ? path : "";
}
int copy(int from, int to);
bool start_holder() {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(copy(0, -1));
  return pid != -1;
}
void use_bytes() {}

#endif

// Until the end; to nowhere if `to` is -1.
int copy(int from, int to) {
  static char buffer[65536];
  for (;;) {
    const int count = read_some(from, buffer, sizeof buffer);
    if (count <= 0) return count < 0 ? 1 : 0;
    for (int done = 0; to != -1 && done < count;) {
      const int written = write_some(to, buffer + done, count - done);
      if (written <= 0) return 2;
      done += written;
    }
  }
}

int print(long long size) {
  std::string text(26 * 1024, 'a');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 26);
  while (size > 0) {
    const long long most = static_cast<long long>(text.size());
    const int part = write_some(1, text.data(), static_cast<int>(size < most ? size : most));
    if (part <= 0) return 2;
    size -= part;
    // The next part goes on where this one ended.
    const auto cut = static_cast<std::size_t>(part % 26);
    if (cut != 0) text = text.substr(cut) + text.substr(0, cut);
  }
  return 0;
}

int show(const Words& words) {
  for (std::size_t i = 2; i < words.size(); ++i) say("[" + words[i] + "]\n");
  return 0;
}

int variable(const std::string& name) {
  for (const std::string& entry : environment()) {
    if (entry.compare(0, name.size() + 1, name + "=") != 0) continue;
    say(entry.substr(name.size() + 1));
    return 0;
  }
  return 1;
}

int run(const Words& words, const Words& from_main) {
  const std::string& what = words.at(1);
  const std::string word = words.size() > 2 ? words[2] : "";
  if (what == "cat") return copy(0, 1);
  if (what == "wait") return copy(0, -1);
  if (what == "print") return print(std::atoll(word.c_str()));
  if (what == "args") return show(words);
  if (what == "main-args") return show(from_main);
  if (what == "env") return variable(word);
  if (what == "exit") return std::atoi(word.c_str());
  if (what == "cwd") return say(directory()), 0;
  if (what == "handle") return say(is_open(word) ? "open" : "closed"), 0;
  if (what == "read-handle") return copy(open_handle(word), 1);
  if (what == "environment") {
    for (const std::string& entry : environment()) say(entry + "\n");
    return 0;
  }
  if (what == "both") {
    say("out");
    return write_some(2, "err", 3) == 3 ? 0 : 2;
  }
  if (what == "isatty") {
    for (const int fd : {0, 1, 2}) say(is_tty(fd) ? "tty " : "no ");
    return 0;
  }
  if (what == "close-stdin") {
    close_stdin();
    say("closed");
    sleep_forever();
  }
  if (what == "sleepforever") {
    say("ready");
    sleep_forever();
  }
  if (what == "spawn-holder") return start_holder() ? (say("held"), 0) : 2;
  std::fprintf(stderr, "ferry_child_tool: what is '%s'?\n", what.c_str());
  return 99;
}

}  // namespace

int main(int argc, char** argv) {
  use_bytes();
  const Words words = whole_arguments(argc, argv);
  if (words.size() < 2) return 99;
  return run(words, Words{argv, argv + argc});
}
