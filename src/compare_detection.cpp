#include "src/compare_detection.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "src/log_layout.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

bool has_detection(const ArmGroup& arm, PickModel model, const DetectionScore& score) {
  return std::ranges::any_of(
      arm.logs, [&](const LogSummary* log) { return !std::isnan(((log->*model).ood.*score.score).auroc); });
}

}  // namespace

bool has_detection(const std::vector<ArmGroup>& arms) {
  return std::ranges::any_of(arms,
                             [](const ArmGroup& arm) { return has_detection(arm, models[0], detection_scores[0]); });
}

std::string detection_block(const std::vector<ArmGroup>& arms) {
  if (!has_detection(arms)) return "";
  TextTable table(3);
  std::vector<std::string> headings = {"arm", "model", "score"};
  for (const DetectionColumn& column : detection_columns) headings.emplace_back(column.heading);
  table.row(headings);
  for (const ArmGroup& arm : arms) {
    std::string title = arm.title;
    for (const PickModel model : models) {
      for (const DetectionScore& score : detection_scores) {
        if (!has_detection(arm, model, score)) continue;
        std::vector<std::string> cells = {std::exchange(title, ""), name_of(model), score.meaning};
        for (const DetectionColumn& column : detection_columns) {
          const auto value = [&](const LogSummary& log) { return (log.*model).ood.*score.score.*column.value; };
          cells.push_back(show(arm.spread(value), 100, 2));
        }
        table.row(cells);
      }
    }
  }
  return "out-of-distribution inputs told from the test set, last evaluated round\n" + table.text();
}

}  // namespace ivory
