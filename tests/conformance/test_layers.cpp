// Every layer on an accelerator: the CPU's results within float32 rounding, the same bits alone and in a block, and gradients
// against finite differences.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/boost_test.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/layer_check.hpp"
#include "tests/support/plugins.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

/// A layer and what it is given. The longest of its sums has `terms` terms of magnitude below `size`.
struct LayerCase {
  OptionValues options;
  Shape input = {6}, skip = {};
  double terms = 7, size = 1.3;  // rows of a gradient, inputs below 1.1
};

std::vector<LayerCase> cases_of(const LayerPlugin& plugin) {
  const auto whole = [](int n) { return std::int64_t{n}; };
  if (plugin.name == "add") {
    return {{{}, {6}, {6}}, {{{"shortcut", "pad"}}, {4, 3, 2}, {2, 5, 4}}};
  }
  if (plugin.name == "avg_pool2d") {
    return {{{{"kernel", whole(2)}}, {2, 4, 6}},
            {{{"kernel", whole(3)}, {"stride", whole(2)}, {"padding", whole(1)}}, {3, 5, 4}},
            {{{"kernel", whole(0)}}, {3, 7, 5}, {}, 35}};
  }
  if (plugin.name == "conv2d") {  // the last in more than one part on an accelerator
    return {
        {{{"channels", whole(3)}, {"kernel", whole(3)}, {"padding", whole(1)}}, {2, 5, 4}, {}, 7 * 20},
        {{{"channels", whole(4)}, {"kernel", whole(2)}, {"stride", whole(2)}, {"bias", false}}, {3, 7, 6}, {}, 7 * 9},
        {{{"channels", whole(16)}, {"kernel", whole(3)}}, {6, 34, 32}, {}, 7 * 960}};
  }
  if (plugin.name == "dense") return {{{{"outputs", whole(6)}}}};
  if (plugin.name == "dropout") return {{{}}, {{{"p", 0.25}}, {3, 5, 5}}};
  if (plugin.name == "group_norm") {  // runs shorter than a lane's step, and longer
    return {{{{"groups", whole(2)}}, {4, 3, 2}, {}, 7 * 6, 4},
            {{{"groups", whole(3)}}, {6}, {}, 7, 4},
            {{{"groups", whole(2)}}, {4, 7, 5}, {}, 7 * 35, 4}};
  }
  if (plugin.name == "filter_response_norm") return {{{}, {4, 3, 2}, {}, 7 * 6, 4}, {{}, {3, 7, 5}, {}, 7 * 35, 4}};
  if (plugin.name == "max_pool2d") {
    return {{{{"kernel", whole(2)}}, {2, 4, 6}},
            {{{"kernel", whole(3)}, {"stride", whole(2)}, {"padding", whole(1)}}, {3, 5, 4}, {}, 9}};
  }
  return {{}};
}

template <class Real>
std::unique_ptr<Layer<Real>> layer_of(const LayerPlugin& plugin, const LayerCase& c) {
  return make_layer<Real>(plugin.name, c.options, LayerInputs(c.input, c.skip));
}

