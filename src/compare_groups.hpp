// The seeds of an arm together: what the comparison's text and CSV share.
#pragma once
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "src/compare_table.hpp"

namespace ivory {

/// Mean and standard deviation (n - 1) over the logs that have a value.
struct Spread {
  double mean = no_value, deviation = no_value;
  std::size_t count = 0, logs = 0;
};

Spread spread_of(const std::vector<double>& values);

/// "clients.optimizer.lr = 0.1" and so on, in the order of the resolved scenario (to_toml).
std::vector<std::string> settings_of(const std::string& scenario);

/// The models of a run that are measured.
using PickModel = QualitySummary LogSummary::*;
inline constexpr PickModel models[] = {&LogSummary::mean, &LogSummary::bayes};
inline const char* name_of(PickModel model) { return model == models[0] ? "mean model" : "posterior average"; }

/// The metrics, and how the text shows them.
struct MetricRow {
  const char* name;
  const char* heading;
  MetricSummary QualitySummary::*metric;
  const char* unit;  // in CSV
  double factor;
  int decimals;
  bool classification, regression;  // which has it
};
inline constexpr MetricRow all_metrics[] = {
    {"accuracy", "accuracy [%]", &QualitySummary::accuracy, "1", 100, 2, true, false},
    {"rmse", "RMSE", &QualitySummary::rmse, "unit of the targets", 1, 4, false, true},
    {"nll", "NLL [nat]", &QualitySummary::nll, "nat", 1, 4, true, true},
    {"ece", "ECE [%]", &QualitySummary::ece, "1", 100, 2, true, false},
    {"brier", "Brier", &QualitySummary::brier, "1", 1, 4, true, false}};

/// "94.06 ±0.12"; without the deviation for one seed; with "(2/3)" where not every seed has a value.
std::string show(const Spread& spread, double factor, int decimals);

struct ArmGroup {
  std::string title;
  std::vector<const LogSummary*> logs;  // failed runs, too

  template <class Value>
  Spread spread(const Value& value) const {
    std::vector<double> values;
    for (const LogSummary* log : logs) values.push_back(value(*log));
    return spread_of(values);
  }
};

inline bool unfinished(const LogSummary* log) { return log->rounds_complete < log->rounds; }
inline bool failed(const LogSummary* log) { return !log->failure.empty(); }

/// "3", or "1/3" where two of three runs failed.
std::string show_seeds(const ArmGroup& arm);

/// What the logs are about, and the metrics of that. Without any evaluated round they count as classification.
struct Shown {
  explicit Shown(const std::vector<ArmGroup>& arms);
  bool classification = false, regression = false;
  std::vector<MetricRow> metrics;
};

/// Does some log of the arm have a posterior average?
bool has_average(const ArmGroup& arm);

/// Groups in order of their first log; of logs with the same arm and seed the first one is taken. The scenario's name is part of the title where the logs have several.
std::vector<ArmGroup> group_by_arm(std::span<const LogSummary> logs);

/// The scenario's name, or all of them.
std::string common_name(std::span<const LogSummary> logs);

/// What makes the arms hard to compare, one line each.
std::vector<std::string> comparison_warnings(std::span<const LogSummary> all);

/// "avg: 1 of 3 runs failed" with seeds and reasons, a line per arm and reason; nothing where none did.
std::string failure_notes(const std::vector<ArmGroup>& arms);

}  // namespace ivory
