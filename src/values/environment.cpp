#include "values/system_text.hpp"

#include <ferry/subprocess.hpp>

#include <algorithm>
#include <stdexcept>

namespace ferry {
namespace {

std::string_view name_of(std::string_view entry) {
  return entry.substr(0, entry.find('=', 1));  // Windows has names that begin with one
}

}  // namespace

Environment Environment::current() {
  Environment environment;
  environment.entries_ = internal::environment_entries();
  return environment;
}

void Environment::set(std::string_view name, std::string_view value) {
  if (name.empty() || name.find('=') != name.npos) {
    throw std::invalid_argument{"'" + std::string{name} + "' cannot be a variable's name"};
  }
  if (name.find('\0') != name.npos || value.find('\0') != value.npos) {
    throw std::invalid_argument{"the variable " + std::string{name.substr(0, name.find('\0'))} +
                                " has a NUL inside"};
  }
  unset(name);
  entries_.push_back(std::string{name} + "=" + std::string{value});
}

void Environment::unset(std::string_view name) {
  std::erase_if(entries_, [name](const std::string& entry) {
    return internal::same_variable(name_of(entry), name);
  });
}

std::optional<std::string> Environment::get(std::string_view name) const {
  for (const std::string& entry : entries_) {
    const std::string_view known = name_of(entry);
    if (!internal::same_variable(known, name)) continue;
    return entry.substr(std::min(known.size() + 1, entry.size()));  // one without a '=' is empty
  }
  return std::nullopt;
}

}  // namespace ferry
