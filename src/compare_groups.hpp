// The seeds of an arm together: what the comparison's text and CSV share.
#pragma once
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "src/compare_table.hpp"

namespace ivory {

/// Mean and standard deviation (n - 1) over the logs that have a value.
struct Spread {
  double mean = no_value, deviation = no_value;
  std::size_t count = 0, logs = 0;
};

Spread spread_of(const std::vector<double>& values);

struct ArmGroup {
  std::string title;
  std::vector<const LogSummary*> logs;

  template <class Value>
  Spread spread(const Value& value) const {
    std::vector<double> values;
    for (const LogSummary* log : logs) values.push_back(value(*log));
    return spread_of(values);
  }
};

inline bool unfinished(const LogSummary* log) { return log->rounds_complete < log->rounds; }

/// Groups in order of their first log. The scenario's name is part of the title where the logs have several.
std::vector<ArmGroup> group_by_arm(std::span<const LogSummary> logs);

/// The scenario's name, or all of them.
std::string common_name(std::span<const LogSummary> logs);

/// What makes the arms hard to compare, one line each.
std::vector<std::string> comparison_warnings(std::span<const LogSummary> logs, const std::vector<ArmGroup>& arms);

}  // namespace ivory
