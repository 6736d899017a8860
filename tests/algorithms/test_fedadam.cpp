// FedAdam (docs/methods 4.6): Adam at the server without bias correction, or with Flower's.
#define BOOST_TEST_MODULE fedadam
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/server_optimizers.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(with_a_second_moment_of_zero_and_a_rate_of_tau_it_is_fedavg) {
  const auto device = make_cpu_device();
  const auto algorithm =
      make_algorithm<double>("fedadam", {{"beta1", 0.0}, {"beta2", 1.0}, {"server_lr", 0.01}, {"tau", 0.01}});
  check_same_server(*device, *algorithm, *make_algorithm<double>("fedavg", {}), 1e-15);
}

BOOST_AUTO_TEST_CASE(the_server_follows_its_equation_also_where_nobody_comes) {
  const auto device = make_cpu_device();
  const double b1 = 0.8, b2 = 0.95, lr = 0.3, tau = 0.02;
  for (const bool corrected : {false, true}) {
    const auto algorithm = make_algorithm<double>(
        "fedadam",
        {{"beta1", b1}, {"beta2", b2}, {"server_lr", lr}, {"tau", tau}, {"bias_correct_fedadam", corrected}});
    check_server_step(
        *device, *algorithm, [&](double w, double move, std::size_t i, std::vector<Vector>& memory, int round) {
          memory[0][i] = b1 * memory[0][i] + (1 - b1) * move;
          memory[1][i] = b2 * memory[1][i] + (1 - b2) * move * move;
          const double rate =
              corrected ? lr * std::sqrt(1 - std::pow(b2, round + 1)) / (1 - std::pow(b1, round + 1)) : lr;
          return w + rate * memory[0][i] / (std::sqrt(memory[1][i]) + tau);
        });
  }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedadam", {});
  BOOST_TEST((algorithm->traits() ==
              AlgorithmTraits{.vectors_down = 1, .vectors_up = 1, .vectors_server = 3, .weighs_losses = true}));
  BOOST_TEST((algorithm->traits() == find_algorithm("fedadam")->traits));
  for (const OptionValues& wrong :
       {OptionValues{{"beta1", 1.0}}, OptionValues{{"beta2", 1.1}}, OptionValues{{"tau", 0.0}}})
    BOOST_CHECK_THROW(make_algorithm<double>("fedadam", wrong), InputError);
}
