// Constant VSGD against its equations written plainly, and the exact statements of docs/methods, 5.2.
#define BOOST_TEST_MODULE constant_vsgd
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/point_optimizer.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t filtered_slot = 0, rate_slot = 1;

struct ConstantVsgdReference {
  double gamma = 1e-8, variance_ratio = 30, kappa = 0.9, epsilon = 1e-8, decay = 0;
  Vector theta = {}, mu = Vector(point_size, 0.0), b = Vector(point_size, gamma);
  int t = 0;

  void step(const Vector& g, double rate) {
    ++t;
    const double beta = variance_ratio / (1 + variance_ratio), weight = std::pow(t, -kappa);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      theta[i] *= 1 - rate * decay;
      const double e = g[i] - mu[i], sigma = b[i] / (gamma + 1) * (1 - beta);
      mu[i] = beta * mu[i] + (1 - beta) * g[i];
      b[i] = (1 - weight) * b[i] + weight * (gamma + 0.5 * (sigma / (1 - beta) + beta * e * e));
      theta[i] -= rate * mu[i] / (std::sqrt(mu[i] * mu[i] + sigma) + epsilon);
    }
  }
};

const OptionValues usual{{"lr", 0.1}, {"weight_decay", 0.5}};

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  check_equations("constant_vsgd", {}, ConstantVsgdReference{}, 1e-13);
  // Without a noise ratio the noise is never learned, and a small gamma would make the step a sign, which magnifies roundings.
  for (const double gamma : {1e-2, 0.3})
    for (const double variance_ratio : {0.0, 4.0})
      for (const double kappa : {0.6, 1.0})
        for (const double epsilon : {1e-8, 0.1})
          for (const double decay : {0.0, 0.3}) {
            const OptionValues options{{"gamma", gamma},
                                       {"variance_ratio", variance_ratio},
                                       {"kappa", kappa},
                                       {"epsilon", epsilon},
                                       {"weight_decay", decay}};
            BOOST_TEST_CONTEXT("gamma " << gamma << " variance_ratio " << variance_ratio << " kappa " << kappa
                                        << " epsilon " << epsilon << " decay " << decay)
            check_equations("constant_vsgd", options,
                            ConstantVsgdReference{gamma, variance_ratio, kappa, epsilon, decay}, 1e-13);
          }
}

BOOST_AUTO_TEST_CASE(a_method_on_the_sum_loss_meets_the_prior_and_epsilon_on_that_scale) {
  check_sum_loss("constant_vsgd", {{"gamma", 0.3}, {"epsilon", 0.2}, {"weight_decay", 0.4}},
                 ConstantVsgdReference{.gamma = 0.3, .epsilon = 0.2, .decay = 0.4}, 1e-13);
}

BOOST_AUTO_TEST_CASE(state_and_step_count_are_kept_between_visits_on_request) {
  check_kept_state("constant_vsgd", {}, ConstantVsgdReference{}, 2, 1e-13);
}

BOOST_AUTO_TEST_CASE(without_noise_the_estimate_is_the_gradient) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("constant_vsgd", {{"variance_ratio", 0.0}});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  Vector seen;
  visit.gradient = [&](std::size_t, const double* theta, double* g) {
    bumpy_gradient(theta, g, point_size);
    seen.assign(g, g + point_size);
  };
  visit.after_step = [&](std::size_t) {
    BOOST_TEST(visit.slot(filtered_slot) == seen, boost::test_tools::per_element());
  };
  visit.run(10);
}

BOOST_AUTO_TEST_CASE(a_constant_gradient_is_learned_and_its_noise_forgotten) {
  // mu -> c like beta^t, the noise's rate b -> 0 like t^-1/2 in the worst case, and the step becomes lr sign(c).
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("constant_vsgd", {{"variance_ratio", 4.0}, {"kappa", 0.6}});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  const auto slope = [](std::size_t i) {
    return (i % 2 == 0 ? 1.0 : -1.0) * std::pow(10.0, static_cast<double>(i % 3));
  };
  visit.gradient = [&](std::size_t, const double*, double* g) {
    for (std::size_t i = 0; i < point_size; ++i) g[i] = slope(i);
  };
  Vector before, last;
  visit.after_step = [&](std::size_t) { before = std::exchange(last, visit.mean()); };
  visit.rate = [](std::size_t) { return 0.01; };
  visit.run(4000);
  for (std::size_t i = 0; i < point_size; ++i) {
    BOOST_TEST(std::fabs(visit.slot(filtered_slot)[i] / slope(i) - 1.0) < 1e-12);
    BOOST_TEST(visit.slot(rate_slot)[i] < 1e-6 * slope(i) * slope(i));
    BOOST_TEST(std::fabs((last[i] - before[i]) + 0.01 * (slope(i) > 0 ? 1.0 : -1.0)) < 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(no_step_is_larger_than_the_rate) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("constant_vsgd", {});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(true, true, point_lambda));
  Vector before = wide(problem.start, point_size);
  visit.after_step = [&](std::size_t step) {
    const Vector after = visit.mean();
    BOOST_TEST(largest_difference(after, before) <= point_rate(step) * (1.0 + 1e-12));
    before = after;
  };
  visit.run(40);
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) { check_blocks("constant_vsgd", usual); }
BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) { check_finished_client("constant_vsgd", usual); }
BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) { check_not_finite("constant_vsgd", usual); }
BOOST_AUTO_TEST_CASE(float_follows_double) { check_float_follows_double("constant_vsgd", usual, 3e-6); }

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", 0.0}},
                                    {{"gamma", 0.0}},
                                    {{"variance_ratio", -1.0}},
                                    {{"kappa", 0.5}},
                                    {{"kappa", 1.1}},
                                    {{"epsilon", 0.0}},
                                    {{"weight_decay", -1.0}},
                                    {{"kappa1", 0.9}}})
    BOOST_CHECK_THROW(make_optimizer<float>("constant_vsgd", wrong), InputError);
}
