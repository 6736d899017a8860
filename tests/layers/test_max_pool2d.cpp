// Max pooling: torch.nn.MaxPool2d's definition in plain loops, ties and numbers that are not finite, and what every layer must pass.
#define BOOST_TEST_MODULE max_pool2d
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

struct Case {
  Shape input;
  int kernel, stride = 0, padding = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> max_pool2d(const Case& c) {
  const auto whole = [](int n) { return static_cast<std::int64_t>(n); };
  return make_layer<Real>("max_pool2d",
                          {{"kernel", whole(c.kernel)}, {"stride", whole(c.stride)}, {"padding", whole(c.padding)}},
                          LayerInputs(c.input));
}

const std::vector<Case> cases = {{{2, 4, 6}, 2},       {{3, 5, 7}, 2},         {{2, 7, 5}, 3, 2, 1}, {{1, 6, 6}, 3, 1},
                                 {{2, 4, 4}, 2, 3},    {{2, 28, 28}, 2, 0, 0}, {{1, 3, 9}, 3},       {{2, 5, 5}, 1, 2},
                                 {{1, 9, 4}, 4, 3, 2}, {{2, 10, 10}, 2},       {{2, 4, 14}, 2},      {{1, 6, 16}, 2},
                                 {{1, 2, 34}, 2}};  // outputs of less than, as much as and more than whole vectors

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

}  // namespace

BOOST_AUTO_TEST_CASE(forward_follows_the_definition) {
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c.input[1] << "x" << c.input[2] << ", kernel " << c.kernel << ", stride " << c.stride) {
      LayerPass<double> pass(max_pool2d<double>(c), {2, 3}, 3, 4);
      pass.forward();
      const int stride = c.stride == 0 ? c.kernel : c.stride, height = static_cast<int>(c.input[1]),
                width = static_cast<int>(c.input[2]);
      const int out_height = (height + 2 * c.padding - c.kernel) / stride + 1,
                out_width = (width + 2 * c.padding - c.kernel) / stride + 1;
      BOOST_TEST(pass.layer->output_shape() ==
                     (Shape{c.input[0], static_cast<std::size_t>(out_height), static_cast<std::size_t>(out_width)}),
                 boost::test_tools::per_element());
      for (const std::size_t row : {0U, 1U, 3U, 4U, 5U}) {  // the live ones
        const double* const x = pass.input.data() + row * pass.layer->inputs();
        const double* y = pass.output.data() + row * pass.layer->outputs();
        for (int i = 0; i < static_cast<int>(c.input[0]); ++i)
          for (int v = 0; v < out_height; ++v)
            for (int h = 0; h < out_width; ++h) {
              double best = -1e300;
              for (int a = std::max(0, v * stride - c.padding); a < std::min(height, v * stride - c.padding + c.kernel);
                   ++a)
                for (int b = std::max(0, h * stride - c.padding);
                     b < std::min(width, h * stride - c.padding + c.kernel); ++b)
                  best = std::max(best, x[(i * height + a) * width + b]);
              BOOST_TEST(*y++ == best);
            }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(of_equal_numbers_the_first_is_taken) {
  for (const Case& c : {Case{{1, 2, 2}, 2}, Case{{1, 3, 3}, 3}}) {
    LayerPass<float> pass(max_pool2d<float>(c), {1}, 1, 4);
    std::fill(pass.input.begin(), pass.input.end(), 7.0F);
    pass.input[0] = 1.0F;
    pass.forward();
    pass.weight = {5.0F};
    pass.backward();
    std::vector<float> expected(pass.input.size(), 0.0F);
    expected[1] = 5.0F;
    BOOST_TEST(pass.output[0] == 7.0F);
    BOOST_TEST(pass.input_gradient == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(numbers_that_are_not_finite_pass_through) {
  for (const Case& c : {Case{{1, 4, 4}, 2}, Case{{1, 4, 4}, 3, 1, 1}}) {
    LayerPass<float> pass(max_pool2d<float>(c), {1}, 1, 4);
    pass.input[1] = not_a_number, pass.input[4] = 1e30F;
    pass.forward();
    pass.backward();
    BOOST_TEST(std::isnan(pass.output[0]));
    BOOST_TEST(std::isfinite(pass.output.back()));
    BOOST_TEST(pass.input_gradient[1] != 0.0F);
    std::fill(pass.input.begin(), pass.input.end(), -std::numeric_limits<float>::infinity());
    pass.forward();
    pass.backward();
    BOOST_TEST(std::isinf(pass.output[0]));
    BOOST_TEST(pass.input_gradient[0] != 0.0F);  // the first, as always
    pass.weight[0] = not_a_number;
    pass.backward();
    BOOST_TEST(std::isnan(pass.input_gradient[0]));
    BOOST_TEST(std::isfinite(pass.input_gradient.back()));
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  for (const Case& c : cases) {
    if (c.input[1] > 20) continue;
    BOOST_TEST_CONTEXT(c.input[1] << "x" << c.input[2] << ", kernel " << c.kernel) {
      check_gradients(max_pool2d<double>(c));
    }
  }
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return max_pool2d<float>({{3, 6, 4}, 2}); });
  check_block([] { return max_pool2d<float>({{3, 5, 7}, 3, 2, 1}); });
}

BOOST_AUTO_TEST_CASE(inputs_that_do_not_fit_are_refused) {
  BOOST_CHECK_THROW(max_pool2d<float>({{12}, 2}), InputError);
  BOOST_CHECK_THROW(max_pool2d<float>({{1, 4, 1}, 2}), InputError);
  BOOST_CHECK_THROW(max_pool2d<float>({{1, 9, 9}, 3, 1, 2}), InputError);  // more than half the window outside
  BOOST_CHECK_THROW(max_pool2d<float>({{1, 9, 9}, 0}), InputError);
}
