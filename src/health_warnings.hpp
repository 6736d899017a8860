// Known failures of a run, told from the numbers of its rounds. The rules are one table (docs/methods.md 2.6 says why each limit
// is where it is).
#pragma once
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "ivory/record.hpp"

namespace ivory {

/// What earlier rounds left to compare with.
struct HealthHistory {
  double smallest_primal_residual = std::numeric_limits<double>::infinity();
};

struct HealthRule {
  const char* name;  // short, for a summary
  /// NaN: says nothing about this round.
  double (*value)(const RoundRecord& record, const HealthHistory& before);
  double low, high;  // the failure shows below `low` or above `high`
  bool percent;      // the value is a share, shown in per cent
  const char* text;  // with {} for the value
  const char* cure;

  bool shows(double now) const { return now < low || now > high; }
};

std::span<const HealthRule> health_rules();

/// One run's warnings, fed with its rounds in order.
class HealthWatch {
 public:
  /// What shows for the first time in this round, one line each.
  std::vector<std::string> look(const RoundRecord& record);
  /// Everything that showed, as it was when it first did and in how many rounds; one line each.
  std::vector<std::string> all() const;
  /// The same as names and counts in one line; empty: nothing showed.
  std::string summary() const;

 private:
  struct Seen {
    int rounds = 0, first = 0;
    std::string line;
  };
  std::vector<Seen> seen_ = std::vector<Seen>(health_rules().size());
  HealthHistory history_;
  int rounds_ = 0;
};

}  // namespace ivory
