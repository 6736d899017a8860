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
#include "src/log_reader.hpp"
#include "src/merge_input.hpp"

namespace ivory {

struct PreviewQuestion {
  std::vector<std::string>
      logs;             // the first is the one that is merged; others (seeds) give more components of mixtures
  int round = 0;        // 0: the last one with the clients' posteriors
  int late_rounds = 1;  // that give components of mixtures, the last of them `round`
  std::vector<std::uint32_t> clients;  // empty: all that took part
  std::string base = "before";         // "before", "start" or "prior"
};

/// Its tasks' first components are of the first log's round; its layout is that of `network`.
struct PreviewSource : MergeInput {
  LogHeader header;  // of the first log
  Scenario scenario;
  DataSplit data;
  Partition partition;
  std::unique_ptr<Network<float>> network;
  int round = 0;
  std::vector<std::uint32_t> clients;  // that are merged

  /// N_k of the merged clients.
  std::vector<double> merged_examples() const;
  /// Whether the run's clients are evaluated on examples of their own ([evaluation] clients).
  bool evaluates_clients() const { return scenario.evaluation.text("clients") != "none"; }
};

/// Throws InputError where a log lacks what was asked for, where logs are of different runs, and where the data are not those of
/// the log.
PreviewSource load_preview_source(const PreviewQuestion& question);

}  // namespace ivory
