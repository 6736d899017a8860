#include "src/data_scaling.hpp"

#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

/// Mean and standard deviation (of the population) of every feature of x / divisor; std is 1 where a feature is
/// constant.
void measure(Scaling& scaling, const Dataset& data, double divisor) {
  const std::size_t n = data.size(), features = data.features;
  scaling.mean.assign(features, 0);
  scaling.std.assign(features, 0);
  std::vector<std::uint8_t> varies(features, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = data.row(i);
    for (std::size_t j = 0; j < features; ++j) {
      scaling.mean[j] += static_cast<double>(row[j]) / divisor;
      varies[j] |= static_cast<std::uint8_t>(row[j] != data.x[j]);
    }
  }
  for (double& mean : scaling.mean) mean /= static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = data.row(i);
    for (std::size_t j = 0; j < features; ++j) {
      const double d = static_cast<double>(row[j]) / divisor - scaling.mean[j];
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

}  // namespace

const std::vector<OptionSpec>& scaling_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "divide_by",
       .default_value = 1.0,
       .help = "inputs are divided by it first: 255 for MNIST and CIFAR, 16 for the digits",
       .unit = "1",
       .low = 0,
       .high = 1e30,
       .low_open = true},
      {.name = "normalise",
       .default_value = std::string("none"),
       .help = "after divide_by; standard: (x - mean) / std of each feature on the training set of [data] (constant "
               "features become 0); fixed: (x - mean) / std with the numbers given",
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
  };
  return options;
}

void Scaling::apply(Dataset& data, const char* what) const {
  if (divisor == 1 && mean.empty()) return;
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
  const std::size_t bad = first_not_finite(data);
  if (bad == data.x.size()) return;
  throw InputError(fmt::format(
      "[data] inputs must be finite numbers of at most 3.4e38, got {}, {} row {} column {}, after {}{}{}; inputs are "
      "divided by these, so give larger numbers",
      data.x[bad], what, bad / features, bad % features, divide_by, spread.empty() ? "" : " and ", spread));
}

Scaling make_scaling(const Options& options, const Dataset& train, double train_divisor) {
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
  scaling.divide_by = fmt::format("divide_by = {}{}", scaling.divisor, written_at(options, "divide_by"));
  if (normalise == "standard") {
    measure(scaling, train, train_divisor);
    scaling.spread =
        fmt::format("normalise = \"standard\" (std of the training set){}", written_at(options, "normalise"));
  }
  if (normalise == "fixed") {
    scaling.spread = fmt::format("std = {}{}", shown(OptionValue(options.reals("std"))), written_at(options, "std"));
    scaling.mean = per_feature(options, "mean", train.features);
    scaling.std = per_feature(options, "std", train.features);
  }
  return scaling;
}

}  // namespace ivory
