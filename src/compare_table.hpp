// From logs (arms x seeds) to one comparison. A metric is summarised per log (best, final, mean of the last evaluated
// rounds) and then over the seeds of an arm (mean and standard deviation).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ivory/record.hpp"

namespace ivory {

/// One metric's course over the evaluated rounds of one log; NaN when it was never evaluated or is not a number there.
struct MetricSummary {
  double best = no_value;   // largest accuracy, smallest of the others
  double final = no_value;  // last evaluated round
  double last = no_value;   // mean over the last three evaluated rounds
};

/// One set of predictions: of the mean model or of the posterior average.
struct QualitySummary {
  MetricSummary accuracy, nll, ece, brier, rmse;
  OodDetection ood;                      // last evaluated round; NaN without out-of-distribution data
  double rounds_to_target = no_value;    // first evaluated round with at least the target accuracy; NaN: never
  double bytes_to_target = no_value;     // sent until then, both directions
  double worst_clients = no_value;       // mean accuracy of the tenth of the clients (at least one) where it is lowest
  double worst_clients_rmse = no_value;  // mean RMSE of the tenth where it is largest
};

/// One log, reduced to what the table shows.
struct LogSummary {
  std::string file;
  std::string name, arm, algorithm;
  std::uint64_t seed = 0;
  int rounds = 0, rounds_complete = 0;
  std::string data_checksum, partition_hash;
  std::vector<std::string> settings;  // "table.key = value" of the resolved scenario, without seed, rounds and target
  double target = no_value;           // evaluation.target_accuracy
  QualitySummary mean, bayes;         // mean model, posterior average
  double seconds = no_value;          // wall time of the finished rounds
  double bytes = no_value;            // both directions, finished rounds
  double refused = 0, clamped = 0;    // over the finished rounds
  QualitySummary validation, validation_bayes;  // the metrics on the validation set; without one NaN
  std::string failure;  // why the run counts as failed; it has no numbers then. Empty for a good one

  bool usable() const { return failure.empty() && rounds_complete == rounds; }
};

/// A run in which no client's update was ever usable is marked as failed. Throws InputError for a file that is not an Ivory
/// log.
LogSummary read_summary(const std::string& path);
std::vector<LogSummary> read_summaries(std::span<const std::string> paths);

/// The comparison as text, ending with a newline; arms in order of their first log. Unfinished runs are marked and
/// kept, failed ones counted with their reason; logs that are not comparable (other data, rounds or target) get a warning
/// line. `±` is the standard deviation over seeds. With several seeds a block has the paired differences to `baseline`, an
/// arm's title (empty: the first arm). Throws InputError where there is no such arm.
std::string comparison_table(std::span<const LogSummary> logs, const std::string& baseline = "");
/// The same numbers for programs: one line per arm, model, metric and summary, with mean, standard deviation, number of
/// seeds that have a value, and the values by seed. Fractions, nats, bytes and seconds; what is missing is empty. Lines of
/// differences have the arm that was subtracted in the column `minus`, and half the 95 % interval.
std::string comparison_csv(std::span<const LogSummary> logs, const std::string& baseline = "");

}  // namespace ivory
