// Small logs with made-up numbers, every one of them different, for the tests of the log and of the comparison.
#pragma once
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "src/log_layout.hpp"
#include "src/run_log.hpp"
#include "tests/support/temporary_folder.hpp"

namespace ivory::test {

/// What a LogPlan points to.
struct SampleRun {
  Scenario scenario;
  ParameterLayout layout;
  Partition partition;
  Dataset train;
  LogPlan plan;

  // Three clients of unequal size, four classes, five bins, 7 x 4 weights and 4 biases.
  static constexpr int clients = 3, classes = 4, bins = 5, parameters = 32, curve = 3;

  explicit SampleRun(int rounds = 6, const std::string& sites = "every", bool posterior = true) {
    scenario.name = "sample";
    scenario.arm = "vb";
    scenario.seed = 18446744073709551615U;  // does not fit into int64 or double
    scenario.rounds = rounds;
    scenario.optimizer_name = "ivon";
    scenario.algorithm_name = "vb_admm";
    set(scenario.evaluation, "every", std::int64_t{1});
    set(scenario.evaluation, "clients_every", std::int64_t{2});
    set(scenario.evaluation, "curve", true);
    set(scenario.evaluation, "samples", std::int64_t{curve});
    set(scenario.evaluation, "bins", std::int64_t{bins});
    set(scenario.evaluation, "clients", std::string("auto"));
    set(scenario.evaluation, "target_accuracy", 0.75);
    set(scenario.log, "posterior_every", std::int64_t{4});
    set(scenario.log, "sites", sites);
    set(scenario.log, "diagnostics", true);
    set(scenario.log, "layers", std::vector<std::string>{});
    set(scenario.log, "storage", std::string("float32"));
    layout.add("0.weight", {4, 7});
    layout.add("0.bias", {4});
    train.classes = classes;
    train.labels = {0, 1, 2, 3, 3, 2, 1, 0, 0, 3};
    partition.train = {{0, 2, 4, 9}, {1}, {7, 8, 5}};
    partition.holdout = {{3}, {}, {6, 2}};
    partition.repeated = 5;
    partition.unused = 7;
    partition.hash = 0xfedcba9876543210U;
    plan.device = "a device with µ";
    plan.data_checksum = 0x0123456789abcdefU;
    plan.data_description = "made up";
    plan.classes = classes;
    plan.has_ood = true;
    plan.has_posterior = plan.clients_have_posterior = plan.has_site_means = plan.has_site_precisions = posterior;
    plan.diagnostics = {.residuals = true, .sites = true, .kl = true};
  }
  SampleRun(const SampleRun&) = delete;
  SampleRun& operator=(const SampleRun&) = delete;

  static void set(Options& options, const std::string& name, OptionValue value) {
    options.set(name, {std::move(value), {}, false});
  }

