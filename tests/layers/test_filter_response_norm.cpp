// Filter response normalisation with its threshold: the paper's formula in plain loops, and what every layer must pass.
#define BOOST_TEST_MODULE filter_response_norm
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> filter_response_norm(const Shape& input, double eps = 1e-6) {
  return make_layer<Real>("filter_response_norm", {{"eps", eps}}, LayerInputs(input));
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward_follows_the_definition) {
  for (const Shape& input : {Shape{3, 5, 7}, Shape{4, 2, 2}, Shape{2, 9, 1}}) {
    LayerPass<double> pass(filter_response_norm<double>(input, 0.01), {2, 3}, 3, 4);
    LayerPass<float> rounded(filter_response_norm<float>(input, 0.01), {2, 3}, 3, 4);
    BOOST_TEST(pass.layer->output_shape() == input, boost::test_tools::per_element());
    const auto& slices = pass.layout.slices();
    for (std::size_t i = 0; i < 3; ++i) {
      BOOST_TEST(slices[1 + i].name == std::vector<std::string>({"1.gamma", "1.beta", "1.tau"})[i]);
      BOOST_TEST(slices[1 + i].shape == std::vector<std::size_t>{input[0]}, boost::test_tools::per_element());
    }
    pass.forward();
    rounded.forward();
    const std::size_t places = input[1] * input[2], n = input[0] * places;
    std::size_t above = 0, below = 0;
    for (std::size_t b = 0; b < 2; ++b) {
      const double* const own = pass.parameters.data() + b * pass.shape.parameter_stride;
      for (std::size_t run = 0; run < pass.shape.live_rows(b) * input[0]; ++run) {
        const double* const x = pass.input.data() + b * 3 * n + run * places;
        double square = 0;
        for (std::size_t k = 0; k < places; ++k) square += x[k] * x[k] / static_cast<double>(places);
        for (std::size_t k = 0; k < places; ++k) {
          const std::size_t c = run % input[0];
          const double line = own[slices[1].offset + c] * x[k] / std::sqrt(square + 0.01) + own[slices[2].offset + c];
          const double y = std::max(line, own[slices[3].offset + c]);
          (y == line ? above : below) += 1;
          // Normalised inputs are below 6; some twenty roundings of each.
          const std::size_t at = b * 3 * n + run * places + k;
          BOOST_TEST(std::fabs(pass.output[at] - y) < 1e-14);
          BOOST_TEST(std::fabs(static_cast<double>(rounded.output[at]) - y) < 5e-6);
        }
      }
    }
    BOOST_TEST(above > 10U);
    BOOST_TEST(below > 10U);
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  check_gradients(filter_response_norm<double>({3, 2, 2}));
  check_gradients(filter_response_norm<double>({2, 5, 5}));
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_those_of_single_rows) {
  check_squared_gradients([] { return filter_response_norm<double>({3, 2, 2}); });
  check_squared_gradients([] { return filter_response_norm<double>({2, 5, 5}); });
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return filter_response_norm<float>({4, 5, 5}); });
  check_block([] { return filter_response_norm<float>({6, 2, 1}); });
}

BOOST_AUTO_TEST_CASE(a_number_that_is_not_finite_reaches_its_channel_and_no_other) {
  LayerPass<float> pass(filter_response_norm<float>({4, 3, 3}), {2}, 2, 4);
  pass.input[36 + 20] = std::numeric_limits<float>::quiet_NaN();  // row 1, channel 2
  pass.forward();
  for (std::size_t i = 0; i < 72; ++i)
    BOOST_TEST(std::isnan(pass.output[i]) == (i >= 36 + 18 && i < 36 + 27), "entry " << i);
  pass.backward();
  BOOST_TEST(std::isnan(pass.input_gradient[36 + 20]));
  // A threshold that is not a number shows too.
  pass.input[36 + 20] = 1.0F;
  pass.parameters[pass.layout.slices()[3].offset] = std::numeric_limits<float>::quiet_NaN();
  pass.forward();
  for (std::size_t i = 0; i < 72; ++i) BOOST_TEST(std::isnan(pass.output[i]) == (i % 36 < 9), "entry " << i);
}

BOOST_AUTO_TEST_CASE(it_starts_as_the_plain_normalisation_and_a_rectifier) {
  const auto layer = filter_response_norm<float>({2, 2, 2});
  ParameterLayout layout;
  layer->declare(layout, "0");
  std::vector<float> parameters(layout.stride(), 99.0F);
  StreamReader random(3, {Purpose::initialisation});
  layer->initialise(random, parameters.data());
  parameters.resize(7);
  BOOST_TEST(parameters == (std::vector<float>{1, 1, 0, 0, 0, 0, 99}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(features_without_places_are_refused) {
  BOOST_CHECK_THROW(filter_response_norm<float>({12}), InputError);
  BOOST_CHECK_THROW(filter_response_norm<float>({3, 2, 2}, 0.0), InputError);
}
