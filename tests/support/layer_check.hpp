// Checks that every layer must pass: gradients against finite differences, clients of a block apart from each other, rows that
// are not live without influence.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>
#include "tests/support/boost_test.hpp"

#include "ivory/layer.hpp"
#include "tests/support/compare.hpp"

namespace ivory::test {

/// A layer with everything that one pass through it needs. Its parameters do not start at the beginning of the flat vector.
template <class Real>
struct LayerPass {
  LayerPass(std::unique_ptr<Layer<Real>> layer_, std::vector<int> live_, std::size_t rows, std::uint64_t seed)
      : layer(std::move(layer_)), device(make_cpu_device()), live(std::move(live_)) {
    layout.add("before", {3});
    layer->declare(layout, "1");
    layout.add("after", {2});
    shape = {live.size(), rows, live.data(), layout.stride()};
    StreamReader random(seed, {Purpose::data});
    const auto fill = [&](std::vector<Real>& array, std::size_t count) {
      array.resize(count);
      for (Real& x : array) {  // away from 0, where a rectifier has no derivative
        const double u = 2.0 * random.uniform() - 1.0;
        x = static_cast<Real>(u + (u < 0 ? -0.05 : 0.05));
      }
    };
    fill(parameters, live.size() * layout.stride());
    fill(input, live.size() * rows * layer->inputs());
    fill(weight, live.size() * rows * layer->outputs());
    fill(skip, live.size() * rows * layer->skip_inputs());
    const LayerRoom room = layer->room(rows);
    saved.assign(live.size() * room.saved, Real(0));
    scratch.assign(live.size() * std::max(room.scratch, room.squares), Real(0));
    skip_gradient.assign(skip.size(), Real(0));
    for (std::size_t b = 0; b < live.size(); ++b)
      noise.push_back(make_stream(seed, {.purpose = Purpose::dropout, .client = b}));
    shape.noise = noise.data();
    output.assign(weight.size(), Real(0));
    input_gradient.assign(input.size(), Real(0));
    parameter_gradient.assign(parameters.size(), untouched);
    for (std::size_t b = 0; b < live.size(); ++b)
      for (std::size_t r = static_cast<std::size_t>(live[b]); r < rows; ++r)
        std::fill_n(input.begin() + static_cast<std::ptrdiff_t>((b * rows + r) * layer->inputs()), layer->inputs(),
                    Real(0));
  }

  static constexpr Real untouched = Real(12345);

  std::unique_ptr<Layer<Real>> layer;
  std::unique_ptr<Device> device;
  std::vector<int> live;
  ParameterLayout layout;
  BatchShape shape;
  std::vector<Real> parameters, input, output, weight;  // the loss is <weight, output> over live rows
  std::vector<Real> input_gradient, parameter_gradient;
  std::vector<Real> skip, skip_gradient, saved, scratch;
  std::vector<Stream> noise;  // as in training

