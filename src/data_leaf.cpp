#include "src/data_leaf.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"
#include "src/leaf_json.hpp"

namespace ivory {
namespace {

namespace fs = std::filesystem;

// The characters of LEAF's Shakespeare in ASCII order; 80 of them.
constexpr const char* shakespeare_alphabet =
    "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}";

/// The files *.json and *.json.gz of a folder, by name; of two that differ in .gz alone the plain one.
std::vector<fs::path> json_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    const bool packed = path.extension() == ".gz";
    std::error_code none;
    if ((packed ? path.stem() : path).extension() != ".json" || !entry->is_regular_file(none)) continue;
    if (packed && fs::is_regular_file(fs::path(path).replace_extension(), none)) continue;
    files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

FolderContents look(const fs::path& folder) {
  FolderContents contents;
  for (const char* part : {"train", "test"}) {
    const std::vector<fs::path> files = json_files(folder / part);
    if (files.empty()) contents.missing.push_back(std::string(part) + "/*.json");
    contents.files.insert(contents.files.end(), files.begin(), files.end());
  }
  return contents;
}

}  // namespace

const Kind& leaf_kind() {
  static const Kind kind = {
      "leaf",
      "FEMNIST, Shakespeare and other data in LEAF's JSON, plain or .gz; clients are its users. Lists of numbers are "
      "inputs as they are; texts become one-hot characters, one after the other, and the class is the next character",
      {
          {.name = "directory",
           .default_value = std::string(),
           .help =
               "folder with train/*.json and test/*.json; a relative path is looked for beside the scenario, then in "
               "IVORY_DATA_DIR, then in data/",
           .required = true},
          {.name = "alphabet",
           .default_value = std::string(),
           .help = "texts: the characters in the order of their numbers; empty: the 80 of LEAF's Shakespeare in ASCII "
                   "order (data/README.md)"},
          {.name = "classes",
           .default_value = std::int64_t{0},
           .help = "number of classes; 0: one more than the largest label, for texts the characters of the alphabet",
           .unit = "classes",
           .low = 0,
           .high = max_classes},
      }};
  return kind;
}

DataSplit load_leaf(const Scenario& scenario) {
  const Options& options = scenario.data;
  const std::vector<fs::path> files = find_in_folder(scenario, "directory", "train/*.json and test/*.json", "", look);
  const std::string& alphabet = options.text("alphabet");
  LeafFormat format(alphabet.empty() ? shakespeare_alphabet : alphabet, written_at(options, "alphabet"));
  NameNumbers users;
  DataSplit data;
  std::string train_folder, test_folder;
  for (const fs::path& file : files) {
    const fs::path folder = file.parent_path();
    const bool train = folder.filename() == "train";
    (train ? train_folder : test_folder) = folder.lexically_normal().string();
    read_leaf_json(file.string(), format, users, train ? data.train : data.test);
  }
  for (Dataset* part : {&data.train, &data.test}) {
    part->features = format.features();
    part->shape = {part->features};
    // The images of FEMNIST come flattened.
    if (!format.text.value_or(false) && part->features == 28 * 28) part->shape = {1, 28, 28};
  }
  std::int64_t classes = options.integer("classes");
  if (classes == 0 && format.text.value_or(false)) classes = static_cast<std::int64_t>(format.letter.size());
  set_classes(data, classes, train_folder, test_folder);
  data.description = "leaf " + fs::path(train_folder).parent_path().string();
  return data;
}

}  // namespace ivory
