// IVON against a plain reference for every combination of its options, and the exact statements of docs/methods, 1.1.
#define BOOST_TEST_MODULE ivon
#include <fmt/core.h>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/ivon_reference.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Mean and precision after 50 steps with all terms and the same stored noise for both types.
template <class Real>
std::pair<std::vector<Real>, std::vector<Real>> trained() {
  constexpr std::size_t size = 100;
  const auto device = make_cpu_device();
  const Problem<Real> problem(size);
  const auto optimizer = make_optimizer<Real>("ivon", base(60.0));
  DrivenVisit<Real> visit(*device, *optimizer, size);
  visit.block.clients[0].terms = problem.terms(true, true, 60.0);
  visit.rate = [](std::size_t) { return 0.05; };
  visit.gradient = [](std::size_t, const Real* theta, Real* g) { bumpy_gradient(theta, g, size); };
  visit.noise = [](std::size_t, std::size_t step, int, Real* z) {
    const Vector n = normal_numbers(size, step);
    for (std::size_t i = 0; i < size; ++i) z[i] = static_cast<Real>(n[i]);
  };
  visit.run(50);
  return {visit.mean(), visit.precision()};
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_follows_the_equations) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 70;  // one whole tile and a part of one
  constexpr std::size_t steps = 30;
  const double lambda = 60.0, batch = 12.0;
  const Problem<double> problem(size);
  const std::vector<LocalTerms<double>> kinds = kinds_of_terms(problem, lambda);
  int combinations = 0;
  for (const bool gradsq : {false, true})
    for (const int samples : {1, 3})
      for (const double clip : {0.0, 0.08})
        for (const bool debias : {false, true})
          for (const bool rescale : {false, true})
            for (const bool times_lambda : {false, true})
              for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
                if (times_lambda && !gradsq) continue;
                const LocalTerms<double>& terms = kinds[kind];
                ++combinations;
                OptionValues options = base(lambda);
                options["samples"] = samples;
                options["estimator"] = std::string(gradsq ? "gradsq" : "price");
                options["clip_radius"] = clip;
                options["debias"] = debias;
                options["rescale_lr"] = rescale;
                options["gsq_times_lambda"] = times_lambda;
                const auto optimizer = make_optimizer<double>("ivon", options);
                BOOST_TEST_REQUIRE(optimizer->samples() == samples);
                BOOST_TEST(optimizer->gives_posterior());
                DrivenVisit<double> visit(*device, *optimizer, size);
                visit.block.clients[0].terms = terms;
                visit.block.clients[0].batch = batch;
                visit.rate = [](std::size_t step) { return 0.05 / (1.0 + 0.1 * static_cast<double>(step)); };
                visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
                visit.noise = [](std::size_t, std::size_t step, int sample, double* z) {
                  const Vector n = normal_numbers(size, 100 * step + static_cast<std::uint64_t>(sample));
                  std::copy(n.begin(), n.end(), z);
                };
                visit.run(steps);

                IvonReference reference;
                reference.lambda = lambda;
                reference.beta2 = 0.98;
                reference.hess_init = 0.7;
                reference.clip_radius = clip;
                reference.gradsq = gradsq;
                reference.gradsq_factor = times_lambda ? lambda : batch;
                reference.debias = debias;
                reference.rescale_lr = rescale;
                reference.decay.assign(size, 0.05);
                reference.prior_mean.assign(size, 0.0);
                reference.site_gradient.assign(size, 0.0);
                reference.site_curvature.assign(size, 0.0);
                for (std::size_t i = 0; i < size; ++i) {
                  if (terms.anchor_precision != nullptr) reference.decay[i] = terms.anchor_precision[i] / lambda;
                  if (terms.anchor_weight > 0 && terms.anchor_precision == nullptr)
                    reference.decay[i] = terms.anchor_weight;
                  if (terms.anchor_mean != nullptr) reference.prior_mean[i] = terms.anchor_mean[i];
                  if (terms.site_mean != nullptr) reference.site_gradient[i] = terms.site_weight * terms.site_mean[i];
                  if (terms.common_mean != nullptr)
                    reference.site_gradient[i] += terms.common_weight * terms.common_mean[i];
                  if (terms.site_precision != nullptr)
                    reference.site_curvature[i] = terms.site_weight * terms.site_precision[i];
                }
                reference.start(wide(problem.start, size), 0.7);
                Vector precision(size);
                for (std::size_t step = 0; step < steps; ++step) {
                  std::vector<Vector> z;
                  for (int j = 0; j < samples; ++j)
                    z.push_back(normal_numbers(size, 100 * step + static_cast<std::uint64_t>(j)));
                  reference.step(visit.rate(step), z, [](const Vector& theta) {
                    Vector g(size);
                    bumpy_gradient(theta.data(), g.data(), size);
                    return g;
                  });
                }
                for (std::size_t i = 0; i < size; ++i)
                  precision[i] = lambda * (reference.hessian[i] + reference.decay[i]);
                // Both are double and differ in the order of operations; 30 contracting steps amplify 1e-16 little.
                const std::string what =
                    fmt::format("gradsq {} samples {} clip {} debias {} rescale {} lambda {} kind {}", gradsq, samples,
                                clip, debias, rescale, times_lambda, kind);
                BOOST_TEST(relative_difference(visit.mean(), reference.mean) < 1e-11, "mean: " << what);
                BOOST_TEST(relative_difference(visit.slot(hessian_slot), reference.hessian) < 1e-11, "h: " << what);
                BOOST_TEST(relative_difference(visit.slot(momentum_slot), reference.momentum) < 1e-11, "g: " << what);
                BOOST_TEST(relative_difference(visit.precision(), precision) < 1e-11, "precision: " << what);
              }
  BOOST_TEST(combinations == 432);
}

