// From logs (arms x seeds) to one comparison. A metric is summarised per log (best, final, mean of the last evaluated
// rounds) and then over the seeds of an arm (mean and standard deviation).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ivory/record.hpp"

namespace ivory {

/// One metric's course over the evaluated rounds of one log; NaN when it was never evaluated.
struct MetricSummary {
  double best = no_value;   // largest accuracy, smallest of the others
  double final = no_value;  // last evaluated round
  double last = no_value;   // mean over the last three evaluated rounds
};

/// Accuracy, NLL, ECE and Brier of one set of predictions.
struct QualitySummary {
  MetricSummary accuracy, nll, ece, brier;
};

/// One log, reduced to what the table shows.
struct LogSummary {
  std::string file;
  std::string name, arm, algorithm;
  std::uint64_t seed = 0;
  int rounds = 0, rounds_complete = 0;
  std::string data_checksum;
  QualitySummary mean, bayes;            // mean model, posterior average
  double worst_clients = no_value;       // mean accuracy of the worst tenth of the clients (at least one)
  double target = no_value;              // evaluation.target_accuracy
  double rounds_to_target = no_value;    // NaN: not reached by the mean model
  double bytes_to_target = no_value;     // both directions, all clients
  double seconds = no_value;             // wall time of the finished rounds
  double bytes = no_value;               // both directions, finished rounds
  double refused = 0, clamped = 0;       // over the finished rounds
};

/// Throws InputError for a file that is not an Ivory log.
LogSummary read_summary(const std::string& path);
std::vector<LogSummary> read_summaries(std::span<const std::string> paths);

/// The comparison as text, ending with a newline; arms in order of their first log. Unfinished runs are marked and kept;
/// logs that are not comparable (other data, rounds or scenario name) get a warning line.
std::string comparison_table(std::span<const LogSummary> logs);
/// The same numbers for programs: one line per arm, prediction, metric and summary, with mean, standard deviation and count.
std::string comparison_csv(std::span<const LogSummary> logs);

}  // namespace ivory
