#include "src/data_hdf5.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"
#include "src/hdf5_file.hpp"

namespace ivory {
namespace {

constexpr std::size_t values_at_a_time = std::size_t{1} << 22;

/// "a/b" for "/a//b/": one spelling for each group, empty for the root.
std::string plain_group(const std::string& text) {
  std::string plain;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('/', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    if (!part.empty() && part != ".") plain += (plain.empty() ? "" : "/") + part;
    begin = end + 1;
  }
  return plain;
}

std::string shape_text(const std::vector<std::size_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// The data set's path in the file; throws unless it is there.
std::string dataset_in(const Hdf5File& file, const std::string& group, const std::string& name) {
  const std::string path = group.empty() ? name : group + "/" + name;
  if (file.has_dataset(path)) return path;
  const std::string folder = group.empty() ? "/" : group;
  if (!file.has_group(folder)) {
    throw InputError(fmt::format("[data] {} must have the group {}, got the groups {}", file.path(), folder,
                                 fmt::join(file.groups(), ", ")));
  }
  throw InputError(fmt::format("[data] examples are the data sets x and y, got no {} in {} {}, which has {}", name,
                               file.path(), folder, fmt::join(file.datasets(folder), ", ")));
}

/// A data set of integers, one per example.
std::vector<std::int64_t> read_column(const Hdf5File& file, const std::string& dataset, std::size_t examples) {
  const std::vector<std::size_t> shape = file.shape(dataset);
  if (!file.is_integer(dataset)) {
    throw InputError(fmt::format("[data] {} must hold integers, got another type, {}", dataset, file.path()));
  }
  // [n, 1] is as good as [n].
  const bool column = !shape.empty() && shape[0] == examples &&
                      std::all_of(shape.begin() + 1, shape.end(), [](std::size_t extent) { return extent == 1; });
  if (!column) {
    throw InputError(fmt::format("[data] {} must have one value for each of the {} rows of x, got shape {}, {}",
                                 dataset, examples, shape_text(shape), file.path()));
  }
  return file.read<std::int64_t>(dataset).values;
}

Dataset read_examples(const Hdf5File& file, const std::string& group) {
  const std::string x = dataset_in(file, group, "x");
  const std::string y = dataset_in(file, group, "y");
  const std::vector<std::size_t> shape = file.shape(x);
  if (shape.empty() || std::find(shape.begin(), shape.end(), std::size_t{0}) != shape.end()) {
    throw InputError(fmt::format("[data] {} must have at least one example and one feature, got shape {}, {}", x,
                                 shape_text(shape), file.path()));
  }
  if (file.is_text(x)) throw InputError(fmt::format("[data] {} must hold numbers, got text, {}", x, file.path()));
  Dataset data;
  data.features = 1;
  std::size_t values = 1;
  bool overflow = false;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    overflow |= __builtin_mul_overflow(values, shape[d], &values);
    if (d > 0) data.features = values / shape[0];
  }
  if (overflow || shape[0] > std::numeric_limits<std::uint32_t>::max()) {
    throw InputError(fmt::format("[data] {} may have fewer than 2^32 rows and 2^64 values, got shape {}, {}", x,
                                 shape_text(shape), file.path()));
  }
  data.shape = shape_of_example(shape);
  check_memory(static_cast<double>(values), fmt::format("{} of shape {}, {}", x, shape_text(shape), file.path()));

  const std::vector<std::int64_t> labels = read_column(file, y, shape[0]);
  data.labels.reserve(shape[0]);
  for (std::size_t i = 0; i < shape[0]; ++i) data.labels.push_back(checked_label(labels[i], file.path(), i, y));

  data.x.reserve(values);
  const std::size_t rows = std::max<std::size_t>(1, values_at_a_time / data.features);
  for (std::size_t first = 0; first < shape[0]; first += rows) {
    const Hdf5Array<float> part = file.read_rows<float>(x, first, std::min(rows, shape[0] - first));
    data.x.insert(data.x.end(), part.values.begin(), part.values.end());
  }
  check_finite(data, file.path() + " " + x);

  const std::string client = group.empty() ? "client" : group + "/client";
  if (file.has_dataset(client)) {
    const std::vector<std::int64_t> clients = read_column(file, client, shape[0]);
    data.client.reserve(shape[0]);
    for (std::size_t i = 0; i < shape[0]; ++i) {
      const auto id = static_cast<std::int32_t>(clients[i]);
      if (id != clients[i]) {
        throw InputError(fmt::format("[data] a client is a 32-bit integer, got {}, {} {} row {}", clients[i],
                                     file.path(), client, i));
      }
      data.client.push_back(id);
    }
  }
  return data;
}

}  // namespace

const Kind& hdf5_kind() {
  static const Kind kind = {
      "hdf5",
      "your own data in HDF5: x [n, ...] numbers, y [n] integers and, if you like, client [n] integers",
      {
          {.name = "file",
           .default_value = std::string(),
           .help = "file with the training examples; a relative path is looked for beside the scenario, then in "
                   "IVORY_DATA_DIR, then in data/",
           .required = true},
          {.name = "train_group",
           .default_value = std::string(),
           .help = "group of the training examples; empty: the root"},
          {.name = "test_file",
           .default_value = std::string(),
           .help = "file with the test examples; empty: the same file"},
          {.name = "test_group",
           .default_value = std::string(),
           .help = "group of the test examples; without it and test_file, test_fraction of the examples is put aside"},
          {.name = "test_fraction",
           .default_value = default_test_fraction,
           .help = "share of the examples that becomes the test set when there is none, chosen at random by the seed",
           .unit = "1",
           .low = 0,
           .high = 0.9,
           .low_open = true},
          {.name = "classes",
           .default_value = std::int64_t{0},
           .help = "number of classes; 0: one more than the largest label",
           .unit = "classes",
           .low = 0,
           .high = max_classes},
      }};
  return kind;
}

DataSplit load_hdf5(const Scenario& scenario) {
  const Options& options = scenario.data;
  const std::string train_group = plain_group(options.text("train_group"));
  const std::string test_group = plain_group(options.text("test_group"));
  const bool own_file = !options.text("test_file").empty();
  const bool has_test = own_file || !options.text("test_group").empty();  // "/" is the root
  if (has_test) refuse_test_fraction(options, own_file ? "test_file" : "test_group");
  const std::string train_path = find_data_file(scenario, "file").string();
  const std::string test_path = own_file ? find_data_file(scenario, "test_file").string() : train_path;
  if (has_test && train_group == test_group && is_same_file(train_path, test_path)) {
    throw InputError(
        fmt::format("[data] training and test set must differ, got the group /{} of one file for both, {} and {}{}; "
                    "name another test_group, or drop it to put test_fraction of the examples aside",
                    train_group, train_path, test_path, written_at(options, own_file ? "test_file" : "test_group")));
  }
  DataSplit data;
  data.train = read_examples(Hdf5File::open(train_path), train_group);
  if (has_test) {
    data.test = read_examples(Hdf5File::open(test_path), test_group);
    if (data.train.features != data.test.features) {
      throw InputError(
          fmt::format("[data] training and test examples must have one size, got {} values each in {} and {} in {}",
                      data.train.features, train_path, data.test.features, test_path));
    }
  }
  set_classes(data, options.integer("classes"), train_path, test_path);
  if (!has_test) split_test(data, scenario);
  data.description = "hdf5 " + train_path + (own_file ? ", " + test_path : std::string());
  return data;
}

}  // namespace ivory