BOOST_AUTO_TEST_CASE(retraction_keeps_the_precision_at_least_at_half) {
  // T1. With z = 1 the estimate is hhat = sqrt(lambda (h + delta)) g: the gradient sets it, down to -1e4.
  const auto device = make_cpu_device();
  const Vector estimates{-1e4, -300.0, -20.0, -3.0, -0.5, 0.0, 0.3, 0.7, 2.0, 50.0, 1e4};
  for (const double beta2 : {0.5, 0.9, 0.999})
    for (const double h0 : {0.01, 0.7, 5.0}) {
      const double delta = 0.05, lambda = 30.0;
      OptionValues options = base(lambda);
      options["beta2"] = beta2;
      options["hess_init"] = h0;
      const auto optimizer = make_optimizer<double>("ivon", options);
      DrivenVisit<double> visit(*device, *optimizer, estimates.size());
      const auto start = padded<double>(Vector(estimates.size(), 0.0));
      visit.block.clients[0].terms.start = start.data();
      visit.noise = [&](std::size_t, std::size_t, int, double* z) { std::fill(z, z + estimates.size(), 1.0); };
      visit.gradient = [&](std::size_t, const double*, double* g) {
        for (std::size_t i = 0; i < estimates.size(); ++i) g[i] = estimates[i] / std::sqrt(lambda * (h0 + delta));
      };
      visit.run(1);
      const Vector h = visit.slot(hessian_slot);
      for (std::size_t i = 0; i < estimates.size(); ++i) {
        const double s = h0 + delta, r = (1.0 - beta2) * (h0 - estimates[i]) / s;
        const double expected = s * (1.0 - r + 0.5 * r * r);
        // h + delta is formed from terms up to r^2/2 times larger than their sum's smallest value: a few roundings of it.
        BOOST_TEST(std::fabs(h[i] + delta - expected) <= 1e-12 * s * (1.0 + std::fabs(r) + 0.5 * r * r));
        BOOST_TEST(h[i] + delta >= 0.5 * s * (1.0 - 1e-12),
                   "beta2 " << beta2 << " h " << h0 << " hhat " << estimates[i]);
      }
    }
}

BOOST_AUTO_TEST_CASE(without_noise_and_curvature_it_is_sgd_with_debiased_momentum) {
  // T2, for several h0 and lambda, on which nothing may depend.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 9;
  const double lr = 0.05, delta = 0.03, beta1 = 0.9;
  Vector m = numbers(size, -1.0, 1.0, 1), g(size, 0.0);
  const auto start = padded<double>(m);
  for (int t = 1; t <= 40; ++t) {
    Vector gradient(size);
    bumpy_gradient(m.data(), gradient.data(), size);
    for (std::size_t i = 0; i < size; ++i) {
      g[i] = beta1 * g[i] + (1.0 - beta1) * gradient[i];
      m[i] -= lr * (g[i] / (1.0 - std::pow(beta1, t)) + delta * m[i]);
    }
  }
  for (const double h0 : {0.01, 1.0, 20.0})
    for (const double lambda : {1.0, 1e6}) {
      const auto optimizer = make_optimizer<double>(
          "ivon", {{"lr", 1.0}, {"beta2", 1.0}, {"hess_init", h0}, {"weight_decay", delta}, {"ess", lambda}});
      DrivenVisit<double> visit(*device, *optimizer, size);
      visit.block.clients[0].terms.start = start.data();
      visit.rate = [lr](std::size_t) { return lr; };  // the caller's rate counts, not the option
      visit.noise = [](std::size_t, std::size_t, int, double* z) { std::fill(z, z + size, 0.0); };
      visit.gradient = [](std::size_t, const double* theta, double* out) { bumpy_gradient(theta, out, size); };
      visit.run(40);
      // lr (h0 + delta) / (h0 + delta) rounds; nothing else differs.
      BOOST_TEST(relative_difference(visit.mean(), m) < 1e-13);
    }
}

