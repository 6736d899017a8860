// Clients of unequal size, trained in blocks on any device.
#pragma once
#include <algorithm>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "clients/trainer.hpp"
#include "ivory/registry.hpp"

namespace ivory::test {

inline Dataset labelled_noise(std::size_t examples, std::size_t features, int classes) {
  Dataset data;
  data.features = features;
  data.classes = classes;
  StreamReader random(3, {.purpose = Purpose::data});
  for (std::size_t i = 0; i < examples * features; ++i) data.x.push_back(static_cast<float>(random.normal()));
  for (std::size_t i = 0; i < examples; ++i) {
    data.labels.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(classes))));
  }
  return data;
}

struct Outcome {
  std::vector<float> mean, precision, start_gradient;
  double steps, loss;
  bool operator==(const Outcome&) const = default;
};

/// The layers by name and options; one with a list of `outputs` of 0 at its end.
inline std::vector<LayerChoice> chosen_layers(
    const std::vector<std::tuple<std::string, GivenTable, std::string, std::string>>& layers) {
  std::vector<LayerChoice> choices;
  for (const auto& [plugin, given, name, from] : layers) {
    LayerChoice& choice = choices.emplace_back();
    choice.plugin = find_layer(plugin);
    choice.options = resolve_options(choice.plugin->options, given, plugin, {});
    choice.name = name, choice.from = from;
  }
  return choices;
}

/// A network of every kind of layer that has no image: normalisation, a residual addition, dropout.
template <class Real>
Network<Real> residual_network(std::size_t inputs, std::size_t classes, double p) {
  const auto whole = [](std::int64_t value) { return GivenOption{value, {}}; };
  return build_network<Real>(chosen_layers({{"dense", {{"outputs", whole(6)}}, "", ""},
                                            {"group_norm", {{"groups", whole(2)}}, "a", ""},
                                            {"tanh", {}, "b", ""},
                                            {"dropout", {{"p", {p, {}}}}, "", ""},
                                            {"dense", {{"outputs", whole(6)}, {"bias", {false, {}}}}, "", ""},
                                            {"add", {}, "", "b"},
                                            {"sigmoid", {}, "", ""},
                                            {"add", {}, "", "a"},
                                            {"add", {}, "", "b"},
                                            {"dropout", {{"p", {p, {}}}}, "", ""},
                                            {"dense", {}, "", ""}}),
                             {inputs}, classes);
}

/// What clients minimise beside their loss. `sites`: an anchor and, but for the first, a site. `mixed`, in turn: a site and a
/// common mean; an isotropic anchor, unsquared with point optimizers; an isotropic anchor and a common mean.
enum class ClientTerms { none, sites, mixed };

/// Trains clients of unequal size in blocks of `block`, and returns every client's result. `own`: another network than an MLP,
/// with 7 inputs and 4 classes.
inline std::vector<Outcome> train_in_blocks(Device& device, const Optimizer<float>& optimizer, const VisitPlan& plan,
                                            std::size_t block, ClientTerms kind = ClientTerms::none,
                                            const Network<float>* own = nullptr) {
  const Dataset data = labelled_noise(200, 7, 4);
  const std::vector<std::size_t> hidden = {6, 5};
  const Network<float> mlp = make_mlp<float>(7, hidden, 4, "tanh", true);
  const Network<float>& network = own != nullptr ? *own : mlp;
  const std::size_t size = network.layout().size(), stride = network.layout().stride();
  const Buffer<float> start(device, network.initialise(9));
  std::vector<float> site_values(2 * stride), anchor_values(stride);
  for (std::size_t i = 0; i < stride; ++i) {
    site_values[i] = 0.3F * static_cast<float>(static_cast<int>(i % 7) - 3);
    site_values[stride + i] = 0.2F * static_cast<float>(static_cast<int>(i % 5) - 2);
    anchor_values[i] = 5.0F + static_cast<float>(i % 3);
  }
  const Buffer<float> site(device, site_values), anchor(device, anchor_values);
  std::vector<std::vector<std::uint32_t>> examples;
  for (const std::uint32_t count : {33U, 5U, 16U, 1U, 40U, 17U, 8U}) {
    auto& rows = examples.emplace_back(count);
    std::iota(rows.begin(), rows.end(), 11U * static_cast<std::uint32_t>(examples.size()));
  }
  Trainer<float> trainer(device, network, optimizer, data, plan, LearningRate(0.05), block);
  std::vector<Outcome> outcomes;
  for (std::size_t first = 0; first < examples.size(); first += block) {
    std::vector<Visit<float>> visits;
    for (std::size_t k = first; k < std::min(first + block, examples.size()); ++k) {
      Visit<float> visit{.task = {.client = static_cast<std::uint32_t>(k), .round = 4, .terms = {}},
                         .examples = examples[k]};
      auto& terms = visit.task.terms;
      terms.start = start.data();
      if (kind == ClientTerms::mixed) {
        if (k % 3 != 1) terms.common_mean = site.data(), terms.common_weight = 0.05;
        if (k % 3 == 0) terms.site_mean = site.data() + stride, terms.site_weight = -0.04;
        if (k % 3 != 0) terms.anchor_mean = anchor.data(), terms.anchor_weight = 0.03;
        terms.unsquared_anchor = k % 3 == 1 && !optimizer.gives_posterior();
        terms.sum_loss = k % 2 == 0;
      }
      if (kind == ClientTerms::sites) {
        terms.anchor_mean = start.data(), terms.anchor_precision = anchor.data(), terms.anchor_weight = 0.01;
        terms.site_weight = 0.02, terms.effective_samples = 300;
        if (k > 0) terms.site_mean = site.data(), terms.site_precision = site.data() + stride;
      }
      visits.push_back(visit);
    }
    const auto results = trainer.train(visits);
    Buffer<float> precisions(device, optimizer.gives_posterior() ? block * stride : 0);
    if (optimizer.gives_posterior()) trainer.precisions(precisions.data());
    const auto read = [&](const float* from) {
      std::vector<float> values(size);
      device.download(values.data(), from, size * sizeof(float));
      return values;
    };
    for (std::size_t b = 0; b < visits.size(); ++b) {
      Outcome outcome;
      outcome.mean = read(trainer.mean(b));
      if (optimizer.gives_posterior()) outcome.precision = read(precisions.data() + b * stride);
      if (plan.start_gradients) outcome.start_gradient = read(trainer.start_gradient(b));
      outcome.steps = results[b].steps;
      outcome.loss = results[b].train_loss;
      outcomes.push_back(outcome);
    }
  }
  return outcomes;
}

}  // namespace ivory::test
