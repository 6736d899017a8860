// FedAvgM (docs/methods 4.6): the clients' mean move is a step of SGD with momentum at the server.
#define BOOST_TEST_MODULE fedavgm
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/server_optimizers.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(without_momentum_and_with_rate_one_it_is_fedavg) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavgm", {{"beta", 0.0}});
  check_same_server(*device, *algorithm, *make_algorithm<double>("fedavg", {}), 1e-15);
}

BOOST_AUTO_TEST_CASE(the_server_follows_its_equation_also_where_nobody_comes) {
  const auto device = make_cpu_device();
  const double beta = 0.8, lr = 0.3;
  const auto algorithm = make_algorithm<double>("fedavgm", {{"beta", beta}, {"server_lr", lr}});
  check_server_step(*device, *algorithm, [&](double w, double move, std::size_t i, std::vector<Vector>& memory, int) {
    memory[0][i] = beta * memory[0][i] - move;
    return w - lr * memory[0][i];
  });
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedavgm", {});
  BOOST_TEST((algorithm->traits() ==
              AlgorithmTraits{.vectors_down = 1, .vectors_up = 1, .vectors_server = 2, .weighs_losses = true}));
  BOOST_TEST((algorithm->traits() == find_algorithm("fedavgm")->traits));
  BOOST_CHECK_THROW(make_algorithm<double>("fedavgm", {{"beta", 1.0}}), InputError);
  BOOST_CHECK_THROW(make_algorithm<double>("fedavgm", {{"server_lr", 0.0}}), InputError);
}
