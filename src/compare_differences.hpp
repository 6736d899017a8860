// Paired differences: an arm against another one over the seeds that both have, where partition, start weights and order of
// the minibatches are the same, so that what the seed does to both cancels.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "src/compare_groups.hpp"

namespace ivory {

/// Differences arm - baseline by seed, and their mean and standard deviation (n - 1). `logs` of the spread counts the seeds
/// that both finished; a seed without a value on either side is NaN.
struct PairedDifference {
  std::vector<std::pair<std::uint64_t, double>> by_seed;  // seeds that both finished, in the arm's order
  Spread spread;
  /// Half the 95 % interval of the mean by Student's t with n - 1 degrees of freedom; NaN for fewer than two seeds.
  double half_width = no_value;
};

using LogValue = std::function<double(const LogSummary&)>;
PairedDifference paired_difference(const ArmGroup& arm, const LogValue& value, const ArmGroup& baseline,
                                   const LogValue& baseline_value);

/// t with P(|T| < t) = `inside` for Student's distribution with so many degrees of freedom (at least 1), 0 < inside < 1.
double two_sided_student_t(double inside, std::size_t degrees);

/// The group that differences are taken to: of that title, or the first where `title` is empty. Throws InputError for a
/// title that no arm has.
const ArmGroup& baseline_of(const std::vector<ArmGroup>& arms, const std::string& title);

/// What stands against `model` of another arm: the same of the baseline, or its mean model where it has no posterior average.
PickModel counterpart(const ArmGroup& baseline, PickModel model);

/// A line of the CSV: of a difference to `minus`, and of the values of an arm.
std::string csv_row(const LogSummary& run, const char* model, const std::string& metric, const char* summary,
                    const char* unit, const PairedDifference& numbers, const std::string& minus);
std::string csv_row(const ArmGroup& arm, const char* model, const std::string& metric, const char* summary,
                    const char* unit, const LogValue& value);

/// The block of the text; empty for a single arm.
std::string difference_block(const std::vector<ArmGroup>& arms, const ArmGroup& baseline);

}  // namespace ivory
