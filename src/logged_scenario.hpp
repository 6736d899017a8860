// The scenario that a log has, as if it were read from its file.
#pragma once
#include <string>

#include "ivory/scenario.hpp"
#include "src/log_reader.hpp"

namespace ivory {

/// Relative paths are looked for beside the log and in the folder of the scenario's file, if it is still there. `beside`: this
/// file is in the log's place. Throws InputError where the log's scenario is none.
Scenario logged_scenario(const LogHeader& header, const std::string& beside = "");

}  // namespace ivory
