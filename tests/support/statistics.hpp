// Distances between samples and distributions, for tests with fixed seeds: a bound is met or not, always the same way.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace ivory::test {

inline double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// sqrt(n) * sup |F_n - F|; above 1.95 it happens by chance once in 1000 (Kolmogorov's limit law).
template <class Cdf>
double kolmogorov(std::vector<double> sample, const Cdf& cdf) {
  std::sort(sample.begin(), sample.end());
  const auto n = static_cast<double>(sample.size());
  double distance = 0.0;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const double f = cdf(sample[i]);
    distance = std::max({distance, f - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - f});
  }
  return std::sqrt(n) * distance;
}
inline constexpr double kolmogorov_limit = 1.95;

/// (chi^2 - d) / sqrt(2 d) of counts that should be equal, d degrees of freedom: about standard normal.
inline double chi_square_score(const std::vector<double>& counts) {
  double total = 0.0;
  for (const double c : counts) total += c;
  const double expected = total / static_cast<double>(counts.size());
  double chi2 = 0.0;
  for (const double c : counts) chi2 += (c - expected) * (c - expected) / expected;
  const double freedom = static_cast<double>(counts.size()) - 1.0;
  return (chi2 - freedom) / std::sqrt(2.0 * freedom);
}

/// Correlation of two equally long samples of mean 0 and variance 1, times sqrt(n): about standard normal when independent.
template <class Array>
double correlation_score(const Array& x, const Array& y) {
  double sum = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum / std::sqrt(static_cast<double>(x.size()));
}

}  // namespace ivory::test
