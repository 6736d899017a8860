// Deep ensembles over seeds (Lakshminarayanan et al. 2017): the final mean models of an arm's runs predict together. Their
// parameters are in the logs, and the scenario that each log has says which data they are tested on.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "src/compare_table.hpp"

namespace ivory {

struct EnsembleRow {
  std::string title;         // of the arm, as in the comparison
  std::size_t networks = 0;  // finished runs; 0: none, or the method has no common model
  QualitySummary quality;    // `final` alone, on the test set
};

/// One row per arm. Averages probabilities, in a regression means and densities. Relative data folders are searched beside
/// `scenario_file`, or beside each log where it is empty, and in the other places of load_data. 0 threads: all. Throws InputError
/// where data are missing or not those of the log, or where the seeds of an arm have different test examples.
std::vector<EnsembleRow> evaluate_ensembles(std::span<const LogSummary> logs, const std::string& scenario_file,
                                            int threads);

/// The block of the text, and lines for comparison_csv; `logs` are those that the rows were made from.
std::string ensemble_block(const std::vector<EnsembleRow>& rows, std::span<const LogSummary> logs);
std::string ensemble_csv(const std::vector<EnsembleRow>& rows, std::span<const LogSummary> logs);

}  // namespace ivory
