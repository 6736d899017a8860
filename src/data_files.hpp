// The search for data files: beside the scenario, in IVORY_DATA_DIR, in data/.
#pragma once
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivory/scenario.hpp"

namespace ivory {

/// Where a relative path of this scenario is looked for, in order; an absolute path has one place, "".
std::vector<std::filesystem::path> search_places(const Scenario& scenario, const std::filesystem::path& path);

/// The file `scenario.data.text(key)` in the first place that has it. Throws MissingFileError naming every place looked
/// in.
std::filesystem::path find_data_file(const Scenario& scenario, std::string_view key);

/// Whether both paths lead to one file, however they are spelled: links count.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b);

/// What a folder has of the files wanted, and the names of those it lacks.
struct FolderContents {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> missing;
};

/// The files that `look` finds in the directory `scenario.data.text(key)`, of the first place where it misses none.
/// Throws MissingFileError naming every place looked in, what it lacks, and the public source of this kind of data.
/// `wanted` describes the files in the message, `advice` is its last line (may be empty).
std::vector<std::filesystem::path> find_in_folder(
    const Scenario& scenario, std::string_view key, const std::string& wanted, const std::string& advice,
    const std::function<FolderContents(const std::filesystem::path& folder)>& look);

/// The same for files with known names, each plain or with ".gz"; returns their paths in the order of `files`.
std::vector<std::filesystem::path> find_data_files(const Scenario& scenario, std::string_view key,
                                                   std::span<const std::string> files, const std::string& advice = {});

}  // namespace ivory
