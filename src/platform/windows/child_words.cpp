#include "platform/windows/child_words.hpp"

#include "platform/windows/system.hpp"
#include "platform/windows/text.hpp"
#include "values/system_text.hpp"

#include <algorithm>

namespace ferry::internal {
namespace {

std::string_view name_of(std::string_view entry) {
  return entry.substr(0, entry.find('=', 1));  // "=C:=C:\\folder" has one that begins with it
}

bool comes_first(const std::wstring& one, const std::wstring& other) {
  const auto length = [](const std::wstring& entry) {
    return static_cast<int>(std::min(entry.find(L'=', 1), entry.size()));
  };
  return ::CompareStringOrdinal(one.data(), length(one), other.data(), length(other), TRUE) ==
         CSTR_LESS_THAN;
}

// Without what Windows does not see at the end of a file's name.
std::string_view trimmed(std::string_view name) {
  return name.substr(0, name.find_last_not_of(" .") + 1);
}

std::string_view extension_of(std::string_view program) {
  const std::string_view name = program.substr(program.find_last_of("\\/:") + 1);
  const std::size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view{} : name.substr(dot);
}

}  // namespace

std::string quoted(std::string_view argument) {
  if (!argument.empty() && argument.find_first_of(" \t\n\v\"") == argument.npos) {
    return std::string{argument};
  }
  std::string text = "\"";
  std::size_t backslashes = 0;  // just before: they count twice before a quote, else once
  for (const char c : argument) {
    if (c == '"') text.append(backslashes + 1, '\\');
    backslashes = c == '\\' ? backslashes + 1 : 0;
    text += c;
  }
  text.append(backslashes, '\\');
  return text + '"';
}

std::string command_line_of(std::span<const std::string> arguments) {
  std::string line;
  for (const std::string& argument : arguments) {
    line += line.empty() ? '"' + argument + '"' : ' ' + quoted(argument);
  }
  return line;
}

std::wstring environment_block(const std::vector<std::string>& entries) {
  std::vector<std::wstring> sorted;
  for (const std::string& entry : entries) sorted.push_back(to_wide(entry));
  std::stable_sort(sorted.begin(), sorted.end(), comes_first);
  std::wstring block;
  for (const std::wstring& entry : sorted) block.append(entry).push_back(L'\0');
  if (block.empty()) block.push_back(L'\0');  // an empty one ends with two as well
  block.push_back(L'\0');
  return block;
}

std::string variable_of(const std::vector<std::string>& entries, std::string_view name) {
  for (const std::string& entry : entries) {
    const std::string_view known = name_of(entry);
    if (same_variable(known, name)) return entry.substr(std::min(known.size() + 1, entry.size()));
  }
  return {};
}

bool is_batch_file(std::string_view program) {
  // By the name that Windows makes of it: "x.bat\\. " is "x.bat".
  const std::wstring given = to_wide(std::string{program});
  std::wstring full(::GetFullPathNameW(given.c_str(), 0, nullptr, nullptr), L'\0');
  full.resize(::GetFullPathNameW(given.c_str(), static_cast<DWORD>(full.size()), full.data(),
                                 nullptr));
  for (const std::string& name : {from_wide(full), std::string{program}}) {
    const std::string_view extension = extension_of(trimmed(name));
    if (same_variable(extension, ".bat") || same_variable(extension, ".cmd")) return true;
  }
  return false;
}

std::vector<std::string> candidates_of(const std::string& program, std::string_view path) {
  std::vector<std::string> candidates;
  std::vector<std::string> bare;  // a name without an extension is hardly a program's: at the end
  const bool has_extension = !extension_of(program).empty();
  const auto add = [&](const std::string& file) {
    if (has_extension) candidates.push_back(file);
    candidates.push_back(file + ".exe");
    if (!has_extension) bare.push_back(file);
  };
  if (program.find_first_of("\\/:") != program.npos) {
    add(program);
    path = {};
  }
  while (!path.empty()) {
    const std::size_t end = std::min(path.find(';'), path.size());
    std::string folder{path.substr(0, end)};
    path.remove_prefix(std::min(end + 1, path.size()));
    std::erase(folder, '"');  // around names with a semicolon, which we do not know
    if (folder.empty()) continue;
    if (folder.back() != '\\' && folder.back() != '/') folder += '\\';
    add(folder + program);
  }
  candidates.insert(candidates.end(), bare.begin(), bare.end());
  return candidates;
}

}  // namespace ferry::internal
