// What clients are merged from (methods.md 6): their posteriors, and what they were trained from. Of a log, or of a round under way.
#pragma once
#include <limits>
#include <string>
#include <vector>

#include "ivory/algorithm.hpp"
#include "ivory/parameters.hpp"
#include "server/merging.hpp"

namespace ivory {

/// [P] each; what the method does not have is empty.
struct MergedPosterior {
  std::vector<float> mean, precision, site_mean, site_precision;

  GaussianView<float> view() const { return {mean, precision}; }
};

struct MergeInput {
  std::string method;  // "algorithm \"vb_admm\" (optimizer \"ivon\")", for messages
  std::string place;   // the log's file
  const ParameterLayout* layout = nullptr;
  AlgorithmTraits traits;
  NaturalStep step;                                                   // known: with diagonal covariances
  double prior_precision = std::numeric_limits<double>::quiet_NaN();  // s0; NaN: the method has none
  std::vector<std::vector<MergedPosterior>> tasks;                    // per merged client its components
  MergedPosterior base;                                               // no mean: it is not known
  std::string base_text;                                              // what the base is, or why there is none
};

}  // namespace ivory
