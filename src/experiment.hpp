// A run, top to bottom: data, partition, network, algorithm, rounds, log.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ivory/record.hpp"
#include "ivory/scenario.hpp"
#include "src/devices.hpp"
#include "src/run_group.hpp"

namespace ivory {

struct RunSettings {
  int threads = 0;  // 0: all cores the process may use
  /// Accelerators that train, one lane each; the first also holds the server's state and evaluates. Empty: the CPU.
  std::vector<DeviceMaker> devices = {};
  std::size_t block = 0;                             // clients an accelerator trains at a time; 0: as many as fit
  RunGroup::Invitation* group = nullptr;             // runs that it shares the accelerators with
  std::string log_file;                              // HDF5 log to write
  bool resume = false;                               // go on in the log that is there
  std::function<void()> before_log = {};             // called when all is ready to run, before a new log is made
  std::function<void(const RoundRecord&)> on_round;  // called after each finished round, with the log already written
  std::function<bool()> should_stop;                 // asked between rounds; may be empty
  std::function<void(const std::string&)> on_note = {};     // what the user should know, and cannot see elsewhere
  std::function<void(const std::string&)> on_warning = {};  // of the scenario, so that runs of a list may share it
};

/// Runs one arm with one seed and writes its log; returns the rounds finished, fewer than the scenario's where it was told
/// to stop. Throws InputError, and in a group RunsApart, before round 0, RunError later.
int run_experiment(const Scenario& scenario, const RunSettings& settings);

/// What a run is made from beside its scenario: the examples and the start weights. Throws like run_experiment.
struct RunIdentity {
  std::uint64_t data_checksum = 0, start_hash = 0;
};
RunIdentity identify(const Scenario& scenario);

}  // namespace ivory
