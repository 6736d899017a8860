// VON with a full covariance against the equations of methods.md 2.5, written out on small dense matrices.
#define BOOST_TEST_MODULE von
#include "tests/support/boost_test.hpp"

#include "tests/support/compare.hpp"
#include "tests/support/full_quadratic.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t n = 5;

// An anchor, a site and where training begins.
struct Terms {
  Terms() {
    const Vector a = numbers(n * n, -1.0, 1.0, 7), b = numbers(n * n, -0.3, 0.3, 8);
    anchor_precision = Dense::diagonal(n, 0.5).a;
    site_precision.assign(n * n, 0.0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        site_precision[i * n + j] = b[i * n + j] + b[j * n + i];
        for (std::size_t l = 0; l < n; ++l) anchor_precision[i * n + j] += a[i * n + l] * a[j * n + l];
      }
    start = padded<double>(numbers(n, -1.0, 1.0, 9));
    anchor_mean = padded<double>(numbers(n, -1.0, 1.0, 10));
    site_mean = padded<double>(numbers(n, -1.0, 1.0, 11));
  }
  LocalTerms<double> terms(double lambda) const {
    LocalTerms<double> t;
    t.start = start.data(), t.anchor_mean = anchor_mean.data(), t.anchor_precision = anchor_precision.data();
    t.site_mean = site_mean.data(), t.site_precision = site_precision.data();
    t.full_covariance = true, t.anchor_weight = 1.0 / lambda, t.site_weight = 0.07, t.effective_samples = lambda;
    return t;
  }
  Vector start, anchor_mean, site_mean, anchor_precision, site_precision;
};

}  // namespace

BOOST_AUTO_TEST_CASE(steps_follow_the_equations) {
  const auto device = make_cpu_device();
  const double lambda = 30, lr = 0.4, rate_precision = 0.5;
  const auto von = make_optimizer<double>("von", {{"lr", lr}, {"rate_precision", rate_precision}});
  const Terms all;
  const FullQuadraticClients problem = four_full_clients(n);
  LocalTerms<double> terms = all.terms(lambda);
  constexpr std::size_t steps = 3;
  const Sent<double> got = problem.solve(*device, *von, 1, terms, steps, [&](std::size_t) { return lr; });

  Dense S{n, all.anchor_precision}, anchor{n, all.anchor_precision}, V{n, all.site_precision};
  Vector m(all.start.begin(), all.start.begin() + n);
  const double N = problem.examples[1], c = rate_precision * lr;
  for (std::size_t step = 0; step < steps; ++step) {
    Vector off(n), from_anchor(n);
    for (std::size_t i = 0; i < n; ++i) off[i] = m[i] - problem.c[1][i], from_anchor[i] = m[i] - all.anchor_mean[i];
    const Vector g = problem.H[1].times(off), Vm = V.times(m), anchored = anchor.times(from_anchor);
    for (std::size_t i = 0; i < n * n; ++i) {
      const double target = anchor.a[i] + lambda * (problem.H[1].a[i] / N - 0.07 * V.a[i]);
      S.a[i] = (1 - c) * S.a[i] + c * target;
    }
    Vector direction(n);
    for (std::size_t i = 0; i < n; ++i)
      direction[i] = lambda * (g[i] / N + 0.07 * (all.site_mean[i] - Vm[i])) + anchored[i];
    const Vector x = S.solve(direction);
    for (std::size_t i = 0; i < n; ++i) m[i] -= lr * x[i];
  }
  BOOST_TEST(largest_difference(got.mean, m) < 1e-11);
  BOOST_TEST(largest_difference(got.precision, S.a) < 1e-11);
}

BOOST_AUTO_TEST_CASE(a_whole_step_solves_a_quadratic) {
  const auto device = make_cpu_device();
  const auto von = make_optimizer<double>("von", {});
  const FullQuadraticClients problem = four_full_clients(n);
  const Terms all;
  const double lambda = 30, N = problem.examples[2];
  const Sent<double> got = problem.solve(*device, *von, 2, all.terms(lambda));
  // S = S_g + lambda (H - V'), S m = S_g m_g + lambda (H c - v').
  Dense S{n, all.anchor_precision}, anchor{n, all.anchor_precision};
  S.add(problem.H[2], lambda / N).add(Dense{n, all.site_precision}, -lambda * 0.07);
  Vector eta = anchor.times(Vector(all.anchor_mean.begin(), all.anchor_mean.begin() + n));
  const Vector hc = problem.H[2].times(problem.c[2]);
  for (std::size_t i = 0; i < n; ++i) eta[i] += lambda * (hc[i] / N - 0.07 * all.site_mean[i]);
  BOOST_TEST(largest_difference(got.precision, S.a) < 1e-11);
  BOOST_TEST(largest_difference(got.mean, S.solve(eta)) < 1e-11);
}

