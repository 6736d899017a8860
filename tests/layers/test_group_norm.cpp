// Group normalisation: PyTorch's formula in plain loops, and what every layer must pass.
#define BOOST_TEST_MODULE group_norm
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> group_norm(const Shape& input, int groups, double eps = 1e-5) {
  return make_layer<Real>("group_norm", {{"groups", static_cast<std::int64_t>(groups)}, {"eps", eps}},
                          LayerInputs(input));
}

/// The layer's output by its definition, in double, for one example.
std::vector<double> defined(const std::vector<double>& x, std::size_t channels, std::size_t groups, double eps,
                            const double* weight, const double* bias) {
  const std::size_t n = x.size() / groups, places = x.size() / channels;
  std::vector<double> y(x.size());
  for (std::size_t g = 0; g < groups; ++g) {
    double mean = 0, variance = 0;
    for (std::size_t i = g * n; i < (g + 1) * n; ++i) mean += x[i] / static_cast<double>(n);
    for (std::size_t i = g * n; i < (g + 1) * n; ++i)
      variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
    for (std::size_t i = g * n; i < (g + 1) * n; ++i)
      y[i] = (x[i] - mean) / std::sqrt(variance + eps) * weight[i / places] + bias[i / places];
  }
  return y;
}

}  // namespace

BOOST_AUTO_TEST_CASE(two_numbers_by_hand) {
  // Mean 2, variance 1: (1 - 2) / sqrt(1 + 3) * 4 + 0.5.
  LayerPass<double> pass(group_norm<double>({2}, 1, 0.75), {1}, 1, 1);
  const std::size_t at = pass.layout.slices()[1].offset;
  for (std::size_t c = 0; c < 2; ++c) pass.parameters[at + c] = 4.0, pass.parameters[at + 2 + c] = 0.5;
  pass.input = {1.0, 3.0};
  pass.forward();
  BOOST_TEST(std::fabs(pass.output[0] - (0.5 - 4.0 / std::sqrt(1.75))) < 1e-15);
  BOOST_TEST(std::fabs(pass.output[1] - (0.5 + 4.0 / std::sqrt(1.75))) < 1e-15);
}