BOOST_AUTO_TEST_CASE(price_estimate_of_a_quadratic_is_its_curvature) {
  // T3: the pair z, -z gives hhat = a z^2 exactly, whatever the mean.
  const auto device = make_cpu_device();
  const Vector a{2.0, 0.5, -1.5, 7.0}, c{1.0, -2.0, 0.3, 0.0}, z{1.0, -0.3, 2.0, 1.0};
  const double lambda = 40.0, delta = 0.05, h0 = 3.0, beta2 = 0.75;
  const auto optimizer = make_optimizer<double>(
      "ivon",
      {{"lr", 0.1}, {"beta2", beta2}, {"hess_init", h0}, {"weight_decay", delta}, {"ess", lambda}, {"samples", 2}});
  DrivenVisit<double> visit(*device, *optimizer, a.size());
  const auto start = padded<double>(Vector{0.3, 0.1, -0.7, 2.0});
  visit.block.clients[0].terms.start = start.data();
  visit.gradient = quadratic(a, c);
  visit.noise = [&](std::size_t, std::size_t, int sample, double* out) {
    for (std::size_t i = 0; i < z.size(); ++i) out[i] = sample == 0 ? z[i] : -z[i];
  };
  visit.run(1);
  const Vector h = visit.slot(hessian_slot);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double hhat = a[i] * z[i] * z[i], d = h0 - hhat;
    const double expected = beta2 * h0 + (1 - beta2) * hhat + 0.5 * (1 - beta2) * (1 - beta2) * d * d / (h0 + delta);
    BOOST_TEST(std::fabs(h[i] - expected) < 1e-12 * (1.0 + std::fabs(expected)));
  }
}

BOOST_AUTO_TEST_CASE(price_estimate_is_unbiased_and_negative_curvature_keeps_the_precision_positive) {
  // T3: a million samples. With 1 - beta2 = 1e-6 the estimate can be read off one step.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 4096;
  for (const double a : {1.7, -0.9}) {
    const double lambda = 50.0, delta = 0.05, h0 = 1.0, rest = 1e-6;
    const auto optimizer = make_optimizer<double>("ivon", {{"lr", 1e-3},
                                                           {"beta2", 1.0 - rest},
                                                           {"hess_init", h0},
                                                           {"weight_decay", delta},
                                                           {"ess", lambda},
                                                           {"samples", 256}});
    DrivenVisit<double> visit(*device, *optimizer, size);
    const auto start = padded<double>(Vector(size, 0.25));
    visit.block.clients[0].terms.start = start.data();
    visit.gradient = quadratic(Vector(size, a), Vector(size, 0.2));
    visit.seed = 5;
    visit.run(1);
    Vector estimate = visit.slot(hessian_slot);
    for (double& x : estimate) x = (x - (1.0 - rest) * h0) / rest;
    // Four standard errors; the quadratic term adds 0.5e-6 (h - hhat)^2 / (h + delta), some 1e-6.
    BOOST_TEST(std::fabs(mean_of(estimate) - a) < 4.0 * error_of_mean(estimate) + 1e-5);
    BOOST_TEST(error_of_mean(estimate) < 0.005);
  }
  // Curvature -2 for hundreds of steps with a fast average: h falls below zero, h + delta never.
  const auto optimizer = make_optimizer<double>(
      "ivon", {{"lr", 1e-4}, {"beta2", 0.99}, {"hess_init", 1.0}, {"weight_decay", 0.8}, {"ess", 50.0}});
  DrivenVisit<double> visit(*device, *optimizer, size);
  const auto start = padded<double>(Vector(size, 0.0));
  visit.block.clients[0].terms.start = start.data();
  visit.gradient = quadratic(Vector(size, -2.0), Vector(size, 0.0));
  double lowest = 1.0, lowest_h = 1.0;
  visit.after_step = [&](std::size_t) {
    for (const double s : visit.precision()) {
      BOOST_TEST_REQUIRE(std::isfinite(s));
      lowest = std::min(lowest, s);
    }
    for (const double h : visit.slot(hessian_slot)) lowest_h = std::min(lowest_h, h);
  };
  visit.run(300);
  BOOST_TEST(lowest > 0.0);
  BOOST_TEST(lowest_h < 0.0, "the case must reach negative h to mean something");
}

