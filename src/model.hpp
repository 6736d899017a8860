// From [model] to a network and its initial weights.
#pragma once
#include <vector>

#include "clients/network.hpp"
#include "ivory/dataset.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// The layers that [model] asks for, from its resolved options.
std::vector<LayerChoice> layers_of(const Options& model);

/// The network of a scenario for these data. Throws InputError where the layers or the loss do not fit.
template <class Real>
Network<Real> make_network(const Scenario& scenario, const Dataset& data);

/// Start weights [stride]: from [model] init where given (HDF5, one data set per slice, in PyTorch's layout), otherwise drawn by
/// seed. Throws InputError naming a missing data set or a shape that does not fit.
std::vector<float> initial_weights(const Scenario& scenario, const Network<float>& network);

}  // namespace ivory
