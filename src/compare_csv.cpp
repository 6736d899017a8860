// The comparison for programs.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "src/compare_detection.hpp"
#include "src/compare_differences.hpp"
#include "src/compare_table.hpp"
#include "src/log_layout.hpp"

namespace ivory {
namespace {

constexpr const char* csv_heading =
    "name,arm,algorithm,model,metric,summary,unit,mean,standard_deviation,seeds,by_seed,minus,half_interval_95\n";

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

std::string csv_number(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }

}  // namespace

std::string csv_row(const LogSummary& run, const char* model, const std::string& metric, const char* summary,
                    const char* unit, const PairedDifference& numbers, const std::string& minus) {
  std::vector<std::string> by_seed;
  for (const auto& [seed, value] : numbers.by_seed) by_seed.push_back(fmt::format("{}:{}", seed, csv_number(value)));
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\n", quoted(run.name), quoted(run.arm),
                     quoted(run.algorithm), model, metric, summary, unit, csv_number(numbers.spread.mean),
                     csv_number(numbers.spread.deviation), numbers.spread.count, fmt::join(by_seed, ";"), quoted(minus),
                     csv_number(numbers.half_width));
}

std::string csv_row(const ArmGroup& arm, const char* model, const std::string& metric, const char* summary,
                    const char* unit, const LogValue& value) {
  PairedDifference plain{.by_seed = {}, .spread = arm.spread(value)};
  for (const LogSummary* log : arm.logs) plain.by_seed.emplace_back(log->seed, value(*log));
  return csv_row(*arm.logs.front(), model, metric, summary, unit, plain, "");
}

std::string comparison_csv(std::span<const LogSummary> logs, const std::string& baseline) {
  std::string text = csv_heading;
  if (logs.empty()) return text;
  const std::vector<ArmGroup> arms = group_by_arm(logs);
  const ArmGroup& reference = baseline_of(arms, baseline);
  const Shown shown(arms);
  for (const ArmGroup& arm : arms) {
    const LogSummary& first = *arm.logs.front();
    const auto line = [&](const char* model, const char* metric, const char* summary, const char* unit,
                          const LogValue& value) { text += csv_row(arm, model, metric, summary, unit, value); };
    const auto unless_failed = [](double LogSummary::*total) {
      return [total](const LogSummary& log) { return failed(&log) ? no_value : log.*total; };
    };
    for (const PickModel model : models) {
      const char* const name = model == models[0] ? "mean" : "posterior_average";
      for (const MetricRow& metric : shown.metrics) {
        const auto of = [&](PickModel which, double MetricSummary::*summary) {
          return [=](const LogSummary& log) { return log.*which.*metric.metric.*summary; };
        };
        line(name, metric.name, "best", metric.unit, of(model, &MetricSummary::best));
        line(name, metric.name, "final", metric.unit, of(model, &MetricSummary::final));
        line(name, metric.name, "last_3", metric.unit, of(model, &MetricSummary::last));
        if (&arm == &reference || (model == models[1] && !has_average(arm))) continue;
        const auto difference = [&](const char* summary, double MetricSummary::*of_summary) {
          text += csv_row(
              first, name, metric.name, summary, metric.unit,
              paired_difference(arm, of(model, of_summary), reference, of(counterpart(reference, model), of_summary)),
              reference.title);
        };
        difference("final", &MetricSummary::final);
        difference("last_3", &MetricSummary::last);
      }
      for (const DetectionScore& score : detection_scores) {
        for (const DetectionColumn& column : detection_columns) {
          if (!has_detection(arms)) continue;
          line(name, (score.prefix + std::string(column.name)).c_str(), "final", "1",
               [&](const LogSummary& log) { return (log.*model).ood.*score.score.*column.value; });
        }
      }
      const auto of_model = [&](const char* metric, const char* summary, const char* unit,
                                double QualitySummary::*value) {
        line(name, metric, summary, unit, [=](const LogSummary& log) { return log.*model.*value; });
      };
      if (shown.classification) {
        of_model("accuracy", "rounds_to_target", "rounds", &QualitySummary::rounds_to_target);
        of_model("accuracy", "bytes_to_target", "bytes", &QualitySummary::bytes_to_target);
        of_model("accuracy", "worst_tenth_of_clients", "1", &QualitySummary::worst_clients);
      }
      if (shown.regression) {
        of_model("rmse", "worst_tenth_of_clients", "unit of the targets", &QualitySummary::worst_clients_rmse);
      }
    }
    line("", "seconds", "total", "s", [](const LogSummary& log) { return log.seconds; });
    line("", "bytes", "total", "bytes", [](const LogSummary& log) { return log.bytes; });
    line("", "rounds", "complete", "rounds",
         [](const LogSummary& log) { return failed(&log) ? no_value : static_cast<double>(log.rounds_complete); });
    line("", "refused", "total", "clients", unless_failed(&LogSummary::refused));
    line("", "clamped", "total", "parameters", unless_failed(&LogSummary::clamped));
    line("", "failed", "share", "1", [](const LogSummary& log) { return failed(&log) ? 1.0 : 0.0; });
  }
  return text;
}

}  // namespace ivory
