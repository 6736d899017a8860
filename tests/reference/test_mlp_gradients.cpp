// Logits, loss and gradients of multilayer perceptrons (mlp_grad.h5), in double and float.
#define BOOST_TEST_MODULE reference_mlp_gradients
#include "tests/support/boost_test.hpp"

#include "clients/network.hpp"
#include "ivory/registry.hpp"
#include "tests/reference/reference_files.hpp"
#include "tests/support/visit.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

template <class Real>
void run(const Hdf5File& file, const std::string& model, const std::string& group, const std::string& suffix) {
  const auto x = file.read<Real>(model + "/X");
  const auto labels = file.read<std::int32_t>(model + "/labels").values;
  std::vector<std::size_t> sizes;
  for (const double s : file.reals(model, "layer_sizes")) sizes.push_back(static_cast<std::size_t>(s));
  const std::vector<std::size_t> hidden(sizes.begin() + 1, sizes.end() - 1);
  const Network<Real> network =
      make_mlp<Real>(sizes.front(), hidden, sizes.back(), file.text(group, "activation"), true);
  const auto parameters = padded<Real>(file.read<Real>(group + "/params").values);
  BOOST_TEST_REQUIRE(static_cast<std::int64_t>(network.layout().size()) == file.integer(group, "P"));
  BOOST_TEST_REQUIRE(network.layout().stride() == parameters.size());

  const auto device = make_cpu_device();
  const std::size_t rows = labels.size();
  Workspace<Real> workspace = network.make_workspace(*device, 1, rows);
  const BatchShape shape{1, rows, nullptr, network.layout().stride()};
  const Real* const logits = network.forward(*device, shape, parameters.data(), x.values.data(), workspace);
  check_against(std::vector<Real>(logits, logits + rows * sizes.back()), file, group + "/logits" + suffix);

  std::vector<Real> gradient(parameters.size(), Real(0)), input_gradient(x.values.size());
  std::vector<double> row_losses(rows, 0.0);
  network.gradient(*device, shape, parameters.data(), x.values.data(), labels.data(), workspace, gradient.data(),
                   row_losses.data(), input_gradient.data());
  const double loss = losses_of_rows(row_losses, rows).front();
  gradient.resize(network.layout().size());
  check_against(std::vector<Real>{static_cast<Real>(loss)}, file, group + "/loss" + suffix);
  check_against(gradient, file, group + "/grad" + suffix);
  check_against(input_gradient, file, group + "/grad_input" + suffix);
}

}  // namespace

BOOST_AUTO_TEST_CASE(multilayer_perceptrons) {
  const auto file = open_reference("mlp_grad.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& model : file->groups("/")) {
    if (!file->has_attribute(model, "layer_sizes")) {
      skipped("mlp_grad.h5 " + model, "its layers do not exist yet");
      continue;
    }
    for (const std::string& activation : file->groups(model)) {
      const std::string group = model + "/" + activation;
      if (find_layer(file->text(group, "activation")) == nullptr) {
        skipped("mlp_grad.h5 " + group, "this activation does not exist yet");
        continue;
      }
      BOOST_TEST_CONTEXT(group) {
        run<double>(*file, model, group, "");
        if (file->has_dataset(group + "/grad_f32")) run<float>(*file, model, group, "_f32");
      }
      ++count;
    }
  }
  BOOST_TEST(count > 0U);
}
