// Clients with quadratic losses L_k = 1/2 (theta - c_k)' H_k (theta - c_k) whose Hessians are full matrices (sum losses).
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "ivory/full_gaussian.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/federation.hpp"

namespace ivory::test {

/// Dense algebra in the plainest form, for what a test expects.
struct Dense {
  std::size_t n;
  std::vector<double> a;  // [n x n]
  double& operator()(std::size_t i, std::size_t j) { return a[i * n + j]; }
  double operator()(std::size_t i, std::size_t j) const { return a[i * n + j]; }
  static Dense diagonal(std::size_t n, double value) {
    Dense d{n, std::vector<double>(n * n, 0.0)};
    for (std::size_t i = 0; i < n; ++i) d(i, i) = value;
    return d;
  }
  Dense& add(const Dense& b, double weight) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += weight * b.a[i];
    return *this;
  }
  Vector times(const Vector& x) const {
    Vector y(n, 0.0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) y[i] += (*this)(i, j) * x[j];
    return y;
  }
  /// Gaussian elimination with pivoting.
  Vector solve(Vector b) const {
    Dense m = *this;
    for (std::size_t k = 0; k < n; ++k) {
      std::size_t pivot = k;
      for (std::size_t i = k + 1; i < n; ++i)
        if (std::fabs(m(i, k)) > std::fabs(m(pivot, k))) pivot = i;
      for (std::size_t j = 0; j < n; ++j) std::swap(m(k, j), m(pivot, j));
      std::swap(b[k], b[pivot]);
      for (std::size_t i = k + 1; i < n; ++i) {
        const double f = m(i, k) / m(k, k);
        for (std::size_t j = k; j < n; ++j) m(i, j) -= f * m(k, j);
        b[i] -= f * b[k];
      }
    }
    for (std::size_t k = n; k-- > 0;) {
      for (std::size_t j = k + 1; j < n; ++j) b[k] -= m(k, j) * b[j];
      b[k] /= m(k, k);
    }
    return b;
  }
};

struct FullQuadraticClients {
  std::vector<double> examples;
  std::vector<Dense> H;
  std::vector<Vector> c;
  double temperature = 1, prior_precision = 1;

  std::size_t size() const { return H[0].n; }
  std::size_t clients() const { return H.size(); }

  /// One Newton step by the production optimizer from what the terms say, which is exact on a quadratic; `lr` < 1 goes a part.
  Sent<double> solve(Device& device, const Optimizer<double>& von, std::uint32_t k, const LocalTerms<double>& terms,
                     std::size_t steps = 1, const DrivenVisit<double>::Rate& rate = {}) const {
    DrivenVisit<double> visit(device, von, size());
    visit.block.clients[0].terms = terms;
    visit.rate = rate;
    const double n = examples[k];
    visit.gradient = [&](std::size_t, const double* theta, double* g) {
      Vector d(size());
      for (std::size_t i = 0; i < size(); ++i) d[i] = theta[i] - c[k][i];
      const Vector product = H[k].times(d);
      for (std::size_t i = 0; i < size(); ++i) g[i] = product[i] / n;
    };
    visit.hessian = [&](std::size_t, const double*, double* h) {
      for (std::size_t i = 0; i < size() * size(); ++i) h[i] = H[k].a[i] / n;
    };
    visit.run(steps);
    return {visit.mean(), visit.precision()};
  }

  Dense posterior_precision() const {
    Dense s = Dense::diagonal(size(), prior_precision);
    for (const Dense& h : H) s.add(h, 1.0 / temperature);
    return s;
  }
  Vector posterior_natural_mean() const {
    Vector eta(size(), 0.0);
    for (std::size_t k = 0; k < clients(); ++k) {
      const Vector hc = H[k].times(c[k]);
      for (std::size_t i = 0; i < size(); ++i) eta[i] += hc[i] / temperature;
    }
    return eta;
  }
};

/// Four clients of unequal sizes with well-coupled curvatures; `diagonal` leaves out what couples.
inline FullQuadraticClients four_full_clients(std::size_t n, double temperature = 1, double prior_precision = 2,
                                              bool diagonal = false) {
  FullQuadraticClients problem{{10, 25, 40, 5}, {}, {}, temperature, prior_precision};
  for (std::uint64_t k = 0; k < 4; ++k) {
    const Vector a = numbers(n * n, -1.0, 1.0, 900 + k);
    Dense h = Dense::diagonal(n, 0.1);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t l = 0; l < n; ++l)
          if (!diagonal || i == j) h(i, j) += static_cast<double>(k + 1) * a[i * n + l] * a[j * n + l];
    problem.H.push_back(h);
    problem.c.push_back(numbers(n, -2.0, 2.0, 950 + k));
  }
  return problem;
}

}  // namespace ivory::test
