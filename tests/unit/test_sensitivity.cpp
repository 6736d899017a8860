// Sensitivities of examples (methods.md 7.1): closed forms of linear models, finite differences of a network, and who may not matter.
#define BOOST_TEST_MODULE sensitivity
#include <cmath>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "ivory/full_gaussian.hpp"
#include "src/sensitivity.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

constexpr std::size_t features = 3;
constexpr double tau = 0.4;

// Numbers of both signs, all different.
double wave(std::size_t i) { return std::sin(0.7 + 1.3 * static_cast<double>(i)); }

Dataset numbers_to_predict(std::size_t examples) {
  Dataset data = labelled_noise(examples, features, 1);
  data.outputs = 1;
  for (std::size_t i = 0; i < examples; ++i) data.targets.push_back(static_cast<float>(2 * wave(i)));
  return data;
}

/// A posterior of the network's size in float, whose numbers the double network sees exactly.
struct DiagonalPosterior {
  DiagonalPosterior(Device& device, const ParameterLayout& layout)
      : mean(layout.stride(), 0.0F), precision(layout.stride(), 1.0F) {
    for (std::size_t i = 0; i < layout.size(); ++i) {
      mean[i] = static_cast<float>(0.5 * wave(3 * i));
      precision[i] = static_cast<float>(3.0 + 2.0 * wave(i + 5));
    }
    device_mean = Buffer<float>(device, mean);
    device_precision = Buffer<float>(device, precision);
  }
  PosteriorView view() const { return {.mean = device_mean.data(), .precision = device_precision.data()}; }
  std::vector<float> mean, precision;
  Buffer<float> device_mean, device_precision;
};

std::vector<double> softmax(const std::vector<double>& f) {
  std::vector<double> p;
  for (const double x : f) p.push_back(std::exp(x));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= total;
  return p;
}

/// Outputs of the network at parameters [stride] for one example.
std::vector<double> outputs_at(const Network<double>& network, const std::vector<double>& parameters,
                               const Dataset& data, std::size_t i) {
  const auto device = make_cpu_device();
  auto workspace = network.make_workspace(*device, 1, 1);
  const std::vector<double> x(data.row(i), data.row(i) + data.features);
  const BatchShape shape{.clients = 1, .rows = 1, .parameter_stride = network.layout().stride()};
  const double* const f = network.forward(*device, shape, parameters.data(), x.data(), workspace);
  return {f, f + network.outputs()};
}

std::vector<double> gradient_at(const Network<double>& network, const std::vector<double>& parameters,
                                const Dataset& data, std::size_t i) {
  const auto device = make_cpu_device();
  auto workspace = network.make_workspace(*device, 1, 1);
  const std::vector<double> x(data.row(i), data.row(i) + data.features);
  std::vector<double> gradient(network.layout().stride());
  const BatchShape shape{.clients = 1, .rows = 1, .parameter_stride = network.layout().stride()};
  network.gradient(*device, shape, parameters.data(), x.data(), Targets<double>(data.labels.data() + i), workspace,
                   gradient.data(), nullptr);
  return gradient;
}

}  // namespace

