#include "src/data_sets.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <stdexcept>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/content_hash.hpp"
#include "src/data_common.hpp"
#include "src/data_hdf5.hpp"
#include "src/data_idx.hpp"
#include "src/data_synthetic.hpp"

namespace ivory {
namespace {

DataSplit read_kind(const Scenario& scenario) {
  const std::string& kind = scenario.data.text("kind");
  if (kind == "idx") return load_idx(scenario);
  if (kind == "hdf5") return load_hdf5(scenario);
  if (kind == "synthetic") return make_synthetic(scenario.data, data_seed(scenario));
  if (kind == "blobs") return make_blobs(scenario.data, data_seed(scenario));
  throw std::logic_error("unknown kind of data: " + kind);
}

void limit(Dataset& data, std::int64_t most) {
  if (most == 0 || static_cast<std::uint64_t>(most) >= data.size()) return;
  const auto n = static_cast<std::size_t>(most);
  data.x.resize(n * data.features);
  data.x.shrink_to_fit();
  data.labels.resize(n);
  if (!data.client.empty()) data.client.resize(n);
}

void check_sizes(const DataSplit& data) {
  for (const Dataset* part : {&data.train, &data.test}) {
    const char* name = part == &data.train ? "training" : "test";
    if (part->size() == 0 || part->features == 0) {
      throw InputError(fmt::format("[data] the {} set must not be empty, got {} examples of {} values, {}", name,
                                   part->size(), part->features, data.description));
    }
    if (part->size() >= 0xFFFFFFFFU) {
      throw InputError(fmt::format("[data] the {} set holds fewer than 2^32 examples, got {}, {}; use limit_{}", name,
                                   part->size(), data.description, part == &data.train ? "train" : "test"));
    }
  }
}

void split_validation(DataSplit& data, const Scenario& scenario) {
  data.validation.features = data.train.features;
  data.validation.classes = data.train.classes;
  const double fraction = scenario.data.real("validation");
  if (fraction == 0) return;
  const StreamReader reader(data_seed(scenario),
                            {.purpose = Purpose::data, .sample = static_cast<std::uint64_t>(DataDraw::validation)});
  data.validation = take_out(data.train, draw_fraction(data.train, fraction, reader));
  if (data.validation.size() == 0) {
    throw InputError(
        fmt::format("[data] validation needs an example to put aside, got {} training examples{}{}; set "
                    "validation = 0",
                    data.train.size(), data.train.client.empty() ? "" : ", one per client",
                    written_at(scenario.data, "validation")));
  }
}

/// x := (x / divisor - mean) / std, per feature.
struct Scaling {
  double divisor = 1;
  std::vector<double> mean, std;  // [features], or empty

  bool trivial() const { return divisor == 1 && mean.empty(); }