  const LogPlan& wired() {
    plan.scenario = &scenario;
    plan.layout = &layout;
    plan.logged = logged_parameters(scenario, layout);
    plan.partition = &partition;
    plan.train = &train;
    return plan;
  }
};

/// Numbers that tell their place: round, kind and index; exact in float.
inline double mark(int round, int kind, int index = 0) { return round * 64.0 + kind + index / 32.0; }

inline Metrics sample_metrics(int round, int kind, int index = 0) {
  return {mark(round, kind, index), mark(round, kind + 1, index), mark(round, kind + 2, index),
          mark(round, kind + 3, index), mark(round, kind + 4, index)};
}

inline OodDetection sample_detection(int round, int kind) {
  OodDetection detection;
  for (int i = 0; i < 5; ++i) {
    detection.confidence.*detection_columns[i].value = mark(round, kind, i);
    detection.entropy.*detection_columns[i].value = mark(round, kind, i + 5);
  }
  return detection;
}

inline Evaluation sample_evaluation(int round, int kind) {
  Evaluation evaluation;
  evaluation.metrics = sample_metrics(round, kind);
  evaluation.ood = sample_detection(round, kind + 9);
  for (int c = 0; c < SampleRun::classes; ++c) evaluation.classes.rows.push_back(sample_metrics(round, kind, c + 1));
  for (int i = 0; i < SampleRun::classes * SampleRun::classes; ++i)
    evaluation.confusion.push_back(mark(round, kind + 5, i));
  for (int b = 0; b < SampleRun::bins; ++b) {
    evaluation.bins.count.push_back(mark(round, kind + 6, b));
    evaluation.bins.confidence.push_back(mark(round, kind + 7, b));
    evaluation.bins.correct.push_back(mark(round, kind + 8, b));
  }
  return evaluation;
}

/// 1-based round; client 0 trains, 1 stays away, 2 is refused.
inline RoundRecord sample_record(int round, bool posterior = true, bool clients_evaluated = false, bool last = false) {
  RoundRecord record;
  record.round = round;
  record.evaluated = true;
  record.mean = sample_evaluation(round, 0);
  if (posterior) {
    record.bayes = sample_evaluation(round, 10);
    record.bayes_error = sample_metrics(round, 20);
    if (last) {
      for (int t = 0; t < SampleRun::curve; ++t) record.bayes_curve.push_back(sample_metrics(round, 16, t));
    }
    record.validation_bayes = sample_metrics(round, 35);
    record.negative_elbo = mark(round, 26);
    record.negative_elbo_error = mark(round, 27);
    record.laplace_prior_precision = mark(round, 28);
  }
  record.validation = sample_metrics(round, 30);
  if (clients_evaluated) {
    for (int k = 0; k < SampleRun::clients; ++k) {
      record.client_metrics.push_back(sample_metrics(round, 40, k));
      if (posterior) record.client_metrics_bayes.push_back(sample_metrics(round, 60, k));
    }
  }
  record.train_loss = mark(round, 50);
  record.seconds = mark(round, 51);
  record.seconds_training = mark(round, 52);
  record.seconds_evaluation = mark(round, 53);
  record.bytes_up = mark(round, 54);
  record.bytes_down = mark(round, 55);
  record.clamped = mark(round, 56);
  record.precision_gap_closed = mark(round, 57);
  record.diagnostics.primal_residual = mark(round, 61);
  record.diagnostics.dual_residual = mark(round, 61, 1);
  record.diagnostics.site_residual_precision = mark(round, 61, 2);
  record.diagnostics.site_residual_mean = mark(round, 61, 3);
  record.diagnostics.optimizer.hessian_at_start = mark(round, 61, 4);
  record.diagnostics.optimizer.clip_rate = mark(round, 61, 5);
  for (int q = 0; q < 3; ++q) {
    const auto place = static_cast<std::size_t>(q);
    record.diagnostics.kl.values[place] = mark(round, 62, q);
    record.diagnostics.optimizer.effective_step.values[place] = mark(round, 62, q + 3);
  }
  record.participants = 1;
  record.refused = 1;
  record.state_hash = 0xffffffffffffff00U + static_cast<unsigned>(round);  // not a double
  record.clients = {{ClientStatus::trained, mark(round, 58), 11},
                    {ClientStatus::absent, no_value, 0},
                    {ClientStatus::refused, mark(round, 59), 12}};
  return record;
}

/// [P], the parameter's index in the last digits.
inline std::vector<float> sample_vector(int round, int kind) {
  std::vector<float> values;
  for (int i = 0; i < SampleRun::parameters; ++i) values.push_back(static_cast<float>(mark(round, kind, i)));
  return values;
}

/// Everything of one round, in the order of a run.
inline void write_round(RunLog& log, const SampleRun& run, int round) {
  const bool posterior = run.plan.has_posterior;
  if (log.wants_sites(round)) {
    for (const std::uint32_t client : {2U, 0U}) {
      const int kind = static_cast<int>(client) * 4;
      const auto mean = sample_vector(round, kind), precision = sample_vector(round, kind + 1);
      const auto site_mean = sample_vector(round, kind + 2), site_precision = sample_vector(round, kind + 3);
      ClientArrays arrays{.client = client, .mean = mean, .precision = {}, .site_mean = {}, .site_precision = {}};
      if (posterior) {
        arrays.precision = precision;
        arrays.site_mean = site_mean;
        arrays.site_precision = site_precision;
      }
      log.write_client(round, arrays);
    }
  }
  if (log.wants_posterior(round)) {
    const auto mean = sample_vector(round, 20), precision = sample_vector(round, 21);
    log.write_posterior(round, mean, posterior ? std::span<const float>(precision) : std::span<const float>());
  }
  const bool last = round == run.scenario.rounds;
  log.append(sample_record(round, posterior, round % 2 == 0 || last, last));
  log.flush();
}

inline void write_log(const std::string& path, SampleRun& run, int rounds) {
  RunLog log(path, run.wired());
  for (int round = 1; round <= rounds; ++round) write_round(log, run, round);
  log.close();
}

}  // namespace ivory::test
