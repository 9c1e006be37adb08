// Plays scenarios on ferry and prints what happened, for tests/conformance/run to compare.
//
//   ferry_driver [--patience SECONDS] [--phases] FILE…
//
// --phases adds to each line of a link the phase of its life, as in "c@open| close".
// On the backend that FERRY_TEST_BACKEND names, or the system's own.
#include "world.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

// A folder of our own for the paths of Unix sockets, gone at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "ferry-XXXXXX").string();
    path_ = conformance::make_folder(name);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Options {
  std::string backend = "native";
  double patience = 10;
  bool phases = false;
  std::vector<std::string> files;
};

Options read_options(const std::vector<std::string>& words) {
  Options options;
  if (const char* name = std::getenv("FERRY_TEST_BACKEND"); name != nullptr && *name != '\0') {
    options.backend = name;
    // What follows is for the emulation of kqueue: whose it is to be.
    options.backend.erase(std::min(options.backend.size(), options.backend.find('-')));
  }
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "--patience" && has_value) {
      options.patience = std::stod(words[++i]);
    } else if (words[i] == "--phases") {
      options.phases = true;
    } else if (words[i].starts_with("--")) {
      throw std::invalid_argument{"unknown option " + words[i]};
    } else {
      options.files.push_back(words[i]);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = read_options({argv + 1, argv + argc});
    conformance::ignore_broken_pipes();
    const Folder folder;
    int number = 0;
    for (const std::string& file : options.files) {
      for (const conformance::Scenario& scenario : conformance::read_scenarios(file)) {
        const std::string prefix = folder.path() + "/" + std::to_string(++number) + "-";
        conformance::World world{scenario, prefix, ferry::Seconds{options.patience},
                                 ferry::Backend::named(options.backend), options.phases};
        world.run();
      }
    }
    return 0;
  } catch (const conformance::Mistake& mistake) {
    std::fprintf(stderr, "%s\n", mistake.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ferry_driver: %s\n", error.what());
  }
  return 2;
}
