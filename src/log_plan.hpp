// What a run of a scenario will log, and how much room that takes, before it runs.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/run_log.hpp"
#include "src/run_parts.hpp"

namespace ivory {

/// All but the device and the start weights' hash, which only a run knows. `scenario` and `parts` outlive it.
template <class Real>
LogPlan plan_log(const Scenario& scenario, const RunParts<Real>& parts);

/// Bytes of the finished log, before `ivory pack`.
struct LogSize {
  std::uint64_t total = 0;
  std::vector<std::pair<std::string, std::uint64_t>>
      parts;  // by what is in them, in the order of the file; those that there are
};
LogSize size_of_log(const LogPlan& plan);

}  // namespace ivory
