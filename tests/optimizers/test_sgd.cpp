// SGD with PyTorch's momentum (buf = mu buf + g) and coupled weight decay, on the whole objective of a client.
#define BOOST_TEST_MODULE sgd
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/point_optimizer.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

struct SgdReference {
  double momentum;
  Vector theta = {}, buffer = Vector(point_size, 0.0);

  void step(const Vector& g, double rate) {
    for (std::size_t i = 0; i < theta.size(); ++i) {
      buffer[i] = momentum * buffer[i] + g[i];
      theta[i] -= rate * buffer[i];
    }
  }
};

const OptionValues usual{{"lr", 0.1}, {"momentum", 0.8}, {"weight_decay", 0.01}};

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  for (const double momentum : {0.0, 0.9})
    for (const double weight_decay : {0.0, 0.3})
      BOOST_TEST_CONTEXT("momentum " << momentum << " weight decay " << weight_decay) {
        // 25 steps of a few roundings each.
        check_equations("sgd", {{"lr", 9.0}, {"momentum", momentum}, {"weight_decay", weight_decay}},
                        SgdReference{momentum}, 1e-13, weight_decay);
      }
}

BOOST_AUTO_TEST_CASE(momentum_is_kept_between_visits_on_request) {
  check_kept_state("sgd", {{"lr", 0.1}, {"momentum", 0.9}}, SgdReference{0.9}, 1, 1e-13);
  BOOST_TEST(make_optimizer<double>("sgd", {{"lr", 0.1}})->kept_vectors(true) ==
             0U);  // without momentum there is no state
}

BOOST_AUTO_TEST_CASE(it_converges_to_the_stationary_point_of_the_whole_objective) {
  // lbar = 1/2 a (theta - c)^2: theta* = (a c - w v + w_s S m) / (a - w V + w_s S).
  const auto device = make_cpu_device();
  const Problem<double> problem(3);
  const LocalTerms<double> terms = problem.terms(true, true, point_lambda);
  const Vector a{1.5, 0.7, 2.0}, c{0.3, -1.0, 0.5};
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  DrivenVisit<double> visit(*device, *optimizer, 3);
  visit.block.clients[0].terms = terms;
  visit.rate = [](std::size_t) { return 0.3; };
  visit.gradient = quadratic(a, c);
  visit.run(600);
  for (std::size_t i = 0; i < 3; ++i) {
    const double w = terms.site_weight, ws = terms.anchor_weight;
    const double expected =
        (a[i] * c[i] - w * problem.site_mean[i] + ws * problem.anchor_precision[i] * problem.anchor_mean[i]) /
        (a[i] - w * problem.site_precision[i] + ws * problem.anchor_precision[i]);
    BOOST_TEST(std::fabs(visit.mean()[i] - expected) < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) { check_blocks("sgd", usual); }
BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) { check_finished_client("sgd", usual); }
BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) { check_not_finite("sgd", usual); }
BOOST_AUTO_TEST_CASE(float_follows_double) { check_float_follows_double("sgd", usual, 2e-6); }

BOOST_AUTO_TEST_CASE(the_sum_loss_is_no_concern_of_it) {
  BOOST_TEST(!make_optimizer<double>("sgd", {})->takes_sum_loss());
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", -0.1}},
                                    {{"lr", 0.1}, {"momentum", -0.1}},
                                    {{"lr", 0.1}, {"momentum", 1.0}},
                                    {{"lr", 0.1}, {"weight_decay", -1.0}},
                                    {{"lr", 0.1}, {"nesterof", 1.0}}})
    BOOST_CHECK_THROW(make_optimizer<float>("sgd", wrong), InputError);
}