BOOST_AUTO_TEST_CASE(on_a_quadratic_it_converges_to_the_exact_posterior) {
  // T4 with z = +-1: no noise is left, so the limit is exact up to the geometric rates 0.99^5000 and exp(-lr 5000).
  const auto device = make_cpu_device();
  const Vector a{2.0, 0.5, 0.02, 7.0}, c{1.0, -2.0, 0.3, 0.0};
  const double lambda = 40.0, delta = 0.05;
  const auto optimizer = make_optimizer<double>("ivon", {{"lr", 0.05},
                                                         {"beta2", 0.99},
                                                         {"hess_init", 1.0},
                                                         {"weight_decay", delta},
                                                         {"ess", lambda},
                                                         {"samples", 2},
                                                         {"rescale_lr", false}});
  DrivenVisit<double> visit(*device, *optimizer, a.size());
  const auto start = padded<double>(Vector{0.3, 0.1, -0.7, 2.0});
  visit.block.clients[0].terms.start = start.data();
  visit.gradient = quadratic(a, c);
  visit.rate = [](std::size_t) { return 0.05; };
  visit.noise = [&](std::size_t b, std::size_t step, int sample, double* z) {
    antithetic(b, step, sample, z, a.size());
  };
  visit.run(5000);
  const Vector m = visit.mean(), h = visit.slot(hessian_slot), s = visit.precision();
  for (std::size_t i = 0; i < a.size(); ++i) {
    BOOST_TEST(std::fabs(h[i] - a[i]) < 1e-10);
    BOOST_TEST(std::fabs(m[i] - a[i] * c[i] / (a[i] + delta)) < 1e-10);
    BOOST_TEST(std::fabs(s[i] - lambda * (a[i] + delta)) < 1e-8);
  }
}

BOOST_AUTO_TEST_CASE(with_random_noise_it_converges_to_the_posterior_on_average) {
  // T4 with one Philox sample per step, averaged over 2048 equal coordinates.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 2048;
  const double a = 1.3, c = 0.8, lambda = 500.0, delta = 0.1, beta2 = 0.999;
  const auto optimizer = make_optimizer<double>(
      "ivon", {{"lr", 0.02}, {"beta2", beta2}, {"hess_init", 1.0}, {"weight_decay", delta}, {"ess", lambda}});
  DrivenVisit<double> visit(*device, *optimizer, size);
  const auto start = padded<double>(Vector(size, 0.0));
  visit.block.clients[0].terms.start = start.data();
  visit.gradient = quadratic(Vector(size, a), Vector(size, c));
  std::uint64_t steps_seen = 0;
  visit.rate = [](std::size_t) { return 0.01; };
  visit.after_step = [&](std::size_t) { ++steps_seen; };
  visit.run(6000);
  BOOST_TEST(steps_seen == 6000U);
  const Vector h = visit.slot(hessian_slot), m = visit.mean();
  // h is biased upwards by 0.5 (1 - beta2) Var(hhat) / (h + delta) with Var(hhat) = 2 a^2 plus the share of the moving mean,
  // at most as much again: allow twice the first part beside four standard errors.
  const double bias = 0.5 * (1.0 - beta2) * 2.0 * a * a / (a + delta);
  BOOST_TEST(mean_of(h) - a < 2.0 * bias + 4.0 * error_of_mean(h));
  BOOST_TEST(mean_of(h) - a > -4.0 * error_of_mean(h));
  BOOST_TEST(std::fabs(mean_of(m) - a * c / (a + delta)) < 4.0 * error_of_mean(m) + 1e-4);
  BOOST_TEST(error_of_mean(h) < 0.002);
}

