// [model] layers: a list of tables with a key `layer` each, checked against what that layer declares.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "clients/network.hpp"
#include "src/scenario_given.hpp"

namespace ivory {

/// The layers with every option resolved; `list` is the list's name in messages. What is wrong with an entry goes to `problems`,
/// and the entry is left out.
std::vector<LayerChoice> resolve_layers(const std::vector<OptionTable>& tables, const std::string& list,
                                        Problems& problems);

/// The same list with every option spelt out; resolve_layers reads it back.
std::vector<OptionTable> spelt_out(std::span<const LayerChoice> layers);

}  // namespace ivory
