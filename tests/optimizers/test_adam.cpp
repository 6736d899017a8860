// Adam as PyTorch defines it (bias corrections, epsilon outside the root, coupled weight decay), on the whole objective of a client.
#define BOOST_TEST_MODULE adam
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/adam_reference.hpp"
#include "tests/support/point_optimizer.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {
const OptionValues usual{{"lr", 0.1}, {"weight_decay", 0.01}};
}

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  for (const double weight_decay : {0.0, 0.3})
    for (const double epsilon : {1e-8, 0.1}) {
      OptionValues options{{"lr", 9.0}, {"weight_decay", weight_decay}};
      AdamReference reference;
      if (epsilon > 0.01) {  // otherwise the defaults, which are PyTorch's
        reference = {.beta1 = 0.8, .beta2 = 0.97, .epsilon = epsilon};
        options.insert({{"beta1", 0.8}, {"beta2", 0.97}, {"epsilon", epsilon}});
      }
      BOOST_TEST_CONTEXT("weight decay " << weight_decay << " epsilon " << epsilon)
      // A few roundings per step; where a gradient changes sign, mean/sqrt(square) magnifies them by some tens.
      check_equations("adam", options, reference, 1e-12, weight_decay);
    }
}

BOOST_AUTO_TEST_CASE(a_method_on_the_sum_loss_meets_epsilon_and_weight_decay_on_that_scale) {
  check_sum_loss("adam", {{"weight_decay", 0.4}, {"epsilon", 0.2}}, AdamReference{.epsilon = 0.2}, 1e-12, 0.4);
}

BOOST_AUTO_TEST_CASE(moments_and_step_count_are_kept_between_visits_on_request) {
  check_kept_state("adam", {{"lr", 0.1}}, AdamReference{}, 2, 1e-12);
}

BOOST_AUTO_TEST_CASE(the_first_step_has_the_size_of_the_rate) {
  // |mean| / sqrt(square) = 1 after both bias corrections, whatever the gradient's size.
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("adam", {{"lr", 0.1}, {"epsilon", 1e-300}});
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  visit.gradient = [](std::size_t, const double*, double* g) {
    for (std::size_t i = 0; i < point_size; ++i)
      g[i] = (i % 2 == 0 ? 1.0 : -1.0) * std::pow(10.0, static_cast<double>(i % 7) - 3.0);
  };
  visit.run(1);
  for (std::size_t i = 0; i < point_size; ++i) {
    const double expected = problem.start[i] - (i % 2 == 0 ? 1.0 : -1.0) * point_rate(0);
    BOOST_TEST(std::fabs(visit.mean()[i] - expected) < 1e-15);
  }
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) { check_blocks("adam", usual); }
BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) { check_finished_client("adam", usual); }
BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) { check_not_finite("adam", usual); }
BOOST_AUTO_TEST_CASE(float_follows_double) { check_float_follows_double("adam", usual, 3e-6); }

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", -0.1}},
                                    {{"lr", 0.1}, {"beta1", -0.1}},
                                    {{"lr", 0.1}, {"beta1", 1.0}},
                                    {{"lr", 0.1}, {"beta2", 1.0}},
                                    {{"lr", 0.1}, {"epsilon", 0.0}},
                                    {{"lr", 0.1}, {"weight_decay", -1.0}},
                                    {{"lr", 0.1}, {"momentum", 0.9}}})
    BOOST_CHECK_THROW(make_optimizer<float>("adam", wrong), InputError);
}
