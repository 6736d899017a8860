// What the readers and generators of data share: the search for files, label and value checks, keyed subsets.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/rng.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// Labels are class numbers; anything beyond is taken for a mistake (an identifier, a regression target).
inline constexpr std::int64_t max_classes = 65536;

/// Uses of random numbers in [data]; the `sample` coordinate of their streams.
enum class DataDraw : std::uint64_t {
  validation = 1,
  test_split = 2,
  client_sizes = 3,
  client_model = 4,
  features = 5,
  centres = 6
};

/// ", at file:line:column" of a key the user wrote, "" for a default.
std::string written_at(const Options& options, std::string_view key);

/// [data] seed, or the scenario's where that is 0.
std::uint64_t data_seed(const Scenario& scenario);

/// Where a relative path of this scenario is looked for, in order; an absolute path has one place, "".
std::vector<std::filesystem::path> search_places(const Scenario& scenario, const std::filesystem::path& path);

/// The first place that has the file. Throws InputError naming every place looked in.
std::filesystem::path find_data_file(const Scenario& scenario, std::string_view key);

/// The directory `scenario.data.text(key)` in the first place that has every one of `files`, each plain or with ".gz";
/// returns the files' paths in the same order. Throws InputError naming every place looked in, what it lacks, and the
/// public source.
std::vector<std::filesystem::path> find_data_files(const Scenario& scenario, std::string_view key,
                                                   std::span<const std::string> files);

/// Throws InputError unless 0 <= label < max_classes. `position` completes the message ("byte 17").
std::int32_t checked_label(std::int64_t label, const std::string& file, std::size_t row, const std::string& position);

/// Sets the number of classes of train and test: `given`, or 1 + the largest label where that is 0. Throws InputError
/// for a label that `given` does not allow. The file names are for messages.
void set_classes(DataSplit& data, std::int64_t given, const std::string& train_file, const std::string& test_file);

/// Throws InputError naming row and column of the first NaN or infinity.
void check_finite(const Dataset& data, const std::string& what);

/// Throws InputError when so many 4-byte values exceed the machine's memory: a damaged header should not end in
/// swapping.
void check_memory(double values, const std::string& what);

/// Marks about `fraction` of the examples (at least one), by keyed shuffle, and never the last example of a natural
/// client. Returns one flag per example. At least one example stays unmarked.
std::vector<std::uint8_t> draw_fraction(const Dataset& data, double fraction, StreamReader reader);

/// Moves the marked examples out of `data` (order kept on both sides) and returns them.
Dataset take_out(Dataset& data, const std::vector<std::uint8_t>& marked);

}  // namespace ivory
