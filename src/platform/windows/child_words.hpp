// What a child is started with, in the words that Windows wants: one line for all arguments, one
// block for all variables.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ferry::internal {

// One argument in a form that CommandLineToArgvW() and the C library take apart to what it was.
std::string quoted(std::string_view argument);
// The program's name comes first, and is taken apart by other rules: it has no quotes inside.
std::string command_line_of(std::span<const std::string> arguments);

// Sorted as Windows keeps them, each with a NUL, and one more at the end.
std::wstring environment_block(const std::vector<std::string>& entries);
// Of "NAME=value" in `entries`; empty if there is none.
std::string variable_of(const std::vector<std::string>& entries, std::string_view name);

// cmd.exe runs these, and takes their arguments apart by rules of its own, which nothing quotes
// safely.
bool is_batch_file(std::string_view program);
// The files that `program` may be, in this order. `path`: the folders to look in, between
// semicolons, for a name that is no path.
std::vector<std::string> candidates_of(const std::string& program, std::string_view path);

}  // namespace ferry::internal
