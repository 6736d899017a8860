// Logs of runs whose course is given by hand, and the lines of a comparison, for the tests of tables. Include
// Boost.Test first.
#pragma once
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/sample_log.hpp"
#include "tests/support/text.hpp"

namespace ivory::test {

/// One run: columns over the rounds, NaN accuracy for a round that is not evaluated.
struct Course {
  std::string arm;
  std::uint64_t seed = 1;
  std::vector<double> accuracy, nll, accuracy_bayes;
  std::vector<double> validation = {}, validation_nll = {}, validation_bayes = {};  // accuracy, NLL; posterior average
  std::vector<double> auroc = {}, auroc_bayes = {};  // of out-of-distribution inputs, by the largest probability
  std::vector<double> clients;                       // accuracies at the end
  int rounds = 5;                                    // planned
  std::uint64_t checksum = 1;
  double target = 0.75;
  std::string name = "sample";
  std::int64_t bins = 15;
  int participants = 2;
  std::int64_t every = 1;   // [evaluation] every
  bool regression = false;  // the accuracies are RMSEs, and there are no metrics of classes
};

inline std::string write_course(const TemporaryFolder& folder, const Course& course) {
  SampleRun run(course.rounds, "none", !course.accuracy_bayes.empty());
  run.train.outputs = course.regression ? 1 : 0;
  run.scenario.name = course.name;
  run.scenario.arm = course.arm;
  run.scenario.seed = course.seed;
  run.plan.data_checksum = course.checksum;
  run.plan.has_ood = !course.auroc.empty();
  run.partition = {};
  run.partition.train.assign(std::max<std::size_t>(1, course.clients.size()), {0});
  SampleRun::set(run.scenario.evaluation, "target_accuracy", course.target);
  SampleRun::set(run.scenario.evaluation, "every", course.every);
  SampleRun::set(run.scenario.evaluation, "clients_every", std::int64_t{100});
  SampleRun::set(run.scenario.evaluation, "bins", course.bins);
  const std::string path = folder / (course.name + course.arm + std::to_string(course.seed) + ".h5");
  RunLog log(path, run.wired());
  for (std::size_t r = 0; r < course.accuracy.size(); ++r) {
    RoundRecord record;
    record.round = static_cast<int>(r) + 1;
    record.evaluated = !std::isnan(course.accuracy[r]);
    // ECE and Brier fall with the rounds: 0.2, 0.1, 1/15 ... and 1, 1/2, 1/3 ...
    record.mean.metrics = {course.accuracy[r], course.nll.empty() ? 1.0 : course.nll[r], 0.2 / record.round,
                           1.0 / record.round, 0.5};
    if (!course.accuracy_bayes.empty() && !std::isnan(course.accuracy_bayes[r])) {
      record.bayes.metrics = {course.accuracy_bayes[r], 0.25, 0.01, 0.125, 0.5};
    }
    if (!course.validation.empty()) record.validation = {.accuracy = course.validation[r]};
    if (!course.validation_nll.empty()) record.validation.nll = course.validation_nll[r];
    if (!course.validation_bayes.empty())
      record.validation_bayes = {.accuracy = course.validation_bayes[r], .nll = 0.5};
    if (!course.auroc.empty()) record.mean.ood.confidence = {.auroc = course.auroc[r], .fpr95 = 0.5};
    if (!course.auroc.empty()) record.mean.ood.entropy = {.auroc = course.auroc[r] / 2};
    if (!course.auroc_bayes.empty()) record.bayes.ood.confidence = {.auroc = course.auroc_bayes[r]};
    if (course.regression) {
      for (Metrics* metrics : {&record.mean.metrics, &record.bayes.metrics}) {
        *metrics = {.nll = metrics->nll, .rmse = metrics->accuracy};
      }
    }
    record.bytes_up = 1000;
    record.bytes_down = 500;
    record.seconds = 2;
    record.participants = course.participants;
    record.refused = r == 1 ? 3 : 0;
    record.clients.resize(run.partition.clients());
    if (record.round == course.rounds) {
      for (const double rmse : course.regression ? course.clients : std::vector<double>()) {
        record.client_metrics.push_back({.rmse = rmse});
      }
      for (const double accuracy : course.regression ? std::vector<double>() : course.clients) {
        record.client_metrics.push_back({.accuracy = accuracy});
        if (!course.accuracy_bayes.empty()) record.client_metrics_bayes.push_back({.accuracy = accuracy / 2});
      }
    }
    log.append(record);
  }
  log.close();
  return path;
}

/// The line of the CSV for arm, model, metric and summary, from the column "unit" on.
inline std::string csv_line(const std::string& csv, const std::string& key) {
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    if (const std::size_t at = line.find(key + ","); at != std::string::npos) return line.substr(at + key.size() + 1);
  }
  return "";
}

}  // namespace ivory::test
