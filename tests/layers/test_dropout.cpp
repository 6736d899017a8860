// Dropout: the share that drops, the scale of what stays, the keys of the mask, and what every layer must pass.
#define BOOST_TEST_MODULE dropout
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
std::unique_ptr<Layer<Real>> dropout(std::size_t features, double p) {
  return make_layer<Real>("dropout", {{"p", p}}, features);
}

/// Which of 64 x 1000 ones stay in training; checks that they come out as 1 / (1 - p) and the others as 0.
std::vector<bool> kept(double p, const Stream& noise, std::uint32_t layer) {
  const auto drop = dropout<float>(1000, p);
  const auto device = make_cpu_device();
  const std::vector<float> ones(64000, 1.0F);
  std::vector<float> y(64000);
  BatchShape shape{.clients = 1, .rows = 64, .noise = &noise, .layer = layer};
  drop->forward(*device, shape, nullptr, ones.data(), y.data());
  std::vector<bool> out;
  for (const float v : y) {
    BOOST_REQUIRE((v == 0.0F || v == static_cast<float>(1.0 / (1.0 - p))));
    out.push_back(v != 0.0F);
  }
  return out;
}

double agreement(const std::vector<bool>& a, const std::vector<bool>& b) {
  std::size_t same = 0;
  for (std::size_t i = 0; i < a.size(); ++i) same += a[i] == b[i] ? 1 : 0;
  return static_cast<double>(same) / static_cast<double>(a.size());
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_share_that_drops_is_p) {
  const Stream noise = make_stream(3, {.purpose = Purpose::dropout});
  for (const double p : {0.1, 0.25, 0.5, 0.9}) {
    const auto mask = kept(p, noise, 2);
    const double share = static_cast<double>(std::count(mask.begin(), mask.end(), false)) / 64000;
    // Five standard deviations of 64000 draws.
    BOOST_TEST(std::fabs(share - p) < 5 * std::sqrt(p * (1 - p) / 64000), p);
    // Neighbours, in a row and across rows, know nothing of each other.
    for (const std::size_t lag : {1U, 16U, 1000U}) {
      std::size_t both = 0;
      for (std::size_t i = lag; i < mask.size(); ++i) both += !mask[i] && !mask[i - lag] ? 1 : 0;
      const double pairs = static_cast<double>(mask.size() - lag);
      BOOST_TEST(std::fabs(static_cast<double>(both) / pairs - p * p) < 5 * std::sqrt(p * p / pairs), p << " " << lag);
    }
  }
}

BOOST_AUTO_TEST_CASE(stream_and_layer_decide_about_the_mask) {
  const Stream one = make_stream(3, {.purpose = Purpose::dropout}),
               other = make_stream(3, {.purpose = Purpose::dropout, .step = 1});
  const auto mask = kept(0.5, one, 2);
  BOOST_TEST(agreement(mask, kept(0.5, one, 2)) == 1.0);
  // Masks that have nothing to do with each other agree in half of the places; five standard deviations.
  BOOST_TEST(std::fabs(agreement(mask, kept(0.5, one, 3)) - 0.5) < 0.01);
  BOOST_TEST(std::fabs(agreement(mask, kept(0.5, other, 2)) - 0.5) < 0.01);
}

BOOST_AUTO_TEST_CASE(the_mask_is_that_of_the_documented_words) {
  const Stream noise = make_stream(8, {.purpose = Purpose::dropout, .client = 4});
  const auto mask = kept(0.25, noise, 5);
  for (std::size_t i = 0; i < 64000; i += 77) {
    const std::size_t tile = i / 64, lane = i % 64 % 16, part = i % 64 / 16;
    const Words words = noise.block((std::uint64_t{5} << 40) + tile * 16 + lane);
    const std::uint32_t word = std::vector<std::uint32_t>{words.a, words.b, words.c, words.d}[part];
    BOOST_TEST(mask[i] == (word >= 0x40000000U), "entry " << i);
  }
}

BOOST_AUTO_TEST_CASE(evaluation_drops_nothing) {
  LayerPass<float> pass(dropout<float>(37, 0.5), {3, 1}, 3, 4);
  BOOST_TEST(pass.layer->draws());
  pass.shape.noise = nullptr;
  pass.forward();
  pass.backward();
  const auto same = [&](const std::vector<float>& a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < 3 * 37; ++i) BOOST_TEST(a[i] == b[i]);
    for (std::size_t i = 3 * 37; i < 4 * 37; ++i) BOOST_TEST(a[i] == b[i]);
  };
  same(pass.output, pass.input);
  same(pass.input_gradient, pass.weight);
  // Nor does p = 0 in training, which asks for no random numbers.
  LayerPass<float> zero(dropout<float>(37, 0.0), {3, 1}, 3, 4);
  BOOST_TEST(!zero.layer->draws());
  zero.forward();
  same(zero.output, zero.input);
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  check_gradients(dropout<double>(13, 0.5));
  check_gradients(dropout<double>(70, 0.2));
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return dropout<float>(21, 0.5); });
  check_block([] { return dropout<float>(64, 0.25); });
}

BOOST_AUTO_TEST_CASE(a_number_that_is_not_finite_passes_kept_or_dropped) {
  LayerPass<float> pass(dropout<float>(40, 0.5), {1}, 1, 4);
  std::fill(pass.input.begin(), pass.input.end(), std::numeric_limits<float>::quiet_NaN());
  pass.forward();
  for (const float y : pass.output) BOOST_TEST(std::isnan(y));
}

BOOST_AUTO_TEST_CASE(images_keep_their_shape) {
  const auto layer = make_layer<float>("dropout", {}, LayerInputs(Shape{3, 4, 5}));
  BOOST_TEST(layer->output_shape() == (Shape{3, 4, 5}), boost::test_tools::per_element());
  BOOST_TEST(layer->outputs() == 60U);
}

BOOST_AUTO_TEST_CASE(probabilities_out_of_range_are_refused) {
  BOOST_CHECK_THROW(dropout<float>(5, 1.0), InputError);
  BOOST_CHECK_THROW(dropout<float>(5, -0.1), InputError);
}