BOOST_AUTO_TEST_CASE(softmax_regression_is_residual_times_prediction_variance) {
  const std::size_t classes = 4, n = 37;
  const Dataset data = labelled_noise(n, features, static_cast<int>(classes));
  const auto network = make_mlp<double>(features, {}, classes, "relu", true);
  const auto device = make_cpu_device();
  const DiagonalPosterior q(*device, network.layout());
  const Sensitivity found = SensitivityProbe(*device, network, data, 2).compute(q.view(), tau);
  for (std::size_t i = 0; i < n; ++i) {
    const auto label = static_cast<std::size_t>(data.labels[i]);
    std::vector<double> f(classes), variance(classes), moved(classes), df(classes);
    for (std::size_t c = 0; c < classes; ++c) {
      for (std::size_t d = 0; d <= features; ++d) {
        const double x = d < features ? static_cast<double>(data.row(i)[d]) : 1.0;
        const std::size_t at = d < features ? c * features + d : classes * features + c;
        f[c] += static_cast<double>(q.mean[at]) * x;
        variance[c] += x * x / static_cast<double>(q.precision[at]);
      }
    }
    const std::vector<double> p = softmax(f);
    double mean = 0, steps = 0;
    for (std::size_t c = 0; c < classes; ++c) {
      const double residual = p[c] - (c == label ? 1 : 0);
      df[c] = variance[c] * residual / tau;
      moved[c] = f[c] + df[c];
      mean += p[c] * df[c];
      for (std::size_t d = 0; d <= features; ++d) {
        const double x = d < features ? static_cast<double>(data.row(i)[d]) : 1.0;
        const std::size_t at = d < features ? c * features + d : classes * features + c;
        steps += std::pow(residual * x / (tau * static_cast<double>(q.precision[at])), 2);
      }
    }
    for (std::size_t c = 0; c < classes; ++c) {
      BOOST_TEST(std::abs(found.output_deviation[i * classes + c] - df[c]) < 1e-12);
      BOOST_TEST(std::abs(found.prediction_deviation[i * classes + c] - p[c] * (df[c] - mean)) < 1e-12);
    }
    BOOST_TEST(found.parameter_deviation[i] == std::sqrt(steps), boost::test_tools::tolerance(1e-12));
    BOOST_TEST(found.nll[i] == -std::log(p[label]), boost::test_tools::tolerance(1e-11));
    BOOST_TEST(found.leave_one_out_nll[i] == -std::log(softmax(moved)[label]), boost::test_tools::tolerance(1e-11));
    BOOST_TEST(found.leave_one_out_nll[i] > found.nll[i]);  // removing an example never makes it likelier here
  }
}

// With S = s0 I + X'X b/tau and m the exact posterior, leaving out example i moves its prediction by exactly h e/(1 - h), with
// h = x' S^-1 x b/tau; S in the place of S_wo loses the factor 1/(1 - h).
BOOST_AUTO_TEST_CASE(linear_regression_with_full_covariance_is_leverage_times_residual) {
  const std::size_t n = 9, size = features;
  const double noise = 2.0, prior = 0.5, scale = noise / tau;
  const Dataset data = numbers_to_predict(n);
  const auto network =
      make_mlp<double>(features, {}, 1, "relu", false, {.kind = Loss::Kind::gaussian, .precision = noise});
  const auto device = make_cpu_device();
  const auto x = [&](std::size_t i, std::size_t d) { return static_cast<double>(data.row(i)[d]); };
  // The exact posterior of all examples but `without` (n: of all), by Cholesky.
  struct Exact {
    std::vector<double> factor, mean;
  };
  const auto exact = [&](std::size_t without) {
    Exact q{std::vector<double>(size * size, 0.0), std::vector<double>(size, 0.0)};
    for (std::size_t a = 0; a < size; ++a) q.factor[a * size + a] = prior;
    for (std::size_t i = 0; i < n; ++i) {
      if (i == without) continue;
      for (std::size_t a = 0; a < size; ++a) {
        q.mean[a] += scale * x(i, a) * static_cast<double>(data.targets[i]);
        for (std::size_t b = 0; b < size; ++b) q.factor[a * size + b] += scale * x(i, a) * x(i, b);
      }
    }
    BOOST_TEST_REQUIRE(device->cholesky(q.factor.data(), size));
    device->solve_triangular(q.factor.data(), false, q.mean.data(), size, 1);
    device->solve_triangular(q.factor.data(), true, q.mean.data(), size, 1);
    return q;
  };
  const Exact all = exact(n);
  std::vector<double> padded(network.layout().stride(), 0.0);
  std::copy(all.mean.begin(), all.mean.end(), padded.begin());
  const Sensitivity found = SensitivityProbe(*device, network, data, 1)
                                .compute({.exact_mean = padded.data(), .factor = all.factor.data()}, tau);
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> solved = {x(i, 0), x(i, 1), x(i, 2)};
    device->solve_triangular(all.factor.data(), false, solved.data(), size, 1);
    double leverage = 0, f = 0, f_without = 0;
    const Exact rest = exact(i);
    for (std::size_t a = 0; a < size; ++a) {
      leverage += scale * solved[a] * solved[a];
      f += x(i, a) * all.mean[a];
      f_without += x(i, a) * rest.mean[a];
    }
    const double residual = f - static_cast<double>(data.targets[i]);
    BOOST_TEST(f_without - f == leverage * residual / (1 - leverage), boost::test_tools::tolerance(1e-10));
    BOOST_TEST(found.output_deviation[i] == leverage * residual, boost::test_tools::tolerance(1e-10));
    BOOST_TEST(found.output_deviation[i] == (1 - leverage) * (f_without - f), boost::test_tools::tolerance(1e-10));
    BOOST_TEST(found.prediction_deviation[i] == found.output_deviation[i]);
    const double moved = residual + found.output_deviation[i];
    BOOST_TEST(found.leave_one_out_nll[i] == 0.5 * noise * moved * moved - 0.5 * std::log(noise / (2 * M_PI)),
               boost::test_tools::tolerance(1e-10));
  }
}

