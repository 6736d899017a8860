// What VSGD and constant VSGD share: the step that their estimate of the gradient leads to, and options. methods.md, section 5.
#pragma once
#include <string>
#include <vector>

#include "ivory/math.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// m := kept*m - rate * mu / ( sqrt(mu^2 + sigma) + epsilon ), where N(mu, sigma) is what is believed of the true gradient:
/// a step of at most `rate`, shorter where the gradient's sign is in doubt. `kept` is 1 - rate * weight decay.
template <class Real>
struct FilteredStep {
  Real kept, rate, epsilon;
  IVORY_HD Real operator()(Real m, Real mu, Real sigma) const {
    return kept * m - rate * mu / (math::sqrt(mu * mu + sigma) + epsilon);
  }
};

/// An exponent k of the averaging weights t^-k. Sums of t^-k must diverge and those of t^-2k converge (Robbins and Monro),
/// hence 1/2 < k <= 1.
inline OptionSpec averaging_exponent(std::string name, double value, std::string help) {
  return {.name = std::move(name),
          .default_value = value,
          .help = std::move(help),
          .unit = "1",
          .low = 0.5,
          .high = 1,
          .low_open = true};
}

/// Options of both, in front of the exponents.
inline std::vector<OptionSpec> vsgd_options() {
  return {
      {.name = "lr", .default_value = 0.1, .help = "learning rate", .unit = "1", .low = 0, .low_open = true},
      {.name = "gamma",
       .default_value = 1e-8,
       .help = "prior strength: shape of the Gamma priors on both precisions",
       .unit = "1",
       .low = 0,
       .low_open = true},
      {.name = "variance_ratio",
       .default_value = 30.0,
       .help =
           "prior variance ratio K_g: of a minibatch gradient around the true one, over that of the true one's step",
       .unit = "1",
       .low = 0},
      {.name = "epsilon",
       .default_value = 1e-8,
       .help = "added to the root of the gradient's second moment",
       .unit = "1",
       .low = 0,
       .low_open = true},
      {.name = "weight_decay",
       .default_value = 0.0,
       .help = "m := (1 - lr * weight_decay) * m before each step",
       .unit = "1",
       .low = 0}};
}

}  // namespace ivory