// A pass through a layer on `device`; rows that are not live have no gradient, as the loss leaves them.
template <class Real>
struct PassOnDevice {
  PassOnDevice(Device& device, const LayerPass<Real>& pass, std::size_t first, std::size_t clients) {
    const LayerRoom room = pass.layer->room(pass.shape.rows);
    const std::size_t stride = pass.shape.parameter_stride, rows = pass.shape.rows;
    const std::size_t in = rows * pass.layer->inputs(), out = rows * pass.layer->outputs();
    const auto part = [&](const std::vector<Real>& array, std::size_t size) {
      const auto from = array.begin() + static_cast<std::ptrdiff_t>(first * size);
      return Buffer<Real>(device, std::vector<Real>(from, from + static_cast<std::ptrdiff_t>(clients * size)));
    };
    std::vector<Real> weight = pass.weight;
    for (std::size_t b = 0; b < pass.live.size(); ++b) {
      const std::size_t from = b * out + static_cast<std::size_t>(pass.live[b]) * pass.layer->outputs();
      std::fill(weight.begin() + static_cast<std::ptrdiff_t>(from),
                weight.begin() + static_cast<std::ptrdiff_t>((b + 1) * out), Real(0));
    }
    const Buffer<Real> parameters = part(pass.parameters, stride), input = part(pass.input, in),
                       gradient = part(weight, out);
    Buffer<Real> y(device, clients * out), dx(device, clients * in), dp = part(pass.parameter_gradient, stride);
    const BatchShape shape{.clients = clients,
                           .rows = rows,
                           .live = pass.live.data() + first,
                           .parameter_stride = stride,
                           .nominal = true,
                           .noise = pass.noise.data() + first};
    const std::size_t skipped = rows * pass.layer->skip_inputs();
    const Buffer<Real> skip = part(pass.skip, skipped);
    Buffer<Real> saved(device, clients * room.saved), scratch(device, clients * std::max(room.scratch, room.squares)),
        dskip(device, clients * skipped), squares(device, clients * stride);
    const LayerMemory<Real> memory{saved.data(), scratch.data(), skip.data(), dskip.data()};
    pass.layer->forward(device, shape, parameters.data(), input.data(), y.data(), memory);
    pass.layer->backward(device, shape, parameters.data(), input.data(), y.data(), gradient.data(), dx.data(),
                         dp.data(), memory);
    pass.layer->add_squared_gradients(device, shape, parameters.data(), input.data(), y.data(), gradient.data(),
                                      squares.data(), memory);
    output = y.to_host(), input_gradient = dx.to_host(), parameter_gradient = dp.to_host();
    skip_gradient = dskip.to_host(), squared_gradients = squares.to_host();
  }
  std::vector<Real> output, input_gradient, parameter_gradient, skip_gradient, squared_gradients;
};

// Gradients against central differences in double, along random directions through all parameters and inputs.
void check_finite_differences(Device& device, const LayerPlugin& plugin, const LayerCase& c) {
  constexpr std::size_t rows = 7;
  LayerPass<double> pass(layer_of<double>(plugin, c), {7, 3, 1, 6}, rows, 5);
  const std::size_t stride = pass.shape.parameter_stride;
  // Of the layer's own parameters, and of rows with an example.
  const auto owned = [&](std::size_t i) { return pass.owns(i % stride); };
  const auto live = [&](std::size_t i, std::size_t width) {
    return static_cast<int>(i / width % rows) < pass.live[i / width / rows];
  };
  const std::size_t in = pass.layer->inputs(), out = pass.layer->outputs(), skipped = pass.layer->skip_inputs();
  const auto loss = [&] {
    const PassOnDevice<double> there(device, pass, 0, 4);
    double sum = 0;
    for (std::size_t i = 0; i < there.output.size(); ++i)
      if (live(i, out)) sum += pass.weight[i] * there.output[i];
    return sum;
  };
  const PassOnDevice<double> at(device, pass, 0, 4);
  for (std::uint64_t direction = 0; direction < 3; ++direction) {
    StreamReader random(direction, {.purpose = Purpose::data});
    double expected = 0, size = 1;
    const auto draw = [&](std::size_t count, const std::vector<double>& gradient, const auto& counts) {
      std::vector<double> along(count, 0.0);
      for (std::size_t i = 0; i < count; ++i) {
        if (!counts(i)) continue;
        along[i] = random.normal();
        expected += along[i] * gradient[i], size += std::abs(along[i] * gradient[i]);
      }
      return along;
    };
    const auto parameters = draw(pass.parameters.size(), at.parameter_gradient, owned);
    const auto input = draw(pass.input.size(), at.input_gradient, [&](std::size_t i) { return live(i, in); });
    const auto skip = draw(pass.skip.size(), at.skip_gradient, [&](std::size_t i) { return live(i, skipped); });
    const auto move = [&](double step) {
      for (std::size_t i = 0; i < parameters.size(); ++i) pass.parameters[i] += step * parameters[i];
      for (std::size_t i = 0; i < input.size(); ++i) pass.input[i] += step * input[i];
      for (std::size_t i = 0; i < skip.size(); ++i) pass.skip[i] += step * skip[i];
    };
    constexpr double step = 1e-6;
    move(step);
    const double above = loss();
    move(-2 * step);
    const double below = loss();
    move(step);
    // The cut-off error is some 1e-12 of the third derivative, which is large where a group of two is normalised; rounding is
    // 1e-16 of the terms over the step.
    const double error = std::abs((above - below) / (2 * step) - expected) / size;
    BOOST_TEST(error < 1e-7, "direction " << direction << ": off by " << error);
  }
}

