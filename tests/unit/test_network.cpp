// Networks as graphs: layers that take an earlier output, drop numbers and normalise, against finite differences; what is refused.
#define BOOST_TEST_MODULE network
#include <cmath>
#include <functional>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/block_training.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

constexpr std::size_t inputs = 5, classes = 3, rows = 4, clients = 2;

/// A block of two clients with unequal minibatches.
struct Pass {
  Pass(const Network<double>& network_, bool draw) : network(network_) {
    const std::size_t stride = network.layout().stride();
    StreamReader random(4, {.purpose = Purpose::data});
    for (std::size_t b = 0; b < clients; ++b) {
      const auto start = network.initialise(7 + b);
      for (const double w : start) parameters.push_back(w + 0.1 * random.normal());
      noise.push_back(make_stream(3, {.purpose = Purpose::dropout, .client = b}));
    }
    for (std::size_t i = 0; i < clients * rows * inputs; ++i) x.push_back(random.normal());
    for (std::size_t i = 0; i < clients * rows; ++i) labels.push_back(static_cast<std::int32_t>(random.below(classes)));
    workspace = network.make_workspace(*device, clients, rows, true);
    shape = {.clients = clients, .rows = rows, .live = live.data(), .parameter_stride = stride};
    if (draw) shape.noise = noise.data();
    gradient.assign(parameters.size(), 0.0);
    input_gradient.assign(x.size(), 0.0);
  }
  double loss(std::size_t b) {
    std::vector<double> row_losses(clients * rows, 0.0);
    network.loss(*device, shape, parameters.data(), x.data(), labels.data(), workspace, row_losses.data());
    return losses_of_rows(row_losses, rows)[b];
  }
  const Network<double>& network;
  std::unique_ptr<Device> device = make_cpu_device();
  std::vector<int> live{4, 3};
  std::vector<double> parameters, x, gradient, input_gradient;
  std::vector<std::int32_t> labels;
  std::vector<Stream> noise;
  BatchShape shape;
  Workspace<double> workspace;
};