  LayerMemory<Real> memory() {
    return {
        .saved = saved.data(), .scratch = scratch.data(), .skip = skip.data(), .skip_gradient = skip_gradient.data()};
  }
  void forward() { layer->forward(*device, shape, parameters.data(), input.data(), output.data(), memory()); }
  void backward(bool with_input = true, bool with_parameters = true) {
    layer->backward(*device, shape, parameters.data(), input.data(), output.data(), weight.data(),
                    with_input ? input_gradient.data() : nullptr, with_parameters ? parameter_gradient.data() : nullptr,
                    memory());
  }
  void add_squares(std::vector<Real>& sums) {
    layer->add_squared_gradients(*device, shape, parameters.data(), input.data(), output.data(), weight.data(),
                                 sums.data(), memory());
  }
  double loss(std::size_t b) {
    forward();
    double total = 0.0;
    const std::size_t features = layer->outputs();
    for (std::size_t i = 0; i < shape.live_rows(b) * features; ++i)
      total += static_cast<double>(weight[b * shape.rows * features + i]) *
               static_cast<double>(output[b * shape.rows * features + i]);
    return total;
  }
  /// Entries of the flat vector that belong to the layer.
  bool owns(std::size_t i) const { return i >= 3 && i + 2 < layout.size(); }
};

/// d loss / d x of every parameter and input in double.
inline void check_gradients(std::unique_ptr<Layer<double>> layer) {
  LayerPass<double> pass(std::move(layer), {5, 2, 4}, 5, 77);
  pass.forward();
  pass.backward();
  const std::vector<double> input_gradient = pass.input_gradient, parameter_gradient = pass.parameter_gradient,
                            skip_gradient = pass.skip_gradient;
  // Central differences with step 1e-5: the cut-off error is some 1e-10 f''', rounding 1e-16 * |loss| / 1e-5 = 1e-10.
  constexpr double step = 1e-5, tolerance = 5e-9;
  const auto difference = [&](double& x, std::size_t b) {
    const double kept = x;
    x = kept + step;
    const double above = pass.loss(b);
    x = kept - step;
    const double below = pass.loss(b);
    x = kept;
    return (above - below) / (2.0 * step);
  };
  for (std::size_t b = 0; b < pass.live.size(); ++b) {
    const std::size_t inputs = pass.layer->inputs();
    for (std::size_t i = 0; i < pass.shape.live_rows(b) * inputs; ++i) {
      const std::size_t at = b * pass.shape.rows * inputs + i;
      BOOST_TEST(std::fabs(difference(pass.input[at], b) - input_gradient[at]) < tolerance,
                 "input " << i << " client " << b);
    }
    for (std::size_t i = 0; i < pass.shape.live_rows(b) * pass.layer->skip_inputs(); ++i) {
      const std::size_t at = b * pass.shape.rows * pass.layer->skip_inputs() + i;
      BOOST_TEST(std::fabs(difference(pass.skip[at], b) - skip_gradient[at]) < tolerance,
                 "skip " << i << " client " << b);
    }
    for (std::size_t i = 0; i < pass.layout.size(); ++i) {
      const std::size_t at = b * pass.shape.parameter_stride + i;
      if (pass.owns(i)) {
        BOOST_TEST(std::fabs(difference(pass.parameters[at], b) - parameter_gradient[at]) < tolerance,
                   "parameter " << i << " client " << b);
      } else {
        BOOST_TEST(parameter_gradient[at] == LayerPass<double>::untouched, "a gradient outside of the layer's slices");
      }
    }
  }
  // Without the parameters' gradient the input's is the same, and nothing else is written.
  std::fill(pass.parameter_gradient.begin(), pass.parameter_gradient.end(), LayerPass<double>::untouched);
  pass.forward();
  pass.backward(true, false);
  BOOST_TEST(pass.input_gradient == input_gradient, boost::test_tools::per_element());
  BOOST_TEST(
      pass.parameter_gradient == std::vector<double>(pass.parameter_gradient.size(), LayerPass<double>::untouched),
      boost::test_tools::per_element());
  // Without the input's gradient the parameters' gradient is the same.
  std::fill(pass.parameter_gradient.begin(), pass.parameter_gradient.end(), LayerPass<double>::untouched);
  pass.forward();
  pass.backward(false);
  BOOST_TEST(pass.parameter_gradient == parameter_gradient, boost::test_tools::per_element());
}

/// The squared gradients of a block's rows, against each row's own gradient taken alone; they are added to what is there.
inline void check_squared_gradients(const std::function<std::unique_ptr<Layer<double>>()>& make) {
  constexpr std::size_t rows = 4;
  LayerPass<double> block(make(), {4, 2, 3}, rows, 9);
  block.shape.noise = nullptr;  // curvature is that of the network that predicts
  const std::size_t stride = block.shape.parameter_stride;
  std::vector<double> sums(3 * stride, 0.25), expected = sums;
  block.forward();
  block.add_squares(sums);
  for (std::size_t b = 0; b < 3; ++b) {
    for (std::size_t r = 0; r < block.shape.live_rows(b); ++r) {
      LayerPass<double> row(make(), {1}, 1, 9);
      row.shape.noise = nullptr;
      const auto take = [&](std::vector<double>& to, const std::vector<double>& from, std::size_t features) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>((b * rows + r) * features), features, to.begin());
      };
      take(row.input, block.input, block.layer->inputs());
      take(row.weight, block.weight, block.layer->outputs());
      take(row.skip, block.skip, block.layer->skip_inputs());
      std::copy_n(block.parameters.begin() + static_cast<std::ptrdiff_t>(b * stride), stride, row.parameters.begin());
      row.forward();
      row.backward();
      for (std::size_t i = 0; i < row.layout.size(); ++i) {
        const double g = row.owns(i) ? row.parameter_gradient[i] : 0.0;
        expected[b * stride + i] += g * g;
      }
    }
  }
  // Sums of at most some hundred squares of moderate size: rounding stays below 1e-11.
  for (std::size_t i = 0; i < sums.size(); ++i) {
    BOOST_TEST(std::fabs(sums[i] - expected[i]) < 1e-11 * std::max(1.0, expected[i]), "entry " << i);
  }
}

