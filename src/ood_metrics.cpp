#include "src/ood_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "src/evaluation.hpp"

namespace ivory {
namespace {

constexpr double wanted_true_positives = 0.95;

/// Examples of one score.
struct Tied {
  double score = 0, in = 0, out = 0;
};

/// Distinct scores, the largest first.
std::vector<Tied> by_score(std::span<const double> in, std::span<const double> out) {
  std::vector<Tied> all;
  for (const double score : in) all.push_back({score, 1, 0});
  for (const double score : out) all.push_back({score, 0, 1});
  std::ranges::sort(all, std::greater<>(), &Tied::score);
  std::vector<Tied> groups;
  for (const Tied& one : all) {
    if (groups.empty() || groups.back().score != one.score) groups.push_back({.score = one.score});
    groups.back().in += one.in;
    groups.back().out += one.out;
  }
  return groups;
}

/// Sum over thresholds of the recall gained times the precision there.
double average_precision(const std::vector<Tied>& groups, double Tied::*positive, double Tied::*negative,
                         double positives) {
  double area = 0, taken = 0, wrong = 0;
  for (const Tied& group : groups) {
    taken += group.*positive;
    wrong += group.*negative;
    area += group.*positive / positives * (taken / (taken + wrong));
  }
  return area;
}

struct Scores {
  std::vector<double> confidence, entropy;
};

template <class Real>
Scores scores_of(std::span<const Real> probability, std::size_t classes) {
  Scores scores;
  for (std::size_t first = 0; first < probability.size(); first += classes) {
    const Real* const row = probability.data() + first;
    const double entropy = predictive_entropy(row, classes);
    // A row that is not a number has no largest entry.
    scores.confidence.push_back(std::isnan(entropy) ? entropy
                                                    : static_cast<double>(*std::max_element(row, row + classes)));
    scores.entropy.push_back(-entropy);
  }
  return scores;
}

}  // namespace

Detection detection(std::span<const double> in, std::span<const double> out) {
  const auto is_nan = [](double score) { return std::isnan(score); };
  if (in.empty() || out.empty() || std::ranges::any_of(in, is_nan) || std::ranges::any_of(out, is_nan)) return {};
  const std::vector<Tied> groups = by_score(in, out);
  const auto positives = static_cast<double>(in.size()), negatives = static_cast<double>(out.size());
  Detection result{.auroc = 0, .error = 0.5};  // a threshold above all scores errs on every positive
  double true_positives = 0, false_positives = 0;
  for (const Tied& group : groups) {
    result.auroc += group.out * (true_positives + 0.5 * group.in);  // pairs in the right order
    true_positives += group.in;
    false_positives += group.out;
    const double tpr = true_positives / positives, fpr = false_positives / negatives;
    if (std::isnan(result.fpr95) && tpr >= wanted_true_positives) result.fpr95 = fpr;
    result.error = std::min(result.error, 0.5 * (fpr - tpr + 1.0));
  }
  result.auroc /= positives * negatives;
  result.aupr_in = average_precision(groups, &Tied::in, &Tied::out, positives);
  const std::vector<Tied> rising(groups.rbegin(), groups.rend());
  result.aupr_out = average_precision(rising, &Tied::out, &Tied::in, negatives);
  return result;
}

template <class Real>
OodDetection ood_detection(std::span<const Real> in, std::span<const Real> out, std::size_t classes) {
  const Scores inside = scores_of(in, classes), outside = scores_of(out, classes);
  return {.confidence = detection(inside.confidence, outside.confidence),
          .entropy = detection(inside.entropy, outside.entropy)};
}

template OodDetection ood_detection(std::span<const float>, std::span<const float>, std::size_t);
template OodDetection ood_detection(std::span<const double>, std::span<const double>, std::size_t);

}  // namespace ivory
