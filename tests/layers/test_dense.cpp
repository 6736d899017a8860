// The dense layer: y = x W^T + b with W [out, in], PyTorch's layout and default initialisation.
#define BOOST_TEST_MODULE dense
#include "tests/support/boost_test.hpp"

#include "clients/network.hpp"
#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> dense(std::size_t inputs, int outputs, bool bias) {
  return make_layer<Real>("dense", {{"outputs", static_cast<std::int64_t>(outputs)}, {"bias", bias}}, inputs);
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward_is_a_matrix_product_plus_bias) {
  for (const bool bias : {true, false}) {
    LayerPass<double> pass(dense<double>(4, 3, bias), {2, 3}, 3, 1);
    BOOST_TEST(pass.layer->name() == "dense");
    BOOST_TEST(pass.layer->inputs() == 4U);
    BOOST_TEST(pass.layer->outputs() == 3U);
    BOOST_TEST(pass.layout.size() == (bias ? 15U : 12U) + 5U);
    const ParameterSlice& weight = pass.layout.slices()[1];
    BOOST_TEST(weight.name == "1.weight");
    BOOST_TEST(weight.shape == (std::vector<std::size_t>{3, 4}), boost::test_tools::per_element());
    if (bias) BOOST_TEST(pass.layout.slices()[2].name == "1.bias");
    pass.forward();
    for (std::size_t b = 0; b < 2; ++b)
      for (std::size_t r = 0; r < pass.shape.live_rows(b); ++r)
        for (std::size_t o = 0; o < 3; ++o) {
          const double* const p = pass.parameters.data() + b * pass.shape.parameter_stride;
          double y = bias ? p[pass.layout.slices()[2].offset + o] : 0.0;
          for (std::size_t i = 0; i < 4; ++i) y += pass.input[(b * 3 + r) * 4 + i] * p[weight.offset + o * 4 + i];
          BOOST_TEST(std::fabs(pass.output[(b * 3 + r) * 3 + o] - y) < 1e-14);
        }
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  check_gradients(dense<double>(6, 4, true));
  check_gradients(dense<double>(6, 4, false));
  check_gradients(dense<double>(1, 1, true));
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_those_of_single_rows) {
  check_squared_gradients([] { return dense<double>(6, 4, true); });
  check_squared_gradients([] { return dense<double>(6, 4, false); });
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return dense<float>(19, 11, true); });
  check_block([] { return dense<float>(70, 3, false); });
  check_block([] { return dense<float>(784, 20, true); });
}

BOOST_AUTO_TEST_CASE(initial_weights_are_pytorchs) {
  // U(-1/sqrt(in), 1/sqrt(in)) for weight and bias.
  const std::size_t inputs = 50;
  const auto layer = dense<float>(inputs, 4000, true);
  ParameterLayout layout;
  layer->declare(layout, "0");
  std::vector<float> parameters(layout.stride(), 99.0F);
  StreamReader random(3, {Purpose::initialisation});
  layer->initialise(random, parameters.data());
  const double bound = 1.0 / std::sqrt(50.0);
  for (const ParameterSlice& slice : layout.slices()) {
    std::vector<double> values(parameters.begin() + static_cast<std::ptrdiff_t>(slice.offset),
                               parameters.begin() + static_cast<std::ptrdiff_t>(slice.offset + slice.size));
    BOOST_TEST(largest_magnitude(values) <= bound * (1.0 + 1e-6));  // rounding to float
    BOOST_TEST(kolmogorov(values, [bound](double x) { return (x + bound) / (2.0 * bound); }) < kolmogorov_limit,
               slice.name);
  }
  for (std::size_t i = layout.size(); i < layout.stride(); ++i) BOOST_TEST(parameters[i] == 99.0F);
}

BOOST_AUTO_TEST_CASE(a_network_starts_from_its_seed_alone) {
  const std::vector<std::size_t> hidden{12, 7};
  const Network<float> network = make_mlp<float>(20, hidden, 5, "sigmoid", true);
  const std::vector<std::string> names{"0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"};
  const std::vector<std::size_t> sizes{240, 12, 84, 7, 35, 5}, widths{20, 20, 12, 12, 7, 7};
  const std::vector<float> weights = network.initialise(8);
  BOOST_TEST(weights.size() == network.layout().stride());
  BOOST_TEST_REQUIRE(network.layout().slices().size() == names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    const ParameterSlice& slice = network.layout().slices()[i];
    BOOST_TEST(slice.name == names[i]);
    BOOST_TEST(slice.size == sizes[i]);
    const std::vector<float> values(weights.begin() + static_cast<std::ptrdiff_t>(slice.offset),
                                    weights.begin() + static_cast<std::ptrdiff_t>(slice.offset + slice.size));
    const double bound = 1.0 / std::sqrt(static_cast<double>(widths[i]));
    BOOST_TEST(largest_magnitude(values) <= bound * (1.0 + 1e-6));
    BOOST_TEST(largest_magnitude(values) > 0.5 * bound);  // five draws all below half: 3 %, and the seed is fixed
  }
  BOOST_TEST(network.initialise(8) == weights, boost::test_tools::per_element());
  BOOST_TEST(largest_difference(network.initialise(9), weights) > 0.01);
  // The same in double, for comparisons.
  const Network<double> exact = make_mlp<double>(20, hidden, 5, "sigmoid", true);
  BOOST_TEST(largest_difference(exact.initialise(8), weights) < 1e-7);
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  BOOST_CHECK_THROW(dense<float>(5, 0, true), InputError);
  BOOST_CHECK_THROW(make_layer<float>("dense", {}, 5), InputError);  // only a network knows the classes
  BOOST_CHECK_THROW(make_layer<float>("dense", {{"outputs", 3}, {"output", 3}}, 5), InputError);
}
