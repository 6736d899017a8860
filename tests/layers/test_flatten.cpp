// Flatten: the same numbers in the same order, as one row of features.
#define BOOST_TEST_MODULE flatten
#include "tests/support/boost_test.hpp"

#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> flatten() {
  return make_layer<Real>("flatten", {}, LayerInputs(Shape{2, 3, 5}));
}

}  // namespace

BOOST_AUTO_TEST_CASE(numbers_stay_in_their_order) {
  LayerPass<float> pass(flatten<float>(), {2}, 2, 1);
  BOOST_TEST(pass.layer->output_shape() == Shape{30}, boost::test_tools::per_element());
  pass.forward();
  BOOST_TEST(pass.output == pass.input, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) { check_gradients(flatten<double>()); }

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) { check_block(flatten<float>); }
