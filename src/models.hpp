// The networks that [model] kind names: each is a list of layers, and `sequential` is the user's own.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "ivory/options.hpp"

namespace ivory {

/// A network by name. `layers` gives its list, of the form of [model] layers, from the resolved options of [model].
struct Model {
  Kind kind;
  std::vector<OptionTable> (*layers)(const Options& model) = nullptr;
};

std::span<const Model> models();
/// The model of that name, or null.
const Model* find_model(std::string_view name);

/// Keys of every kind of model.
const std::vector<OptionSpec>& common_model_options();

}  // namespace ivory
