// FedYogi (docs/methods 4.6): a second moment that moves by a bounded step towards Delta^2.
#define BOOST_TEST_MODULE fedyogi
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/server_optimizers.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(the_server_follows_its_equation_also_where_nobody_comes) {
  const auto device = make_cpu_device();
  const double b1 = 0.8, b2 = 0.7, lr = 0.3, tau = 0.02;
  const auto algorithm =
      make_algorithm<double>("fedyogi", {{"beta1", b1}, {"beta2", b2}, {"server_lr", lr}, {"tau", tau}});
  int above = 0, below = 0;
  check_server_step(*device, *algorithm, [&](double w, double move, std::size_t i, std::vector<Vector>& memory, int) {
    const double v = memory[1][i], square = move * move;
    above += v > square ? 1 : 0;
    below += v < square ? 1 : 0;
    memory[0][i] = b1 * memory[0][i] + (1 - b1) * move;
    memory[1][i] = v > square ? v - (1 - b2) * square : v + (1 - b2) * square;
    return w + lr * memory[0][i] / (std::sqrt(memory[1][i]) + tau);
  });
  BOOST_TEST(above > 50);
  BOOST_TEST(below > 50);
}

BOOST_AUTO_TEST_CASE(the_second_moment_never_falls_below_zero) {
  const auto device = make_cpu_device();
  for (const double beta2 : {0.0, 0.5, 0.99}) {
    const auto algorithm = make_algorithm<float>("fedyogi", {{"beta2", beta2}});
    Federation<float> federation(*device, *algorithm, std::vector<float>(70, 0.5F), {3, 8});
    for (std::uint64_t round = 0; round < 60; ++round) {
      federation.round([&](std::uint32_t k, const LocalTerms<float>&) {
        const Vector far = numbers(70, -1, 1, 2 * round + k);  // moves of all sizes between 1e-6 and 1
        Sent<float> sent;
        for (std::size_t i = 0; i < 70; ++i)
          sent.mean.push_back(static_cast<float>(std::pow(10.0, -6.0 * std::fabs(far[69 - i])) * far[i]));
        return sent;
      });
      for (const float v : federation.head(federation.state.memory[1].data())) BOOST_REQUIRE(v >= 0.0F);
    }
  }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedyogi", {});
  BOOST_TEST((algorithm->traits() ==
              AlgorithmTraits{.vectors_down = 1, .vectors_up = 1, .vectors_server = 3, .weighs_losses = true}));
  BOOST_TEST((algorithm->traits() == find_algorithm("fedyogi")->traits));
  BOOST_CHECK_THROW(make_algorithm<double>("fedyogi", {{"bias_correct_fedadam", true}}), InputError);
}
