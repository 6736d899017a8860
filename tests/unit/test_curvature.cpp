// The diagonal curvature that a visit returns (methods.md 4.8), through the trainer: exact and sampled.
#define BOOST_TEST_MODULE curvature
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/point_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t features = 4;
constexpr int classes = 3;

// Softmax regression on 17 examples; steps so small that the weights stay where they start.
struct Regression {
  std::unique_ptr<Device> device = make_cpu_device();
  Dataset data = labelled_noise(17, features, classes);
  Network<double> network = make_mlp<double>(features, {}, classes, "relu", true);
  std::unique_ptr<Optimizer<double>> optimizer = make_optimizer<double>("sgd", {});
  std::size_t size = network.layout().size();
  Vector start = padded<double>(numbers(network.layout().size(), -1.0, 1.0, 3));
  std::vector<std::uint32_t> rows = std::vector<std::uint32_t>(17);

  Regression() { std::iota(rows.begin(), rows.end(), 0U); }

  Trainer<double> trainer(Curvature curvature) {
    return Trainer<double>(*device, network, *optimizer, data,
                           VisitPlan{.steps = 1, .batch = 5, .curvature = curvature}, LearningRate(1e-300));
  }
  Vector curvature(Trainer<double>& trainer, std::uint64_t round) {
    Visit<double> visit{.task = {.client = 1, .round = round, .terms = {}}, .examples = rows};
    visit.task.terms.start = start.data();
    trainer.train({&visit, 1});
    BOOST_TEST_REQUIRE(trainer.mean(0)[0] == start[0]);
    return Vector(trainer.curvature(0), trainer.curvature(0) + size);
  }
  // Of the sum loss.
  Vector gradient(const Vector& theta) {
    std::vector<double> x(data.x.begin(), data.x.end());
    auto workspace = network.make_workspace(*device, 1, rows.size());
    Vector g(theta.size());
    network.gradient(*device, {.rows = rows.size(), .parameter_stride = theta.size()}, theta.data(), x.data(),
                     data.labels.data(), workspace, g.data(), nullptr);
    for (double& slope : g) slope *= static_cast<double>(rows.size());
    return g;
  }
};

}  // namespace

// For a network that is linear in its weights the Gauss-Newton matrix is the Hessian.
BOOST_AUTO_TEST_CASE(of_softmax_regression_it_is_the_diagonal_of_the_hessian) {
  Regression r;
  auto trainer = r.trainer(Curvature::exact);
  const Vector exact = r.curvature(trainer, 0);
  for (std::size_t i = 0; i < r.size; ++i) {
    const double step = 1e-5;
    Vector above = r.start, below = r.start;
    above[i] += step, below[i] -= step;
    const double slope = (r.gradient(above)[i] - r.gradient(below)[i]) / (2 * step);
    BOOST_TEST(exact[i] > 0.0);
    BOOST_TEST(std::fabs(exact[i] - slope) < 1e-8, i);  // central differences: 1e-10 times a third derivative
  }
}

// Labels drawn from the predictions: unbiased, and other draws in every round.
BOOST_AUTO_TEST_CASE(sampled_curvatures_have_the_exact_one_as_their_mean) {
  Regression r;
  auto exactly = r.trainer(Curvature::exact), sampled = r.trainer(Curvature::sampled);
  const Vector exact = r.curvature(exactly, 0);
  constexpr std::uint64_t draws = 10000;
  Vector mean(r.size, 0.0), squares(r.size, 0.0);
  for (std::uint64_t round = 0; round < draws; ++round) {
    const Vector h = r.curvature(sampled, round);
    for (std::size_t i = 0; i < r.size; ++i) {
      mean[i] += h[i] / draws;
      squares[i] += h[i] * h[i] / draws;
    }
  }
  for (std::size_t i = 0; i < r.size; ++i) {
    // Five standard errors; the keys are fixed, so this holds or fails for good.
    const double error = std::sqrt((squares[i] - mean[i] * mean[i]) / draws);
    BOOST_TEST(error > 0.0);
    BOOST_TEST(error < 0.02 * exact[i]);
    BOOST_TEST(std::fabs(mean[i] - exact[i]) < 5 * error, i);
  }
}
