// VSGD against its equations written plainly, and the exact statements of docs/methods, 5.1.
#define BOOST_TEST_MODULE vsgd
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/point_optimizer.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t filtered_slot = 0, drift_slot = 1, noise_slot = 2;

struct VsgdReference {
  double gamma = 1e-8, variance_ratio = 30, kappa1 = 0.81, kappa2 = 0.9, epsilon = 1e-8, decay = 0;
  Vector theta = {}, mu = Vector(point_size, 0.0), bg = Vector(point_size, 0.0), bh = Vector(point_size, 0.0);
  int t = 0;

  void step(const Vector& g, double rate) {
    ++t;
    const double A = 2 * gamma + 1 + 1e-4, prior_g = 2 * gamma, prior_h = 2 * variance_ratio * gamma;
    const double r1 = std::pow(t, -kappa1), r2 = std::pow(t, -kappa2);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      theta[i] *= 1 - rate * decay;
      const double sg = t == 1 ? prior_g / (A - 1) : bg[i] / A, sh = t == 1 ? prior_h / (A - 1) : bh[i] / A;
      const double before = mu[i], sigma = sg * sh / (sg + sh);
      mu[i] = (sg * g[i] + sh * before) / (sg + sh);
      bg[i] = (1 - r1) * bg[i] + r1 * (prior_g + sigma + (mu[i] - before) * (mu[i] - before));
      bh[i] = (1 - r2) * bh[i] + r2 * (prior_h + sigma + (mu[i] - g[i]) * (mu[i] - g[i]));
      theta[i] -= rate * mu[i] / (std::sqrt(mu[i] * mu[i] + sigma) + epsilon);
    }
  }
};

const OptionValues usual{{"lr", 0.1}, {"weight_decay", 0.5}};

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  check_equations("vsgd", {}, VsgdReference{}, 1e-13);  // the defaults of the publication
  for (const double gamma : {1e-7, 0.3})
    for (const double variance_ratio : {0.0, 4.0})
      for (const double kappa1 : {0.6, 1.0})
        for (const double kappa2 : {0.7, 0.95})
          for (const double epsilon : {1e-8, 0.1})
            for (const double decay : {0.0, 0.3}) {
              const OptionValues options{{"gamma", gamma},     {"variance_ratio", variance_ratio},
                                         {"kappa1", kappa1},   {"kappa2", kappa2},
                                         {"epsilon", epsilon}, {"weight_decay", decay}};
              BOOST_TEST_CONTEXT("gamma " << gamma << " variance_ratio " << variance_ratio << " kappa1 " << kappa1
                                          << " kappa2 " << kappa2 << " epsilon " << epsilon << " decay " << decay)
              check_equations("vsgd", options, VsgdReference{gamma, variance_ratio, kappa1, kappa2, epsilon, decay},
                              1e-13);
            }
}

BOOST_AUTO_TEST_CASE(a_method_on_the_sum_loss_meets_the_prior_and_epsilon_on_that_scale) {
  check_sum_loss("vsgd", {{"gamma", 0.3}, {"epsilon", 0.2}, {"weight_decay", 0.4}},
                 VsgdReference{.gamma = 0.3, .epsilon = 0.2, .decay = 0.4}, 1e-13);
}

BOOST_AUTO_TEST_CASE(state_and_step_count_are_kept_between_visits_on_request) {
  check_kept_state("vsgd", {}, VsgdReference{}, 3, 1e-13);
}

BOOST_AUTO_TEST_CASE(no_step_is_larger_than_the_rate) {
  // |mu| / (sqrt(mu^2 + sigma) + epsilon) < 1, whatever the gradients are.
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  for (const double gamma : {1e-8, 1e-2}) {
    const auto optimizer = make_optimizer<double>("vsgd", {{"gamma", gamma}});
    DrivenVisit<double> visit(*device, *optimizer, point_size);
    prepare(visit, problem.terms(false, false, point_lambda));
    std::size_t now = 0;
    visit.gradient = [&](std::size_t, const double*, double* g) {
      const Vector z = normal_numbers(point_size, now);
      for (std::size_t i = 0; i < point_size; ++i)
        g[i] = z[i] * std::pow(10.0, static_cast<double>((i + now) % 9) - 6.0);
    };
    Vector before = wide(problem.start, point_size);
    double longest = 0;
    visit.after_step = [&](std::size_t step) {
      const Vector after = visit.mean();
      const double share = largest_difference(after, before) / point_rate(step);
      BOOST_TEST(share <= 1.0 + 1e-13);
      longest = std::max(longest, share);
      before = after;
      now = step + 1;
    };
    visit.run(40);
    BOOST_TEST(longest > 0.9);  // the bound is reached
  }
}

