// Logits, loss and gradients of multilayer perceptrons and a convolutional network (mlp_grad.h5), in double and float.
#define BOOST_TEST_MODULE reference_mlp_gradients
#include "tests/support/boost_test.hpp"

#include <functional>

#include "clients/network.hpp"
#include "ivory/registry.hpp"
#include "tests/reference/reference_files.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/visit.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

/// Names of a model's arrays in the file; those of float32 end in "_f32".
struct Arrays {
  std::string x, labels, parameters, logits, loss, gradient, input_gradient;
};

/// `activations` is called after the forward pass with the network's outputs so far. Returns the parameters' gradient.
template <class Real>
std::vector<Real> check_network(const Network<Real>& network, const Hdf5File& file, const std::string& group,
                                const Arrays& names, const std::string& suffix,
                                const std::function<void(const Workspace<Real>&)>& activations = {}) {
  const auto x = file.read<Real>(names.x);
  const auto labels = file.read<std::int32_t>(names.labels).values;
  const auto parameters = padded<Real>(file.read<Real>(names.parameters).values);
  BOOST_TEST_REQUIRE(static_cast<std::int64_t>(network.layout().size()) == file.integer(group, "P"));
  BOOST_TEST_REQUIRE(network.layout().stride() == parameters.size());

  const auto device = make_cpu_device();
  const std::size_t rows = labels.size();
  Workspace<Real> workspace = network.make_workspace(*device, 1, rows);
  const BatchShape shape{1, rows, nullptr, network.layout().stride()};
  const Real* const logits = network.forward(*device, shape, parameters.data(), x.values.data(), workspace);
  check_against(std::vector<Real>(logits, logits + rows * network.outputs()), file, names.logits + suffix);
  if (activations) activations(workspace);

  std::vector<Real> gradient(parameters.size(), Real(0)), input_gradient(x.values.size());
  std::vector<double> row_losses(rows, 0.0);
  network.gradient(*device, shape, parameters.data(), x.values.data(), labels.data(), workspace, gradient.data(),
                   row_losses.data(), input_gradient.data());
  const double loss = losses_of_rows(row_losses, rows).front();
  gradient.resize(network.layout().size());
  check_against(std::vector<Real>{static_cast<Real>(loss)}, file, names.loss + suffix);
  check_against(gradient, file, names.gradient + suffix);
  check_against(input_gradient, file, names.input_gradient + suffix);
  return gradient;
}

template <class Real>
void check_mlp(const Hdf5File& file, const std::string& model, const std::string& group, const std::string& suffix) {
  std::vector<std::size_t> sizes;
  for (const double s : file.reals(model, "layer_sizes")) sizes.push_back(static_cast<std::size_t>(s));
  const std::vector<std::size_t> hidden(sizes.begin() + 1, sizes.end() - 1);
  check_network(make_mlp<Real>(sizes.front(), hidden, sizes.back(), file.text(group, "activation"), true), file, group,
                {model + "/X", model + "/labels", group + "/params", group + "/logits", group + "/loss",
                 group + "/grad", group + "/grad_input"},
                suffix);
}

/// A layer with its options; whole numbers are written as such.
LayerChoice layer(const std::string& name, const OptionValues& values = {}) {
  const LayerPlugin& plugin = require(find_layer(name), name);
  return {.plugin = &plugin, .options = resolve(plugin.options, values, "model")};
}

template <class Real>
void check_cnn(const Hdf5File& file, const std::string& suffix) {
  const auto whole = [&](const char* attribute) { return file.integer("cnn", attribute); };
  const auto extent = [&](const char* attribute) { return static_cast<std::size_t>(whole(attribute)); };
  // What the attribute `architecture` says.
  const std::vector<LayerChoice> layers = {
      layer("conv2d",
            {{"channels", whole("conv1_channels")}, {"kernel", std::int64_t{3}}, {"padding", std::int64_t{1}}}),
      layer("relu"),
      layer("max_pool2d", {{"kernel", std::int64_t{2}}}),
      layer("conv2d", {{"channels", whole("conv2_channels")}, {"kernel", std::int64_t{3}}}),
      layer("group_norm", {{"groups", whole("groupnorm_groups")}, {"eps", file.real("cnn", "groupnorm_eps")}}),
      layer("relu"),
      layer("flatten"),
      layer("dense", {{"outputs", whole("classes")}})};
  const Shape images{extent("in_channels"), extent("height"), extent("width")};
  const auto activations = [&](const Workspace<Real>& workspace) {
    if (!suffix.empty()) return;  // stored in float64 alone
    for (const auto& [number, name] : {std::pair{0, "conv1"}, {2, "pool"}, {3, "conv2"}, {4, "groupnorm"}})
      check_against(workspace.activations[static_cast<std::size_t>(number)].to_host(), file,
                    std::string("cnn/activations/") + name);
  };
  const std::vector<Real> gradient = check_network<Real>(
      build_network<Real>(layers, images, extent("classes")), file, "cnn",
      {"cnn/X", "cnn/labels", "cnn/params_flat", "cnn/logits", "cnn/loss", "cnn/grad_flat", "cnn/grad_input"}, suffix,
      activations);
  // Layer by layer, each on its own scale.
  const auto flat = file.read<Real>("cnn/params_flat").values;
  auto from = std::ptrdiff_t{0};
  for (const std::string layer : {"conv1", "conv2", "groupnorm", "linear"})
    for (const std::string& name : {layer + "_weight", layer + "_bias"}) {
      const auto values = file.read<Real>("cnn/params/" + name).values;
      const std::ptrdiff_t to = from + static_cast<std::ptrdiff_t>(values.size());
      BOOST_TEST_REQUIRE(to <= static_cast<std::ptrdiff_t>(flat.size()));
      BOOST_TEST(values == std::vector<Real>(flat.begin() + from, flat.begin() + to), boost::test_tools::per_element());
      check_against(std::vector<Real>(gradient.begin() + from, gradient.begin() + to), file,
                    "cnn/grads" + suffix + "/" + name);
      from = to;
    }
  BOOST_TEST(from == static_cast<std::ptrdiff_t>(flat.size()));
}

}  // namespace

BOOST_AUTO_TEST_CASE(multilayer_perceptrons) {
  const auto file = open_reference("mlp_grad.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& model : file->groups("/")) {
    if (!file->has_attribute(model, "layer_sizes")) {
      continue;  // the convolutional network below
    }
    for (const std::string& activation : file->groups(model)) {
      const std::string group = model + "/" + activation;
      BOOST_TEST_CONTEXT(group) {
        check_mlp<double>(*file, model, group, "");
        check_mlp<float>(*file, model, group, "_f32");
      }
      ++count;
    }
  }
  BOOST_TEST(count >= 3U);
}

BOOST_AUTO_TEST_CASE(a_convolutional_network) {
  const auto file = open_reference("mlp_grad.h5");
  if (!file) return;
  check_cnn<double>(*file, "");
  check_cnn<float>(*file, "_f32");
}
