#include "src/compare_ensemble.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <map>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/compare_differences.hpp"
#include "src/compare_groups.hpp"
#include "src/data_sets.hpp"
#include "src/evaluation.hpp"
#include "src/log_reader.hpp"
#include "src/logged_scenario.hpp"
#include "src/model.hpp"
#include "src/resume_check.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

/// The test sets of logs; arms of one seed share theirs, which the data's checksum tells.
class TestSets {
 public:
  const Dataset& of(const LogHeader& header, const Scenario& scenario) {
    const auto known = sets_.find(header.data_checksum);
    if (known != sets_.end()) return known->second;
    DataSplit data = load_data(scenario);
    check_log_data("ensemble", header, data.checksum);
    return sets_.emplace(header.data_checksum, std::move(data.test)).first->second;
  }

 private:
  std::map<std::string, Dataset> sets_;
};

bool same_examples(const Dataset& a, const Dataset& b) {
  return a.x == b.x && a.labels == b.labels && a.targets == b.targets;
}

Predictions predictions_of(const LogReader& log, const Scenario& scenario, const Dataset& test, int threads) {
  const Network<float> network = make_network<float>(scenario, test);
  std::vector<float> mean = log.posterior_mean(log.posterior_rounds().size() - 1);
  check_log_parameters("ensemble", log.header(), network.layout().size());
  mean.resize(network.layout().stride(), 0.0F);
  return Predictor(network, threads).predict(mean.data(), test);
}

QualitySummary final_quality(const Metrics& metrics) {
  QualitySummary quality;
  quality.accuracy.final = metrics.accuracy;
  quality.nll.final = metrics.nll;
  quality.ece.final = metrics.ece;
  quality.brier.final = metrics.brier;
  quality.rmse.final = metrics.rmse;
  return quality;
}

EnsembleRow row_of(const ArmGroup& arm, const std::string& scenario_file, int threads, TestSets& sets) {
  EnsembleRow row{.title = arm.title, .networks = 0, .quality = {}};
  std::vector<Predictions> predictions;
  const Dataset* test = nullptr;
  std::size_t bins = 0;
  for (const LogSummary* summary : arm.logs) {
    if (!summary->usable()) continue;
    const LogReader log(summary->file);
    const Scenario scenario = logged_scenario(log.header(), scenario_file);
    if (find_algorithm(scenario.algorithm_name)->traits.personal) return row;
    const Dataset& own = sets.of(log.header(), scenario);
    if (test != nullptr && !same_examples(*test, own)) {
      throw InputError(
          fmt::format("[ensemble] the seeds of an arm must have the same test examples, got other ones for seed {} of "
                      "{}, in {}; set "
                      "data.seed in the scenario, so that every seed has the same data",
                      summary->seed, arm.title, summary->file));
    }
    test = &own;
    bins = static_cast<std::size_t>(scenario.evaluation.integer("bins"));
    predictions.push_back(predictions_of(log, scenario, own, threads));
  }
  if (predictions.empty()) return row;
  row.networks = predictions.size();
  row.quality = final_quality(evaluate(average_of(predictions, *test), *test, bins).metrics);
  return row;
}

}  // namespace

std::vector<EnsembleRow> evaluate_ensembles(std::span<const LogSummary> logs, const std::string& scenario_file,
                                            int threads) {
  TestSets sets;
  std::vector<EnsembleRow> rows;
  for (const ArmGroup& arm : group_by_arm(logs)) {
    rows.push_back(row_of(arm, scenario_file, threads > 0 ? threads : omp_get_max_threads(), sets));
  }
  return rows;
}

std::string ensemble_block(const std::vector<EnsembleRow>& rows, std::span<const LogSummary> logs) {
  const Shown shown(group_by_arm(logs));
  TextTable table(1);
  std::vector<std::string> headings = {"arm", "networks"};
  for (const MetricRow& metric : shown.metrics) headings.emplace_back(metric.heading);
  table.row(headings);
  for (const EnsembleRow& row : rows) {
    std::vector<std::string> cells = {row.title, row.networks > 0 ? std::to_string(row.networks) : "-"};
    for (const MetricRow& metric : shown.metrics) {
      cells.push_back(show(spread_of({(row.quality.*metric.metric).final}), metric.factor, metric.decimals));
    }
    table.row(cells);
  }
  return "deep ensembles: averaged predictions of the final mean models of an arm's finished seeds, test set\n" +
         table.text();
}

std::string ensemble_csv(const std::vector<EnsembleRow>& rows, std::span<const LogSummary> logs) {
  const std::vector<ArmGroup> arms = group_by_arm(logs);
  const Shown shown(arms);
  std::string text;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].networks == 0) continue;
    for (const MetricRow& metric : shown.metrics) {
      PairedDifference numbers;
      numbers.spread.mean = (rows[i].quality.*metric.metric).final;
      numbers.spread.count = rows[i].networks;
      text += csv_row(*arms[i].logs.front(), "deep_ensemble", metric.name, "final", metric.unit, numbers, "");
    }
  }
  return text;
}

}  // namespace ivory
