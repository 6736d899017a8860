// The three quantiles by which the log describes many numbers.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace ivory {

inline constexpr std::array<double, 3> quantile_levels = {0.05, 0.5, 0.95};

/// One number per level; NaN: there is nothing to describe.
struct Quantiles {
  static constexpr double none = std::numeric_limits<double>::quiet_NaN();
  std::array<double, 3> values = {none, none, none};
};

/// Between the two nearest of the sorted values on a straight line: the value of rank level (n - 1). NaN throughout where there is
/// none, or one of them is NaN.
template <class Real>
Quantiles quantiles_of(std::vector<Real> values) {
  Quantiles out;
  if (values.empty() || std::any_of(values.begin(), values.end(), [](Real v) { return std::isnan(v); })) return out;
  for (std::size_t q = 0; q < quantile_levels.size(); ++q) {
    const double rank = quantile_levels[q] * static_cast<double>(values.size() - 1);
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
    std::nth_element(values.begin(), place, values.end());
    const double low = *place, share = rank - std::floor(rank);
    const double high = share > 0 ? static_cast<double>(*std::min_element(place + 1, values.end())) : low;
    out.values[q] = low == high ? low : low + share * (high - low);  // two infinities are one value
  }
  return out;
}

}  // namespace ivory
