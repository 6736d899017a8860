// Clients with diagonal quadratic losses L_k = 1/2 sum_i H_ki (theta_i - c_ki)^2 (sum losses), for which everything is known.
#pragma once
#include <cstddef>
#include <vector>

#include "tests/support/federation.hpp"

namespace ivory::test {

struct QuadraticClients {
  std::vector<double> examples;           // N_k
  std::vector<std::vector<double>> H, c;  // [K][P]
  double temperature = 1, prior_precision = 1;

  std::size_t clients() const { return examples.size(); }
  std::size_t size() const { return H[0].size(); }

  /// argmin_q lambda E_q[lbar + <v', theta> - 1/2 theta' V' theta] + KL(q || N(m, 1/S)), read off the terms alone.
  Sent<double> solve(std::uint32_t k, const LocalTerms<double>& terms) const {
    Sent<double> q{std::vector<double>(size()), std::vector<double>(size())};
    const double lambda = terms.effective_samples, n = examples[k];
    for (std::size_t i = 0; i < size(); ++i) {
      const double m = terms.anchor_mean != nullptr ? terms.anchor_mean[i] : 0.0;
      const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
      const double V = terms.site_precision != nullptr ? terms.site_precision[i] : 0.0;
      const double S = lambda * terms.anchor_weight * terms.anchor_precision[i];
      q.precision[i] = S + lambda * (H[k][i] / n - terms.site_weight * V);
      q.mean[i] = (S * m + lambda * (H[k][i] * c[k][i] / n - terms.site_weight * v)) / q.precision[i];
    }
    return q;
  }
  Federation<double>::Train solver() const {
    return [this](std::uint32_t k, const LocalTerms<double>& terms) { return solve(k, terms); };
  }

  // The exact posterior: s = s0 + sum_k H_k / tau, s m = sum_k H_k c_k / tau.
  double posterior_precision(std::size_t i) const {
    double s = prior_precision;
    for (const auto& h : H) s += h[i] / temperature;
    return s;
  }
  double posterior_natural_mean(std::size_t i) const {
    double eta = 0;
    for (std::size_t k = 0; k < clients(); ++k) eta += H[k][i] * c[k][i] / temperature;
    return eta;
  }
};

/// Four clients of unequal sizes, curvatures over two orders of magnitude, optima on both sides.
inline QuadraticClients four_clients(double temperature = 1, double prior_precision = 2) {
  return {{10, 25, 40, 5},
          {{1, 0.2, 4}, {3, 0.9, 0.1}, {0.5, 2, 1}, {7, 0.3, 2.5}},
          {{1, -2, 0.5}, {-2, 0.3, 4}, {0.5, 1.5, -1}, {3, -0.7, 0.2}},
          temperature,
          prior_precision};
}

}  // namespace ivory::test
