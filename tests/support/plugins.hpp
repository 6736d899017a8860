// Plug-ins by name with options written in the test, through the same resolution of options as a scenario.
#pragma once
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "ivory/options.hpp"
#include "ivory/registry.hpp"

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

/// The schedule keys of [clients]: shapes over rounds and inside a round, the others switched off.
inline Options schedule_options(const std::string& over_rounds, const std::string& inside) {
  Options options;
  options.set("schedule", {over_rounds, {}, true});
  options.set("inner_schedule", {inside, {}, true});
  options.set("schedule_step_rounds", {std::int64_t{3}, {}, true});
  options.set("schedule_step_factor", {0.5, {}, true});
  options.set("warmup_rounds", {std::int64_t{0}, {}, true});
  options.set("inner_warmup_steps", {std::int64_t{0}, {}, true});
  return options;
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
