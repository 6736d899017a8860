#include "src/run_parts.hpp"

#include <algorithm>
#include <cmath>

#include "ivory/registry.hpp"
#include "src/data_sets.hpp"
#include "src/data_splits.hpp"
#include "src/model.hpp"
#include "src/partition.hpp"
#include "src/run_log.hpp"
#include "src/run_previews.hpp"

namespace ivory {
namespace {

using Examples = std::vector<std::vector<std::uint32_t>>;

// Pooled training: every example that some client holds, once, in one client.
Examples pooled(const Examples& clients) {
  std::vector<std::uint32_t> all;
  for (const auto& rows : clients) all.insert(all.end(), rows.begin(), rows.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return {std::move(all)};
}

// And the public pool, where the clients make it.
Examples trained_on(const Scenario& scenario, const Partition& partition, DataSplit& data) {
  Examples examples = trained_examples(scenario, partition);
  if (Dataset pool = shared_pool(scenario, data.train, examples); pool.size() > 0) data.public_pool = std::move(pool);
  return examples;
}

std::vector<std::uint32_t> with_examples(const Examples& examples) {
  std::vector<std::uint32_t> clients;
  for (std::uint32_t k = 0; k < examples.size(); ++k) {
    if (!examples[k].empty()) clients.push_back(k);
  }
  return clients;
}

VisitPlan plan_of(const Scenario& scenario, const AlgorithmTraits& traits, const Dataset& pool,
                  const std::vector<std::uint32_t>& all_examples) {
  return {.seed = scenario.seed,
          .epochs = scenario.clients.integer("epochs"),
          .steps = scenario.clients.integer("steps"),
          .batch = static_cast<std::size_t>(scenario.clients.integer("batch")),
          .keep_state = scenario.clients.boolean("keep_opt_state"),
          .same_draws = scenario.clients.boolean("ref_same_seed"),
          .clip_norm = scenario.clients.real("clip_norm"),
          .health = scenario.log.boolean("diagnostics"),
          .start_gradients = traits.needs_start_gradient,
          .curvature = traits.needs_curvature,
          .curvature_examples = traits.full_data_curvature ? &all_examples : nullptr,
          .public_pool = traits.uses_public_pool ? &pool : nullptr};
}

std::size_t participants_of(double participation, std::size_t clients) {
  return static_cast<std::size_t>(std::clamp(std::round(participation * static_cast<double>(clients)), 1.0,
                                             std::max(1.0, static_cast<double>(clients))));
}

// The plug-in's object of that type.
template <class Real, class Plugin>
auto make_plugin(const Plugin* plugin, const Options& options) {
  if constexpr (std::is_same_v<Real, float>) {
    return plugin->make_float(options);
  } else {
    return plugin->make_double(options);
  }
}

// At its largest: a round that records the server's Gaussian and all sites.
std::size_t log_memory(const Scenario& scenario, std::size_t participants, std::size_t parameters,
                       std::size_t recorded) {
  const std::size_t vectors = 2 + (scenario.log.text("sites") == "none" ? 0 : 4 * participants);
  const std::size_t matrix = scenario.log.boolean("precision_matrix") ? parameters * parameters * sizeof(double) : 0;
  const std::size_t rows = vectors * recorded * sizeof(float) + matrix;
  return std::min(std::max(most_queued_bytes, matrix), rows) + preview_bytes(scenario, participants, parameters);
}

}  // namespace

Examples trained_examples(const Scenario& scenario, const Partition& partition) {
  Examples examples = partition.train;
  for (const std::uint32_t client : left_out_clients(scenario, partition)) examples[client].clear();
  return scenario.clients.boolean("pool") ? pooled(examples) : examples;
}

Dataset shared_pool(const Scenario& scenario, const Dataset& train, const Examples& examples) {
  const bool shared = scenario.algorithm.has("share_inputs") && scenario.algorithm.integer("share_inputs") > 0;
  return shared ? shared_inputs(train, examples, scenario) : Dataset();
}

template <class Real>
RunParts<Real>::RunParts(const Scenario& scenario)
    : data(load_data(scenario)), partition(make_partition(scenario, data.train)),
      examples(trained_on(scenario, partition, data)), clients(with_examples(examples)),
      network(make_network<float>(scenario, data.train)), training_network(make_network<Real>(scenario, data.train)),
      logged(logged_parameters(scenario, network.layout())),
      optimizer(make_plugin<Real>(find_optimizer(scenario.optimizer_name), scenario.optimizer)),
      algorithm(make_plugin<Real>(find_algorithm(scenario.algorithm_name), scenario.algorithm)),
      traits(algorithm->traits()), all_examples(pooled(examples).front()),
      visit_plan(plan_of(scenario, traits, data.public_pool, all_examples).for_clients(examples)),
      learning_rate(scenario.optimizer.real("lr"), scenario.rounds, scenario.clients),
      weights_given(scenario.clients.reals("weights")),
      everyone_takes_part(scenario.clients.real("participation") >= 1.0),
      participants(participants_of(scenario.clients.real("participation"), clients.size())),
      log_bytes(log_memory(scenario, participants, network.layout().size(), size_of(logged))),
      laplace(scenario.evaluation.boolean("laplace") && !traits.gives_posterior && !traits.personal) {}

template <class Real>
std::vector<double> RunParts<Real>::client_weights() const {
  return weights_given.empty() ? std::vector<double>(examples.size(), 1.0) : weights_given;
}

template <class Real>
std::vector<double> RunParts<Real>::client_sizes() const {
  std::vector<double> sizes = client_weights();
  for (std::size_t k = 0; k < examples.size(); ++k) sizes[k] *= static_cast<double>(examples[k].size());
  return sizes;
}

template <class Real>
std::uint64_t RunParts<Real>::longest_visit() const {
  std::uint64_t longest = 0;
  for (const auto& rows : examples) longest = std::max(longest, visit_plan.steps_of(rows.size()));
  return longest;
}

template <class Real>
double RunParts<Real>::values_down() const {
  return traits.values_down(static_cast<double>(network.layout().size()), static_cast<double>(data.public_pool.size()),
                            static_cast<double>(network.outputs()));
}

template <class Real>
double RunParts<Real>::values_up(std::size_t client) const {
  const PoolShare share{client, examples.size()};
  return traits.values_up(static_cast<double>(network.layout().size()),
                          static_cast<double>(share.size(data.public_pool.size())),
                          static_cast<double>(network.outputs()));
}

template <class Real>
MemoryPlan RunParts<Real>::memory() const {
  return plan_memory<Real>({.network = &training_network,
                            .optimizer = optimizer.get(),
                            .traits = traits,
                            .plan = visit_plan,
                            .clients = clients.size(),
                            .everyone_takes_part = everyone_takes_part,
                            .examples = data.train.size(),
                            .all_examples = data.train.size() + data.test.size() + data.validation.size(),
                            .longest_visit = longest_visit(),
                            .log = log_bytes,
                            .laplace = laplace,
                            .diagnostics = visit_plan.health});
}

template struct RunParts<float>;
template struct RunParts<double>;

bool runs_in_double(const Scenario& scenario) {
  return find_algorithm(scenario.algorithm_name)->make_double(scenario.algorithm)->traits().full_covariance;
}

}  // namespace ivory
