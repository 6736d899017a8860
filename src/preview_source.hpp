// What previews are made of: the clients' posteriors in a log, the server's Gaussian that they were trained from, and the data of the
// log's scenario.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "clients/network.hpp"
#include "ivory/algorithm.hpp"
#include "ivory/dataset.hpp"
#include "ivory/scenario.hpp"
#include "server/merging.hpp"
#include "src/log_reader.hpp"

namespace ivory {

/// [P] each; what the method does not have is empty.
struct LoggedPosterior {
  std::vector<float> mean, precision, site_mean, site_precision;

  GaussianView<float> view() const { return {mean, precision}; }
};

struct PreviewQuestion {
  std::vector<std::string>
      logs;             // the first is the one that is merged; others (seeds) give more components of mixtures
  int round = 0;        // 0: the last one with the clients' posteriors
  int late_rounds = 1;  // that give components of mixtures, the last of them `round`
  std::vector<std::uint32_t> clients;  // empty: all that took part
  std::string base = "before";         // "before", "start" or "prior"
};

struct PreviewSource {
  LogHeader header;  // of the first log
  Scenario scenario;
  DataSplit data;
  Partition partition;
  std::unique_ptr<Network<float>> network;
  AlgorithmTraits traits;
  NaturalStep step;            // known: with diagonal covariances
  double prior_precision = 0;  // s0; NaN: the method has none
  int round = 0;
  std::vector<std::uint32_t> clients;  // that are merged
  std::vector<std::vector<LoggedPosterior>>
      tasks;              // per merged client its components; the first is that of the first log's round
  LoggedPosterior base;   // no mean: it is not in the log
  std::string base_text;  // what the base is, or why there is none

  /// Examples that each client of the run is evaluated on ([evaluation] clients); empty: on none.
  const std::vector<std::vector<std::uint32_t>>& client_examples() const;
};

/// Throws InputError where a log lacks what was asked for, where logs are of different runs, and where the data are not those of
/// the log.
PreviewSource load_preview_source(const PreviewQuestion& question);

}  // namespace ivory