BOOST_AUTO_TEST_CASE(the_first_estimate_is_the_gradient_over_one_plus_the_variance_ratio) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  for (const double variance_ratio : {0.0, 3.0, 30.0}) {
    const auto optimizer = make_optimizer<double>("vsgd", {{"variance_ratio", variance_ratio}});
    DrivenVisit<double> visit(*device, *optimizer, point_size);
    prepare(visit, problem.terms(false, false, point_lambda));
    const Vector gradient = numbers(point_size, -3.0, 3.0, 7);
    visit.gradient = [&](std::size_t, const double*, double* g) { std::copy(gradient.begin(), gradient.end(), g); };
    visit.run(1);
    for (std::size_t i = 0; i < point_size; ++i) {
      BOOST_TEST(std::fabs(visit.slot(filtered_slot)[i] - gradient[i] / (1 + variance_ratio)) < 1e-15);
      BOOST_TEST(visit.slot(drift_slot)[i] > 0.0);
      if (variance_ratio > 0) BOOST_TEST(visit.slot(noise_slot)[i] > 0.0);
    }
  }
}

BOOST_AUTO_TEST_CASE(gradients_of_zero_leave_the_weights_where_they_are) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("vsgd", {});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  visit.gradient = [](std::size_t, const double*, double* g) { std::fill(g, g + point_size, 0.0); };
  visit.run(50);
  BOOST_TEST(visit.mean() == wide(problem.start, point_size), boost::test_tools::per_element());
}

template <class Real>
void check_state_after_a_gradient_of_zero(double tolerance) {
  const auto device = make_cpu_device();
  const Problem<Real> problem(point_size);
  for (const double variance_ratio : {30.0, 0.0}) {
    const auto optimizer = make_optimizer<Real>("vsgd", {{"variance_ratio", variance_ratio}});
    DrivenVisit<Real> visit(*device, *optimizer, point_size);
    prepare(visit, problem.terms(false, false, point_lambda));
    visit.gradient = [](std::size_t, const Real*, Real* g) { std::fill(g, g + point_size, Real(0)); };
    visit.run(1);
    // gamma = 1e-8: sigma_g = 2 gamma/(2 gamma + 1e-4), sigma_h is K_g times that, sigma = sigma_g K_g/(1 + K_g).
    const double gamma = 1e-8, sigma = 2 * gamma / (2 * gamma + 1e-4) * variance_ratio / (1 + variance_ratio);
    const double drift = 2 * gamma + sigma, noise = 2 * variance_ratio * gamma + sigma;
    for (std::size_t i = 0; i < point_size; ++i) {
      BOOST_TEST(visit.slot(drift_slot)[i] > 0);
      BOOST_TEST(std::fabs(static_cast<double>(visit.slot(drift_slot)[i]) - drift) <= tolerance * drift);
      BOOST_TEST(std::fabs(static_cast<double>(visit.slot(noise_slot)[i]) - noise) <= tolerance * noise);
    }
  }
}

BOOST_AUTO_TEST_CASE(variances_are_positive_after_a_gradient_of_zero) {
  check_state_after_a_gradient_of_zero<double>(1e-12);
  check_state_after_a_gradient_of_zero<float>(
      1e-3);  // 2 gamma + 1e-4 is what a subtraction of nearly equal numbers leaves
}

BOOST_AUTO_TEST_CASE(with_frozen_variances_the_estimate_is_an_exponential_average) {
  // b_g/b_h = 1/K_g put back after each step: mu is the average of gradients with beta1 = K_g/(1 + K_g).
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const double variance_ratio = 30.0, beta1 = variance_ratio / (1.0 + variance_ratio);
  const auto optimizer = make_optimizer<double>("vsgd", {});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  Vector average(point_size, 0.0), seen(point_size);
  visit.gradient = [&](std::size_t, const double* theta, double* g) {
    bumpy_gradient(theta, g, point_size);
    seen.assign(g, g + point_size);
  };
  visit.after_step = [&](std::size_t) {
    for (std::size_t i = 0; i < point_size; ++i) {
      average[i] = beta1 * average[i] + (1 - beta1) * seen[i];
      visit.block.row(visit.block.slots[drift_slot], 0)[i] = 0.02;
      visit.block.row(visit.block.slots[noise_slot], 0)[i] = 0.02 * variance_ratio;
    }
    BOOST_TEST(relative_difference(visit.slot(filtered_slot), average) < 1e-13);
  };
  visit.run(20);
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) { check_blocks("vsgd", usual); }
BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) { check_finished_client("vsgd", usual); }
BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) { check_not_finite("vsgd", usual); }
BOOST_AUTO_TEST_CASE(float_follows_double) { check_float_follows_double("vsgd", usual, 3e-6); }

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", 0.0}},
                                    {{"gamma", 0.0}},
                                    {{"variance_ratio", -1.0}},
                                    {{"kappa1", 0.5}},
                                    {{"kappa1", 1.1}},
                                    {{"kappa2", 0.5}},
                                    {{"kappa2", 1.1}},
                                    {{"epsilon", 0.0}},
                                    {{"weight_decay", -1.0}},
                                    {{"momentum", 0.9}}})
    BOOST_CHECK_THROW(make_optimizer<float>("vsgd", wrong), InputError);
}
