// Residual addition: the identity and the padded shortcut by hand, and what every layer must pass.
#define BOOST_TEST_MODULE add
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> add(const Shape& input, const Shape& skip, const std::string& shortcut) {
  return make_layer<Real>("add", {{"shortcut", shortcut}}, LayerInputs(input, skip));
}

std::string refusal(const Shape& input, const Shape& skip, const std::string& shortcut) {
  try {
    add<float>(input, skip, shortcut);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_shapes_are_added) {
  LayerPass<double> pass(add<double>({2, 3, 3}, {2, 3, 3}, "identity"), {2, 1}, 2, 4);
  BOOST_TEST(pass.layer->skip_inputs() == 18U);
  BOOST_TEST(pass.layer->output_shape() == (Shape{2, 3, 3}), boost::test_tools::per_element());
  pass.forward();
  for (std::size_t i = 0; i < 3 * 18; ++i) BOOST_TEST(pass.output[i] == pass.input[i] + pass.skip[i]);
}

BOOST_AUTO_TEST_CASE(the_padded_shortcut_takes_every_other_place_and_adds_zero_channels) {
  // One channel of 3 x 4 to three of 2 x 2: the skip's (0, 0), (0, 2), (2, 0), (2, 2), in the channel in the middle.
  LayerPass<double> pass(add<double>({3, 2, 2}, {1, 3, 4}, "pad"), {1}, 1, 4);
  BOOST_TEST(pass.layer->skip_inputs() == 12U);
  for (std::size_t i = 0; i < 12; ++i)
    pass.input[i] = 100.0 * static_cast<double>(i), pass.skip[i] = static_cast<double>(i);
  pass.forward();
  BOOST_TEST(pass.output == (std::vector<double>{0, 100, 200, 300, 400, 502, 608, 710, 800, 900, 1000, 1100}),
             boost::test_tools::per_element());
  for (std::size_t i = 0; i < 12; ++i) pass.weight[i] = static_cast<double>(i);
  pass.backward();
  BOOST_TEST(pass.input_gradient == pass.weight, boost::test_tools::per_element());
  BOOST_TEST(pass.skip_gradient == (std::vector<double>{4, 0, 5, 0, 0, 0, 0, 0, 6, 0, 7, 0}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(new_channels_stand_on_both_sides) {
  // 2 to 4 channels of one place: as many zeros before as after; 2 to 5: one more after.
  for (const std::size_t channels : {4U, 5U}) {
    LayerPass<double> pass(add<double>({channels, 1, 1}, {2, 1, 1}, "pad"), {1}, 1, 4);
    std::fill(pass.input.begin(), pass.input.end(), 0.0);
    pass.skip = {7.0, 8.0};
    pass.forward();
    pass.output.resize(4);
    BOOST_TEST(pass.output == (std::vector<double>{0, 7, 8, 0}), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  check_gradients(add<double>({2, 2, 3}, {2, 2, 3}, "identity"));
  check_gradients(add<double>({7}, {7}, "identity"));
  check_gradients(add<double>({4, 2, 3}, {2, 4, 6}, "pad"));
  check_gradients(add<double>({3, 2, 2}, {3, 6, 5}, "pad"));  // stride 3, odd extents
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return add<float>({3, 3, 3}, {3, 3, 3}, "identity"); });
  check_block([] { return add<float>({4, 3, 3}, {2, 6, 5}, "pad"); });
}

BOOST_AUTO_TEST_CASE(a_number_that_is_not_finite_passes_from_either_side) {
  LayerPass<float> pass(add<float>({2, 2, 2}, {1, 4, 4}, "pad"), {1}, 1, 4);
  pass.input[7] = std::numeric_limits<float>::quiet_NaN();
  pass.skip[2] = std::numeric_limits<float>::quiet_NaN();
  pass.forward();
  for (std::size_t i = 0; i < 8; ++i) BOOST_TEST(std::isnan(pass.output[i]) == (i == 7 || i == 1), "entry " << i);
}

BOOST_AUTO_TEST_CASE(shapes_that_do_not_fit_are_refused) {
  BOOST_TEST(
      refusal({2, 3, 3}, {2, 3, 4}, "identity") ==
      "[model] add with shortcut = \"identity\" needs equal shapes, got [2, 3, 3] and a skip of [2, 3, 4]; shortcut = "
      "\"pad\" takes places and adds channels");
  const std::string rule =
      "[model] add with shortcut = \"pad\" needs a skip of at most as many channels and of s times the height and "
      "width";
  BOOST_TEST(refusal({2, 3, 3}, {3, 3, 3}, "pad").starts_with(rule));  // fewer channels
  BOOST_TEST(refusal({2, 3, 3}, {2, 2, 2}, "pad").starts_with(rule));  // a larger image
  BOOST_TEST(refusal({2, 3, 3}, {2, 6, 3}, "pad").starts_with(rule));  // strides 2 and 1
  BOOST_TEST(refusal({7}, {7}, "pad").starts_with(rule));              // no image
  BOOST_TEST(refusal({2, 3, 3}, {2, 6, 6}, "pad").empty());
}
