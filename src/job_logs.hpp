// The log that lies where a job's own would be: whether it stands for the run, can be gone on with, or makes way.
#pragma once
#include <optional>
#include <string>

#include "src/cli_common.hpp"
#include "src/log_reader.hpp"

namespace ivory {

/// The log of a finished run under the job's name; empty when there is none.
std::optional<LogReader> finished_log(const Job& job);

/// Has it the job's resolved scenario and seed?
bool of_same_scenario(const LogHeader& header, const Scenario& scenario);

/// Would this run write the same numbers again? Same scenario, program, examples, start weights and kind of device.
bool stands_for(const LogHeader& header, const Scenario& scenario, const DeviceChoice& devices);

/// Is there a log of this run that stopped half-way, with a checkpoint?
bool is_interrupted(const Job& job);

/// A run is not lost to another one that goes by its name: its log moves to LOG.1, LOG.2, ..., with its checkpoints. That is for
/// finished logs of other settings (those of the same would be written again as they are) and for interrupted ones with a
/// checkpoint (without one they would begin at round 1 anyway). Returns what to say, empty where nothing was in the way. Throws
/// RunError where it cannot be moved.
std::string set_aside(const Job& job, EarlierLog earlier);

}  // namespace ivory
