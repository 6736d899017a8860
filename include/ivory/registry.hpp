// The plug-ins that meson.build lists, as constant tables (no global state: each plug-in file defines one function that returns
// its row, and a generated file lists those functions).
#pragma once
#include <span>
#include <string_view>

#include "ivory/algorithm.hpp"
#include "ivory/layer.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {

std::span<const LayerPlugin> layer_plugins();
std::span<const OptimizerPlugin> optimizer_plugins();
std::span<const AlgorithmPlugin> algorithm_plugins();

/// The plug-in of that name, or null.
const LayerPlugin* find_layer(std::string_view name);
const OptimizerPlugin* find_optimizer(std::string_view name);
const AlgorithmPlugin* find_algorithm(std::string_view name);

}  // namespace ivory
