// What the readers and generators of data share: label and value checks, subsets, keyed draws.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
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
  centres = 6,
  public_pool = 7,
  label_noise = 8,
  shared_inputs = 9
};

inline constexpr double default_test_fraction = 0.2;

/// ", at file:line:column" of a key the user wrote, "" for a default.
std::string written_at(const Options& options, std::string_view key);

/// [data] seed, or the scenario's where that is 0.
std::uint64_t data_seed(const Scenario& scenario);

/// Throws InputError unless 0 <= label < max_classes; `place` ends the message.
std::int32_t checked_label(std::int64_t label, const std::string& place);
/// The same for an example (from 0) of a file; `position` completes the message ("byte 17").
std::int32_t checked_label(std::int64_t label, const std::string& file, std::size_t row, const std::string& position);

/// What is said of a label that the number of classes given does not allow; `place` is its file and example or line.
std::string label_beyond(std::int64_t label, std::int64_t classes, const std::string& place);

/// Sets the number of classes of train and test: `given`, or 1 + the largest label where that is 0. Throws InputError
/// for a label that `given` does not allow. The file names are for messages.
void set_classes(DataSplit& data, std::int64_t given, const std::string& train_file, const std::string& test_file);

/// Place in x of the first NaN or infinity; x.size() where there is none.
std::size_t first_not_finite(const Dataset& data);

/// Throws InputError naming row and column of the first NaN or infinity.
void check_finite(const Dataset& data, const std::string& what);

/// Throws InputError when so many 4-byte values exceed the machine's memory: a damaged header should not end in
/// swapping.
void check_memory(double values, const std::string& what);

/// Asks check_memory before `more` values make `x` take new memory: for sizes that only reading tells.
void check_growth(const std::vector<float>& x, std::size_t more, const std::string& file);

/// Marks about `fraction` of the examples (at least one), by keyed shuffle, and never the last example of a natural
/// client. Returns one flag per example. At least one example stays unmarked.
std::vector<std::uint8_t> draw_fraction(const Dataset& data, double fraction, StreamReader reader);

/// Calls f(column of `to`, column of `from`, values per example) for every column that `from` has: the one place that
/// knows them all.
template <class F>
void for_columns(Dataset& to, const Dataset& from, const F& f) {
  f(to.x, from.x, from.features);
  f(to.labels, from.labels, 1);
  if (!from.client.empty()) f(to.client, from.client, 1);
  if (!from.targets.empty()) f(to.targets, from.targets, from.outputs);
  if (!from.clean_labels.empty()) f(to.clean_labels, from.clean_labels, 1);
}

/// No examples, but what is the same for all of them.
Dataset empty_like(const Dataset& data);

/// The examples `rows` in that order, with everything known about them.
Dataset subset(const Dataset& data, std::span<const std::uint32_t> rows);

/// Drops all but the first so many examples (at most as many as there are).
void keep_first(Dataset& data, std::size_t examples);

/// Moves the marked examples out of `data` (order kept on both sides) and returns them.
Dataset take_out(Dataset& data, const std::vector<std::uint8_t>& marked);

/// Shape of one example of an array with these extents: [n, c, h, w] is n images, [n, h, w] n images of one channel,
/// all else features.
Shape shape_of_example(std::span<const std::size_t> extents);

/// Numbers clients that the data name by texts: 0, 1 ... in order of appearance.
class NameNumbers {
 public:
  std::int32_t operator()(const std::string& name);

 private:
  std::unordered_map<std::string, std::int32_t> numbers_;
};

/// Throws InputError where test_fraction was set although the key `beside` names a test set.
void refuse_test_fraction(const Options& options, std::string_view beside);

/// Moves [data] test_fraction of the training examples, chosen by the data seed, to the test set.
void split_test(DataSplit& data, const Scenario& scenario);

}  // namespace ivory
