// Whole runs of the shipped quickstart, as tests want them: settings in, records out, no log left behind.
#pragma once
#include <string>
#include <vector>

#include "src/experiment.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/temporary_folder.hpp"

namespace ivory::test {

/// [model] layers for the digits: convolutions, a normalisation, a residual addition, pooling and dropout.
inline const std::string small_cnn =
    "[{ layer = \"conv2d\", channels = 4, kernel = 3, padding = 1 }, { layer = \"group_norm\", groups = 2, name = "
    "\"a\" }, "
    "{ layer = \"relu\" }, { layer = \"conv2d\", channels = 8, kernel = 3, stride = 2, padding = 1, bias = false }, "
    "{ layer = \"filter_response_norm\" }, { layer = \"add\", from = \"a\", shortcut = \"pad\" }, "
    "{ layer = \"max_pool2d\", kernel = 2 }, { layer = \"flatten\" }, { layer = \"dropout\", p = 0.25 }, "
    "{ layer = \"dense\" }]";

/// Runs one arm; `file` is the scenario. The settings' log and callbacks are set here.
inline std::vector<RoundRecord> run_arm(const std::string& file, const std::string& arm,
                                        const std::vector<std::string>& overrides, RunSettings settings) {
  const std::vector<std::string> only = {arm};
  const auto scenario = read_scenario(file, overrides, only).front();
  const TemporaryFolder folder;
  std::vector<RoundRecord> records;
  settings.log_file = folder / "run.h5";
  settings.on_round = [&](const RoundRecord& record) { records.push_back(record); };
  run_experiment(scenario, settings);
  return records;
}

inline std::vector<std::uint64_t> hashes(const std::vector<RoundRecord>& records) {
  std::vector<std::uint64_t> out;
  for (const auto& record : records) out.push_back(record.state_hash);
  return out;
}

}  // namespace ivory::test