  void apply(Dataset& data) const {
    const std::size_t features = data.features;
    for (std::size_t i = 0; i < data.size(); ++i) {
      float* row = data.x.data() + i * features;
      if (mean.empty()) {
        // A float quotient taken in double and rounded once more is the correctly rounded one.
        for (std::size_t j = 0; j < features; ++j) row[j] = static_cast<float>(static_cast<double>(row[j]) / divisor);
      } else {
        for (std::size_t j = 0; j < features; ++j) {
          row[j] = static_cast<float>((static_cast<double>(row[j]) / divisor - mean[j]) / std[j]);
        }
      }
    }
  }
};

/// Mean and standard deviation (of the population) of every feature of x / divisor; std is 1 where a feature is
/// constant.
void measure(Scaling& scaling, const Dataset& data) {
  const std::size_t n = data.size(), features = data.features;
  scaling.mean.assign(features, 0);
  scaling.std.assign(features, 0);
  std::vector<std::uint8_t> varies(features, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = data.row(i);
    for (std::size_t j = 0; j < features; ++j) {
      scaling.mean[j] += static_cast<double>(row[j]) / scaling.divisor;
      varies[j] |= static_cast<std::uint8_t>(row[j] != data.x[j]);
    }
  }
  for (double& mean : scaling.mean) mean /= static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = data.row(i);
    for (std::size_t j = 0; j < features; ++j) {
      const double d = static_cast<double>(row[j]) / scaling.divisor - scaling.mean[j];
      scaling.std[j] += d * d;
    }
  }
  for (std::size_t j = 0; j < features; ++j) {
    // Asked of the values themselves: the sum of squares of a constant feature is rounding, not 0.
    scaling.std[j] = varies[j] != 0 ? std::sqrt(scaling.std[j] / static_cast<double>(n)) : 1.0;
  }
}

std::vector<double> per_feature(const Options& options, std::string_view key, std::size_t features) {
  const std::vector<double>& values = options.reals(key);
  if (values.size() == 1) return std::vector<double>(features, values[0]);  // NOLINT(modernize-return-braced-init-list)
  if (values.size() != features) {
    throw InputError(fmt::format("[data] {} has one value, or one for each of the {} features, got {} values{}", key,
                                 features, values.size(), written_at(options, key)));
  }
  return values;
}

Scaling make_scaling(const DataSplit& data, const Options& options) {
  Scaling scaling;
  scaling.divisor = options.real("divide_by");
  const std::string& normalise = options.text("normalise");
  for (const char* key : {"mean", "std"}) {
    if (normalise == "fixed" && options.reals(key).empty()) {
      throw InputError(fmt::format("[data] normalise = \"fixed\" needs mean and std, got no {}{}", key,
                                   written_at(options, "normalise")));
    }
    if (normalise != "fixed" && !options.reals(key).empty()) {
      throw InputError(
          fmt::format("[data] {} belongs to normalise = \"fixed\", got normalise = \"{}\"{}; drop one of them", key,
                      normalise, written_at(options, key)));
    }
  }
  if (normalise == "standard") measure(scaling, data.train);
  if (normalise == "fixed") {
    scaling.mean = per_feature(options, "mean", data.train.features);
    scaling.std = per_feature(options, "std", data.train.features);
  }
  return scaling;
}

std::uint64_t checksum(const DataSplit& data) {
  ContentHash hash;
  for (const Dataset* part : {&data.train, &data.test, &data.validation}) {
    hash.add(std::uint64_t{part->features});
    hash.add(static_cast<std::uint64_t>(part->classes));
    hash.add(part->x.data(), part->x.size() * sizeof(float));
    hash.add(part->labels.data(), part->labels.size() * sizeof(std::int32_t));
    hash.add(part->client.data(), part->client.size() * sizeof(std::int32_t));
  }
  return hash.value();
}

DataSplit load(const Scenario& scenario) {
  const Options& options = scenario.data;
  DataSplit data = read_kind(scenario);
  check_sizes(data);
  limit(data.train, options.integer("limit_train"));
  limit(data.test, options.integer("limit_test"));
  split_validation(data, scenario);

  const Scaling scaling = make_scaling(data, options);
  if (!scaling.trivial()) {
    for (Dataset* part : {&data.train, &data.test, &data.validation}) {
      scaling.apply(*part);
      check_finite(*part, part == &data.train  ? "scaled training set"
                          : part == &data.test ? "scaled test set"
                                               : "scaled validation set");
    }
  }
  // A stray label makes many classes; the evaluation keeps two matrices of doubles.
  const auto classes = static_cast<double>(data.train.classes);
  check_memory(4.0 * classes * classes, fmt::format("the confusion matrices of {} classes", data.train.classes));
  data.checksum = checksum(data);
  std::string sizes = fmt::format("{} training", data.train.size());
  if (data.validation.size() > 0) sizes += fmt::format(", {} validation", data.validation.size());
  data.description = fmt::format("{}: {} and {} test examples, {} features, {} classes", data.description, sizes,
                                 data.test.size(), data.train.features, data.train.classes);
  return data;
}

}  // namespace

std::span<const Kind> dataset_kinds() {
  static const std::vector<Kind> kinds = {idx_kind(), hdf5_kind(), synthetic_kind(), blobs_kind()};
  return kinds;
}

const std::vector<OptionSpec>& common_data_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "divide_by",
       .default_value = 1.0,
       .help = "inputs are divided by it first: 255 for MNIST, 16 for the digits",
       .unit = "1",
       .low = 0,
       .high = 1e30,
       .low_open = true},
      {.name = "normalise",
       .default_value = std::string("none"),
       .help =
           "after divide_by; standard: each feature to mean 0 and standard deviation 1 on the training set (constant "
           "features to 0); fixed: (x - mean) / std with the numbers given",
       .choices = {"none", "standard", "fixed"}},
      {.name = "mean",
       .default_value = std::vector<double>(),
       .help = "normalise = \"fixed\": one number, or one per feature",
       .unit = "1",
       .low = -1e30,
       .high = 1e30},
      {.name = "std",
       .default_value = std::vector<double>(),
       .help = "normalise = \"fixed\": one number, or one per feature",
       .unit = "1",
       .low = 0,
       .high = 1e30,
       .low_open = true},
      {.name = "validation",
       .default_value = 0.0,
       .help = "share of the training examples put aside as a validation set, chosen at random by the seed",
       .unit = "1",
       .low = 0,
       .high = 0.9,
       .high_open = true},
      {.name = "limit_train",
       .default_value = std::int64_t{0},
       .help = "use only the first so many training examples, in the order of the file; 0: all",
       .unit = "examples",
       .low = 0,
       .high = 0x1p32},
      {.name = "limit_test",
       .default_value = std::int64_t{0},
       .help = "use only the first so many test examples, in the order of the file; 0: all",
       .unit = "examples",
       .low = 0,
       .high = 0x1p32},
      {.name = "seed",
       .default_value = std::int64_t{0},
       .help = "seed of generated data and of the validation split; 0: the scenario's seed",
       .low = 0,
       .high = 0x1p53},
  };
  return options;
}

DataSplit load_data(const Scenario& scenario) {
  try {
    return load(scenario);
  } catch (const std::bad_alloc&) {
    throw RunError(
        "[data] the data must fit into memory, got no more of it; limit_train takes part of a data set only after "
        "reading it, so use a smaller file or a larger machine");
  }
}

}  // namespace ivory
