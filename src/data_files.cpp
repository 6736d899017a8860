#include "src/data_files.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"

namespace ivory {
namespace {

namespace fs = std::filesystem;

struct PublicSource {
  std::string_view kind, folder, text;
};
// "emnist" and "fashion" before "mnist", which they contain.
constexpr PublicSource public_sources[] = {
    {"idx", "fashion", "Fashion-MNIST: https://github.com/zalandoresearch/fashion-mnist"},
    {"idx", "emnist", "EMNIST: https://www.nist.gov/itl/products-and-services/emnist-dataset"},
    {"idx", "mnist", "MNIST: https://ossci-datasets.s3.amazonaws.com/mnist/"},
    {"idx", "digits", "digits: shipped in data/digits; its source is https://archive.ics.uci.edu/dataset/80"},
    {"cifar10", "cifar", "CIFAR-10, binary version: https://www.cs.toronto.edu/~kriz/cifar.html"},
    {"cifar100", "cifar", "CIFAR-100, binary version: https://www.cs.toronto.edu/~kriz/cifar.html"},
    {"leaf", "leaf", "FEMNIST and Shakespeare, made by LEAF: https://github.com/TalwalkarLab/leaf"},
};

/// The source that the folder's name suggests, or all of that kind.
std::string public_source(const std::string& kind, std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string all;
  for (const PublicSource& source : public_sources) {
    if (source.kind != kind) continue;
    if (name.find(source.folder) != std::string::npos) return std::string(source.text);
    all += (all.empty() ? "" : ", ") + std::string(source.text);
  }
  return all;
}

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

std::string full_path(const fs::path& path) {
  std::error_code none;
  const fs::path full = fs::absolute(path, none);
  return (none ? path : full).lexically_normal().string();
}

// Places may coincide: the source tree is often the working directory.
void add_once(std::vector<std::string>& lines, std::string line) {
  if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
}

}  // namespace

bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;  // of a path that is not there: no file, so not the same one
  return fs::equivalent(a, b, error);
}

std::vector<fs::path> search_places(const Scenario& scenario, const fs::path& path) {
  if (path.is_absolute()) return {fs::path()};
  std::vector<fs::path> places = {fs::path(scenario.file).parent_path()};
  if (!scenario.folder.empty()) places.emplace_back(scenario.folder);  // where `file` is a log, that of its scenario
  if (const char* folder = std::getenv("IVORY_DATA_DIR"); folder != nullptr && *folder != '\0')
    places.emplace_back(folder);
  places.emplace_back("data");
  places.emplace_back(".");  // what --set names is seen from here
#ifdef IVORY_SOURCE_DIR
  places.push_back(fs::path(IVORY_SOURCE_DIR) / "data");
#endif
  return places;
}

fs::path find_data_file(const Scenario& scenario, std::string_view key) {
  const fs::path path = scenario.data.text(key);
  std::vector<std::string> looked;
  for (const fs::path& place : search_places(scenario, path)) {
    if (is_file(place / path)) return place / path;
    add_once(looked, full_path(place / path));
  }
  throw MissingFileError(fmt::format(
      "[data] {} must name an existing file, got \"{}\"{}; looked for\n  {}\n"
      "put the file in one of these places, or set IVORY_DATA_DIR to its folder; data/README.md says what it holds",
      key, path.string(), written_at(scenario.data, key), fmt::join(looked, "\n  ")));
}

std::vector<fs::path> find_in_folder(const Scenario& scenario, std::string_view key, const std::string& wanted,
                                     const std::string& advice,
                                     const std::function<FolderContents(const fs::path&)>& look) {
  const fs::path directory = scenario.data.text(key);
  std::vector<std::string> looked;
  for (const fs::path& place : search_places(scenario, directory)) {
    const FolderContents found = look(place / directory);
    if (found.missing.empty()) return found.files;
    std::error_code none;
    const bool exists = fs::is_directory(place / directory, none);
    add_once(looked, full_path(place / directory) + (exists ? fmt::format(": no {}", fmt::join(found.missing, ", "))
                                                            : std::string(": no such folder")));
  }
  throw MissingFileError(
      fmt::format("[data] {} must be a folder with {} (each plain or .gz), got \"{}\"{}; looked in\n  {}\n"
                  "public download: {}; data/README.md says how to get each{}{}",
                  key, wanted, directory.string(), written_at(scenario.data, key), fmt::join(looked, "\n  "),
                  public_source(scenario.data.text("kind"), directory.string()), advice.empty() ? "" : "\n", advice));
}

std::vector<fs::path> find_data_files(const Scenario& scenario, std::string_view key,
                                      std::span<const std::string> files, const std::string& advice) {
  const auto look = [files](const fs::path& folder) {
    FolderContents contents;
    for (const std::string& file : files) {
      const fs::path plain = folder / file, packed = folder / (file + ".gz");
      if (is_file(plain) || is_file(packed)) {
        contents.files.push_back(is_file(plain) ? plain : packed);
      } else {
        contents.missing.push_back(file);
      }
    }
    return contents;
  };
  return find_in_folder(scenario, key, fmt::format("{}", fmt::join(files, ", ")), advice, look);
}

}  // namespace ivory
