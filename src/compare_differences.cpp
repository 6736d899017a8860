#include "src/compare_differences.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

const LogSummary* finished_with_seed(const ArmGroup& arm, std::uint64_t seed) {
  const auto found = std::find_if(arm.logs.begin(), arm.logs.end(),
                                  [&](const LogSummary* log) { return log->seed == seed && log->usable(); });
  return found == arm.logs.end() ? nullptr : *found;
}

/// P(|T| < t) for whole degrees of freedom: the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
double student_inside(double t, std::size_t degrees) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1.0, sum = degrees == 1 ? 0.0 : term;
  for (std::size_t k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= static_cast<double>(k - 1) / static_cast<double>(k) * cosine * cosine;
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + sine * sum) : sine * sum;
}

std::string show_difference(const Spread& spread, const MetricRow& metric) {
  if (spread.count == 0) return "-";
  std::string text = fmt::format("{:+.{}f}", metric.factor * spread.mean, metric.decimals);
  if (spread.count > 1) text += fmt::format(" ±{:.{}f}", metric.factor * spread.deviation, metric.decimals);
  if (spread.count < spread.logs) text += fmt::format(" ({}/{})", spread.count, spread.logs);
  return text;
}

std::string show_interval(const PairedDifference& difference, const MetricRow& metric) {
  if (std::isnan(difference.half_width)) return "-";
  const double low = difference.spread.mean - difference.half_width,
               high = difference.spread.mean + difference.half_width;
  return fmt::format("[{:+.{}f}, {:+.{}f}]", metric.factor * low, metric.decimals, metric.factor * high,
                     metric.decimals);
}

}  // namespace

double two_sided_student_t(double inside, std::size_t degrees) {
  double low = 0, high = 1;
  while (student_inside(high, degrees) < inside) high *= 2;
  for (int halving = 0; halving < 100; ++halving) {
    const double middle = 0.5 * (low + high);
    (student_inside(middle, degrees) < inside ? low : high) = middle;
  }
  return high;
}

PairedDifference paired_difference(const ArmGroup& arm, const LogValue& value, const ArmGroup& baseline,
                                   const LogValue& baseline_value) {
  PairedDifference difference;
  std::vector<double> values;
  for (const LogSummary* log : arm.logs) {
    const LogSummary* const other = finished_with_seed(baseline, log->seed);
    if (other == nullptr || finished_with_seed(arm, log->seed) != log) continue;
    values.push_back(value(*log) - baseline_value(*other));
    difference.by_seed.emplace_back(log->seed, values.back());
  }
  difference.spread = spread_of(values);
  if (const std::size_t n = difference.spread.count; n > 1) {
    difference.half_width =
        two_sided_student_t(0.95, n - 1) * difference.spread.deviation / std::sqrt(static_cast<double>(n));
  }
  return difference;
}

const ArmGroup& baseline_of(const std::vector<ArmGroup>& arms, const std::string& title) {
  if (title.empty()) return arms.front();
  const auto found = std::find_if(arms.begin(), arms.end(), [&](const ArmGroup& arm) { return arm.title == title; });
  if (found != arms.end()) return *found;
  std::vector<std::string> titles;
  for (const ArmGroup& arm : arms) titles.push_back(arm.title);
  throw InputError(fmt::format("[command line] --baseline must be one of the arms, got {}{}", shown(title),
                               suggestion(title, titles)));
}

PickModel counterpart(const ArmGroup& baseline, PickModel model) {
  return model == models[1] && !has_average(baseline) ? models[0] : model;
}

std::string difference_block(const std::vector<ArmGroup>& arms, const ArmGroup& baseline) {
  if (arms.size() < 2) return "";
  std::string text = fmt::format(
      "difference to {}, last 3: mean ±standard deviation over the seeds that both finished, and the 95 % interval of "
      "the "
      "mean (paired t)\n",
      baseline.title);
  const bool averages = std::any_of(arms.begin(), arms.end(), has_average);
  if (averages && !has_average(baseline)) {
    text += fmt::format("{} has no posterior average: its mean model stands against both\n", baseline.title);
  }
  const Shown shown(arms);
  TextTable table(2);
  std::vector<TextTable::Span> heading = {{"", 1}, {"", 1}};
  std::vector<std::string> columns = {"arm", "model"};
  for (const MetricRow& metric : shown.metrics) {
    heading.push_back({metric.heading, 2});
    columns.insert(columns.end(), {"difference", "95 % interval"});
  }
  columns.emplace_back("seeds");
  table.heading(std::move(heading));
  table.row(columns);
  for (const ArmGroup& arm : arms) {
    if (&arm == &baseline) continue;
    for (const PickModel model : models) {
      if (model == models[1] && !has_average(arm)) continue;
      std::vector<std::string> cells = {model == models[0] ? arm.title : "", name_of(model)};
      std::size_t seeds = 0;
      for (const MetricRow& metric : shown.metrics) {
        const auto last = [&](PickModel of) {
          return [of, &metric](const LogSummary& log) { return (log.*of.*metric.metric).last; };
        };
        const PairedDifference difference =
            paired_difference(arm, last(model), baseline, last(counterpart(baseline, model)));
        cells.push_back(show_difference(difference.spread, metric));
        cells.push_back(show_interval(difference, metric));
        seeds = difference.spread.logs;
      }
      cells.push_back(std::to_string(seeds));
      table.row(cells);
    }
  }
  return text + '\n' + table.text();
}

}  // namespace ivory