std::string refusal(const std::function<void()>& make) {
  try {
    make();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

BOOST_AUTO_TEST_CASE(gradients_through_skips_and_dropout_are_those_of_finite_differences) {
  const Network<double> network = residual_network<double>(inputs, classes, 0.4);
  for (const bool draw : {false, true}) {
    Pass pass(network, draw);
    pass.network.gradient(*pass.device, pass.shape, pass.parameters.data(), pass.x.data(), pass.labels.data(),
                          pass.workspace, pass.gradient.data(), nullptr, pass.input_gradient.data());
    const auto difference = [&](double& entry, std::size_t b) {
      constexpr double step = 1e-5;
      const double kept = entry;
      entry = kept + step;
      const double above = pass.loss(b);
      entry = kept - step;
      const double below = pass.loss(b);
      entry = kept;
      return (above - below) / (2 * step);
    };
    // Central differences: the cut-off error is some 1e-10 f''', which the normalisation makes large.
    for (std::size_t b = 0; b < clients; ++b) {
      for (std::size_t i = 0; i < network.layout().size(); ++i) {
        const std::size_t at = b * pass.shape.parameter_stride + i;
        BOOST_TEST(std::abs(difference(pass.parameters[at], b) - pass.gradient[at]) < 1e-7, "parameter " << i);
      }
      for (std::size_t i = 0; i < pass.shape.live_rows(b) * inputs; ++i) {
        const std::size_t at = b * rows * inputs + i;
        BOOST_TEST(std::abs(difference(pass.x[at], b) - pass.input_gradient[at]) < 1e-7, "input " << i);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_those_of_single_rows) {
  const Network<double> network = residual_network<double>(inputs, classes, 0.4);
  Pass pass(network, false);
  const std::size_t stride = pass.shape.parameter_stride;
  const double* const logits =
      network.forward(*pass.device, pass.shape, pass.parameters.data(), pass.x.data(), pass.workspace);
  BOOST_REQUIRE(logits != nullptr);
  // d loss / d logits of row r: 1, -0.5, 0.25 r.
  const auto seed = [](double* gradient, std::size_t row) {
    gradient[0] = 1.0, gradient[1] = -0.5, gradient[2] = 0.25 * static_cast<double>(row);
  };
  for (std::size_t r = 0; r < clients * rows; ++r) seed(pass.workspace.gradient.data() + r * classes, r);
  std::vector<double> sums(clients * stride, 0.5), expected = sums;
  network.add_squared_gradients(*pass.device, pass.shape, pass.parameters.data(), pass.x.data(), pass.workspace,
                                sums.data());
  for (std::size_t b = 0; b < clients; ++b) {
    for (std::size_t r = 0; r < pass.shape.live_rows(b); ++r) {
      auto one = network.make_workspace(*pass.device, 1, 1);
      const BatchShape single{.clients = 1, .rows = 1, .parameter_stride = stride};
      const double* const own = pass.parameters.data() + b * stride;
      const double* const x = pass.x.data() + (b * rows + r) * inputs;
      network.forward(*pass.device, single, own, x, one);
      seed(one.gradient.data(), b * rows + r);
      std::vector<double> gradient(stride, 0.0);
      network.backward(*pass.device, single, own, x, one, gradient.data());
      for (std::size_t i = 0; i < stride; ++i) expected[b * stride + i] += gradient[i] * gradient[i];
    }
  }
  for (std::size_t i = 0; i < sums.size(); ++i)
    BOOST_TEST(std::abs(sums[i] - expected[i]) < 1e-12 * std::max(1.0, expected[i]), "entry " << i);
}

BOOST_AUTO_TEST_CASE(a_workspace_takes_the_bytes_that_were_said) {
  const Network<float> network = residual_network<float>(inputs, classes, 0.4);
  const auto device = make_cpu_device();
  for (const bool curvature : {false, true}) {
    const auto workspace = network.make_workspace(*device, 3, 8, curvature);
    std::size_t reals = 3 * (network.layout().stride() + 8 * inputs) + workspace.scratch.size() +
                        workspace.gradient.size() + workspace.next_gradient.size();
    for (const auto* arrays : {&workspace.activations, &workspace.saved, &workspace.skip_gradients})
      for (const auto& array : *arrays) reals += array.size();
    BOOST_TEST(reals * sizeof(float) == 3 * network.bytes_at_work(8, curvature));
  }
}

BOOST_AUTO_TEST_CASE(layers_that_do_not_fit_are_refused) {
  const auto whole = [](std::int64_t value) { return GivenOption{value, {}}; };
  auto layers = chosen_layers({{"dense", {{"outputs", whole(6)}}, "", ""},
                               {"group_norm", {{"groups", whole(4)}}, "first", ""},
                               {"dense", {}, "", ""}});
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 3); }) ==
             "[model] layer 1 (group_norm, \"first\") cannot be built on [6]: group_norm needs groups that divide the "
             "channels, got 4 groups for 6 channels; use a divisor of 6");
  layers[1].place = {"a.toml", 12, 3};
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 3); }).find("built on [6], at a.toml:12:3: group_norm ") !=
             std::string::npos);
  layers = chosen_layers({{"dense", {{"outputs", whole(4)}}, "", ""}, {"relu", {}, "", ""}});
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 3); }) ==
             "[model] the last layer must have as many outputs as the data have classes or targets, 3, got [4] of "
             "layer 1 (relu); "
             "end with a dense layer and leave its outputs out");
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 4); }).empty());
  layers = chosen_layers({{"dense", {}, "", ""}, {"relu", {}, "", ""}});
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 3); }) ==
             "[model] layer 0 (dense) cannot be built on [5]: dense needs outputs >= 1 where it is not the last layer, "
             "got 0; write its width");
  layers = chosen_layers({{"add", {}, "", "later"}, {"dense", {}, "later", ""}});
  BOOST_TEST(refusal([&] { build_network<float>(layers, {5}, 3); }) ==
             "[model] layer 0 (add) must take an earlier layer's output, got from = \"later\"; give that layer a name");
  BOOST_TEST(refusal([&] { build_network<float>(std::vector<LayerChoice>{}, {5}, 3); }).find("got no layer") !=
             std::string::npos);
}
