// A run, top to bottom: data, partition, network, algorithm, rounds, log.
#pragma once
#include <functional>
#include <string>

#include "ivory/record.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

struct RunSettings {
  int threads = 0;                                   // 0: all cores the process may use
  std::string log_file;                              // HDF5 log to write
  std::function<void(const RoundRecord&)> on_round;  // called after each finished round, with the log already written
};

/// Runs one arm with one seed and writes its log. Throws InputError before round 0, RunError later.
void run_experiment(const Scenario& scenario, const RunSettings& settings);

}  // namespace ivory
