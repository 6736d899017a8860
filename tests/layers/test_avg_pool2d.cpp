// Average pooling: torch.nn.AvgPool2d's definition in plain loops, the mean of whole images, and what every layer must pass.
#define BOOST_TEST_MODULE avg_pool2d
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
  bool counted = true;  // the padding
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.input[1] << "x" << c.input[2] << ", kernel " << c.kernel << ", stride " << c.stride << ", padding "
             << c.padding << (c.counted ? " counted" : "");
}

template <class Real>
std::unique_ptr<Layer<Real>> avg_pool2d(const Case& c) {
  const auto whole = [](int n) { return static_cast<std::int64_t>(n); };
  return make_layer<Real>("avg_pool2d",
                          {{"kernel", whole(c.kernel)},
                           {"stride", whole(c.stride)},
                           {"padding", whole(c.padding)},
                           {"count_include_pad", c.counted}},
                          LayerInputs(c.input));
}

const std::vector<Case> cases = {
    {{2, 4, 6}, 2},    {{3, 5, 7}, 2},    {{2, 7, 5}, 3, 2, 1},        {{2, 7, 5}, 3, 2, 1, false},
    {{1, 6, 6}, 3, 1}, {{2, 4, 4}, 2, 3}, {{1, 9, 4}, 4, 3, 2, false}, {{2, 5, 5}, 1, 2}};

}  // namespace

BOOST_AUTO_TEST_CASE(forward_follows_the_definition) {
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c) {
      LayerPass<double> pass(avg_pool2d<double>(c), {2, 3}, 3, 4);
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
              double sum = 0;
              int inside = 0;
              for (int a = 0; a < c.kernel; ++a)
                for (int b = 0; b < c.kernel; ++b) {
                  const int row_of = v * stride - c.padding + a, column = h * stride - c.padding + b;
                  if (row_of < 0 || row_of >= height || column < 0 || column >= width) continue;
                  sum += x[(i * height + row_of) * width + column];
                  ++inside;
                }
              BOOST_TEST(std::fabs(*y++ - sum / (c.counted ? c.kernel * c.kernel : inside)) < 1e-14);
            }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_kernel_of_0_is_the_whole_image) {
  LayerPass<double> pass(avg_pool2d<double>({{3, 5, 7}, 0}), {2}, 2, 4);
  BOOST_TEST(pass.layer->output_shape() == (Shape{3, 1, 1}), boost::test_tools::per_element());
  pass.forward();
  for (std::size_t image = 0; image < 6; ++image) {
    double sum = 0;
    for (std::size_t i = 0; i < 35; ++i) sum += pass.input[image * 35 + i];
    BOOST_TEST(std::fabs(pass.output[image] - sum / 35) < 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c) { check_gradients(avg_pool2d<double>(c)); }
  }
  check_gradients(avg_pool2d<double>({{2, 5, 4}, 0}));
  check_gradients(avg_pool2d<double>({{2, 3, 2}, 0}));
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  check_block([] { return avg_pool2d<float>({{3, 6, 4}, 2}); });
  check_block([] { return avg_pool2d<float>({{3, 5, 7}, 3, 2, 1}); });
  check_block([] { return avg_pool2d<float>({{3, 5, 7}, 0}); });
}

BOOST_AUTO_TEST_CASE(nan_reaches_its_windows_alone) {
  for (const Case& c : {Case{{1, 4, 4}, 2}, Case{{2, 2, 2}, 0}}) {
    LayerPass<float> pass(avg_pool2d<float>(c), {1}, 1, 4);
    pass.input[0] = std::numeric_limits<float>::quiet_NaN();
    pass.forward();
    BOOST_TEST(std::isnan(pass.output[0]));
    BOOST_TEST(std::isfinite(pass.output.back()));
  }
}

BOOST_AUTO_TEST_CASE(inputs_that_do_not_fit_are_refused) {
  BOOST_CHECK_THROW(avg_pool2d<float>({{12}, 2}), InputError);
  BOOST_CHECK_THROW(avg_pool2d<float>({{12}, 0}), InputError);
  BOOST_CHECK_THROW(avg_pool2d<float>({{1, 4, 1}, 2}), InputError);
  BOOST_CHECK_THROW(avg_pool2d<float>({{1, 9, 9}, 3, 1, 2}), InputError);
  BOOST_CHECK_THROW(avg_pool2d<float>({{1, 9, 9}, 0, 1}), InputError);
}
