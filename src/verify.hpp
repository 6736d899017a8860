// Closed-form oracles: what theory says an algorithm or optimizer must give, beside what this program gives. They run through the
// production code, in double, on problems whose answers are known on paper.
#pragma once
#include <string>
#include <vector>

namespace ivory {

/// One comparison: |got - expected| <= tolerance. `what` names the claim, `source` where it is written down.
struct Oracle {
  std::string what, source;
  double expected = 0, got = 0, tolerance = 0;

  bool passes() const;  // false for NaN
};

/// Sites and servers: one-round exactness, equality of methods, contraction rates, fixed points (methods.md 2, 3, 4).
void add_server_oracles(std::vector<Oracle>& oracles);
/// Optimizers: VSGD's first step, and moments of the noisy quadratic model (methods.md 5.1, 13.1).
void add_client_oracles(std::vector<Oracle>& oracles);

/// The rows as a table with one line each, ending with how many passed.
std::string oracle_table(const std::vector<Oracle>& oracles);

}  // namespace ivory
