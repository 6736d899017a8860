// Scaling of inputs: division, then normalisation.
#pragma once
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// The keys divide_by, normalise, mean and std.
const std::vector<OptionSpec>& scaling_options();

/// x := (x / divisor - mean) / std, per feature.
struct Scaling {
  double divisor = 1;
  std::vector<double> mean, std;  // [features], or empty
  std::string divide_by, spread;  // the settings, and where they are written, for messages

  /// Throws InputError, naming `what` and the setting, where a scaled input is not finite.
  void apply(Dataset& data, const char* what) const;
};

/// What `options` ask for. normalise = "standard" takes mean and standard deviation of `train` / `train_divisor`, which
/// is not scaled yet. Throws InputError for mean and std that do not fit.
Scaling make_scaling(const Options& options, const Dataset& train, double train_divisor);

}  // namespace ivory
