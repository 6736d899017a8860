// From the runs of a sweep to one setting per arm: selected on the validation set, reported on the test set.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/compare_groups.hpp"
#include "src/sweep_grid.hpp"

namespace ivory {

/// What settings are selected by: a metric on the validation set, mean over the last three evaluated rounds and then over the
/// seeds.
struct Selection {
  MetricSummary QualitySummary::*metric = nullptr;  // null: accuracy, RMSE in a regression
  bool average = false;  // of the posterior average in arms that have one, else of the mean model
};

/// accuracy, rmse or nll, with _bayes for the posterior average, also with validation/ before it; empty: the default. Throws
/// InputError for everything else.
Selection parse_selection(const std::string& text);

/// Throws InputError where a setting has no such metric: a classification has no rmse, a regression no accuracy.
void check_selection(const std::vector<SweepArm>& arms, const Selection& selection);

/// Throws InputError where a scenario puts no validation set aside.
void check_validation(const std::vector<SweepArm>& arms);

/// An arm with the runs of its settings.
struct SweptArm {
  std::string name;
  std::vector<ArmGroup> settings;       // in the order of the grid; titles are labels
  std::optional<std::size_t> selected;  // none where no setting has a value
};

/// `runs` outlive the result.
std::vector<SweptArm> select_settings(const std::vector<SweepArm>& arms, std::span<const LogSummary> runs,
                                      const Selection& selection);

/// The runs of the selected settings, all that is shown of the test set. For an arm without a selected setting failed runs in
/// its name.
std::vector<LogSummary> selected_runs(const std::vector<SweptArm>& arms);
/// The title that the arm has among them. Throws nothing; `name` is the first arm's where it is empty.
std::string selected_title(const std::vector<SweptArm>& arms, const std::string& name);

/// Every setting on the validation set alone, so that nobody selects on the test set by eye; ends with a newline.
std::string settings_table(const std::vector<SweptArm>& arms, const Selection& selection);
/// The same as lines for comparison_csv.
std::string settings_csv(const std::vector<SweptArm>& arms);

}  // namespace ivory
