#include "src/compare_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "src/compare_detection.hpp"
#include "src/compare_differences.hpp"
#include "src/compare_groups.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

std::string show_arm(const ArmGroup& arm) {
  return arm.title + (std::any_of(arm.logs.begin(), arm.logs.end(), unfinished) ? " *" : "");
}

/// Calls `row(arm, name of the arm or "", model)` for each line of a block.
template <class Row>
void for_each_line(const std::vector<ArmGroup>& arms, const Row& row) {
  // Without any posterior average a line of dashes under each arm would say nothing.
  const bool averages = std::any_of(arms.begin(), arms.end(), has_average);
  for (const ArmGroup& arm : arms) {
    row(arm, show_arm(arm), models[0]);
    if (averages) row(arm, "", models[1]);
  }
}

std::string quality_block(const std::vector<ArmGroup>& arms, const Shown& shown) {
  TextTable table(2);
  std::vector<TextTable::Span> heading = {{"", 1}, {"", 1}};
  std::vector<std::string> columns = {"arm", "model"};
  for (const MetricRow& metric : shown.metrics) {
    heading.push_back({metric.heading, 2});
    columns.insert(columns.end(), {"final", "last 3"});
  }
  table.heading(std::move(heading));
  table.row(columns);
  for_each_line(arms, [&](const ArmGroup& arm, const std::string& title, PickModel model) {
    std::vector<std::string> cells = {title, name_of(model)};
    for (const MetricRow& metric : shown.metrics) {
      for (const auto summary : {&MetricSummary::final, &MetricSummary::last}) {
        const Spread spread = arm.spread([&](const LogSummary& log) { return log.*model.*metric.metric.*summary; });
        cells.push_back(show(spread, metric.factor, metric.decimals));
      }
    }
    table.row(cells);
  });
  return table.text();
}

struct ByteUnit {
  const char* name;
  double bytes;
};

/// The unit that fits the largest number of the column.
ByteUnit unit_for(const std::vector<ArmGroup>& arms) {
  double most = 0;
  for (const ArmGroup& arm : arms) {
    for (const LogSummary* log : arm.logs) {
      for (const PickModel model : models) most = std::fmax(most, (log->*model).bytes_to_target);
    }
  }
  for (const ByteUnit unit : {ByteUnit{"TB", 1e12}, ByteUnit{"GB", 1e9}, ByteUnit{"MB", 1e6}}) {
    if (most >= unit.bytes) return unit;
  }
  return {"kB", 1e3};
}

std::string targets_text(std::span<const LogSummary> logs) {
  std::set<double> targets;
  for (const LogSummary& log : logs) {
    if (!failed(&log)) targets.insert(log.target);
  }
  return targets.size() == 1 && !std::isnan(*targets.begin())
             ? fmt::format("to {:.4g} % accuracy", 100 * *targets.begin())
             : "to target accuracy";
}

/// "100", "37/100" when the shortest run has not finished, "-" when all runs failed.
std::string show_rounds(ArmGroup arm) {
  std::erase_if(arm.logs, failed);
  if (arm.logs.empty()) return "-";
  const auto shortest =
      *std::min_element(arm.logs.begin(), arm.logs.end(), [](const LogSummary* a, const LogSummary* b) {
        return a->rounds_complete - a->rounds < b->rounds_complete - b->rounds;
      });
  if (!unfinished(shortest)) return std::to_string(shortest->rounds);
  return fmt::format("{}/{}", shortest->rounds_complete, shortest->rounds);
}

