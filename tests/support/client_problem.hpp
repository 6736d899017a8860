// Losses, terms and noise that the tests of optimizers share.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "tests/support/plugins.hpp"
#include "tests/support/visit.hpp"

namespace ivory::test {

using Vector = std::vector<double>;

// Slots of IVON's block.
inline constexpr std::size_t momentum_slot = 0, hessian_slot = 1;

// `count` reproducible numbers in [low, high), different for every salt.
inline Vector numbers(std::size_t count, double low, double high, std::uint64_t salt) {
  StreamReader reader(2024, {Purpose::data, salt});
  Vector out(count);
  for (double& x : out) x = low + (high - low) * reader.uniform();
  return out;
}

inline Vector normal_numbers(std::size_t count, std::uint64_t salt) {
  StreamReader reader(2025, {Purpose::data, salt});
  Vector out(count);
  for (double& x : out) x = reader.normal();
  return out;
}

// A loss whose curvature has both signs and whose gradient couples coordinates.
template <class Real>
void bumpy_gradient(const Real* theta, Real* gradient, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    const auto a = static_cast<Real>(0.2 + 0.3 * static_cast<double>(i % 5));
    gradient[i] = a * (theta[i] - Real(0.4)) + Real(0.5) * std::sin(Real(2) * theta[i] + theta[(i + 1) % size]);
  }
}

// Everything a client with all terms needs, with storage.
template <class Real>
struct Problem {
  explicit Problem(std::size_t size_, std::uint64_t salt = 0)
      : size(size_), start(padded<Real>(numbers(size_, -1.0, 1.0, 10 + salt))),
        anchor_mean(padded<Real>(numbers(size_, -0.5, 0.8, 20 + salt))),
        anchor_precision(padded<Real>(numbers(size_, 2.0, 9.0, 30 + salt))),
        site_mean(padded<Real>(numbers(size_, -3.0, 2.0, 40 + salt))),
        site_precision(padded<Real>(numbers(size_, -4.0, 4.0, 50 + salt))),
        common_mean(padded<Real>(numbers(size_, -1.0, 2.0, 60 + salt))) {}

  std::size_t size;
  std::vector<Real> start, anchor_mean, anchor_precision, site_mean, site_precision, common_mean;

  LocalTerms<Real> terms(bool anchor, bool site, double lambda) const {
    LocalTerms<Real> t;
    t.start = start.data();
    if (anchor) {
      t.anchor_mean = anchor_mean.data();
      t.anchor_precision = anchor_precision.data();
      t.anchor_weight = 1.0 / lambda;
      t.effective_samples = lambda;
    }
    if (site) {
      t.site_mean = site_mean.data();
      t.site_precision = site_precision.data();
      t.site_weight = 0.07;
    }
    return t;
  }
};

template <class Real>
Vector wide(const std::vector<Real>& x, std::size_t size) {
  return Vector(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(size));
}

// A quadratic loss 1/2 a (theta - c)^2 per coordinate.
inline auto quadratic(const Vector& a, const Vector& c) {
  return [a, c](std::size_t, const double* theta, double* g) {
    for (std::size_t i = 0; i < a.size(); ++i) g[i] = a[i] * (theta[i] - c[i]);
  };
}

// z, -z, z, -z ... : for a quadratic every odd power of the noise cancels.
inline void antithetic(std::size_t, std::size_t, int sample, double* z, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) z[i] = sample % 2 == 0 ? 1.0 : -1.0;
}

// Gradient of the data loss plus weight decay and all terms of `terms`, as messages.hpp defines the objective.
inline Vector full_gradient(const Vector& theta, const LocalTerms<double>& terms, double weight_decay) {
  Vector g(theta.size());
  bumpy_gradient(theta.data(), g.data(), theta.size());
  for (std::size_t i = 0; i < theta.size(); ++i) {
    g[i] += weight_decay * theta[i];
    const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
    const double V = terms.site_precision != nullptr ? terms.site_precision[i] : 0.0;
    g[i] += terms.site_weight * (v - V * theta[i]);
    if (terms.common_mean != nullptr) g[i] += terms.common_weight * terms.common_mean[i];
    const double S = terms.anchor_precision != nullptr ? terms.anchor_precision[i] : 1.0;
    const double m = terms.anchor_mean != nullptr ? terms.anchor_mean[i] : 0.0;
    g[i] += terms.anchor_weight * S * (theta[i] - m);
  }
  return g;
}

// Every way of switching terms on and off that messages.hpp allows.
inline std::vector<LocalTerms<double>> kinds_of_terms(const Problem<double>& problem, double lambda) {
  std::vector<LocalTerms<double>> kinds{problem.terms(false, false, lambda), problem.terms(true, false, lambda),
                                        problem.terms(true, true, lambda),   problem.terms(true, false, lambda),
                                        problem.terms(false, true, lambda),  problem.terms(true, true, lambda)};
  kinds[3].anchor_mean = nullptr;     // m = 0
  kinds[5].site_precision = nullptr;  // V = 0: ADMM's dual variable
  LocalTerms<double> isotropic = problem.terms(true, false, lambda);
  isotropic.anchor_precision = nullptr;  // S = 1
  kinds.push_back(isotropic);
  isotropic.anchor_mean = nullptr;
  isotropic.site_mean = problem.site_mean.data();
  isotropic.site_weight = 0.07;
  kinds.push_back(isotropic);
  LocalTerms<double> common = problem.terms(false, true, lambda);
  common.site_precision = nullptr;
  common.common_mean = problem.common_mean.data();
  common.common_weight = 1.3;
  kinds.push_back(common);
  return kinds;
}

// IVON's options for a short trajectory.
inline OptionValues base(double lambda) {
  return {{"lr", 0.1}, {"beta2", 0.98}, {"hess_init", 0.7}, {"weight_decay", 0.05}, {"ess", lambda}};
}

}  // namespace ivory::test