BOOST_AUTO_TEST_CASE(clipping_bounds_every_step_and_equal_samples_count_once) {
  // T5.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 20;
  const double xi = 0.02, lr = 0.3, h0 = 0.7, delta = 0.05;
  const Problem<double> problem(size);
  for (const bool rescale : {false, true}) {
    OptionValues options = base(60.0);
    options["clip_radius"] = xi;
    options["rescale_lr"] = rescale;
    const auto optimizer = make_optimizer<double>("ivon", options);
    DrivenVisit<double> visit(*device, *optimizer, size);
    visit.block.clients[0].terms = problem.terms(false, false, 60.0);
    visit.rate = [lr](std::size_t) { return lr; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    Vector before = wide(problem.start, size);
    const double bound = xi * lr * (rescale ? h0 + delta : 1.0) * (1.0 + 1e-12);
    std::size_t reached = 0;
    visit.after_step = [&](std::size_t) {
      const Vector now = visit.mean();
      for (std::size_t i = 0; i < size; ++i) {
        BOOST_TEST(std::fabs(now[i] - before[i]) <= bound);
        if (std::fabs(now[i] - before[i]) > 0.999 * bound) ++reached;
      }
      before = now;
    };
    visit.run(10);
    BOOST_TEST(reached > 0U, "the bound must be met somewhere for the check to mean something");
  }
  Vector last;
  for (const int samples : {1, 4}) {
    OptionValues options = base(60.0);
    options["samples"] = samples;
    const auto optimizer = make_optimizer<double>("ivon", options);
    DrivenVisit<double> visit(*device, *optimizer, size);
    visit.block.clients[0].terms = problem.terms(true, true, 60.0);
    visit.rate = [](std::size_t) { return 0.1; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    visit.noise = [](std::size_t, std::size_t step, int, double* z) {
      const Vector n = normal_numbers(size, step);
      std::copy(n.begin(), n.end(), z);
    };
    visit.run(15);
    if (samples == 1)
      last = visit.mean();
    else
      BOOST_TEST(relative_difference(visit.mean(), last) < 1e-12);  // the mean of four equal numbers may round
  }
}

BOOST_AUTO_TEST_CASE(float_follows_double) {
  const auto [m, s] = trained<double>();
  const auto [m32, s32] = trained<float>();
  // 50 steps of a few roundings of 6e-8 each, not amplified.
  BOOST_TEST(relative_difference(m32, m) < 2e-5);
  BOOST_TEST(relative_difference(s32, s) < 2e-5);
}

BOOST_AUTO_TEST_CASE(small_one_minus_beta2_is_not_lost_in_float) {
  // In float 1 - 0.99999 is off by 0.14 %: constants are computed in double and passed down.
  const auto device = make_cpu_device();
  constexpr std::size_t steps = 2000;
  const double beta2 = 0.99999, lambda = 50.0, h0 = 0.5;
  const auto optimizer = make_optimizer<float>(
      "ivon",
      {{"lr", 1e-9}, {"beta2", beta2}, {"hess_init", h0}, {"weight_decay", 0.0625}, {"ess", lambda}, {"samples", 2}});
  DrivenVisit<float> visit(*device, *optimizer, 1);
  const auto start = padded<float>(Vector{0.0});
  visit.block.clients[0].terms.start = start.data();
  visit.rate = [](std::size_t) { return 1e-9; };
  visit.gradient = [](std::size_t, const float* theta, float* g) { g[0] = 40.0F * theta[0]; };
  visit.noise = [](std::size_t, std::size_t, int sample, float* z) { z[0] = sample == 0 ? 1.0F : -1.0F; };
  visit.run(steps);
  double h = h0;
  for (std::size_t t = 0; t < steps; ++t) {
    const double d = h - 40.0;
    h = beta2 * h + (1.0 - beta2) * 40.0 + 0.5 * (1.0 - beta2) * (1.0 - beta2) * d * d / (h + 0.0625);
  }
  // The change is 0.78; 2000 roundings of h (6e-8 each) make 2e-5 of it at random, 0.14 % would be 1.1e-3.
  BOOST_TEST(std::fabs(static_cast<double>(visit.slot(hessian_slot)[0]) - h) < 2e-4 * (h - h0));
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", 0.1}, {"beta1", -0.1}},
                                    {{"lr", 0.1}, {"beta2", 1.5}},
                                    {{"lr", -1.0}},
                                    {{"lr", 0.1}, {"samples", 0}},
                                    {{"lr", 0.1}, {"hess_init", -1.0}},
                                    {{"lr", 0.1}, {"clip_radius", -1.0}},
                                    {{"lr", 0.1}, {"weight_decay", -1.0}},
                                    {{"lr", 0.1}, {"estimator", std::string("exact")}},
                                    {{"lr", 0.1}, {"hes_init", 1.0}}})
    BOOST_CHECK_THROW(make_optimizer<float>("ivon", wrong), InputError);
}