BOOST_AUTO_TEST_CASE(forward_follows_the_definition) {
  struct Case {
    Shape input;
    int groups;
  };
  for (const Case& c : {Case{{4, 5, 7}, 2}, Case{{4, 5, 7}, 1}, Case{{4, 5, 7}, 4}, Case{{6, 2, 2}, 3}, Case{{12}, 3},
                        Case{{8, 16, 16}, 2}}) {
    BOOST_TEST_CONTEXT("shape of " << c.input.size() << " extents, " << c.input[0] << " channels, " << c.groups
                                   << " groups") {
      LayerPass<double> pass(group_norm<double>(c.input, c.groups), {2, 3}, 3, 4);
      BOOST_TEST(pass.layer->output_shape() == c.input, boost::test_tools::per_element());
      const auto& slices = pass.layout.slices();
      BOOST_TEST(slices[1].name == "1.weight");
      BOOST_TEST(slices[2].name == "1.bias");
      BOOST_TEST(slices[1].shape == std::vector<std::size_t>{c.input[0]}, boost::test_tools::per_element());
      pass.forward();
      const std::size_t n = pass.layer->inputs();
      LayerPass<float> rounded(group_norm<float>(c.input, c.groups), {2, 3}, 3, 4);
      rounded.forward();
      for (std::size_t b = 0; b < 2; ++b) {
        const double* const own = pass.parameters.data() + b * pass.shape.parameter_stride;
        for (std::size_t r = 0; r < pass.shape.live_rows(b); ++r) {
          const std::size_t from = (b * 3 + r) * n;
          const std::vector<double> x(pass.input.begin() + static_cast<std::ptrdiff_t>(from),
                                      pass.input.begin() + static_cast<std::ptrdiff_t>(from + n));
          const auto y = defined(x, c.input[0], static_cast<std::size_t>(c.groups), 1e-5, own + slices[1].offset,
                                 own + slices[2].offset);
          // Inputs are of size 1 and normalised ones below 3.5: some twenty roundings of each.
          for (std::size_t i = 0; i < n; ++i) {
            BOOST_TEST(std::fabs(pass.output[from + i] - y[i]) < 1e-14, "entry " << i);
            BOOST_TEST(std::fabs(static_cast<double>(rounded.output[from + i]) - y[i]) < 5e-6, "entry " << i);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_large_mean_does_not_drown_the_variance) {
  // The sum of squares less the square of the sum would lose everything here: the deviations are 1e-4 of the mean.
  LayerPass<float> pass(group_norm<float>({2, 64, 64}, 1), {1}, 1, 4);
  const std::size_t at = pass.layout.slices()[1].offset;
  for (std::size_t c = 0; c < 2; ++c) pass.parameters[at + c] = 1.0F, pass.parameters[at + 2 + c] = 0.0F;
  for (std::size_t i = 0; i < pass.input.size(); ++i) pass.input[i] = i % 2 == 0 ? 1024.0F : 1024.125F;
  pass.forward();
  const double expected = 0.0625 / std::sqrt(0.0625 * 0.0625 + 1e-5);
  // The mean is exact to 2^-14 (float at 1024), the deviations of 2^-4 therefore to 2^-10.
  for (std::size_t i = 0; i < pass.output.size(); ++i)
    BOOST_TEST(std::fabs(static_cast<double>(pass.output[i]) - (i % 2 == 0 ? -expected : expected)) < 2e-3);
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  check_gradients(group_norm<double>({4, 3, 2}, 2));
  check_gradients(group_norm<double>({4, 3, 2}, 4));
  check_gradients(group_norm<double>({2, 5, 5}, 1));
  check_gradients(group_norm<double>({6}, 2));
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_those_of_single_rows) {
  check_squared_gradients([] { return group_norm<double>({4, 3, 2}, 2); });
  check_squared_gradients([] { return group_norm<double>({2, 5, 5}, 2); });
  check_squared_gradients([] { return group_norm<double>({6}, 3); });
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return group_norm<float>({4, 5, 5}, 2); });
  check_block([] { return group_norm<float>({6, 2, 1}, 3); });
  check_block([] { return group_norm<float>({70}, 7); });
}

BOOST_AUTO_TEST_CASE(a_number_that_is_not_finite_reaches_its_group_and_no_other) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    LayerPass<float> pass(group_norm<float>({4, 3, 3}, 2), {2}, 2, 4);
    pass.input[36 + 20] = bad;  // row 1, second group
    pass.forward();
    for (std::size_t i = 0; i < 72; ++i) BOOST_TEST(std::isfinite(pass.output[i]) == (i < 36 + 18), "entry " << i);
    pass.backward();
    BOOST_TEST(!std::isfinite(pass.input_gradient[36 + 20]));
    BOOST_TEST(!std::isfinite(pass.parameter_gradient[pass.layout.slices()[1].offset + 2]));
  }
}

BOOST_AUTO_TEST_CASE(it_starts_as_the_plain_normalisation) {
  const auto layer = group_norm<float>({3, 2, 2}, 3);
  ParameterLayout layout;
  layer->declare(layout, "0");
  std::vector<float> parameters(layout.stride(), 99.0F);
  StreamReader random(3, {Purpose::initialisation});
  layer->initialise(random, parameters.data());
  parameters.resize(7);
  BOOST_TEST(parameters == (std::vector<float>{1, 1, 1, 0, 0, 0, 99}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(groups_that_do_not_fit_are_refused) {
  BOOST_CHECK_THROW(group_norm<float>({4, 3, 3}, 3), InputError);
  BOOST_CHECK_THROW(group_norm<float>({4, 3, 3}, 8), InputError);
  BOOST_CHECK_THROW(group_norm<float>({4}, 4), InputError);  // each number would be its own mean
  BOOST_CHECK_THROW(group_norm<float>({4, 3, 3}, 0), InputError);
  BOOST_CHECK_THROW(group_norm<float>({4, 3, 3}, 2, 0.0), InputError);
  BOOST_CHECK_THROW(make_layer<float>("group_norm", {}, LayerInputs(Shape{4, 3, 3})), InputError);
}