std::string course_block(const std::vector<ArmGroup>& arms, std::span<const LogSummary> logs, const Shown& shown) {
  const ByteUnit unit = unit_for(arms);
  TextTable table(2);
  std::vector<TextTable::Span> heading = {{"", 1}, {"", 1}, {"best over rounds", shown.metrics.size()}};
  if (shown.classification) heading.push_back({targets_text(logs), 2});
  heading.push_back({"worst clients", std::size_t{shown.classification} + std::size_t{shown.regression}});
  table.heading(std::move(heading));
  std::vector<std::string> columns = {"arm", "model"};
  for (const MetricRow& metric : shown.metrics) columns.emplace_back(metric.heading);
  if (shown.classification) {
    columns.insert(columns.end(), {"rounds", fmt::format("sent [{}]", unit.name), "accuracy [%]"});
  }
  if (shown.regression) columns.emplace_back("RMSE");
  columns.insert(columns.end(), {"time [s]", "rounds run", "seeds"});
  table.row(columns);
  for_each_line(arms, [&](const ArmGroup& arm, const std::string& title, PickModel model) {
    std::vector<std::string> cells = {title, name_of(model)};
    for (const MetricRow& metric : shown.metrics) {
      const Spread spread = arm.spread([&](const LogSummary& log) { return (log.*model.*metric.metric).best; });
      cells.push_back(show(spread, metric.factor, metric.decimals));
    }
    const auto add = [&](double QualitySummary::*value, double factor, int decimals) {
      cells.push_back(show(arm.spread([&](const LogSummary& log) { return log.*model.*value; }), factor, decimals));
    };
    if (shown.classification) {
      add(&QualitySummary::rounds_to_target, 1, 1);
      add(&QualitySummary::bytes_to_target, 1 / unit.bytes, 1);
      add(&QualitySummary::worst_clients, 100, 2);
    }
    if (shown.regression) add(&QualitySummary::worst_clients_rmse, 1, 4);
    if (!title.empty()) {
      cells.push_back(show(arm.spread([](const LogSummary& log) { return log.seconds; }), 1, 1));
      cells.push_back(show_rounds(arm));
      cells.push_back(show_seeds(arm));
    }
    table.row(cells);
  });
  return table.text();
}

}  // namespace

std::string comparison_table(std::span<const LogSummary> logs, const std::string& baseline) {
  if (logs.empty()) return "no logs to compare\n";
  const std::vector<ArmGroup> arms = group_by_arm(logs);
  const ArmGroup& reference = baseline_of(arms, baseline);
  std::string text;
  for (const std::string& warning : comparison_warnings(logs)) text += "warning: " + warning + '\n';
  if (!text.empty()) text += '\n';
  const bool several = std::any_of(arms.begin(), arms.end(), [](const ArmGroup& arm) { return arm.logs.size() > 1; });
  const Shown shown(arms);
  text += fmt::format(
      "{}: {}; last 3: mean over the last three evaluated rounds\n"
      "worst clients: the tenth of them that {} on its own examples\n\n",
      common_name(logs), several ? "mean ±standard deviation over seeds" : "one seed",
      shown.classification ? "is least accurate" : "has the largest RMSE");
  text += quality_block(arms, shown) + '\n' + course_block(arms, logs, shown);
  if (has_detection(arms)) text += '\n' + detection_block(arms);
  // One seed has no deviation, and its difference is seen above.
  if (several && arms.size() > 1) text += '\n' + difference_block(arms, reference);
  std::string notes = failure_notes(arms);
  for (const LogSummary& log : logs) {
    if (unfinished(&log) && !failed(&log))
      notes += fmt::format("* unfinished: {}, {} of {} rounds\n", log.file, log.rounds_complete, log.rounds);
  }
  for (const ArmGroup& arm : arms) {
    double refused = 0, clamped = 0;
    for (const LogSummary* log : arm.logs) refused += log->refused, clamped += log->clamped;
    if (refused > 0) notes += fmt::format("{}: {} client updates were refused (not finite)\n", arm.title, refused);
    if (clamped > 0) notes += fmt::format("{}: {} precisions were raised to their floor\n", arm.title, clamped);
  }
  if (!notes.empty()) text += '\n' + notes;
  return text;
}

}  // namespace ivory
