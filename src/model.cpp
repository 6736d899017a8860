#include "src/model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"
#include "src/hdf5_file.hpp"
#include "src/loss_options.hpp"
#include "src/model_layers.hpp"
#include "src/models.hpp"

namespace ivory {

namespace {

std::string find_init(const Scenario& scenario, const std::string& init) {
  std::vector<std::string> places;
  for (const auto& place : search_places(scenario, init)) {
    const auto path = place / init;
    if (std::filesystem::exists(path)) return path.string();
    places.push_back(path.string());
  }
  throw InputError(
      fmt::format("[model] init must name an HDF5 file with start weights, '{}' is in none of: {}{}; write one "
                  "data set per parameter slice, or leave init out",
                  init, fmt::join(places, ", "), written_at(scenario.model, "init")));
}

}  // namespace

std::vector<LayerChoice> layers_of(const Options& model) {
  Problems problems;
  std::vector<LayerChoice> layers =
      resolve_layers(find_model(model.text("kind"))->layers(model), "model.layers", problems);
  if (!problems.empty()) throw InputError(fmt::format("{}", fmt::join(problems, "\n")));
  return layers;
}

template <class Real>
Network<Real> make_network(const Scenario& scenario, const Dataset& data) {
  const Loss loss = loss_for(scenario.model, data);
  return build_network<Real>(layers_of(scenario.model), data.example_shape(), outputs_for(loss, data), loss);
}
template Network<float> make_network(const Scenario&, const Dataset&);
template Network<double> make_network(const Scenario&, const Dataset&);

std::vector<float> initial_weights(const Scenario& scenario, const Network<float>& network) {
  const std::string& init = scenario.model.text("init");
  if (init.empty()) return network.initialise(scenario.seed);
  const std::string path = find_init(scenario, init);
  const Hdf5File file = Hdf5File::open(path);
  std::vector<float> weights(network.layout().stride());
  for (const ParameterSlice& slice : network.layout().slices()) {
    if (!file.has_dataset(slice.name)) {
      throw InputError(
          fmt::format("[model] init must hold a data set for every parameter, '{}' is missing, in {}; it has: {}",
                      slice.name, path, fmt::join(file.datasets(), ", ")));
    }
    const auto array = file.read<float>(slice.name);
    if (array.shape != slice.shape) {
      throw InputError(
          fmt::format("[model] init must have the network's shapes (PyTorch's layout), '{}' is [{}] where the "
                      "network has [{}], in {}",
                      slice.name, fmt::join(array.shape, ", "), fmt::join(slice.shape, ", "), path));
    }
    for (std::size_t i = 0; i < slice.size; ++i) {
      if (!math::is_finite(array.values[i])) {
        throw InputError(fmt::format("[model] init must be finite, '{}' holds {} at {}, in {}", slice.name,
                                     array.values[i], i, path));
      }
      weights[slice.offset + i] = array.values[i];
    }
  }
  return weights;
}

}  // namespace ivory
