// Convolution: torch.nn.Conv2d's definition in plain loops, and what every layer must pass, for windows that fit and that do not.
#define BOOST_TEST_MODULE conv2d
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

struct Case {
  Shape input;
  int channels, kernel, stride = 1, padding = 0;
  bool bias = true;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.input[0] << "x" << c.input[1] << "x" << c.input[2] << " to " << c.channels << " channels, kernel "
             << c.kernel << ", stride " << c.stride << ", padding " << c.padding;
}

template <class Real>
std::unique_ptr<Layer<Real>> conv2d(const Case& c) {
  const auto whole = [](int n) { return static_cast<std::int64_t>(n); };
  return make_layer<Real>("conv2d",
                          {{"channels", whole(c.channels)},
                           {"kernel", whole(c.kernel)},
                           {"stride", whole(c.stride)},
                           {"padding", whole(c.padding)},
                           {"bias", c.bias}},
                          LayerInputs(c.input));
}

// Narrow and wide images, odd extents, strides that leave places out, windows that hang over, more padding than window.
const std::vector<Case> cases = {{{1, 1, 1}, 1, 1},
                                 {{3, 5, 7}, 4, 3},
                                 {{2, 8, 8}, 3, 3, 1, 1},
                                 {{3, 9, 6}, 2, 3, 2, 1},
                                 {{2, 7, 11}, 5, 2, 3},
                                 {{2, 6, 6}, 3, 4, 3, 2},
                                 {{1, 4, 9}, 2, 1, 1, 2},
                                 {{2, 5, 5}, 3, 1, 2},
                                 {{3, 14, 14}, 7, 5},
                                 {{2, 3, 40}, 3, 3, 1, 1},
                                 {{3, 33, 34}, 2, 3, 2, 1, false},
                                 {{4, 6, 5}, 9, 5, 1, 2, false},
                                 {{17, 5, 5}, 18, 3, 1, 1},
                                 {{2, 3, 2}, 2, 3, 1, 4}};

/// Output of one example by the definition; `weight` [out, in, kernel, kernel], `bias` null where there is none.
std::vector<double> defined(const Case& c, const double* x, const double* weight, const double* bias,
                            const Shape& output) {
  const auto extent = [](std::size_t n) { return static_cast<int>(n); };
  const int channels = extent(c.input[0]), height = extent(c.input[1]), width = extent(c.input[2]);
  std::vector<double> y;
  for (int o = 0; o < extent(output[0]); ++o)
    for (int v = 0; v < extent(output[1]); ++v)
      for (int h = 0; h < extent(output[2]); ++h) {
        double sum = bias != nullptr ? bias[o] : 0.0;
        for (int i = 0; i < channels; ++i)
          for (int a = 0; a < c.kernel; ++a)
            for (int b = 0; b < c.kernel; ++b) {
              const int row = v * c.stride + a - c.padding, column = h * c.stride + b - c.padding;
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              sum +=
                  x[(i * height + row) * width + column] * weight[((o * channels + i) * c.kernel + a) * c.kernel + b];
            }
        y.push_back(sum);
      }
  return y;
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_window_by_hand) {
  LayerPass<double> pass(conv2d<double>({{1, 2, 2}, 1, 2}), {1}, 1, 1);
  const std::size_t at = pass.layout.slices()[1].offset;
  const std::vector<double> weight{1, 10, 100, 1000, 0.5};  // and the bias
  std::copy(weight.begin(), weight.end(), pass.parameters.begin() + static_cast<std::ptrdiff_t>(at));
  pass.input = {1, 2, 3, 4};
  pass.forward();
  BOOST_TEST(pass.output == std::vector<double>{4321.5}, boost::test_tools::per_element());  // not turned round
}