BOOST_AUTO_TEST_CASE(a_network_s_deviation_is_its_jacobian_times_the_step_where_that_is_short) {
  const std::size_t classes = 3, n = 6;
  const double cold = 1e5;  // a high temperature makes short steps
  const Dataset data = labelled_noise(n, features, static_cast<int>(classes));
  const auto network = make_mlp<double>(features, std::vector<std::size_t>{5}, classes, "tanh", true);
  const auto device = make_cpu_device();
  const DiagonalPosterior q(*device, network.layout());
  const Sensitivity found = SensitivityProbe(*device, network, data, 1).compute(q.view(), cold);
  const std::vector<double> mean(q.mean.begin(), q.mean.end());
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> direction = gradient_at(network, mean, data, i);
    for (std::size_t j = 0; j < direction.size(); ++j) direction[j] /= static_cast<double>(q.precision[j]);
    const double h = 1e-4;
    std::vector<double> ahead = mean, behind = mean;
    for (std::size_t j = 0; j < mean.size(); ++j) ahead[j] += h * direction[j], behind[j] -= h * direction[j];
    const auto f_ahead = outputs_at(network, ahead, data, i), f_behind = outputs_at(network, behind, data, i);
    for (std::size_t c = 0; c < classes; ++c) {
      const double expected = (f_ahead[c] - f_behind[c]) / (2 * h);
      BOOST_TEST(std::abs(cold * found.output_deviation[i * classes + c] - expected) < 1e-5 * (1 + std::abs(expected)));
    }
  }
}

BOOST_AUTO_TEST_CASE(an_example_without_error_has_no_sensitivity) {
  Dataset data = numbers_to_predict(2);
  const auto network = make_mlp<double>(features, {}, 1, "relu", true, {.kind = Loss::Kind::gaussian});
  const auto device = make_cpu_device();
  const DiagonalPosterior q(*device, network.layout());
  for (std::size_t d = 0; d < features; ++d) data.x[d] = 0;  // predicts the bias, whatever else
  data.targets[0] = q.mean[features];
  const Sensitivity found = SensitivityProbe(*device, network, data, 1).compute(q.view(), 1);
  BOOST_TEST(found.parameter_deviation[0] == 0.0);
  BOOST_TEST(found.output_deviation[0] == 0.0);
  BOOST_TEST(found.leave_one_out_nll[0] == found.nll[0]);
  BOOST_TEST(found.parameter_deviation[1] > 0.0);
}

