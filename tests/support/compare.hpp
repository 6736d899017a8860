// Distances between arrays, in the measures that the tests state their tolerances in.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace ivory::test {

/// Largest |x - y|; infinite where the sizes differ or one is not finite.
template <class A, class B>
double largest_difference(const std::vector<A>& x, const std::vector<B>& y) {
  if (x.size() != y.size()) return std::numeric_limits<double>::infinity();
  double worst = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
    if (!(d <= std::numeric_limits<double>::max())) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, d);
  }
  return worst;
}

/// Largest |x|; infinite where one is not finite.
template <class A>
double largest_magnitude(const std::vector<A>& x) {
  return largest_difference(x, std::vector<A>(x.size(), A(0)));
}

/// Largest |x - y| over the largest |y| (1 where y is all zero).
template <class A, class B>
double relative_difference(const std::vector<A>& x, const std::vector<B>& y) {
  const double scale = largest_magnitude(y);
  return largest_difference(x, y) / (scale > 0 ? scale : 1.0);
}

template <class A>
double mean_of(const std::vector<A>& x) {
  double sum = 0.0;
  for (const A v : x) sum += static_cast<double>(v);
  return sum / static_cast<double>(x.size());
}

/// Standard error of mean_of(x) for independent entries.
template <class A>
double error_of_mean(const std::vector<A>& x) {
  const double m = mean_of(x);
  double sum = 0.0;
  for (const A v : x) sum += (static_cast<double>(v) - m) * (static_cast<double>(v) - m);
  const auto n = static_cast<double>(x.size());
  return std::sqrt(sum / (n - 1.0) / n);
}

}  // namespace ivory::test
