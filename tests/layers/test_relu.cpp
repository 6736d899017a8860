// The rectifier max(x, 0).
#define BOOST_TEST_MODULE relu
#include <limits>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::vector<Real> forward(const std::vector<Real>& x) {
  const auto layer = make_layer<Real>("relu", {}, x.size());
  const auto device = make_cpu_device();
  std::vector<Real> y(x.size());
  layer->forward(*device, BatchShape{1, 1, nullptr, 0}, nullptr, x.data(), y.data());
  return y;
}

// dy/dx through forward and backward.
template <class Real>
std::vector<Real> slope(const std::vector<Real>& x) {
  const auto layer = make_layer<Real>("relu", {}, x.size());
  const auto device = make_cpu_device();
  const std::vector<Real> y = forward(x), ones(x.size(), Real(1));
  std::vector<Real> gradient(x.size());
  layer->backward(*device, BatchShape{1, 1, nullptr, 0}, nullptr, x.data(), y.data(), ones.data(), gradient.data(),
                  nullptr);
  return gradient;
}

constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace

BOOST_AUTO_TEST_CASE(values_and_slopes) {
  const std::vector<double> x{-2.0, -1e-300, 0.0, 1e-300, 3.5}, y{0.0, 0.0, 0.0, 1e-300, 3.5},
      dy{0.0, 0.0, 0.0, 1.0, 1.0};
  BOOST_TEST(forward(x) == y, boost::test_tools::per_element());
  BOOST_TEST(slope(x) == dy, boost::test_tools::per_element());  // PyTorch's choice at 0 is 0
  BOOST_TEST(forward<float>({-infinity, infinity, 1e-40F}) == (std::vector<float>{0.0F, infinity, 1e-40F}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(it_has_no_parameters_and_keeps_the_width) {
  const auto layer = make_layer<float>("relu", {}, 9);
  ParameterLayout layout;
  layer->declare(layout, "1");
  BOOST_TEST(layout.size() == 0U);
  BOOST_TEST(layer->name() == "relu");
  BOOST_TEST(layer->inputs() == 9U);
  BOOST_TEST(layer->outputs() == 9U);
  BOOST_CHECK_THROW(make_layer<float>("relu", {{"slope", 0.1}}, 9), InputError);
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) { check_gradients(make_layer<double>("relu", {}, 13)); }

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return make_layer<float>("relu", {}, 21); });
}

BOOST_AUTO_TEST_CASE(not_a_number_stays_one) {
  // A diverged client is recognised by its loss and weights.
  const std::vector<float> y = forward<float>({1.0F, std::numeric_limits<float>::quiet_NaN(), -1.0F});
  BOOST_TEST(std::isfinite(y[0]));
  BOOST_TEST(std::isnan(y[1]));
  BOOST_TEST(std::isfinite(y[2]));
}