BOOST_AUTO_TEST_CASE(forward_follows_the_definition) {
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c) {
      LayerPass<double> pass(conv2d<double>(c), {2, 3}, 3, 4);
      LayerPass<float> rounded(conv2d<float>(c), {2, 3}, 3, 4);
      const Shape shape = pass.layer->output_shape();
      const auto& slices = pass.layout.slices();
      const auto channels = static_cast<std::size_t>(c.channels), kernel = static_cast<std::size_t>(c.kernel);
      BOOST_TEST_REQUIRE(shape.size() == 3U);
      BOOST_TEST(shape[0] == channels);
      BOOST_TEST(slices[1].name == "1.weight");
      BOOST_TEST(slices[1].shape == (std::vector<std::size_t>{channels, c.input[0], kernel, kernel}),
                 boost::test_tools::per_element());
      BOOST_TEST(slices[2].name == (c.bias ? "1.bias" : "after"));
      pass.forward();
      rounded.forward();
      const std::size_t in = pass.layer->inputs(), out = pass.layer->outputs();
      // Sums of products below 1.2, each addition rounded.
      const double terms = static_cast<double>(c.input[0] * kernel * kernel) + 1, exact = terms * terms * 1.2 * 0x1p-53;
      for (std::size_t b = 0; b < 2; ++b) {
        const double* const own = pass.parameters.data() + b * pass.shape.parameter_stride;
        for (std::size_t r = 0; r < pass.shape.live_rows(b); ++r) {
          const std::size_t row = b * 3 + r;
          const auto y = defined(c, pass.input.data() + row * in, own + slices[1].offset,
                                 c.bias ? own + slices[2].offset : nullptr, shape);
          BOOST_TEST_REQUIRE(y.size() == out);
          for (std::size_t i = 0; i < out; ++i) {
            BOOST_TEST(std::fabs(pass.output[row * out + i] - y[i]) <= exact, "entry " << i);
            BOOST_TEST(std::fabs(static_cast<double>(rounded.output[row * out + i]) - y[i]) <= exact * 0x1p31,
                       "entry " << i);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_size_of_the_output_is_pytorchs) {
  const auto size = [](const Case& c) { return conv2d<float>(c)->output_shape(); };
  BOOST_TEST(size({{3, 32, 32}, 64, 5}) == (Shape{64, 28, 28}), boost::test_tools::per_element());
  BOOST_TEST(size({{16, 32, 32}, 32, 3, 2, 1}) == (Shape{32, 16, 16}), boost::test_tools::per_element());
  BOOST_TEST(size({{1, 7, 10}, 2, 3, 2}) == (Shape{2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_finite_differences) {
  for (const Case& c : cases) {
    const auto layer = conv2d<double>(c);
    // Differences are of a loss that adds up to some ten; larger layers come below.
    if (layer->outputs() * c.input[0] * static_cast<std::size_t>(c.kernel * c.kernel) > 2000) continue;
    BOOST_TEST_CONTEXT(c) { check_gradients(conv2d<double>(c)); }
  }
}

// Wide images and many channels, where the finite differences of every number would take too long: the gradients are linear, so
// <output gradient, forward(x, w)> changes by them exactly, in any direction.
BOOST_AUTO_TEST_CASE(gradients_of_larger_layers_give_the_change_in_every_direction) {
  for (const Case& c :
       {Case{{3, 32, 32}, 8, 5}, Case{{16, 32, 32}, 16, 3, 1, 1}, Case{{8, 14, 14}, 33, 5},
        Case{{16, 16, 16}, 32, 3, 2, 1}, Case{{33, 8, 8}, 20, 3, 1, 1}, Case{{40, 2, 2}, 24, 3, 1, 1}}) {
    BOOST_TEST_CONTEXT(c) {
      constexpr std::size_t rows = 19;  // more than the small images that are taken at a time
      LayerPass<double> pass(conv2d<double>(c), {19, 7}, rows, 3), other(conv2d<double>(c), {19, 7}, rows, 8);
      pass.forward();
      pass.backward();
      const std::vector<double> dx = pass.input_gradient, dw = pass.parameter_gradient;
      const double before[2] = {pass.loss(0), pass.loss(1)};
      const auto changed = [&](std::vector<double>& array, const std::vector<double>& direction,
                               const std::vector<double>& gradient, std::size_t per_client, const char* what) {
        const std::vector<double> kept = array;
        for (std::size_t i = 0; i < array.size(); ++i) array[i] += direction[i];
        for (std::size_t b = 0; b < 2; ++b) {
          double expected = 0, size = 0;
          for (std::size_t i = b * per_client; i < (b + 1) * per_client; ++i) {
            const bool ours = what[0] != 'p' || pass.owns(i - b * per_client);
            expected += ours ? gradient[i] * direction[i] : 0.0;
            size += ours ? std::fabs(gradient[i] * direction[i]) : 0.0;
          }
          BOOST_TEST(std::fabs(pass.loss(b) - before[b] - expected) < 1e-13 * size, what << " of client " << b);
        }
        array = kept;
      };
      std::fill(other.input.begin() + 26 * static_cast<std::ptrdiff_t>(pass.layer->inputs()), other.input.end(), 0.0);
      changed(pass.input, other.input, dx, rows * pass.layer->inputs(), "input");
      changed(pass.parameters, other.parameters, dw, pass.shape.parameter_stride, "parameters");
    }
  }
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_those_of_single_rows) {
  for (const Case& c : {Case{{2, 5, 4}, 3, 3, 1, 1}, Case{{2, 6, 7}, 3, 3, 2, 1, false}, Case{{3, 5, 5}, 2, 1}}) {
    BOOST_TEST_CONTEXT(c) {
      check_squared_gradients([&] { return conv2d<double>(c); });
    }
  }
}

BOOST_AUTO_TEST_CASE(clients_of_a_block_do_not_see_each_other) {
  for (const Case& c : {Case{{2, 5, 4}, 3, 3, 1, 1}, Case{{3, 14, 14}, 5, 5}, Case{{2, 9, 9}, 3, 3, 2, 1},
                        Case{{2, 3, 40}, 9, 3, 1, 1}}) {
    BOOST_TEST_CONTEXT(c) {
      check_block([&] { return conv2d<float>(c); });
    }
  }
}

BOOST_AUTO_TEST_CASE(one_parameter_vector_may_serve_the_whole_block) {
  LayerPass<float> pass(conv2d<float>({{2, 6, 6}, 3, 3, 1, 1}), {2, 2}, 2, 4);
  std::copy_n(pass.input.begin(), pass.input.size() / 2,
              pass.input.begin() + static_cast<std::ptrdiff_t>(pass.input.size() / 2));
  pass.shape.parameter_stride = 0;
  pass.forward();
  const auto half = static_cast<std::ptrdiff_t>(pass.output.size() / 2);
  BOOST_TEST(std::equal(pass.output.begin(), pass.output.begin() + half, pass.output.begin() + half));
}

BOOST_AUTO_TEST_CASE(a_number_that_is_not_finite_reaches_what_it_meets) {
  for (const Case& c : {Case{{2, 6, 6}, 3, 3, 1, 1}, Case{{2, 6, 6}, 3, 3, 2, 1}, Case{{2, 6, 6}, 3, 5}}) {
    BOOST_TEST_CONTEXT(c) {
      LayerPass<float> pass(conv2d<float>(c), {2}, 2, 4);
      const std::size_t in = pass.layer->inputs(), out = pass.layer->outputs();
      pass.input[in + 14] = std::numeric_limits<float>::quiet_NaN();  // in the second example
      pass.forward();
      BOOST_TEST(std::all_of(pass.output.begin(), pass.output.begin() + static_cast<std::ptrdiff_t>(out),
                             [](float y) { return std::isfinite(y); }));
      BOOST_TEST(std::any_of(pass.output.begin() + static_cast<std::ptrdiff_t>(out), pass.output.end(),
                             [](float y) { return std::isnan(y); }));
      pass.backward();
      BOOST_TEST(std::any_of(pass.parameter_gradient.begin() + 3, pass.parameter_gradient.end(),
                             [](float g) { return std::isnan(g); }));
      LayerPass<float> bad(conv2d<float>(c), {2}, 2, 4);
      bad.weight[out + 1] = std::numeric_limits<float>::infinity();
      bad.forward();
      bad.backward();
      const auto finite = [&](std::size_t example) {
        return std::all_of(bad.input_gradient.begin() + static_cast<std::ptrdiff_t>(example * in),
                           bad.input_gradient.begin() + static_cast<std::ptrdiff_t>((example + 1) * in),
                           [](float g) { return std::isfinite(g); });
      };
      BOOST_TEST(finite(0));
      BOOST_TEST(!finite(1));
      BOOST_TEST(!std::isfinite(bad.parameter_gradient[bad.layout.slices()[2].offset]));
    }
  }
}

BOOST_AUTO_TEST_CASE(initial_weights_are_pytorchs) {
  // U(-1/sqrt(n), 1/sqrt(n)) for weight and bias, n = channels * kernel^2.
  const auto layer = conv2d<float>({{5, 8, 8}, 1500, 3});
  ParameterLayout layout;
  layer->declare(layout, "0");
  std::vector<float> parameters(layout.stride(), 99.0F);
  StreamReader random(3, {Purpose::initialisation});
  layer->initialise(random, parameters.data());
  const double bound = 1.0 / std::sqrt(45.0);
  for (const ParameterSlice& slice : layout.slices()) {
    const std::vector<double> values(parameters.begin() + static_cast<std::ptrdiff_t>(slice.offset),
                                     parameters.begin() + static_cast<std::ptrdiff_t>(slice.offset + slice.size));
    BOOST_TEST(largest_magnitude(values) <= bound * (1.0 + 1e-6));  // rounding to float
    BOOST_TEST(kolmogorov(values, [bound](double x) { return (x + bound) / (2.0 * bound); }) < kolmogorov_limit,
               slice.name);
  }
  for (std::size_t i = layout.size(); i < layout.stride(); ++i) BOOST_TEST(parameters[i] == 99.0F);
}

BOOST_AUTO_TEST_CASE(inputs_that_do_not_fit_are_refused) {
  const auto message = [](const Case& c) {
    try {
      conv2d<float>(c);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  BOOST_TEST(
      message({{784}, 4, 3}).starts_with("[model] conv2d needs images of [channels, height, width], got [784];"));
  BOOST_TEST(message({{3, 4, 8}, 4, 5}).find("got [3, 4, 8] with a padding of 0 and a kernel of 5;") !=
             std::string::npos);
  BOOST_TEST(message({{3, 4, 4}, 4, 6, 1, 1}) == "none");
  BOOST_CHECK_THROW(conv2d<float>({{3, 4, 4}, 0, 3}), InputError);
  BOOST_CHECK_THROW(conv2d<float>({{3, 4, 4}, 4, 0}), InputError);
  BOOST_CHECK_THROW(conv2d<float>({{3, 4, 4}, 4, 3, 0}), InputError);
  BOOST_CHECK_THROW(conv2d<float>({{3, 4, 4}, 4, 3, 1, -1}), InputError);
  BOOST_CHECK_THROW(make_layer<float>("conv2d", {{"channels", std::int64_t{2}}}, LayerInputs(Shape{1, 4, 4})),
                    InputError);
}