/// A block of clients in float gives each client the bits it gets alone, and rows beyond the live ones count for nothing.
inline void check_block(const std::function<std::unique_ptr<Layer<float>>()>& make) {
  const std::vector<int> live{7, 3, 1, 6};
  constexpr std::size_t rows = 7;
  LayerPass<float> block(make(), live, rows, 5);
  const std::size_t inputs = block.layer->inputs(), outputs = block.layer->outputs(),
                    stride = block.shape.parameter_stride;
  block.forward();
  block.backward();
  for (std::size_t b = 0; b < live.size(); ++b) {
    const auto n = static_cast<std::size_t>(live[b]);
    LayerPass<float> alone(make(), {live[b]}, n, 5);
    std::copy_n(block.parameters.begin() + static_cast<std::ptrdiff_t>(b * stride), stride, alone.parameters.begin());
    std::copy_n(block.input.begin() + static_cast<std::ptrdiff_t>(b * rows * inputs), n * inputs, alone.input.begin());
    std::copy_n(block.weight.begin() + static_cast<std::ptrdiff_t>(b * rows * outputs), n * outputs,
                alone.weight.begin());
    std::copy_n(block.skip.begin() + static_cast<std::ptrdiff_t>(b * rows * block.layer->skip_inputs()),
                n * block.layer->skip_inputs(), alone.skip.begin());
    alone.noise = {block.noise[b]};
    alone.shape.noise = alone.noise.data();
    alone.shape.live = nullptr;  // all rows are live
    alone.forward();
    alone.backward();
    const auto part = [](const std::vector<float>& array, std::size_t from, std::size_t count) {
      return std::vector<float>(array.begin() + static_cast<std::ptrdiff_t>(from),
                                array.begin() + static_cast<std::ptrdiff_t>(from + count));
    };
    BOOST_TEST_CONTEXT("client " << b) {
      BOOST_TEST(part(block.output, b * rows * outputs, n * outputs) == alone.output, boost::test_tools::per_element());
      BOOST_TEST(part(block.input_gradient, b * rows * inputs, n * inputs) == alone.input_gradient,
                 boost::test_tools::per_element());
      BOOST_TEST(part(block.parameter_gradient, b * stride, block.layout.size()) ==
                     part(alone.parameter_gradient, 0, block.layout.size()),
                 boost::test_tools::per_element());
    }
  }
  // The gradients handed to rows that are not live are arbitrary.
  LayerPass<float> spoilt(make(), live, rows, 5);
  for (std::size_t b = 0; b < live.size(); ++b)
    for (std::size_t i = static_cast<std::size_t>(live[b]) * outputs; i < rows * outputs; ++i)
      spoilt.weight[b * rows * outputs + i] = 1e30F;
  spoilt.forward();
  spoilt.backward();
  BOOST_TEST(spoilt.parameter_gradient == block.parameter_gradient, boost::test_tools::per_element());
}

}  // namespace ivory::test
