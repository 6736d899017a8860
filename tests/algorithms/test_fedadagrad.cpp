// FedAdagrad (docs/methods 4.6): a second moment that only grows.
#define BOOST_TEST_MODULE fedadagrad
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/server_optimizers.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(the_server_follows_its_equation_also_where_nobody_comes) {
  const auto device = make_cpu_device();
  const double lr = 0.3, tau = 0.02;
  for (const double b1 : {0.0, 0.8}) {
    const auto algorithm = make_algorithm<double>("fedadagrad", {{"beta1", b1}, {"server_lr", lr}, {"tau", tau}});
    check_server_step(*device, *algorithm, [&](double w, double move, std::size_t i, std::vector<Vector>& memory, int) {
      memory[0][i] = b1 * memory[0][i] + (1 - b1) * move;
      memory[1][i] += move * move;
      return w + lr * memory[0][i] / (std::sqrt(memory[1][i]) + tau);
    });
  }
}

BOOST_AUTO_TEST_CASE(the_first_move_has_the_size_of_the_rate_where_tau_is_small) {
  // sqrt(v) = |Delta| in round 1.
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedadagrad", {{"server_lr", 0.25}, {"tau", 1e-12}});
  Federation<double> federation(*device, *algorithm, {0.0, 0.0, 1.0}, {3, 8});
  federation.round([](std::uint32_t, const LocalTerms<double>&) { return Sent<double>{{2.0, -0.01, 1.0}}; });
  BOOST_TEST(largest_difference(federation.mean(), Vector{0.25, -0.25, 1.0}) < 1e-9);
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedadagrad", {});
  BOOST_TEST((algorithm->traits() ==
              AlgorithmTraits{.vectors_down = 1, .vectors_up = 1, .vectors_server = 3, .weighs_losses = true}));
  BOOST_TEST((algorithm->traits() == find_algorithm("fedadagrad")->traits));
  BOOST_CHECK_THROW(make_algorithm<double>("fedadagrad", {{"beta2", 0.9}}), InputError);
}
