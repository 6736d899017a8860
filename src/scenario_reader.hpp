// From a TOML file (and --set overrides) to resolved scenarios, one per [[compare]] arm.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "ivory/scenario.hpp"

namespace ivory {

/// One table of the scenario with its keys, for validation and `ivory list`.
struct ScenarioTable {
  std::string name;  // "clients"
  std::string help;
  std::vector<OptionSpec> options;
};
/// The tables whose keys do not depend on a choice: clients, evaluation, log (and the top-level keys as "").
const std::vector<ScenarioTable>& scenario_tables();

/// The arms of the file in order (one unnamed arm without [[compare]]). `overrides` are "key=value" with dotted keys and TOML
/// values, applied to every arm after its own overrides, or "ARM:key=value" for one arm, which takes the place of the same
/// key for every arm. `grid` are more of them, called --grid in messages. `only` keeps the named arms (empty: all). Throws InputError with
/// file:line:column, the rule, the value given and the nearest known key; reports unknown arm names with the known ones.
std::vector<Scenario> read_scenario(const std::string& path, std::span<const std::string> overrides = {},
                                    std::span<const std::string> only = {}, std::span<const std::string> grid = {});
/// The same from text, without a folder; `name` stands for the file in messages and its directory for relative paths.
std::vector<Scenario> parse_scenario(const std::string& text, const std::string& name,
                                     std::span<const std::string> overrides = {},
                                     std::span<const std::string> only = {}, std::span<const std::string> grid = {});

}  // namespace ivory
