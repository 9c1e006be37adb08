#include "platform/command_line.hpp"

#include <cstdio>
#include <memory>

namespace ferry::internal {

std::string command_line() {
  std::string all;
  // Where /proc is; elsewhere there is no way that all systems share.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{
      std::fopen("/proc/self/cmdline", "re"), std::fclose};
  if (!file) return "this program";
  bool quoted = false;
  for (int c; (c = std::fgetc(file.get())) != EOF;) {
    if (c == '\0') {
      all += quoted ? "' " : " ";
      quoted = false;
      continue;
    }
    const bool starts = all.empty() || all.back() == ' ';
    if (starts && !quoted) {
      all += "'";
      quoted = true;
    }
    if (c == '\'') all += "'\\'";
    all += static_cast<char>(c);
  }
  return all;
}

}  // namespace ferry::internal
