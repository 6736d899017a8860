// Label noise of a posterior (methods.md section 8): signs, sizes and sums in closed form, and the identity of linear models.
#define BOOST_TEST_MODULE label_noise
#include <cmath>
#include "tests/support/boost_test.hpp"

#include "ivory/rng.hpp"
#include "src/evaluation.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

constexpr std::uint64_t seed = 11;
constexpr std::size_t features = 3, classes = 4;

struct Posterior {
  Posterior(Device& device, const ParameterLayout& layout, float precision_, float scale = 0.8F)
      : mean(layout.stride(), 0.0F), device_precision(device, std::vector<float>(layout.stride(), precision_)) {
    for (std::size_t i = 0; i < layout.size(); ++i)
      mean[i] = scale * static_cast<float>(std::sin(1.0 + 2.3 * static_cast<double>(i)));
    device_mean = Buffer<float>(device, mean);
  }
  PosteriorView view() const { return {.mean = device_mean.data(), .precision = device_precision.data()}; }
  std::vector<float> mean;
  Buffer<float> device_mean, device_precision;
};

double sigmoid(double f) { return 1 / (1 + std::exp(-f)); }

}  // namespace

BOOST_AUTO_TEST_CASE(components_sum_to_zero_and_a_sharp_posterior_has_none) {
  const Dataset data = labelled_noise(60, features, static_cast<int>(classes));
  const auto network = make_mlp<float>(features, std::vector<std::size_t>{6}, classes, "tanh", true);
  const auto device = make_cpu_device();
  const Predictor predictor(network, 2);
  const Posterior wide(*device, network.layout(), 4.0F), sharp(*device, network.layout(), 1e12F);
  const LabelNoise noise = predictor.label_noise(wide.view(), data, 32, seed, 3);
  BOOST_TEST_REQUIRE(noise.mean.size() == data.size() * classes);
  for (std::size_t i = 0; i < data.size(); ++i) {
    double sum = 0, size = 0;
    for (std::size_t c = 0; c < classes; ++c) {
      sum += noise.mean[i * classes + c];
      size += std::abs(noise.mean[i * classes + c]);
      BOOST_TEST(noise.deviation[i * classes + c] > 0.0);
    }
    BOOST_TEST(std::abs(sum) < 1e-6);
    BOOST_TEST(size > 1e-4);
  }
  const LabelNoise none = predictor.label_noise(sharp.view(), data, 32, seed, 3);
  BOOST_TEST(largest_magnitude(none.mean) < 1e-6);
  BOOST_TEST(largest_magnitude(none.deviation) < 1e-5);
}

// One log-odds f = w x + b with Gaussian w and b: the logit is N(f, v), v = (x^2 + 1)/s.
BOOST_AUTO_TEST_CASE(the_noise_of_a_logistic_model_has_the_sign_of_its_logit_and_the_size_of_second_order) {
  Dataset data;
  data.features = 1;
  data.classes = 2;
  for (int i = -6; i <= 6; ++i) {
    if (i == 0) continue;
    data.x.push_back(0.25F * static_cast<float>(i));
    data.labels.push_back(i % 2 == 0 ? 0 : 1);
  }
  const auto network = make_mlp<float>(1, {}, 1, "relu", true, {.kind = Loss::Kind::binary});
  const auto device = make_cpu_device();
  const float precision = 80.0F;
  std::vector<float> mean(network.layout().stride(), 0.0F);
  mean[0] = 1.5F;
  const Buffer<float> m(*device, mean), s(*device, std::vector<float>(mean.size(), precision));
  const LabelNoise noise =
      Predictor(network, 2).label_noise({.mean = m.data(), .precision = s.data()}, data, 20000, seed, 1);
  for (std::size_t i = 0; i < data.size(); ++i) {
    const double x = data.x[i], f = 1.5 * x, v = (x * x + 1) / static_cast<double>(precision), p = sigmoid(f);
    const double first = p * (1 - p), second = first * (1 - 2 * p);
    BOOST_TEST_CONTEXT("logit " << f << ", variance " << v) {
      BOOST_TEST(v < 0.05);
      BOOST_TEST(noise.mean[2 * i + 1] * f > 0.0);  // towards the prediction
      BOOST_TEST(noise.mean[2 * i + 1] == -0.5 * second * v, boost::test_tools::tolerance(0.05));
      BOOST_TEST(noise.deviation[2 * i + 1] == first * std::sqrt(v), boost::test_tools::tolerance(0.05));
    }
  }
}