BOOST_AUTO_TEST_CASE(log_odds_give_what_two_logits_give) {
  Dataset data = labelled_noise(5, features, 2);
  const auto network = make_mlp<double>(features, {}, 1, "relu", true, {.kind = Loss::Kind::binary});
  const auto device = make_cpu_device();
  const DiagonalPosterior q(*device, network.layout());
  const Sensitivity found = SensitivityProbe(*device, network, data, 1).compute(q.view(), tau);
  const std::vector<double> mean(q.mean.begin(), q.mean.end());
  for (std::size_t i = 0; i < 5; ++i) {
    const double p = 1 / (1 + std::exp(-outputs_at(network, mean, data, i)[0]));
    const double dp = p * (1 - p) * found.output_deviation[i];
    BOOST_TEST(found.prediction_deviation[2 * i + 1] == dp, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(found.prediction_deviation[2 * i] == -dp, boost::test_tools::tolerance(1e-12));
  }
}

BOOST_AUTO_TEST_CASE(neither_threads_nor_devices_matter) {
  const Dataset data = labelled_noise(45, 5, 3);
  const auto network = residual_network<double>(5, 3, 0.5);  // its dropout is off
  const auto compute = [&](Device& device, int threads) {
    const DiagonalPosterior q(device, network.layout());
    return SensitivityProbe(device, network, data, threads).compute(q.view(), tau);
  };
  const auto device = make_cpu_device();
  const Sensitivity one = compute(*device, 1);
  for (const int threads : {2, 3, 9}) {
    const Sensitivity many = compute(*device, threads);
    BOOST_TEST(many.output_deviation == one.output_deviation, boost::test_tools::per_element());
    BOOST_TEST(many.parameter_deviation == one.parameter_deviation, boost::test_tools::per_element());
    BOOST_TEST(many.leave_one_out_nll == one.leave_one_out_nll, boost::test_tools::per_element());
  }
  const auto far = make_emulated_device(make_emulated_memory());
  const Sensitivity there = compute(*far, 4);
  BOOST_TEST(relative_difference(there.output_deviation, one.output_deviation) < 1e-10);
  BOOST_TEST(relative_difference(there.prediction_deviation, one.prediction_deviation) < 1e-10);
  BOOST_TEST(relative_difference(there.parameter_deviation, one.parameter_deviation) < 1e-10);
  BOOST_TEST(relative_difference(there.leave_one_out_nll, one.leave_one_out_nll) < 1e-10);
}

BOOST_AUTO_TEST_CASE(the_estimate_is_a_mean_with_its_standard_error) {
  const LeaveOneOutNll estimate = leave_one_out_nll({.leave_one_out_nll = {1, 2, 6}});
  BOOST_TEST(estimate.value == 3.0);
  BOOST_TEST(estimate.error == std::sqrt((4 + 1 + 9) / 2.0 / 3.0), boost::test_tools::tolerance(1e-14));
  BOOST_TEST(std::isnan(leave_one_out_nll({.leave_one_out_nll = {1}}).error));
}

BOOST_AUTO_TEST_CASE(a_probe_is_drawn_once_and_smaller_ones_are_parts_of_larger_ones) {
  std::vector<std::uint32_t> candidates(100);
  for (std::uint32_t i = 0; i < 100; ++i) candidates[i] = 3 * i;
  const auto large = draw_probe(5, candidates, 40), small = draw_probe(5, candidates, 10);
  BOOST_TEST(large.size() == 40U);
  BOOST_TEST(std::is_sorted(large.begin(), large.end()));
  BOOST_TEST((std::adjacent_find(large.begin(), large.end()) == large.end()));
  BOOST_TEST(std::includes(candidates.begin(), candidates.end(), large.begin(), large.end()));
  BOOST_TEST(std::includes(large.begin(), large.end(), small.begin(), small.end()));
  BOOST_TEST((draw_probe(6, candidates, 40) != large));
  BOOST_TEST((draw_probe(5, candidates, 100) == candidates));
  BOOST_TEST((draw_probe(5, candidates, 1000) == candidates));
}
