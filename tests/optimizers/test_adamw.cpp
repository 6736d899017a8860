// AdamW as PyTorch defines it (the weights shrink before the step, and the moments see no weight decay), on the whole objective
// of a client.
#define BOOST_TEST_MODULE adamw
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/adam_reference.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const OptionValues usual{{"lr", 0.1}, {"weight_decay", 0.5}};

std::vector<double> trained(const std::string& name, const OptionValues& options) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>(name, options);
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(true, true, point_lambda));
  visit.run(10);
  return visit.mean();
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  for (const double weight_decay : {0.0, 0.01, 3.0})
    for (const double epsilon : {1e-8, 0.1}) {
      OptionValues options{{"lr", 9.0}};
      AdamReference reference;
      if (epsilon > 0.01) {  // otherwise the defaults, which are PyTorch's
        reference = {.beta1 = 0.8, .beta2 = 0.97, .epsilon = epsilon};
        options.insert({{"beta1", 0.8}, {"beta2", 0.97}, {"epsilon", epsilon}});
      }
      reference.decoupled_decay = weight_decay;
      if (weight_decay != 0.01) options["weight_decay"] = weight_decay;  // PyTorch's default
      BOOST_TEST_CONTEXT("weight decay " << weight_decay << " epsilon " << epsilon)
      check_equations("adamw", options, reference, 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(a_method_on_the_sum_loss_meets_epsilon_on_that_scale) {
  check_sum_loss("adamw", {{"weight_decay", 0.4}, {"epsilon", 0.2}},
                 AdamReference{.epsilon = 0.2, .decoupled_decay = 0.4}, 1e-12);
}

BOOST_AUTO_TEST_CASE(moments_and_step_count_are_kept_between_visits_on_request) {
  check_kept_state("adamw", {{"lr", 0.1}}, AdamReference{.decoupled_decay = 0.01}, 2, 1e-12);
}

BOOST_AUTO_TEST_CASE(without_weight_decay_it_is_adam_bit_for_bit) {
  const OptionValues none{{"lr", 0.1}, {"weight_decay", 0.0}};
  BOOST_TEST(trained("adamw", none) == trained("adam", none), boost::test_tools::per_element());
  BOOST_TEST(largest_difference(trained("adamw", usual), trained("adam", usual)) > 1e-3);
}

BOOST_AUTO_TEST_CASE(where_the_loss_is_flat_the_weights_shrink_by_the_decay_alone) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>("adamw", usual);
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, problem.terms(false, false, point_lambda));
  visit.gradient = [](std::size_t, const double*, double* g) { std::fill(g, g + point_size, 0.0); };
  visit.run(3);
  const double kept = (1 - 0.5 * point_rate(0)) * (1 - 0.5 * point_rate(1)) * (1 - 0.5 * point_rate(2));
  for (std::size_t i = 0; i < point_size; ++i) BOOST_TEST(std::fabs(visit.mean()[i] - kept * problem.start[i]) < 1e-15);
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) { check_blocks("adamw", usual); }
BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) { check_finished_client("adamw", usual); }
BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) { check_not_finite("adamw", usual); }
BOOST_AUTO_TEST_CASE(float_follows_double) { check_float_follows_double("adamw", usual, 3e-6); }

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", -0.1}},
                                    {{"beta1", -0.1}},
                                    {{"beta1", 1.0}},
                                    {{"beta2", 1.0}},
                                    {{"epsilon", 0.0}},
                                    {{"weight_decay", -1.0}},
                                    {{"momentum", 0.9}}})
    BOOST_CHECK_THROW(make_optimizer<float>("adamw", wrong), InputError);
}
