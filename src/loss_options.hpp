// The loss of a network as [model] says it: loss, label_smoothing, noise_precision.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "clients/loss.hpp"
#include "ivory/dataset.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// Keys of [model] that every kind of model has.
const std::vector<OptionSpec>& loss_options();

/// What contradicts itself in [model], without data.
void check_loss(const Options& model, std::vector<std::string>& problems);

/// The loss of [model]. Throws InputError where these data have no such targets.
Loss loss_for(const Options& model, const Dataset& data);

/// Outputs that a network with this loss must have for these data.
std::size_t outputs_for(const Loss& loss, const Dataset& data);

}  // namespace ivory