// theta = m + L^-T z: over many draws the covariance is S^-1, and no other factor's (methods.md D3).
BOOST_AUTO_TEST_CASE(samples_have_the_covariance_of_the_posterior) {
  const auto device = make_cpu_device();
  const auto von = make_optimizer<double>("von", {{"samples", std::int64_t{1}}});
  constexpr std::size_t size = 3;
  const Dense S{size, {4.0, 1.5, -0.8, 1.5, 2.0, 0.6, -0.8, 0.6, 1.2}};
  const Vector mean = padded<double>(Vector{0.3, -1.0, 2.0});
  constexpr std::size_t draws = 20000;
  Vector sum(size, 0.0), squares(size * size, 0.0);
  for (std::size_t d = 0; d < draws; ++d) {
    DrivenVisit<double> visit(*device, *von, size);
    visit.seed = 5, visit.round = d;
    auto& terms = visit.block.clients[0].terms;
    terms.start = terms.anchor_mean = mean.data(), terms.anchor_precision = S.a.data();
    terms.anchor_weight = 1, terms.effective_samples = 1, terms.full_covariance = true;
    visit.run(0);
    const double* const theta = visit.block.row(visit.block.point, 0);
    for (std::size_t i = 0; i < size; ++i) {
      sum[i] += theta[i] - mean[i];
      for (std::size_t j = 0; j < size; ++j) squares[i * size + j] += (theta[i] - mean[i]) * (theta[j] - mean[j]);
    }
  }
  for (std::size_t j = 0; j < size; ++j) {
    Vector unit(size, 0.0);
    unit[j] = 1;
    const Vector column = S.solve(unit);  // of S^-1
    for (std::size_t i = 0; i < size; ++i) {
      Vector other(size, 0.0);
      other[i] = 1;
      const double variance = S.solve(other)[i] * column[j] + column[i] * column[i];  // of one product of two normals
      const double error = std::sqrt(variance / draws);
      BOOST_TEST(std::fabs(squares[i * size + j] / draws - column[i]) < 4.5 * error, i << " " << j);
      BOOST_TEST(std::fabs(sum[i] / draws) < 4.5 * std::sqrt(S.solve(other)[i] / draws));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_step_that_would_leave_the_cone_is_shortened) {
  const auto device = make_cpu_device();
  const auto von = make_optimizer<double>("von", {});
  Terms all;
  // A site so large that S* is far from positive definite.
  for (std::size_t i = 0; i < n; ++i) all.site_precision[i * n + i] += 1e4;
  const FullQuadraticClients problem = four_full_clients(n);
  const Sent<double> got = problem.solve(*device, *von, 0, all.terms(30));
  Vector factor = got.precision;
  BOOST_TEST(device->cholesky(factor.data(), n));
  for (const double x : got.mean) BOOST_TEST(std::isfinite(x));
  BOOST_TEST(largest_difference(got.precision, all.anchor_precision) > 0.0, "a part of the step was taken");
}

BOOST_AUTO_TEST_CASE(cholesky_and_triangular_solves) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 37, columns = 3;
  const FullQuadraticClients problem = four_full_clients(size);
  const Dense& a = problem.H[0];
  Vector factor = a.a;
  BOOST_TEST_REQUIRE(device->cholesky(factor.data(), size));
  Dense lower{size, Vector(size * size, 0.0)};
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j <= i; ++j) lower(i, j) = factor[i * size + j];
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double product = 0;
      for (std::size_t l = 0; l <= j; ++l) product += lower(i, l) * lower(j, l);
      BOOST_TEST(std::fabs(product - a(i, j)) < 1e-11);
    }
  const Vector b = numbers(size * columns, -1.0, 1.0, 3);
  Vector x = b;
  device->solve_triangular(factor.data(), false, x.data(), size, columns);
  device->solve_triangular(factor.data(), true, x.data(), size, columns);
  for (std::size_t c = 0; c < columns; ++c) {
    Vector column(size), right(size);
    for (std::size_t i = 0; i < size; ++i) column[i] = x[i * columns + c], right[i] = b[i * columns + c];
    BOOST_TEST(largest_difference(a.times(column), right) < 1e-9);
  }
  Vector indefinite = Dense::diagonal(3, 1.0).a;
  indefinite[4] = -1;
  BOOST_TEST(!device->cholesky(indefinite.data(), 3));
  Vector broken = Dense::diagonal(3, 1.0).a;
  broken[4] = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(!device->cholesky(broken.data(), 3));
}
