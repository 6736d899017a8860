// Plug-ins by name with options written in the test, through the same resolution of options as a scenario.
#pragma once
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "ivory/options.hpp"
#include "ivory/registry.hpp"
#include "src/scenario_schema.hpp"

namespace ivory::test {

using OptionValues = std::map<std::string, OptionValue>;

inline Options resolve(const std::vector<OptionSpec>& specs, const OptionValues& values, const std::string& table) {
  GivenTable given;
  for (const auto& [name, value] : values) given[name] = GivenOption{value, SourcePlace{"test", 0, 0}};
  return resolve_options(specs, given, table, SourcePlace{"test", 0, 0});
}

template <class Plugin>
const Plugin& require(const Plugin* plugin, const std::string& name) {
  if (plugin == nullptr) throw std::runtime_error("no plug-in of the name " + name);
  return *plugin;
}

template <class Real>
std::unique_ptr<Optimizer<Real>> make_optimizer(const std::string& name, const OptionValues& values) {
  const OptimizerPlugin& plugin = require(find_optimizer(name), name);
  const Options options = resolve(plugin.options, values, "clients.optimizer");
  if constexpr (std::is_same_v<Real, float>)
    return plugin.make_float == nullptr ? throw std::runtime_error(name + " exists in double alone")
                                        : plugin.make_float(options);
  else
    return plugin.make_double(options);
}

template <class Real>
std::unique_ptr<Algorithm<Real>> make_algorithm(const std::string& name, const OptionValues& values) {
  const AlgorithmPlugin& plugin = require(find_algorithm(name), name);
  const Options options = resolve(plugin.options, values, "server");
  if constexpr (std::is_same_v<Real, float>)
    return plugin.make_float(options);
  else
    return plugin.make_double(options);
}

/// [clients] with these shapes of the learning rate over rounds and inside a round, other keys by name, the rest defaults.
inline Options schedule_options(const std::string& over_rounds, const std::string& inside, OptionValues values = {}) {
  values["schedule"] = over_rounds;
  values["inner_schedule"] = inside;
  return resolve(find_table("clients")->options, values, "clients");
}

template <class Real>
std::unique_ptr<Layer<Real>> make_layer(const std::string& name, const OptionValues& values,
                                        const LayerInputs& inputs) {
  const LayerPlugin& plugin = require(find_layer(name), name);
  const Options options = resolve(plugin.options, values, "model");
  if constexpr (std::is_same_v<Real, float>)
    return plugin.make_float(options, inputs);
  else
    return plugin.make_double(options, inputs);
}

}  // namespace ivory::test
