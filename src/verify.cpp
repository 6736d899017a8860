#include "src/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/text_table.hpp"

namespace ivory {

bool Oracle::passes() const { return std::abs(got - expected) <= tolerance; }

std::string oracle_table(const std::vector<Oracle>& oracles) {
  TextTable table(2);
  table.heading({{"what"}, {"source"}, {"expected"}, {"got"}, {"tolerance"}, {"pass"}});
  for (const Oracle& oracle : oracles) {
    table.row({oracle.what, oracle.source, fmt::format("{:.6g}", oracle.expected), fmt::format("{:.6g}", oracle.got),
               fmt::format("{:.1e}", oracle.tolerance), oracle.passes() ? "yes" : "NO"});
  }
  const auto passed = std::count_if(oracles.begin(), oracles.end(), [](const Oracle& o) { return o.passes(); });
  return table.text() + fmt::format("\n{} of {} pass\n", passed, oracles.size());
}

}  // namespace ivory