// E_q[grad l_i] = x_i (softmax f_i(m) - (y_i + eps_i)), with draws of our own on the left.
BOOST_AUTO_TEST_CASE(softmax_regression_s_expected_gradient_is_that_of_the_noisy_label) {
  const Dataset data = labelled_noise(4, features, static_cast<int>(classes));
  const auto network = make_mlp<float>(features, {}, classes, "relu", true);
  const auto device = make_cpu_device();
  const Posterior q(*device, network.layout(), 2.0F);
  const Predictor predictor(network, 2);
  const LabelNoise noise = predictor.label_noise(q.view(), data, 20000, seed, 1);
  const Predictions at_mean = predictor.predict(q.device_mean.data(), data);
  const std::size_t stride = network.layout().stride();
  auto workspace = network.make_workspace(*device, 1, 1);
  const BatchShape shape{.clients = 1, .rows = 1, .parameter_stride = stride};
  StreamReader random(77, {.purpose = Purpose::data});
  constexpr int draws = 20000;
  std::vector<double> sum(data.size() * network.layout().size(), 0.0), squares = sum;
  std::vector<float> theta(stride), gradient(stride);
  for (int t = 0; t < draws; ++t) {
    for (std::size_t j = 0; j < network.layout().size(); ++j) {
      theta[j] = q.mean[j] + static_cast<float>(random.normal() / std::sqrt(2.0));
    }
    for (std::size_t i = 0; i < data.size(); ++i) {
      network.gradient(*device, shape, theta.data(), data.row(i), Targets<float>(data.labels.data() + i), workspace,
                       gradient.data(), nullptr);
      for (std::size_t j = 0; j < network.layout().size(); ++j) {
        const double g = gradient[j];
        sum[i * network.layout().size() + j] += g;
        squares[i * network.layout().size() + j] += g * g;
      }
    }
  }
  for (std::size_t i = 0; i < data.size(); ++i) {
    for (std::size_t c = 0; c < classes; ++c) {
      const double label = static_cast<std::size_t>(data.labels[i]) == c ? 1 : 0;
      const double residual =
          static_cast<double>(at_mean.values[i * classes + c]) - (label + noise.mean[i * classes + c]);
      for (std::size_t d = 0; d <= features; ++d) {
        const double x = d < features ? static_cast<double>(data.row(i)[d]) : 1.0;
        const std::size_t at = i * network.layout().size() + (d < features ? c * features + d : classes * features + c);
        const double mean = sum[at] / draws, error = std::sqrt((squares[at] / draws - mean * mean) / draws);
        BOOST_TEST(std::abs(mean - x * residual) < 6 * error + 1e-5);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(neither_threads_nor_devices_matter_and_odd_numbers_of_draws_are_made_even) {
  const Dataset data = labelled_noise(300, features, static_cast<int>(classes));
  const auto network = make_mlp<float>(features, std::vector<std::size_t>{6}, classes, "tanh", true);
  const auto device = make_cpu_device();
  const Posterior q(*device, network.layout(), 4.0F);
  const LabelNoise one = Predictor(network, 1).label_noise(q.view(), data, 7, seed, 3);
  for (const int threads : {2, 5}) {
    const LabelNoise many = Predictor(network, threads).label_noise(q.view(), data, 8, seed, 3);
    BOOST_TEST(many.mean == one.mean, boost::test_tools::per_element());
    BOOST_TEST(many.deviation == one.deviation, boost::test_tools::per_element());
  }
  const auto far = make_emulated_device(make_emulated_memory());
  const Posterior there(*far, network.layout(), 4.0F);
  const LabelNoise elsewhere = Predictor(network, *far, 2).label_noise(there.view(), data, 8, seed, 3);
  BOOST_TEST(relative_difference(elsewhere.mean, one.mean) < 1e-4);
  BOOST_TEST(relative_difference(elsewhere.deviation, one.deviation) < 1e-4);
}