void check_layer(Device& device, const LayerPlugin& plugin, const LayerCase& c) {
  constexpr std::size_t rows = 7;
  LayerPass<float> cpu(layer_of<float>(plugin, c), {7, 3, 1, 6}, rows, 5);
  const PassOnDevice<float> block(device, cpu, 0, 4);
  cpu.forward();
  cpu.backward();
  std::vector<float> squares(cpu.parameters.size(), 0.0F);
  cpu.add_squares(squares);
  // A sum in another order: each addition rounds by at most 2^-24 of a partial sum. Activations: exponentials within 2 units in
  // the last place. Squares: each of 7 rows' g^2 moves by 2 |g| times that, and the largest |g| add up to sqrt(7 sum g^2).
  const double bound = c.terms * c.terms * c.size * 0x1p-24;
  const double bound_of_squares = bound * (1 + 2 * std::sqrt(7 * largest_magnitude(squares)));
  const std::size_t inputs = cpu.layer->inputs(), outputs = cpu.layer->outputs(), stride = cpu.shape.parameter_stride;
  for (std::size_t b = 0; b < 4; ++b) {
    const auto live = static_cast<std::size_t>(cpu.live[b]);
    const auto close = [&](const std::vector<float>& x, const std::vector<float>& y, std::size_t from,
                           std::size_t count, double most, const char* what) {
      const auto part = [&](const std::vector<float>& all) {
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(from);
        return std::vector<float>(first, first + static_cast<std::ptrdiff_t>(count));
      };
      const double worst = largest_difference(part(x), part(y));
      BOOST_TEST(worst <= most, what << " of client " << b << " differs by " << worst);
    };
    close(block.output, cpu.output, b * rows * outputs, live * outputs, bound, "output");
    close(block.input_gradient, cpu.input_gradient, b * rows * inputs, live * inputs, bound, "input gradient");
    close(block.parameter_gradient, cpu.parameter_gradient, b * stride, stride, bound, "parameter gradient");
    close(block.squared_gradients, squares, b * stride, stride, bound_of_squares, "squared gradients");
    const std::size_t skipped = cpu.layer->skip_inputs();
    close(block.skip_gradient, cpu.skip_gradient, b * rows * skipped, live * skipped, bound, "skip gradient");
    // Rows without an example get no gradient, and a client alone gets the bits it has in a block.
    const auto is_zero = [](float x) { return x == 0.0F; };
    const auto row = [&](std::size_t r) {
      return block.input_gradient.begin() + static_cast<std::ptrdiff_t>((b * rows + r) * inputs);
    };
    BOOST_TEST(std::all_of(row(live), row(rows), is_zero));
    LayerPass<float> fresh(layer_of<float>(plugin, c), {7, 3, 1, 6}, rows, 5);
    const PassOnDevice<float> alone(device, fresh, b, 1);
    const auto same = [&](const std::vector<float>& whole, const std::vector<float>& own) {
      return std::equal(own.begin(), own.end(), whole.begin() + static_cast<std::ptrdiff_t>(b * own.size()));
    };
    BOOST_TEST(same(block.output, alone.output));
    BOOST_TEST(same(block.input_gradient, alone.input_gradient));
    BOOST_TEST(same(block.parameter_gradient, alone.parameter_gradient));
    BOOST_TEST(same(block.skip_gradient, alone.skip_gradient));
    BOOST_TEST(same(block.squared_gradients, alone.squared_gradients));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_layer) {
  const auto device = lane_makers(1).front()(ProductPrecision::float32);
  for (const LayerPlugin& plugin : layer_plugins()) {
    int number = 0;
    for (const LayerCase& c : cases_of(plugin)) {
      BOOST_TEST_CONTEXT("layer " << plugin.name << ", case " << number++) {
        check_layer(*device, plugin, c);
        check_finite_differences(*device, plugin, c);
      }
    }
  }
}
